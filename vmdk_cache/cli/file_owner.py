"""Keeps root from creating files that cinder-volume cannot open."""

from __future__ import annotations

import os
import pwd

from vmdk_cache import errors


def check_owner(path: str, option: str) -> None:
    """Refuse to run as root if the directory belongs to another user.

    Every process opens lock files and the ledger for writing. cinder-volume could not open files
    that root created, and its cache would stop working.

    :param path: a directory, or a file in it that need not exist
    :param option: the option that sets the path, for the error
    :raises ConfigError: run the command as the directory's owner
    """
    directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return  # opening it will fail with a better message
    if os.geteuid() == 0 and owner != 0:
        raise errors.ConfigError(
            f"{option}: {directory} belongs to {_name_of(owner)}, who cannot use files that root "
            f"creates there: run this command as that user, e.g. sudo -u {_name_of(owner)} "
            "vmdk-cache"
        )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"

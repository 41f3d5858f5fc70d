"""Keeps root from making files that cinder-volume could not open afterwards."""

from __future__ import annotations

import os
import pwd

from vmdk_cache import errors


def check_owner(path: str, option: str) -> None:
    """Refuse to go on as root where the directory is another user's.

    Lock files and the ledger are opened for writing by every process: what root makes there,
    cinder-volume cannot open, and its cache stands still.

    :param path: a directory, or a file in it that need not exist
    :param option: that names the path, for the error
    :raises ConfigError: run the command as the directory's owner
    """
    directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return  # who opens it will say why it cannot be
    if os.geteuid() == 0 and owner != 0:
        raise errors.ConfigError(
            f"{option}: {directory} belongs to {_name_of(owner)}, who could not use what root "
            f"makes there: run this command as that user, e.g. sudo -u {_name_of(owner)} vmdk-cache"
        )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"

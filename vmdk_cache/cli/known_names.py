"""Names for completion: those of images and datastores that a command of this user saw last.

They are in a file of the user's cache directory, because asking vCenter at each press of TAB would
take seconds and a log-in. Other users cannot read it: they may not be meant to know the names
of images. If it cannot be read or written, there is nothing to offer.

    {"version": 1, "caches": {"vc:443/vmware1": {"seen": 1764450000, "images": {id: name},
                                                 "datastores": [name]}}}
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_VERSION = 1
#: Names that were last seen longer ago are not offered.
KEPT_S = 24 * 3600.0
#: Of each kind and cache, so that the file stays small.
MOST_NAMES = 2000


@dataclass
class Names:
    """What can be completed.

    :ivar images: id -> name, '' if unknown
    """

    images: dict[str, str] = field(default_factory=dict)
    datastores: list[str] = field(default_factory=list)


def path(environ: Mapping[str, str] = os.environ) -> pathlib.Path | None:
    """The file, as the XDG Base Directory Specification places it; None without a home."""
    root = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):
        home = environ.get("HOME", "")
        if not os.path.isabs(home):
            return None
        root = os.path.join(home, ".cache")
    return pathlib.Path(root) / "vmdk-cache" / "names.json"


def known(file: pathlib.Path | None, now: float) -> Names:
    """The names in the file.

    :param now: seconds since the epoch
    """
    found = Names()
    for cache in _fresh(file, now).values():
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            found.images |= {str(id_): str(name) for id_, name in cache["images"].items()}
            found.datastores += [str(name) for name in cache["datastores"]]
    found.datastores = sorted(set(found.datastores))
    return found


def remember(
    file: pathlib.Path | None,
    cache: str,
    images: Mapping[str, str],
    datastores: Iterable[str],
    now: float,
) -> None:
    """Replace the names of one cache in the file, which only this user can read.

    :param cache: identifies it among all caches of all vCenters
    :param now: seconds since the epoch
    """
    if file is None:
        return
    caches = _fresh(file, now)
    caches[cache] = {
        "seen": now,
        "images": dict(list(images.items())[:MOST_NAMES]),
        "datastores": sorted(datastores)[:MOST_NAMES],
    }
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file.parent.stat().st_uid != os.geteuid():
            return  # with sudo, the home of another user
        # mkstemp creates it with mode 0600. A reader sees the old file or the new one.
        opened, made = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as new:
                json.dump({"version": _VERSION, "caches": caches}, new)
            os.replace(made, file)
        except BaseException:
            os.unlink(made)
            raise


def _fresh(file: pathlib.Path | None, now: float) -> dict[str, dict[str, Any]]:
    """The file's caches that were seen less than :data:`KEPT_S` ago."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
        if content.get("version") != _VERSION:
            return {}
        return {
            str(name): cache
            for name, cache in content["caches"].items()
            if abs(now - float(cache["seen"])) < KEPT_S
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}

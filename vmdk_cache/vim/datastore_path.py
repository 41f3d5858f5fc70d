"""How a path, ``[name] directory/file``, writes the name of a datastore.

vCenter escapes ``/``, ``\\`` and ``%`` in the name of a managed entity. How a path writes such a
name is not documented: the API reference says only that the name in a path has none of these
characters (Datastore). Cinder and govmomi put the name into a path as vCenter gives it, so that
comes first; the name without escapes is tried where vCenter does not know the first. An ordinary
name can be written in one way only (docs/assumptions.rst, A23).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from vmdk_cache import errors
from vmdk_cache.vim.reference import unescape_name

T = TypeVar("T")

FILE_NOT_FOUND = "vim.fault.FileNotFound"
#: How vCenter may refuse a path whose datastore it does not know.
_UNKNOWN = frozenset(
    {
        "vim.fault.InvalidDatastore",
        "vim.fault.InvalidDatastorePath",
        "vmodl.fault.InvalidArgument",
        FILE_NOT_FOUND,
    }
)


def path_names(written: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """How paths may write the names of a datacenter's datastores, the likeliest first.

    A way that could mean two of them is left out: nothing is written to, or deleted from, the wrong
    datastore.

    :param written: by datastore, its name as vCenter gives it, in one or several properties
    """
    ways = {
        moref: tuple(dict.fromkeys((*names, *map(unescape_name, names))))
        for moref, names in written.items()
    }
    meant = Counter(way for several in ways.values() for way in several)
    return {
        moref: tuple(way for way in several if meant[way] == 1) for moref, several in ways.items()
    }


def in_each_way(names: Sequence[str], call: Callable[[str], T]) -> T:
    """What ``call`` returns for the first of ``names`` that vCenter knows.

    :param call: must have done nothing when vCenter does not know the name
    :raises ObjectNotFound: a file is not found, or there is no name that means one datastore only
    :raises VCenterError: what ``call`` raises, for the first name if vCenter knows none
    """
    failures: list[errors.VCenterError] = []
    for name in names:
        try:
            return call(name)
        except errors.VCenterError as failure:
            if failure.fault not in _UNKNOWN:
                raise
            failures.append(failure)
    if not failures:
        raise errors.ObjectNotFound("no path can name the datastore: another one's name is alike")
    failed = next((one for one in failures if one.fault == FILE_NOT_FOUND), failures[0])
    raise failed

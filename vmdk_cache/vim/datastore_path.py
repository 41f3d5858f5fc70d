"""The spelling of a datastore's name in a path, ``[name] directory/file``.

vCenter escapes ``/``, ``\\`` and ``%`` in the name of a managed entity. The spelling of such a name
in a path is not documented: the API reference only says that the name in a path has none of these
characters (Datastore). Cinder and govmomi use the name as vCenter returns it, so that comes first;
if vCenter does not know it, the unescaped name is tried. An ordinary name has only one spelling
(docs/assumptions.rst, A23).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from vmdk_cache import errors
from vmdk_cache.vim.reference import unescape_name

T = TypeVar("T")

FILE_NOT_FOUND = "vim.fault.FileNotFound"
#: Faults for a path with an unknown datastore.
_UNKNOWN = frozenset(
    {
        "vim.fault.InvalidDatastore",
        "vim.fault.InvalidDatastorePath",
        "vmodl.fault.InvalidArgument",
        FILE_NOT_FOUND,
    }
)


def path_names(written: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The possible spellings of a datacenter's datastores in paths, the most likely first.

    Ambiguous spellings are left out, so that no operation affects the wrong datastore.

    :param written: by datastore, its name as vCenter returns it, in one or several properties
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
    """The result of ``call`` for the first of ``names`` that vCenter knows.

    :param call: must have no effect if vCenter does not know the name
    :raises ObjectNotFound: a file is not found, or no spelling is unambiguous
    :raises VCenterError: the error of ``call``, for the first name if vCenter knows none
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
        raise errors.ObjectNotFound(
            "no path can name the datastore unambiguously: another one has a similar name"
        )
    failed = next((one for one in failures if one.fault == FILE_NOT_FOUND), failures[0])
    raise failed

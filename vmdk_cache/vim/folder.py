"""VM folders: find a folder by its path, or create it.

The session remembers the paths that were found (``Session.folders``), so the usual call sends no
request. It forgets a path when any call reports that the folder is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties
from vmdk_cache.vim.inventory import Datacenter
from vmdk_cache.vim.reference import escape_name, managed_type
from vmdk_cache.vim.session import Session


def find_folder(session: Session, datacenter: Datacenter | str, path: Sequence[str]) -> str | None:
    """Moref of the folder, None if it does not exist.

    :param datacenter: or its moref
    :param path: plain names below the datacenter's root VM folder; empty: that root folder
    """
    return _walk(session, datacenter, path, make=False)


def ensure_folder(session: Session, datacenter: Datacenter | str, path: Sequence[str]) -> str:
    """Moref of the folder; creates it and its parents if needed.

    Two callers that create the same folder at the same time get the same one.

    :raises ConfigError: an object that is not a folder has that name
    """
    folder = _walk(session, datacenter, path, make=True)
    assert folder is not None, "a walk that creates folders always finds one"
    return folder


def find_child(session: Session, folder: str, name: str) -> str | None:
    """Moref of the object with that (plain) name in a folder, in one request; None if there is
    none."""
    moref = session.invoke(
        "SearchIndex",
        session.content.searchIndex._GetMoId(),
        "FindChild",
        safe=True,
        entity=managed_type("Folder")(folder),
        name=escape_name(name),
    )
    return None if moref is None else str(moref)


def _walk(
    session: Session, datacenter: Datacenter | str, path: Sequence[str], *, make: bool
) -> str | None:
    if isinstance(datacenter, Datacenter):
        root, vm_folder = datacenter.moref, datacenter.vm_folder
        session.folders[(root,)] = vm_folder
    else:
        root, vm_folder = datacenter, _vm_folder(session, datacenter)
    paths = [(root, *path[:depth]) for depth in range(1, len(path) + 1)]
    try:
        return _descend(session, vm_folder, paths, make=make)
    except errors.ObjectNotFound:
        # A remembered parent has been deleted: search again from the root.
        for known in paths:
            session.folders.pop(known, None)
        return _descend(session, vm_folder, paths, make=make)


def _vm_folder(session: Session, datacenter: str) -> str:
    if (datacenter,) not in session.folders:
        values = properties.read_one(session, "Datacenter", datacenter, ["vmFolder"])
        session.folders[(datacenter,)] = values["vmFolder"]
    return session.folders[(datacenter,)]


def _descend(
    session: Session, folder: str, paths: Sequence[tuple[str, ...]], *, make: bool
) -> str | None:
    for path in paths:
        child = session.folders.get(path) or _child(session, folder, path[-1])
        if child is None and not make:
            return None
        folder = child or _create(session, folder, path[-1])
        session.folders[path] = folder
    return folder


def _child(session: Session, parent: str, name: str) -> str | None:
    """:raises ConfigError: the object with that name is not a folder"""
    found = find_child(session, parent, name)
    if found is None or found in properties.read(session, "Folder", [found], ["childType"]):
        return found
    raise errors.ConfigError(
        f"{quoted(name)} in folder {parent} is not a folder ({found}); rename or remove it"
    )


def _create(session: Session, parent: str, name: str) -> str:
    try:
        return str(
            session.invoke("Folder", parent, "CreateFolder", safe=True, name=escape_name(name))
        )
    except errors.NameTaken as error:
        # Another process was faster, or our first attempt took effect without an answer.
        child = error.moref or _child(session, parent, name)
        if child is None:
            raise
        return child

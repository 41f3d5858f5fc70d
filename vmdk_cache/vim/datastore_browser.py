"""Directories in the root of a datastore: list them, list those of VMs, delete one.

A directory without files of a VM was left behind by a crash or a manual deletion. To find these,
call :func:`directories` first and :func:`vm_directories` after it, so that a VM created in between
is not missed, and allow new VMs some time: while a VM is being created, vCenter may not report its
files yet.
"""

from __future__ import annotations

import re
from typing import Any

from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties
from vmdk_cache.vim.datastore_path import FILE_NOT_FOUND, in_each_way
from vmdk_cache.vim.inventory import Datastore
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.reference import managed_type, unescape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

#: Time limits of a search or a deletion, and of its wait in vCenter's queue; the housekeeping lock
#: is held meanwhile.
SEARCH_WITHIN_S = 600.0
DELETE_WITHIN_S = 900.0
#: On these, directories have ids instead of names, or both, so the name does not identify the
#: owner.
WITHOUT_NAMES = frozenset({"vsan", "vsand", "vvol"})
#: Both interpretations of a path with ``]`` in the name of the datastore or of a directory.
_ROOT_DIRECTORY = (re.compile(r"\[[^\]]*\]\s*([^/]+)/"), re.compile(r"\[.*\]\s*([^/]+)/"))

_VM_PATHS = ("name", "config.files.vmPathName", "summary.config.vmPathName", "layoutEx.file")


def directories(
    session: Session, waiter: TaskWaiter, datastore: Datastore, prefix: str
) -> list[str]:
    """Names of the directories in the root of the datastore that begin with ``prefix``, sorted.

    Sends two requests and runs a task. Always empty on vSAN and vVol, where directories have ids.

    :param prefix: taken literally, case-sensitive
    :raises ObjectNotFound: the datastore is gone
    :raises VCenterError: it is not accessible, or another fault
    """
    if datastore.type in WITHOUT_NAMES:
        return []
    browser = properties.read_one(session, "Datastore", datastore.moref, ["browser"])["browser"]

    def search(path_name: str) -> Any:
        task = session.invoke(
            "HostDatastoreBrowser",
            browser,
            "SearchDatastore_Task",
            safe=True,
            datastorePath=f"[{path_name}]",
            searchSpec=vim.host.DatastoreBrowser.SearchSpec(
                query=[vim.host.DatastoreBrowser.FolderQuery()], matchPattern=[_pattern(prefix)]
            ),
        )
        return waiter.wait(task, timeout_s=SEARCH_WITHIN_S, start_within_s=SEARCH_WITHIN_S)

    found = in_each_way(datastore.path_names, search)
    names = (str(info.path) for info in (found.file if found is not None else None) or ())
    return sorted(name for name in names if name.startswith(prefix))


def vm_directories(session: Session, datastore: str) -> set[str]:
    """Names of the root directories used by registered VMs and templates with files on the
    datastore: one request per page.

    The result may contain too many names, but never too few: it includes directories that such a VM
    uses on other datastores, and for a VM without configuration (being created, or its files are
    lost) the directory with its name.

    :param datastore: moref
    :raises ObjectNotFound: the datastore is gone
    """
    found = properties.read_through(
        session, "Datastore", datastore, [("Datastore", "vm")], "VirtualMachine", _VM_PATHS
    )
    used: set[str] = set()
    for values in found.values():
        used |= _directories_of(values)
    return used


def delete_directory(session: Session, waiter: TaskWaiter, datastore: Datastore, name: str) -> None:
    """Permanently delete a directory in the datastore's root, with its contents.

    Succeeds if the directory is already gone.

    :raises ValueError: ``name`` is not the plain name of one directory
    :raises InUse, FileLocked: a VM is using a file in it; retry
    """
    if name != name.strip() or name in ("", ".") or ".." in name or re.search(r"[/\\\0]", name):
        raise ValueError(
            f"{quoted(name)} is not the plain name of a directory in {quoted(datastore.name)}"
        )

    def delete(path_name: str) -> None:
        task = session.invoke(
            "FileManager",
            session.content.fileManager._GetMoId(),
            "DeleteDatastoreFile_Task",
            safe=True,
            name=f"[{path_name}] {name}",
            datacenter=managed_type("Datacenter")(datastore.datacenter),
        )
        waiter.wait(task, timeout_s=DELETE_WITHIN_S, start_within_s=DELETE_WITHIN_S)

    try:
        in_each_way(datastore.path_names, delete)
    except errors.ObjectNotFound as error:
        if error.fault != FILE_NOT_FOUND:
            raise


def _pattern(prefix: str) -> str:
    """``prefix`` as a pattern of the browser, with ``?`` for characters that could be special:
    superfluous results are filtered, but missing ones would go unnoticed."""
    return re.sub(r"[^A-Za-z0-9_. -]", "?", prefix) + "*"


def _directories_of(values: Row) -> set[str]:
    paths: list[Any] = [file.name for file in values.get("layoutEx.file") or ()]
    paths += [values.get("config.files.vmPathName"), values.get("summary.config.vmPathName")]
    matches = [reading.match(path) for path in paths if path for reading in _ROOT_DIRECTORY]
    used = {match[1] for match in matches if match is not None}
    if "config.files.vmPathName" not in values:
        used.add(unescape_name(values.get("name", "")))
    return used

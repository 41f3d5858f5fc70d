"""HostDatastoreBrowser: searches a datastore's directories (one browser per datastore).

Folder paths come back as a real vCenter writes them: "[ds] dir/", with a space and a slash. Sizes
are the occupied bytes. A datastore that no host sees is InaccessibleDatastore. Supported queries:
VmDiskQuery (descriptors of virtual disks), FolderQuery and plain ones; without a query, every file
that matches `matchPattern` is found.
"""

from __future__ import annotations

import fnmatch
import posixpath
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore import parse_path
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.datastore import Datastore
    from tests.fakes.vcenter.task import Task
    from tests.fakes.vcenter.vcenter import VCenter

_CONTROLLERS = {
    "ide": vim.vm.device.VirtualIDEController,
    "lsiLogic": vim.vm.device.VirtualLsiLogicController,
    "busLogic": vim.vm.device.VirtualBusLogicController,
}


class HostDatastoreBrowser(ManagedObject):
    """The browser of one datastore."""

    TYPE = vim.host.DatastoreBrowser
    PREFIX = "datastoreBrowser"

    def __init__(self, vcenter: VCenter, owner: Datastore) -> None:
        super().__init__(vcenter, moref=f"datastoreBrowser-{owner.moref}")
        self.owner = owner

    @property
    def datastore(self) -> list[Any]:
        return [self.owner]

    @property
    def supportedType(self) -> list[Any]:
        browser = vim.host.DatastoreBrowser
        return [
            browser.VmConfigQuery(),
            browser.TemplateVmConfigQuery(),
            browser.VmDiskQuery(),
            browser.FolderQuery(),
            browser.VmSnapshotQuery(),
            browser.IsoImageQuery(),
            browser.FloppyImageQuery(),
            browser.VmNvramQuery(),
            browser.VmLogQuery(),
        ]

    def SearchDatastore_Task(
        self, ctx: Context, datastorePath: str, searchSpec: Any = None
    ) -> Task:
        """Search one directory; FileNotFound if it does not exist."""
        return self._start(
            ctx,
            "SearchDatastore_Task",
            "HostDatastoreBrowser.search",
            lambda task: self._search(self._directory(datastorePath), searchSpec),
        )

    def SearchDatastoreSubFolders_Task(
        self, ctx: Context, datastorePath: str, searchSpec: Any = None
    ) -> Task:
        """Search a directory and everything below, with one result for each directory."""

        def body(task: Task) -> Any:
            top = self._directory(datastorePath)
            below = [
                path
                for path in self.owner.storage.directories()
                if not top or path.startswith(top + "/")
            ]
            results = [self._search(path, searchSpec) for path in [top, *below]]
            return vmodl_array(vim.host.DatastoreBrowser.SearchResults, results)

        return self._start(
            ctx, "SearchDatastoreSubFolders_Task", "HostDatastoreBrowser.searchSubFolders", body
        )

    def DeleteFile(self, ctx: Context, datastorePath: str) -> None:
        """Deprecated in favour of the FileManager; deletes a file or a directory tree at once."""
        self.owner.storage.delete(self._path(datastorePath))
        self.owner.refresh()

    def _start(self, ctx: Context, name: str, description: str, body: Any) -> Task:
        return self.vcenter.tasks.start(self.owner, name, description, body, session=ctx.session)

    def _path(self, text: str) -> str:
        path = parse_path(self.vcenter, text)
        if path.datastore != self.owner.path_name:
            raise vmodl.fault.InvalidArgument(
                msg=f"'{text}' is not on the datastore '{self.owner.name}'.",
                invalidProperty="datastorePath",
            )
        return path.path

    def _directory(self, text: str) -> str:
        path = self._path(text)
        self.owner.require_accessible()
        if not self.owner.storage.is_directory(path):
            raise self.owner.storage.not_found(path)
        return path

    def _search(self, directory: str, spec: Any) -> Any:
        spec = spec or vim.host.DatastoreBrowser.SearchSpec()
        found = []
        for name in self.owner.storage.listing(directory):
            path = posixpath.join(directory, name)
            if not _matches_pattern(name, spec):
                continue
            info = self._file_info(name, path, spec)
            if info is not None:
                found.append(info)
        if spec.sortFoldersFirst:
            found.sort(key=lambda info: not isinstance(info, vim.host.DatastoreBrowser.FolderInfo))
        root = f"[{self.owner.path_name}] "
        folder = f"{root}{directory}/" if directory else root
        return vim.host.DatastoreBrowser.SearchResults(
            datastore=self.owner.ref, folderPath=folder, file=found
        )

    def _file_info(self, name: str, path: str, spec: Any) -> Any:
        """The FileInfo of an entry, or None if no query selects its kind."""
        browser = vim.host.DatastoreBrowser
        queries = spec.query or []
        file = self.owner.storage.get(path)
        if file is None:
            if not _asked(queries, browser.FolderQuery):
                return None
            return self._described(browser.FolderInfo(path=name), path, None, spec)
        if file.disk is not None:
            if _asked(queries, browser.VmDiskQuery):
                disk = file.disk
                info = browser.VmDiskInfo(path=name)
                query = next((q for q in queries if isinstance(q, browser.VmDiskQuery)), None)
                if query is None or query.details is not None:
                    info.capacityKb = disk.capacity_bytes // 1024
                    info.thin = disk.provisioning == "thin"
                    info.hardwareVersion = 8
                    info.diskType = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
                    info.controllerType = _CONTROLLERS.get(disk.adapter_type)
                    info.diskExtents = [posixpath.basename(disk.extent_path)]
                return self._described(info, path, disk.occupied_bytes, spec)
            return None
        if queries and not any(type(q) is browser.Query for q in queries):
            return None
        return self._described(browser.FileInfo(path=name), path, file.charged_bytes, spec)

    def _described(self, info: Any, path: str, size_bytes: int | None, spec: Any) -> Any:
        details = spec.details
        if details is None:
            return info
        if details.fileSize and size_bytes is not None:
            info.fileSize = size_bytes
        if details.modification:
            info.modification = self.owner.storage.modified(path)
        if details.fileOwner:
            info.owner = "root"
        return info


def _matches_pattern(name: str, spec: Any) -> bool:
    if not spec.matchPattern:
        return True
    fold = str.lower if spec.searchCaseInsensitive is not False else str
    return any(fnmatch.fnmatchcase(fold(name), fold(pattern)) for pattern in spec.matchPattern)


def _asked(queries: list[Any], kind: type) -> bool:
    """Whether the queries select this kind of file; without queries, all kinds are."""
    return not queries or any(
        isinstance(q, kind) or type(q) is vim.host.DatastoreBrowser.Query for q in queries
    )


def vmodl_array(item_type: type, values: list[Any]) -> Any:
    """A typed vmodl array, so that an array in an `any` slot is serialized with its own type."""
    from pyVmomi import VmomiSupport

    return VmomiSupport.GetVmodlType(item_type.__name__ + "[]")(values)

"""FileManager: files and directories by datastore path.

It does not know disks: deleting "x.vmdk" deletes the descriptor and leaves the extent. A file of a
VM that a task is changing is FileLocked.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore import Datastore, locate
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_disk_manager import already_exists

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class FileManager(ManagedObject):
    """The vCenter's FileManager."""

    TYPE = vim.FileManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="FileManager")

    def MakeDirectory(
        self,
        ctx: Context,
        name: str,
        datacenter: Any,
        createParentDirectories: bool | None,
    ) -> None:
        """Create a directory without a task. FileAlreadyExists if it exists, FileNotFound without
        the parent. CannotCreateFile in the root of a vSAN (vSphere API reference,
        topLevelDirectoryCreateSupported; that it is this fault is unconfirmed).
        """
        datastore, path = locate(self.vcenter, name, datacenter)
        top = path.partition("/")[0]
        if datastore.is_vsan and not datastore.storage.is_directory(top):
            raise vim.fault.CannotCreateFile(msg=f"Cannot create {name}", file=name)
        datastore.storage.make_directory(path, parents=bool(createParentDirectories))

    def DeleteDatastoreFile_Task(self, ctx: Context, name: str, datacenter: Any) -> Task:
        """Delete a file, or a directory with its content; CannotDeleteFile for the root of a
        datastore.
        """

        def body() -> None:
            datastore, path = locate(self.vcenter, name, datacenter)
            _require_unlocked(datastore, path)
            if not path:
                raise vim.fault.CannotDeleteFile(msg=f"Cannot delete {name}", file=name)
            datastore.storage.delete(path)
            _refresh(datastore)

        return self._start(ctx, "DeleteDatastoreFile_Task", "deleteFile", datacenter, body)

    def MoveDatastoreFile_Task(
        self,
        ctx: Context,
        sourceName: str,
        sourceDatacenter: Any,
        destinationName: str,
        destinationDatacenter: Any,
        force: bool | None,
    ) -> Task:
        """Move a file or a directory tree, also to another datastore."""

        def body() -> None:
            source, path = locate(self.vcenter, sourceName, sourceDatacenter)
            _require_unlocked(source, path)
            target, new_path = locate(
                self.vcenter, destinationName, destinationDatacenter or sourceDatacenter
            )
            for old, new in _tree(source, path, target, new_path, bool(force)):
                target.storage.adopt(source.storage.release(old), new, overwrite=bool(force))
            if source.storage.is_directory(path):
                source.storage.delete(path)
            _refresh(source, target)

        return self._start(ctx, "MoveDatastoreFile_Task", "moveFile", sourceDatacenter, body)

    def CopyDatastoreFile_Task(
        self,
        ctx: Context,
        sourceName: str,
        sourceDatacenter: Any,
        destinationName: str,
        destinationDatacenter: Any,
        force: bool | None,
    ) -> Task:
        """Copy a file or a directory tree; FileAlreadyExists unless forced."""

        def body() -> None:
            source, path = locate(self.vcenter, sourceName, sourceDatacenter)
            target, new_path = locate(
                self.vcenter, destinationName, destinationDatacenter or sourceDatacenter
            )
            for old, new in _tree(source, path, target, new_path, bool(force)):
                file = source.storage.file(old)
                target.storage.create(
                    new, file.content.copy(), thick=file.thick, overwrite=bool(force)
                )
            _refresh(target)

        return self._start(ctx, "CopyDatastoreFile_Task", "copyFile", sourceDatacenter, body)

    def _start(
        self, ctx: Context, method: str, description: str, datacenter: Any, body: Any
    ) -> Task:
        entity = self.vcenter.registry.require(datacenter) if datacenter else None
        return self.vcenter.tasks.start(
            entity, method, f"FileManager.{description}", lambda task: body(), session=ctx.session
        )


def _tree(
    source: Datastore, path: str, target: Datastore, new_path: str, force: bool
) -> list[tuple[str, str]]:
    """(old, new) paths of a file, or of all files of a directory; creates the target
    directories.
    """
    if not source.storage.is_directory(path):
        source.storage.file(path)
        if target.storage.exists(new_path) and not force:
            raise already_exists(target, new_path)
        return [(path, new_path)]
    if target.storage.exists(new_path):
        raise already_exists(target, new_path)
    pairs = [
        (file.path, posixpath.join(new_path, posixpath.relpath(file.path, path)))
        for file in source.storage.below(path)
    ]
    target.storage.make_directory(new_path)
    for _, new in pairs:
        directory = posixpath.dirname(new)
        if not target.storage.is_directory(directory):
            target.storage.make_directory(directory, parents=True)
    return pairs


def _require_unlocked(datastore: Datastore, path: str) -> None:
    """FileLocked for a file (or a directory with one) of a VM that a task is changing."""
    for vm in datastore.members("vm"):
        if vm.lock.is_free:
            continue
        paths = {disk.extent_path for disk in vm.disks} | {vm.vmx_path}
        paths |= {disk.descriptor.path for disk in vm.disks}
        if any(one == path or one.startswith(f"{path}/") for one in paths):
            text = datastore.storage.text(path)
            raise vim.fault.FileLocked(
                msg=f"Unable to access file {text} since it is locked", file=text
            )


def _refresh(*datastores: Datastore) -> None:
    for datastore in datastores:
        datastore.refresh()

"""VirtualDiskManager: disks by datastore path, whether or not a VM uses them.

CopyVirtualDisk_Task takes no destSpec through vCenter (NotImplemented). The copy of a sparse or
streamOptimized file is preallocated, that of a flat disk has the same type; clients should read it
back instead of assuming it. `force` is ignored for copies, so an existing target is
FileAlreadyExists. A disk that is being cloned or imported is FileLocked for every call that would
change it. (vSphere API reference, VirtualDiskManager; govmomi on destSpec)
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter import vmdk
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore import Datastore, locate
from tests.fakes.vcenter.host_datastore_browser import vmodl_array
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.transfers import Transfer
from tests.fakes.vcenter.virtual_disk import (
    Provisioning,
    VirtualDisk,
    create_disk,
    open_disk,
    spaced,
    unspaced,
)

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

_DISK_TYPES: dict[str, Provisioning] = {
    "thin": "thin",
    "preallocated": "preallocated",
    "thick": "preallocated",
    "eagerZeroedThick": "eagerZeroedThick",
}
_ADAPTERS = ("lsiLogic", "busLogic", "ide")


class VirtualDiskManager(ManagedObject):
    """The vCenter's VirtualDiskManager."""

    TYPE = vim.VirtualDiskManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="virtualDiskManager")

    def CreateVirtualDisk_Task(self, ctx: Context, name: str, datacenter: Any, spec: Any) -> Task:
        def body() -> str:
            datastore, path = locate(self.vcenter, name, datacenter)
            if not isinstance(spec, vim.VirtualDiskManager.FileBackedVirtualDiskSpec):
                raise invalid("spec")
            if spec.diskType not in _DISK_TYPES or spec.adapterType not in _ADAPTERS:
                raise invalid("spec.diskType")
            if spec.capacityKb <= 0:
                raise invalid("spec.capacityKb")
            disk = create_disk(
                datastore.storage,
                path,
                spec.capacityKb * 1024,
                provisioning=_DISK_TYPES[spec.diskType],
                adapter_type=spec.adapterType,
            )
            datastore.refresh()
            return str(disk.path)

        return self._start(ctx, "CreateVirtualDisk_Task", "createVirtualDisk", datacenter, body)

    def CopyVirtualDisk_Task(
        self,
        ctx: Context,
        sourceName: str,
        sourceDatacenter: Any,
        destName: str,
        destDatacenter: Any,
        destSpec: Any,
        force: bool | None,
    ) -> Task:
        if destSpec is not None:
            raise vmodl.fault.NotImplemented(msg="destSpec is not implemented by vCenter.")

        def body() -> Generator[float | Transfer, None, str]:
            source = self._open(sourceName, sourceDatacenter)
            datastore, path = locate(self.vcenter, destName, destDatacenter or sourceDatacenter)
            if datastore.storage.exists(path):
                raise already_exists(datastore, path)
            yield from self._take_time(source, datastore)
            copied = source.copy_to(
                datastore.storage,
                path,
                provisioning="preallocated" if source.sparse else source.provisioning,
            )
            datastore.refresh()
            return str(copied.path)

        return self._start(ctx, "CopyVirtualDisk_Task", "copyVirtualDisk", sourceDatacenter, body)

    def MoveVirtualDisk_Task(
        self,
        ctx: Context,
        sourceName: str,
        sourceDatacenter: Any,
        destName: str,
        destDatacenter: Any,
        force: bool | None,
        profile: Any = None,
    ) -> Task:
        def body() -> str:
            disk = self._open(sourceName, sourceDatacenter)
            require_unlocked(disk)
            old = disk.datastore
            datastore, path = locate(self.vcenter, destName, destDatacenter or sourceDatacenter)
            if not datastore.storage.is_directory(path.rpartition("/")[0]):
                raise datastore.storage.not_found(path.rpartition("/")[0])
            disk.move_to(datastore.storage, path, overwrite=bool(force))
            refresh(disk, old)
            return str(disk.path)

        return self._start(ctx, "MoveVirtualDisk_Task", "moveVirtualDisk", sourceDatacenter, body)

    def DeleteVirtualDisk_Task(self, ctx: Context, name: str, datacenter: Any) -> Task:
        def body() -> None:
            disk = self._open(name, datacenter)
            require_unlocked(disk)
            disk.delete()
            refresh(disk)

        return self._start(ctx, "DeleteVirtualDisk_Task", "deleteVirtualDisk", datacenter, body)

    def ExtendVirtualDisk_Task(
        self, ctx: Context, name: str, datacenter: Any, newCapacityKb: int, eagerZero: bool | None
    ) -> Task:
        """Extend a disk; NoDiskSpace if a thick disk does not fit. A disk with parents cannot be
        extended.

        The capacity must grow. With costs on, zeroing the new part takes time, during which the
        disk is FileLocked (unconfirmed).
        """

        def body() -> Generator[float | Transfer, None, None]:
            disk = self._open(name, datacenter)
            require_unlocked(disk)
            size_bytes = newCapacityKb * 1024
            if size_bytes <= disk.capacity_bytes:
                raise invalid("newCapacityKb")
            if disk.parent is not None or disk.sparse:
                raise vim.fault.FileFault(
                    msg="The disk has parents or is sparse and cannot be extended.",
                    file=str(disk.path),
                )
            if eagerZero:
                yield from self._zero(disk, size_bytes - disk.capacity_bytes)
            shown_bytes = disk.shown_capacity_bytes or disk.capacity_bytes
            disk.extend(size_bytes, eager_zero=bool(eagerZero))
            if not self.vcenter.switches.extended_disks_show_at_once:
                disk.shown_capacity_bytes = shown_bytes
            refresh(disk)

        return self._start(ctx, "ExtendVirtualDisk_Task", "extendVirtualDisk", datacenter, body)

    def InflateVirtualDisk_Task(self, ctx: Context, name: str, datacenter: Any) -> Task:
        return self._convert(ctx, "InflateVirtualDisk_Task", "inflateVirtualDisk", name, datacenter)

    def EagerZeroVirtualDisk_Task(self, ctx: Context, name: str, datacenter: Any) -> Task:
        return self._convert(
            ctx, "EagerZeroVirtualDisk_Task", "eagerZeroVirtualDisk", name, datacenter
        )

    def QueryVirtualDiskUuid(self, ctx: Context, name: str, datacenter: Any) -> str:
        """The uuid as "60 00 C2 9d ...-..."."""
        return spaced(self._open(name, datacenter).uuid)

    def SetVirtualDiskUuid(self, ctx: Context, name: str, datacenter: Any, uuid: str) -> None:
        disk = self._open(name, datacenter)
        require_unlocked(disk)
        try:
            disk.uuid = unspaced(uuid)
        except ValueError:
            raise invalid("uuid") from None
        disk.write_descriptor()
        refresh(disk)

    def QueryVirtualDiskGeometry(self, ctx: Context, name: str, datacenter: Any) -> Any:
        cylinders, heads, sectors = vmdk.geometry(self._open(name, datacenter).capacity_bytes)
        return vim.host.DiskDimensions.Chs(cylinder=cylinders, head=heads, sector=sectors)

    def QueryVirtualDiskInfo_Task(
        self, ctx: Context, name: str, datacenter: Any, includeParents: bool
    ) -> Task:
        """The disk, and with `includeParents` its parents, base last (internal_api.py)."""

        def body() -> Any:
            chain = self._open(name, datacenter).chain
            return vmodl_array(
                vim.VirtualDiskManager.VirtualDiskInfo,
                [
                    vim.VirtualDiskManager.VirtualDiskInfo(
                        unit=vim.VirtualDiskManager.DiskUnit(name=str(disk.path)),
                        diskType="vmfsSparse" if disk.parent else disk.provisioning,
                        parent=str(disk.parent.path) if disk.parent else None,
                    )
                    for disk in (chain if includeParents else chain[:1])
                ],
            )

        return self._start(
            ctx, "QueryVirtualDiskInfo_Task", "queryVirtualDiskInfo", datacenter, body
        )

    def ShrinkVirtualDisk_Task(
        self, ctx: Context, name: str, datacenter: Any, copy: bool | None
    ) -> Task:
        """Release the zero blocks of a thin disk; in the fake a disk never holds any. NotSupported
        for other disks (vSphere API reference: "only for thin-provisioned disks on VMFS"; that it
        is this fault is unconfirmed).
        """

        def body() -> None:
            disk = self._open(name, datacenter)
            require_unlocked(disk)
            if disk.provisioning != "thin" or disk.parent is not None:
                raise vmodl.fault.NotSupported(msg="Only a thin disk can be shrunk.")

        return self._start(ctx, "ShrinkVirtualDisk_Task", "shrinkVirtualDisk", datacenter, body)

    def QueryVirtualDiskFragmentation(self, ctx: Context, name: str, datacenter: Any) -> int:
        self._open(name, datacenter)
        return 0

    def _convert(
        self, ctx: Context, method: str, description: str, name: str, datacenter: Any
    ) -> Task:
        def body() -> None:
            disk = self._open(name, datacenter)
            require_unlocked(disk)
            disk.convert("eagerZeroedThick")
            refresh(disk)

        return self._start(ctx, method, description, datacenter, body)

    def _take_time(
        self, source: VirtualDisk, target: Datastore
    ) -> Generator[float | Transfer, None, None]:
        costs = self.vcenter.cost_model
        if not costs.enabled:
            return
        route = costs.copy_route(
            source.datastore, target, None, offloadable=source.parent is None and not source.sparse
        )
        transfer = self.vcenter.transfers.new(costs.counted(source.occupied_bytes), route)
        try:
            yield transfer
        finally:
            transfer.cancel()

    def _zero(self, disk: VirtualDisk, size_bytes: int) -> Generator[float | Transfer, None, None]:
        costs = self.vcenter.cost_model
        if not costs.enabled or not costs.datastore_bandwidth:
            return
        disk.extending = True
        try:
            yield size_bytes / (costs.datastore_bandwidth * costs.write_share)
        finally:
            disk.extending = False

    def _open(self, name: str, datacenter: Any) -> VirtualDisk:
        datastore, path = locate(self.vcenter, name, datacenter)
        return open_disk(datastore.storage, path)

    def _start(
        self, ctx: Context, method: str, description: str, datacenter: Any, body: Any
    ) -> Task:
        """Start a task on the datacenter; a fault of `body` fails the task."""
        entity = self.vcenter.registry.require(datacenter) if datacenter else None
        return self.vcenter.tasks.start(
            entity,
            method,
            f"VirtualDiskManager.{description}",
            lambda task: body(),
            session=ctx.session,
        )


def require_unlocked(disk: VirtualDisk) -> None:
    """FileLocked while a task extends the disk, or works on a VM that uses it."""
    for vm in disk.users or (None,):
        if disk.extending or (vm is not None and not vm.lock.is_free):
            raise vim.fault.FileLocked(
                msg=f"Unable to access file {disk.path} since it is locked", file=str(disk.path)
            )


def refresh(disk: VirtualDisk, *others: Datastore) -> None:
    """Notify the datastores and VMs of a disk that it has changed."""
    for datastore in (disk.datastore, *others):
        datastore.refresh()
    for vm in list(disk.users):
        vm.sync()


def already_exists(datastore: Datastore, path: str) -> Exception:
    text = datastore.storage.text(path)
    return vim.fault.FileAlreadyExists(
        msg=f"Cannot complete the operation because the file {text} already exists", file=text
    )


def invalid(argument: str) -> Exception:
    return vmodl.fault.InvalidArgument(
        msg=f"A specified parameter was not correct: {argument}", invalidProperty=argument
    )

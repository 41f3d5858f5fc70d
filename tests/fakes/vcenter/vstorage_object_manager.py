"""VcenterVStorageObjectManager: first class disks, which have a name and an id of their own and
need no VM. (vSphere API reference)

A first class disk is a virtual disk in the directory "fcd" of its datastore, or a registered one.
Snapshots keep their bytes and occupy nothing. Tags need the REST API, which the fake does not have;
policies and key-value metadata are not simulated.
"""

from __future__ import annotations

import posixpath
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore import find_datastore
from tests.fakes.vcenter.disk import DiskContent
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.virtual_disk import VirtualDisk, create_disk, open_disk
from tests.fakes.vcenter.virtual_disk_manager import invalid, refresh, require_unlocked

if TYPE_CHECKING:
    from tests.fakes.vcenter.task import Task
    from tests.fakes.vcenter.vcenter import VCenter

_DIRECTORY = "fcd"
_PROVISIONING = {
    None: "thin",
    "thin": "thin",
    "lazyZeroedThick": "preallocated",
    "eagerZeroedThick": "eagerZeroedThick",
}
_PROVISIONING_NAMES = {"preallocated": "lazyZeroedThick"}


class FirstClassDisk:
    """One first class disk; `snapshots` by id: the API object and the bytes at that time."""

    def __init__(self, vcenter: VCenter, name: str, disk: VirtualDisk, keep: bool) -> None:
        self.id = str(uuid.uuid4())
        self.name = name
        self.disk = disk
        self.keep_after_delete_vm = keep
        self.created_at = vcenter.clock.now()
        self.snapshots: dict[str, tuple[Any, DiskContent]] = {}

    @property
    def is_intact(self) -> bool:
        return bool(self.disk.is_intact())

    @property
    def consumers(self) -> list[Any]:
        """The instanceUuid of each VM that it is attached to."""
        return [vim.vslm.ID(id=vm.settings.instance_uuid) for vm in self.disk.users]

    def described(self) -> Any:
        """The VStorageObject."""
        disk = self.disk
        return vim.vslm.VStorageObject(
            config=vim.vslm.VStorageObject.ConfigInfo(
                id=vim.vslm.ID(id=self.id),
                name=self.name,
                createTime=self.created_at,
                keepAfterDeleteVm=self.keep_after_delete_vm,
                relocationDisabled=False,
                nativeSnapshotSupported=False,
                changedBlockTrackingEnabled=False,
                capacityInMB=disk.capacity_bytes >> 20,
                consumptionType=["disk"],
                consumerId=self.consumers,
                backing=vim.vslm.BaseConfigInfo.DiskFileBackingInfo(
                    datastore=disk.datastore.ref,
                    filePath=str(disk.path),
                    backingObjectId=disk.object_id or "",
                    deltaSizeInMB=0,
                    provisioningType=_PROVISIONING_NAMES.get(disk.provisioning, disk.provisioning),
                ),
            )
        )


class VStorageObjectManager(ManagedObject):
    """The vCenter's VcenterVStorageObjectManager."""

    TYPE = vim.vslm.vcenter.VStorageObjectManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="VStorageObjectManager")
        self._disks: dict[str, FirstClassDisk] = {}

    def find(self, disk_id: Any, datastore: Any = None) -> FirstClassDisk:
        """The disk with this id, on the given datastore if any; else NotFound."""
        found = self._disks.get(disk_id.id)
        where = self.vcenter.registry.require(datastore) if datastore is not None else None
        if found is None or not found.is_intact or where not in (None, found.disk.datastore):
            raise vim.fault.NotFound(msg=f"The object or item {disk_id.id} could not be found.")
        return found

    # Creation and deletion

    def CreateDisk_Task(self, ctx: Context, spec: Any) -> Task:
        """Create a disk; its file is "fcd/<id>.vmdk" unless the spec names a directory."""
        backing = spec.backingSpec
        if not isinstance(backing, vim.vslm.CreateSpec.DiskFileBackingSpec):
            raise vmodl.fault.NotSupported(msg="Raw device mappings are not simulated.")
        if spec.capacityInMB <= 0:
            raise invalid("spec.capacityInMB")
        if backing.provisioningType not in _PROVISIONING:
            raise invalid("spec.backingSpec.provisioningType")
        datastore = self.vcenter.registry.require(backing.datastore)

        def body(task: Task) -> Any:
            directory = (backing.path or _DIRECTORY).strip("/")
            content = DiskContent(spec.capacityInMB << 20)
            provisioning = _PROVISIONING[backing.provisioningType]
            disk = self._create(datastore, directory, content, provisioning)
            return self._add(spec.name, disk, bool(spec.keepAfterDeleteVm)).described()

        return self._start(ctx, "CreateDisk_Task", "createDisk", body)

    def RegisterDisk(self, ctx: Context, path: str, name: str | None = None, id: Any = None) -> Any:
        """Register an existing disk by the URL of its descriptor; AlreadyExists if it is
        registered.
        """
        parts = urlsplit(path)
        names = parse_qs(parts.query).get("dsName")
        if not parts.path.startswith("/folder/") or not names:
            raise invalid("path")
        datastore = find_datastore(self.vcenter, names[0])
        disk = open_disk(datastore.storage, unquote(parts.path.removeprefix("/folder/")))
        for other in self._disks.values():
            if other.disk is disk:
                raise vim.fault.AlreadyExists(msg=f"{disk.path} is registered.", name=other.name)
        stem = posixpath.basename(disk.path.path).removesuffix(".vmdk")
        return self._add(name or stem, disk, keep=True).described()

    def DeleteVStorageObject_Task(self, ctx: Context, id: Any, datastore: Any) -> Task:
        """InvalidState while it is attached to a VM."""

        def body(task: Task) -> None:
            found = self.find(id, datastore)
            if found.consumers:
                raise vim.fault.InvalidState(msg="The disk is attached to a virtual machine.")
            require_unlocked(found.disk)
            found.disk.delete()
            del self._disks[found.id]
            refresh(found.disk)

        return self._start(ctx, "DeleteVStorageObject_Task", "deleteVStorageObject", body)

    def ReconcileDatastoreInventory_Task(
        self, ctx: Context, datastore: Any, deepCleansing: bool | None = None
    ) -> Task:
        """Drop the disks whose files have vanished."""
        where = self.vcenter.registry.require(datastore)

        def body(task: Task) -> None:
            for one in list(self._disks.values()):
                if one.disk.datastore is where and not one.is_intact:
                    del self._disks[one.id]

        return self._start(ctx, "ReconcileDatastoreInventory_Task", "reconcile", body)

    # Reading

    def ListVStorageObject(self, ctx: Context, datastore: Any) -> list[Any]:
        """Ids of all disks on a datastore, including those whose files have vanished."""
        where = self.vcenter.registry.require(datastore)
        return [
            vim.vslm.ID(id=one.id) for one in self._disks.values() if one.disk.datastore is where
        ]

    def RetrieveVStorageObject(
        self, ctx: Context, id: Any, datastore: Any, diskInfoFlags: Any = None
    ) -> Any:
        return self.find(id, datastore).described()

    # Changing

    def RenameVStorageObject(self, ctx: Context, id: Any, datastore: Any, name: str) -> None:
        self.find(id, datastore).name = name

    def InflateDisk_Task(self, ctx: Context, id: Any, datastore: Any) -> Task:
        def body(task: Task) -> None:
            found = self.find(id, datastore)
            require_unlocked(found.disk)
            found.disk.convert("eagerZeroedThick")
            refresh(found.disk)

        return self._start(ctx, "InflateDisk_Task", "inflateDisk", body)

    def ExtendDisk_Task(self, ctx: Context, id: Any, datastore: Any, newCapacityInMB: int) -> Task:
        def body(task: Task) -> None:
            found = self.find(id, datastore)
            require_unlocked(found.disk)
            if newCapacityInMB << 20 <= found.disk.capacity_bytes or found.disk.parent:
                raise invalid("newCapacityInMB")
            found.disk.extend(newCapacityInMB << 20)
            refresh(found.disk)

        return self._start(ctx, "ExtendDisk_Task", "extendDisk", body)

    # Snapshots

    def RetrieveSnapshotInfo(self, ctx: Context, id: Any, datastore: Any) -> Any:
        """Snapshots, oldest first."""
        found = self.find(id, datastore)
        return vim.vslm.VStorageObjectSnapshotInfo(
            snapshots=[described for described, _ in found.snapshots.values()]
        )

    def VStorageObjectCreateSnapshot_Task(
        self, ctx: Context, id: Any, datastore: Any, description: str
    ) -> Task:
        def body(task: Task) -> Any:
            found = self.find(id, datastore)
            require_unlocked(found.disk)
            snapshot = vim.vslm.VStorageObjectSnapshotInfo.VStorageObjectSnapshot(
                id=vim.vslm.ID(id=str(uuid.uuid4())),
                backingObjectId=str(uuid.uuid4()),
                createTime=self.vcenter.clock.now(),
                description=description,
            )
            found.snapshots[snapshot.id.id] = (snapshot, found.disk.content.copy())
            return snapshot.id

        return self._start(ctx, "VStorageObjectCreateSnapshot_Task", "createSnapshot", body)

    def DeleteSnapshot_Task(self, ctx: Context, id: Any, datastore: Any, snapshotId: Any) -> Task:
        def body(task: Task) -> None:
            found = self.find(id, datastore)
            self._snapshot(found, snapshotId)
            del found.snapshots[snapshotId.id]

        return self._start(ctx, "DeleteSnapshot_Task", "deleteSnapshot", body)

    def RevertVStorageObject_Task(
        self, ctx: Context, id: Any, datastore: Any, snapshotId: Any
    ) -> Task:
        """InvalidState while it is attached to a VM."""

        def body(task: Task) -> None:
            found = self.find(id, datastore)
            content = self._snapshot(found, snapshotId)
            if found.consumers:
                raise vim.fault.InvalidState(msg="The disk is attached to a virtual machine.")
            found.disk.fill(content.copy())
            refresh(found.disk)

        return self._start(ctx, "RevertVStorageObject_Task", "revert", body)

    def CreateDiskFromSnapshot_Task(
        self,
        ctx: Context,
        id: Any,
        datastore: Any,
        snapshotId: Any,
        name: str,
        path: str | None = None,
        targetDatastore: Any = None,
        **other: Any,
    ) -> Task:
        """Create a disk with the snapshot's bytes, in the directory of the original."""
        if any(other.values()) or path:
            raise vmodl.fault.NotSupported(msg="Only a plain copy is simulated.")

        def body(task: Task) -> Any:
            found = self.find(id, datastore)
            content = self._snapshot(found, snapshotId).copy()
            target = found.disk.datastore
            if targetDatastore is not None:
                target = self.vcenter.registry.require(targetDatastore)
            disk = self._create(target, _DIRECTORY, content, found.disk.provisioning)
            return self._add(name, disk, keep=True).described()

        return self._start(ctx, "CreateDiskFromSnapshot_Task", "createDiskFromSnapshot", body)

    def _create(
        self, datastore: Any, directory: str, content: DiskContent, provisioning: Any
    ) -> VirtualDisk:
        datastore.require_accessible()
        if not datastore.storage.is_directory(directory):
            datastore.storage.make_directory(directory, parents=True)
        disk = create_disk(
            datastore.storage,
            posixpath.join(directory, f"{uuid.uuid4().hex}.vmdk"),
            content.size_bytes,
            provisioning=provisioning,
            content=content,
        )
        datastore.refresh()
        return disk

    def _snapshot(self, found: FirstClassDisk, snapshot_id: Any) -> DiskContent:
        if snapshot_id.id not in found.snapshots:
            raise vim.fault.NotFound(msg=f"The snapshot {snapshot_id.id} could not be found.")
        return found.snapshots[snapshot_id.id][1]

    def _add(self, name: str, disk: VirtualDisk, keep: bool) -> FirstClassDisk:
        added = FirstClassDisk(self.vcenter, name, disk, keep)
        self._disks[added.id] = added
        return added

    def _start(self, ctx: Context, method: str, description: str, body: Any) -> Task:
        text = f"vslm.vcenter.VStorageObjectManager.{description}"
        return self.vcenter.tasks.start(None, method, text, body, session=ctx.session)

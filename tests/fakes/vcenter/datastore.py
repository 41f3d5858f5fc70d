"""Datastore: files, mounts on hosts, and exact space figures.

freeSpace is the capacity less what the files occupy; uncommitted is how much the thin disks of
registered virtual machines may still grow. Both are right at every read. (A real vCenter lags
behind and has RefreshDatastoreStorageInfo for that, which is accepted here.)

For tests: `free_bytes`, `used_bytes`, `files()`, `directories()`, `fill(size_bytes)` (bytes of
other tenants), `mount`/`unmount`, `accessible`, `maintenance_mode`.
"""

from __future__ import annotations

import math
import posixpath
import uuid
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore_files import DatastoreFiles
from tests.fakes.vcenter.datastore_path import DatastorePath
from tests.fakes.vcenter.managed_entity import ManagedEntity, unescape_name
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.task import Task
    from tests.fakes.vcenter.vcenter import VCenter

_MAX_FILE_BYTES = 62 << 40


class Datastore(ManagedEntity):
    """One datastore; `storage` holds its files and counts its bytes.

    Hosts of two datacenters may mount the same export or LUN. Each datacenter then has its own
    datastore object for it, with its own virtual machines, the same files and the same url.
    (vSphere API reference, DatastoreSummary.url: "the unique locator for the datastore"; that two
    objects of one vCenter share it is unconfirmed.) `twin` is the first of them. Collectors get no
    update when a twin's virtual machines change the free space.
    """

    TYPE = vim.Datastore
    PREFIX = "datastore"

    def __init__(
        self,
        vcenter: VCenter,
        name: str,
        capacity_bytes: int,
        kind: str = "NFS",
        twin: Datastore | None = None,
    ) -> None:
        super().__init__(vcenter, name)
        from tests.fakes.vcenter.host_datastore_browser import HostDatastoreBrowser

        storage = twin.storage if twin is not None else None
        self.storage = DatastoreFiles(name, capacity_bytes, owner=self, twin=storage)
        self.kind = kind
        self.export: str | None = None  # "server:/path" of an export that a host has mounted
        self.maintenance_mode = "normal"
        self.reachable = True
        self.volume_id = _vsan_id() if self.is_vsan else str(uuid.uuid4())
        if twin is not None:
            self.volume_id = twin.volume_id
        self.mounts: dict[ManagedObject, Any] = {}
        self.browser = HostDatastoreBrowser(vcenter, self)
        self._uncommitted_bytes = 0
        self._uncommitted_of: dict[ManagedObject, int] | None = None  # None: has to be recomputed
        self._changed_vms: set[Any] = set()
        self._entering: Task | None = None  # maintenance mode

    @property
    def path_name(self) -> str:
        """Its name as it appears in datastore paths."""
        plain = self.vcenter.switches.datastore_paths == "plain"
        return unescape_name(self.name) if plain else self.name

    @property
    def is_vsan(self) -> bool:
        """Whether directories have ids for names, disks have no separate extent files, and clients
        cannot create a directory in the root (recording of a vSAN of 8.0.1).
        """
        return self.kind.lower() == "vsan"

    @property
    def url(self) -> str:
        volume = f"vsan:{self.volume_id}" if self.is_vsan else self.volume_id
        return f"ds:///vmfs/volumes/{volume}/"

    def make_vm_directory(self, path: str) -> str:
        """Create a directory for a VM, called `path` or similar; on vSAN, the id of an object."""
        if self.is_vsan and not posixpath.dirname(path):
            path = str(uuid.uuid4())
        return self.storage.make_unique_directory(path)

    # For tests

    @property
    def capacity_bytes(self) -> int:
        return self.storage.capacity_bytes

    @property
    def free_bytes(self) -> int:
        return self.storage.free_bytes

    @property
    def used_bytes(self) -> int:
        return self.storage.used_bytes

    def files(self) -> dict[str, int]:
        """Occupied bytes of every file by its path, such as "vm/vm.vmdk"."""
        return self.storage.files()

    def directories(self) -> list[str]:
        """Paths of all directories."""
        return self.storage.directories()

    def fill(self, size_bytes: int) -> None:
        """Set how many bytes other tenants occupy (in all, not in addition)."""
        self.storage.foreign_bytes = size_bytes
        self.refresh()

    def mount(self, host: ManagedObject, access_mode: str = "readWrite", **info: Any) -> None:
        """Mount on a host; `info` may set mounted, accessible and other fields of HostMountInfo."""
        self.mounts[host] = vim.host.MountInfo(
            **{
                "path": self.url.removeprefix("ds://").rstrip("/"),
                "accessMode": access_mode,
                "mounted": True,
                "accessible": True,
                **info,
            }
        )
        host.add_member("datastore", self)
        self.changed("host", "summary")

    def unmount(self, host: ManagedObject) -> None:
        """Unmount it from a host."""
        self.mounts.pop(host, None)
        host.remove_member("datastore", self)
        self.changed("host", "summary")

    def is_writable_on(self, host: ManagedObject) -> bool:
        """Whether a virtual machine on `host` can have its files here."""
        info = self.mounts.get(host)
        return (
            info is not None
            and info.accessMode == "readWrite"
            and info.mounted is not False
            and bool(info.accessible)
        )

    def require_accessible(self) -> None:
        """InaccessibleDatastore if no host sees it."""
        if not self.accessible:
            raise vim.fault.InaccessibleDatastore(
                msg=f"Unable to access datastore '{self.name}'.",
                datastore=self.ref,
                name=self.name,
            )

    def refresh(self, vm: ManagedObject | None = None) -> None:
        """Note that the bytes of one VM, or any bytes, have changed: recompute the sums at the next
        read, and send updates to collectors. If the VM is named, the other VMs of the datastore
        cost nothing.
        """
        if vm is None:
            self._uncommitted_of = None
        else:
            self._changed_vms.add(vm)
        self.changed("summary", "info")

    # Properties

    @property
    def accessible(self) -> bool:
        """Whether any host sees it."""
        return self.reachable and any(info.accessible for info in self.mounts.values())

    @property
    def uncommitted_bytes(self) -> int:
        """How much the thin disks of registered virtual machines may still grow."""
        if self._uncommitted_of is None:
            self._uncommitted_bytes, self._uncommitted_of = 0, {}
            self._changed_vms = set(self.members("vm"))
        for vm in self._changed_vms:
            now = vm.usage_on(self).uncommitted if self.has_member("vm", vm) else 0
            self._uncommitted_bytes += now - self._uncommitted_of.pop(vm, 0)
            if now:
                self._uncommitted_of[vm] = now
        self._changed_vms.clear()
        return self._uncommitted_bytes

    @property
    def summary(self) -> Any:
        return vim.Datastore.Summary(
            datastore=self.ref,
            name=self.name,
            url=self.url,
            capacity=self.capacity_bytes,
            freeSpace=self.free_bytes,
            uncommitted=self.uncommitted_bytes,
            accessible=self.accessible,
            multipleHostAccess=len(self.mounts) > 1,
            type=self.kind,
            maintenanceMode=self.maintenance_mode,
        )

    @property
    def info(self) -> Any:
        common = {
            "name": self.name,
            "url": self.url,
            "freeSpace": self.free_bytes,
            "maxFileSize": _MAX_FILE_BYTES,
            "maxVirtualDiskCapacity": _MAX_FILE_BYTES,
            "maxMemoryFileSize": _MAX_FILE_BYTES,
            "timestamp": self.vcenter.clock.now(),
        }
        volume = {"type": self.kind, "name": self.name, "capacity": self.capacity_bytes}
        if self.kind.upper().startswith("NFS"):
            nas = vim.host.NasVolume(
                remoteHost="192.0.2.1", remotePath=f"/export/{self.name}", **volume
            )
            return vim.host.NasDatastoreInfo(nas=nas, **common)
        if self.kind.upper() == "VMFS":
            vmfs = vim.host.VmfsVolume(
                blockSizeMb=1,
                maxBlocks=_MAX_FILE_BYTES >> 20,
                majorVersion=6,
                version="6.82",
                uuid=self.url.rstrip("/").rpartition("/")[2],
                extent=[vim.host.ScsiDisk.Partition(diskName=f"naa.{self.volume_id}", partition=1)],
                vmfsUpgradable=False,
                **volume,
            )
            return vim.host.VmfsDatastoreInfo(
                vmfs=vmfs,
                maxPhysicalRDMFileSize=_MAX_FILE_BYTES,
                maxVirtualRDMFileSize=_MAX_FILE_BYTES,
                **common,
            )
        if self.is_vsan:
            return vim.host.VsanDatastoreInfo(
                membershipUuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, "vsan")),
                accessGenNo=1,
                containerId=self.volume_id,
                aliasOf=self.volume_id,
                **common,
            )
        return vim.Datastore.Info(**common)

    @property
    def capability(self) -> Any:
        return vim.Datastore.Capability(
            directoryHierarchySupported=True,
            rawDiskMappingsSupported=self.is_vsan,
            perFileThinProvisioningSupported=True,
            storageIORMSupported=False,
            nativeSnapshotSupported=False,
            topLevelDirectoryCreateSupported=not self.is_vsan,
            seSparseSupported=False,
            vmfsSparseSupported=not self.is_vsan,
            vsanSparseSupported=self.is_vsan,
            vmdkExpandSupported=True,
        )

    @property
    def host(self) -> list[Any]:
        return [
            vim.Datastore.HostMount(key=host.ref, mountInfo=info)
            for host, info in self.mounts.items()
        ]

    @property
    def vm(self) -> list[Any]:
        return self.members("vm")

    # Methods

    def RefreshDatastore(self, ctx: Context) -> None:
        """Does nothing else, since only sums are cached."""
        self.refresh()

    def RefreshDatastoreStorageInfo(self, ctx: Context) -> None:
        """Does nothing else, since only sums are cached."""
        self.refresh()

    def RenameDatastore(self, ctx: Context, newName: str) -> None:
        """As Rename_Task, but without a task."""
        self.rename(newName)

    def rename(self, new_name: str) -> None:
        """Change the name in "[name] path"; morefs and files stay."""
        super().rename(new_name)
        self.refresh()

    def DatastoreEnterMaintenanceMode(self, ctx: Context) -> Any:
        """Enter maintenance mode: at once if the datastore has no virtual machine, otherwise when
        the last one leaves; until then the task of the result runs. Exiting ends that task with
        RequestCanceled (unconfirmed).
        """

        def body(task: Task) -> Generator[float, None, None]:
            try:
                while self.maintenance_mode == "enteringMaintenance":
                    yield math.inf
            except vmodl.fault.RequestCanceled:
                self._set_maintenance_mode("normal")
                raise
            if self.maintenance_mode == "normal":
                raise vmodl.fault.RequestCanceled(msg="The datastore has left maintenance mode.")

        self._set_maintenance_mode("enteringMaintenance" if self.members("vm") else "inMaintenance")
        self._entering = self.vcenter.tasks.start(
            self,
            "DatastoreEnterMaintenanceMode",
            "Datastore.enterMaintenanceMode",
            body,
            session=ctx.session,
        )
        return vim.storageDrs.StoragePlacementResult(recommendations=[], task=self._entering.ref)

    def remove_member(self, path: str, member: ManagedObject) -> None:
        """Remove a member; the removal of the last virtual machine completes maintenance mode."""
        super().remove_member(path, member)
        if self.maintenance_mode == "enteringMaintenance" and not self.members("vm"):
            self._set_maintenance_mode("inMaintenance")

    def _set_maintenance_mode(self, mode: str) -> None:
        self.maintenance_mode = mode
        if self._entering is not None and self._entering.info.state == "running":
            self.vcenter.tasks.cancel(self._entering)  # a worker thread resumes the task's body
        self.changed("summary")

    def DatastoreExitMaintenanceMode_Task(self, ctx: Context) -> Task:
        def body(task: Task) -> None:
            self._set_maintenance_mode("normal")

        return self.vcenter.tasks.start(
            self,
            "DatastoreExitMaintenanceMode_Task",
            "Datastore.exitMaintenanceMode",
            body,
            session=ctx.session,
        )

    def DestroyDatastore(self, ctx: Context) -> None:
        """ResourceInUse while a virtual machine has files on it."""
        if self.members("vm"):
            raise vim.fault.ResourceInUse(
                msg=f"The resource '{self.name}' is in use.", name=self.name
            )
        for host in list(self.mounts):
            self.unmount(host)
        self.leave()

    def leave(self) -> None:
        """Remove it from the inventory; no host mounts it any more."""
        datacenter = self.datacenter
        if datacenter is not None:
            datacenter.remove_member("datastore", self)
        if self.folder is not None:
            self.folder.remove_child(self)
        self.destroy_object()


def _vsan_id() -> str:
    """An id such as "521c9b7b14ab4394-f348fc866fe686fb"."""
    digits = uuid.uuid4().hex
    return f"{digits[:16]}-{digits[16:]}"


def find_datastore(vcenter: VCenter, name: str, datacenter: Any = None) -> Datastore:
    """The datastore of a path's "[name]", in `datacenter` if given.

    InvalidDatastore (as a datastore path fault) if no datastore has that name.
    """
    found = [
        datastore
        for datastore in vcenter.registry.of_class(Datastore)
        if datastore.path_name == name
        and (datacenter is None or datastore.datacenter is datacenter or not datastore.datacenter)
    ]
    if not found:
        raise vim.fault.InvalidDatastorePath(
            msg=f"Unable to find the datastore '{name}'.", datastorePath=f"[{name}]", name=name
        )
    return found[0]


def parse_path(vcenter: VCenter, text: str | None) -> DatastorePath:
    """Parse a path. A "]" in the name of an existing datastore does not end the name
    (unconfirmed)."""
    for datastore in vcenter.registry.of_class(Datastore):
        head = f"[{datastore.path_name}]"
        if "]" in datastore.path_name and (text or "").strip().startswith(head):
            rest = DatastorePath.parse("[x]" + (text or "").strip().removeprefix(head))
            return DatastorePath(datastore.path_name, rest.path)
    return DatastorePath.parse(text)


def locate(vcenter: VCenter, name: str, datacenter: Any = None) -> tuple[Datastore, str]:
    """Datastore and relative path of "[ds] dir/file", in `datacenter` if given."""
    path = parse_path(vcenter, name)
    within = vcenter.registry.require(datacenter) if datacenter else None
    datastore = find_datastore(vcenter, path.datastore, within)
    datastore.require_accessible()
    return datastore, path.path

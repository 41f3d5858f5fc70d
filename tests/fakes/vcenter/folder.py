"""Folder and StoragePod: children with unique names, and entry points for new virtual machines.

A child's name is unique in its folder (vSphere API reference, ManagedEntity.name). `check_free`
decides when it is called, under the vCenter's lock, so one of two racing tasks wins. CreateFolder
answers DuplicateName at once and names the existing object; where the call starts a task, the task
fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Place, argument
from tests.fakes.vcenter.managed_entity import ManagedEntity, check_name
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

# Types that a folder can contain, by the kind of folder: root/datacenter, vm, host, datastore,
# network.
CHILD_TYPES: dict[str, tuple[type, ...]] = {
    "d": (vim.Folder, vim.Datacenter),
    "v": (vim.Folder, vim.VirtualMachine, vim.VirtualApp),
    "h": (vim.Folder, vim.ComputeResource),
    "s": (vim.Folder, vim.Datastore, vim.StoragePod),
    "n": (vim.Folder, vim.Network, vim.DistributedVirtualSwitch),
}


class Folder(ManagedEntity):
    """A folder of one kind ("d", "v", "h", "s" or "n", as in its moref: group-v3)."""

    TYPE: ClassVar[type] = vim.Folder

    def __init__(self, vcenter: VCenter, name: str, kind: str, moref: str | None = None) -> None:
        super().__init__(vcenter, name, moref or vcenter.registry.new_moref(f"group-{kind}"))
        self.kind = kind
        self._names: dict[str, ManagedEntity] = {}
        self._going: dict[str, ManagedEntity] = {}

    @property
    def childType(self) -> list[type]:
        """Types that may be created in this folder."""
        return list(CHILD_TYPES[self.kind])

    @property
    def childEntity(self) -> list[ManagedEntity]:
        """The children, oldest first."""
        return self.members("childEntity")

    def child(self, name: str) -> ManagedEntity | None:
        """The child with exactly this (escaped) name, or None."""
        return self._names.get(name)

    def check_free(self, name: str) -> None:
        """DuplicateName, with the existing object, if a child has this name, or if a child that is
        no longer visible still reserves it.
        """
        taken = self._names.get(name) or self._going.get(name)
        if taken is not None:
            raise vim.fault.DuplicateName(
                name=name, object=taken.ref, msg=f"The name '{name}' already exists."
            )

    def add_child(self, child: ManagedEntity) -> None:
        """Add `child` and set its parent. DuplicateName if the name is taken."""
        with self.vcenter.lock:
            self.check_free(child.name)
            self._names[child.name] = child
            child.parent = self
            child.changed("parent")
            self.add_member("childEntity", child)

    def remove_child(self, child: ManagedEntity) -> None:
        """Remove `child`, which then has no parent. Does nothing if it is not in this folder."""
        with self.vcenter.lock:
            if self._names.get(child.name) is not child:
                return
            del self._names[child.name]
            child.parent = None
            self.remove_member("childEntity", child)

    def keep_name(self, child: ManagedEntity) -> None:
        """Reserve the name of a child that is about to be destroyed."""
        self._going[child.name] = child

    def give_name_back(self, child: ManagedEntity) -> None:
        """End `keep_name`."""
        self._going.pop(child.name, None)

    def renamed(self, child: ManagedEntity, new_name: str) -> None:
        """Update the index of names; ManagedEntity.rename calls it before it sets the name."""
        if self._names.pop(child.name, None) is not None:
            self._names[new_name] = child

    # -- the vSphere API

    def CreateFolder(self, ctx: Context, name: str) -> Folder:
        """Create a folder of the same kind, without a task; InvalidName or DuplicateName."""
        escaped = check_name(name)
        with self.vcenter.lock:
            self.check_free(escaped)
            folder = Folder(self.vcenter, escaped, self.kind)
            self.add_child(folder)
            return folder

    def CreateStoragePod(self, ctx: Context, name: str) -> StoragePod:
        """Create a datastore cluster in a datastore folder; NotSupported elsewhere."""
        if self.kind != "s":
            raise vmodl.fault.NotSupported(msg="This folder cannot hold datastore clusters.")
        escaped = check_name(name)
        self.check_free(escaped)
        pod = StoragePod(self.vcenter, escaped)
        self.add_child(pod)
        return pod

    def CreateDatacenter(self, ctx: Context, name: str) -> Any:
        """Create a datacenter with its four folders; NotSupported in a folder inside a
        datacenter.
        """
        from tests.fakes.vcenter.datacenter import Datacenter

        if self.kind != "d":
            raise vmodl.fault.NotSupported(msg="This folder cannot hold datacenters.")
        escaped = check_name(name)
        self.check_free(escaped)
        datacenter = Datacenter(self.vcenter, escaped)
        self.add_child(datacenter)
        self.vcenter.events.post(
            "DatacenterCreatedEvent",
            ctx.user,
            Place.of(datacenter),
            parent=argument("Folder", self),
        )
        return datacenter

    def CreateClusterEx(self, ctx: Context, name: str, spec: Any) -> Any:
        """Create a cluster without hosts in a host folder; NotSupported elsewhere."""
        from tests.fakes.vcenter.compute_resource import ClusterComputeResource

        self._require_host_folder()
        escaped = check_name(name)
        self.check_free(escaped)
        cluster = ClusterComputeResource(self.vcenter, escaped)
        cluster.settings.apply(spec, modify=True)
        self.add_child(cluster)
        self.vcenter.events.post(
            "ClusterCreatedEvent",
            ctx.user,
            Place.of(cluster),
            parent=argument("Folder", self),
        )
        return cluster

    def AddStandaloneHost_Task(
        self, ctx: Context, spec: Any, compResSpec: Any, addConnected: bool, license: str | None
    ) -> Task:
        """Add a host that is in no cluster."""
        from tests.fakes.vcenter.compute_resource import (
            ComputeResource,
            check_connectable,
            connected_host,
        )

        self._require_host_folder()

        def add(task: Task) -> Any:
            check_connectable(self.vcenter, spec)
            escaped = check_name(spec.hostName)
            self.check_free(escaped)
            made = ComputeResource(self.vcenter, escaped)
            self.add_child(made)
            connected_host(made, ctx, spec, addConnected)
            return made

        return self.vcenter.tasks.start(
            self, "AddStandaloneHost_Task", "Folder.addStandaloneHost", add, session=ctx.session
        )

    def _require_host_folder(self) -> None:
        if self.kind != "h":
            raise vmodl.fault.NotSupported(msg="This folder cannot hold hosts.")

    def CreateDVS_Task(self, ctx: Context, spec: Any) -> Task:
        """Create a distributed switch; NotSupported in a folder of another kind."""
        from tests.fakes.vcenter import distributed_virtual_switch

        if self.kind != "n":
            raise vmodl.fault.NotSupported(msg="This folder cannot hold networks.")
        return distributed_virtual_switch.start_create(self, ctx, spec)

    def CreateVM_Task(self, ctx: Context, config: Any, pool: Any, host: Any) -> Task:
        """Create a virtual machine; the task fails if the spec is wrong."""
        from tests.fakes.vcenter import virtual_machine

        self._require_vm_folder()
        return virtual_machine.create(self, ctx, config, pool, host)

    def RegisterVM_Task(
        self, ctx: Context, path: str, name: str | None, asTemplate: bool, pool: Any, host: Any
    ) -> Task:
        """Register the virtual machine whose .vmx or .vmtx is at `path`."""
        from tests.fakes.vcenter import virtual_machine

        self._require_vm_folder()
        return virtual_machine.register(self, ctx, path, name, asTemplate, pool, host)

    def _require_vm_folder(self) -> None:
        if self.kind != "v":
            raise vmodl.fault.NotSupported(msg="This folder cannot hold virtual machines.")

    def MoveIntoFolder_Task(self, ctx: Context, list: Any) -> Task:
        """Move objects of the same kind here; the task fails with DuplicateName or
        InvalidFolder.
        """
        moved = [self.vcenter.registry.require(ref) for ref in list]

        def move(task: Task) -> None:
            for entity in moved:
                self.move_in(entity)

        return self.vcenter.tasks.start(
            self, "MoveIntoFolder_Task", "Folder.moveInto", move, session=ctx.session
        )

    def move_in(self, entity: ManagedEntity) -> None:
        """Move an object of the same kind here."""
        if not issubclass(entity.TYPE, CHILD_TYPES[self.kind]) or entity.folder is None:
            raise vmodl.fault.NotSupported(msg=f"'{entity.name}' cannot be moved to this folder.")
        if entity is self or entity in self.ancestors:
            raise vim.fault.InvalidFolder(target=self.ref, msg="A folder cannot hold itself.")
        if isinstance(entity, Folder) and entity.kind != self.kind:
            raise vmodl.fault.NotSupported(msg=f"'{entity.name}' is of another kind.")
        if entity.folder is self:
            return
        if entity.datacenter is not self.datacenter:
            raise vmodl.fault.InvalidArgument(invalidProperty="list")
        self.check_free(entity.name)
        entity.folder.remove_child(entity)
        self.add_child(entity)

    def Destroy_Task(self, ctx: Context) -> Task:
        """Delete the folder and its content; the task fails if a VM cannot be deleted."""
        return self.vcenter.tasks.start(
            self, "Destroy_Task", "Folder.destroy", lambda task: self.destroy(), session=ctx.session
        )

    def destroy(self) -> None:
        """Delete children first, then this folder."""
        if self.folder is None:
            raise vmodl.fault.NotSupported(msg="A folder of the datacenter cannot be deleted.")
        for child in self.childEntity:
            destroy = getattr(child, "destroy", None)
            if destroy is None:
                raise vmodl.fault.NotSupported(msg=f"'{child.name}' cannot be deleted.")
            destroy()
        self.folder.remove_child(self)
        self.destroy_object()


class StoragePod(Folder):
    """A datastore cluster: a folder of datastores with a summary. Storage DRS never moves a
    disk.
    """

    TYPE = vim.StoragePod

    def __init__(self, vcenter: VCenter, name: str) -> None:
        super().__init__(vcenter, name, "s", vcenter.registry.new_moref("group-p"))
        self.drs_enabled = False
        self.drs_behavior = "manual"

    @property
    def childType(self) -> list[type]:
        """Only datastores."""
        return [vim.Datastore]

    @property
    def summary(self) -> Any:
        """Sums over the members, in bytes."""
        members = [child for child in self.childEntity if issubclass(child.TYPE, vim.Datastore)]
        return vim.StoragePod.Summary(
            name=self.name,
            capacity=sum(member.summary.capacity for member in members),  # type: ignore[attr-defined]
            freeSpace=sum(member.summary.freeSpace for member in members),  # type: ignore[attr-defined]
        )

    @property
    def podStorageDrsEntry(self) -> Any:
        """The configuration set by StorageResourceManager; its other settings are vCenter's
        defaults (vSphere API reference, StorageDrsPodConfigInfo).
        """
        return vim.StorageResourceManager.PodStorageDrsEntry(
            storageDrsConfig=vim.storageDrs.ConfigInfo(
                podConfig=vim.storageDrs.PodConfigInfo(
                    enabled=self.drs_enabled,
                    ioLoadBalanceEnabled=True,
                    defaultVmBehavior=self.drs_behavior,
                    loadBalanceInterval=480,
                    defaultIntraVmAffinity=True,
                )
            )
        )

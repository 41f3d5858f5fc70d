"""Snapshots: frozen disks below running deltas, and a VM's snapshot tree.

Creating one freezes every disk and puts a delta on top. Removing one merges the only delta on a
frozen disk back into it, unless a linked clone or another branch still needs that disk. Reverting
replaces the running deltas by new ones on the frozen disks. Templates take no snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_disk import VirtualDisk
from tests.fakes.vcenter.virtual_machine_placement import not_supported

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine

MAX_LEVELS = 32


class SnapshotNode:
    """One snapshot of the tree, with the VM's state at that time."""

    def __init__(
        self, vm: VirtualMachine, name: str, description: str, *, memory: bool = False
    ) -> None:
        vm.snapshot_number += 1
        self.vm = vm
        self.name = name
        self.description = description
        self.number = vm.snapshot_number
        #: The VM's state after a revert: it runs only if the snapshot includes memory.
        self.power_state = vm.power_state if memory else "poweredOff"
        self.created_at = vm.vcenter.clock.now()
        self.parent = vm.current_snapshot
        self.children: list[SnapshotNode] = []
        self.devices = vm.devices.copy()
        self.settings = vm.settings.copy()
        self.config = vm.config
        self.snapshot = VirtualMachineSnapshot(self)

    @property
    def siblings(self) -> list[SnapshotNode]:
        """The list that contains this node: its parent's children or the VM's roots."""
        return self.parent.children if self.parent else self.vm.snapshots


class VirtualMachineSnapshot(ManagedObject):
    """The managed object of one snapshot."""

    TYPE = vim.vm.Snapshot
    PREFIX = "snapshot"

    def __init__(self, node: SnapshotNode) -> None:
        super().__init__(node.vm.vcenter)
        self.node = node

    @property
    def vm(self) -> VirtualMachine:
        return self.node.vm

    @property
    def config(self) -> Any:
        return self.node.config

    @property
    def childSnapshot(self) -> list[Any]:
        return [child.snapshot for child in self.node.children]

    def RemoveSnapshot_Task(
        self, ctx: Context, removeChildren: bool, consolidate: bool | None = None
    ) -> Task:
        return self.vm.start_exclusive(
            ctx,
            "RemoveSnapshot_Task",
            "VirtualMachineSnapshot.remove",
            lambda task: remove(self.node, children=removeChildren),
        )

    def RevertToSnapshot_Task(
        self, ctx: Context, host: Any = None, suppressPowerOn: bool | None = None
    ) -> Task:
        return self.vm.start_exclusive(
            ctx,
            "RevertToSnapshot_Task",
            "VirtualMachineSnapshot.revert",
            lambda task: revert(self.node),
        )

    def ExportSnapshot(self, ctx: Context) -> ManagedObject:
        from tests.fakes.vcenter import lease_request

        return lease_request.export_snapshot(self, ctx)

    def RenameSnapshot(self, ctx: Context, name: str | None, description: str | None) -> None:
        self.node.name = name or self.node.name
        self.node.description = self.node.description if description is None else description
        self.vm.sync()


def create(
    vm: VirtualMachine, name: str, description: str, *, memory: bool = False
) -> VirtualMachineSnapshot:
    """Freeze the disks and continue on deltas; NotSupported for a template."""
    if vm.template:
        raise not_supported()
    vm.host.check_usable()
    if len(_path_to(vm.current_snapshot)) >= MAX_LEVELS:
        raise vim.fault.TooManySnapshotLevels(msg="The snapshot chain is too long.")
    node = SnapshotNode(vm, name, description, memory=memory)
    running: list[VirtualDisk] = []
    try:
        for disk in vm.disks:
            running += [delta_on(vm, disk)]
    except Exception:
        for disk in running:
            disk.delete()
        node.snapshot.destroy_object()
        raise
    for attached, delta in zip(vm.devices.disks, running, strict=True):
        attached.disk = delta
    node.siblings.append(node)
    vm.current_snapshot = node
    assert vm.home_datastore is not None
    vm.home_datastore.storage.create(
        f"{vm.vmx_path.rpartition('.')[0]}-Snapshot{node.number}.vmsn", overwrite=True
    )
    vm.touch()
    return node.snapshot


def remove(node: SnapshotNode, *, children: bool = False) -> None:
    """Remove a snapshot from the tree; its children (unless removed too) move up."""
    vm = node.vm
    if children:
        for child in list(node.children):
            remove(child, children=True)
    for attached in node.devices.disks:
        _merge_into(vm, node, attached.disk)
    siblings = node.siblings
    position = siblings.index(node)
    siblings[position : position + 1] = node.children
    for child in node.children:
        child.parent = node.parent
    if vm.current_snapshot is node:
        vm.current_snapshot = node.parent
    assert vm.home_datastore is not None
    memory = f"{vm.vmx_path.rpartition('.')[0]}-Snapshot{node.number}.vmsn"
    if vm.home_datastore.storage.get(memory) is not None:
        vm.home_datastore.storage.delete(memory)
    node.snapshot.destroy_object()
    _drop_unused(vm)
    vm.touch()


def remove_all(vm: VirtualMachine) -> None:
    """Remove every snapshot, newest first, so that each merge has only one delta."""
    for node in reversed(list(vm.snapshot_nodes())):
        remove(node)


def revert(node: SnapshotNode) -> None:
    """Return the VM to the snapshot's state; later writes are lost."""
    vm = node.vm
    vm.host.check_usable()
    devices = node.devices.copy()
    for attached in devices.disks:
        attached.disk = delta_on(vm, attached.disk)
    vm.devices = devices
    vm.settings = node.settings.copy()
    vm.current_snapshot = node
    _drop_unused(vm)
    vm.set_power(node.power_state)
    vm.touch()


def revert_to_current(vm: VirtualMachine) -> None:
    """NotFound if the VM has no snapshot."""
    if vm.current_snapshot is None:
        raise vim.fault.NotFound(msg="The virtual machine has no current snapshot.")
    revert(vm.current_snapshot)


def _path_to(node: SnapshotNode | None) -> list[SnapshotNode]:
    return [*_path_to(node.parent), node] if node else []


def delta_on(vm: VirtualMachine, frozen: VirtualDisk) -> VirtualDisk:
    """A new delta in the directory of the frozen disk: name-000001.vmdk, name-000002.vmdk ..."""
    stem = frozen.descriptor.path.removesuffix(".vmdk")
    head, _, tail = stem.rpartition("-")
    if len(tail) == 6 and tail.isdigit():
        stem = head
    number = 1
    while frozen.files.exists(f"{stem}-{number:06d}.vmdk"):
        number += 1
    return frozen.create_child(frozen.files, f"{stem}-{number:06d}.vmdk")


def _merge_into(vm: VirtualMachine, node: SnapshotNode, frozen: VirtualDisk) -> None:
    """Merge the only delta on `frozen` into it; do nothing if there are several."""
    others = [one for one in vm.snapshot_nodes() if one is not node]
    held = {a.disk for one in others for a in one.devices.disks}
    dependents = {disk for disk in vm.all_disks() if disk.parent is frozen}
    foreign = {user for user in frozen.users if user is not vm}
    if frozen in held or foreign or len(dependents) != 1:
        return
    delta = dependents.pop()
    if any(user is not vm for user in delta.users):
        return
    frozen.content.absorb(delta.content)
    frozen.capacity_bytes = delta.capacity_bytes
    frozen.files.settle(frozen.extent)
    frozen.write_descriptor()
    for disk in vm.all_disks():
        if disk.parent is delta:
            disk.parent = frozen
            disk.write_descriptor()
    for attached in (*vm.devices.disks, *(a for one in others for a in one.devices.disks)):
        if attached.disk is delta:
            attached.disk = frozen
    delta.delete()


def _drop_unused(vm: VirtualMachine) -> None:
    """Delete deltas that no device, snapshot or other VM needs any more."""
    before = set(vm._known_disks)
    vm.sync()
    for disk in before - vm.all_disks():
        if not disk.users:
            disk.delete()

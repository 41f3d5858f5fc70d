"""InstantClone_Task and PromoteDisks_Task: create and remove deltas on disks that VMs share.

An instant clone runs next to its source, on the same host. Both continue on deltas above the
present disks. Promoting gives a VM full disks again. (vSphere API reference, InstantClone_Task,
PromoteDisks_Task)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_entity import check_name
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_create import make_directory
from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges
from tests.fakes.vcenter.virtual_machine_devices import Devices
from tests.fakes.vcenter.virtual_machine_other_devices import for_clone
from tests.fakes.vcenter.virtual_machine_placement import (
    not_supported,
    require_datastore,
    require_in_datacenter,
)
from tests.fakes.vcenter.virtual_machine_relocate import forget_chain
from tests.fakes.vcenter.virtual_machine_snapshot import delta_on

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_disk import VirtualDisk
    from tests.fakes.vcenter.virtual_machine_devices import AttachedDisk


def start_instant_clone(source: VirtualMachine, ctx: Context, spec: Any) -> Task:
    """Queue it; the call itself raises a fault for references that are gone."""
    require, location = source.vcenter.registry.require, spec.location
    folder = require(location.folder) if location.folder else source.folder
    pool = require(location.pool) if location.pool else source.pool
    datastore = require(location.datastore) if location.datastore else source.home_datastore

    def work(task: Task) -> VirtualMachine:
        if source.template:
            raise not_supported()
        source.require_powered_on()
        name = check_name(spec.name)
        folder.check_free(name)
        require_in_datacenter(folder.datacenter, pool, "spec.location.pool")
        require_datastore(datastore, source.host)
        if source.host not in pool.owner.host:
            raise vmodl.fault.InvalidArgument(invalidProperty="spec.location.pool")
        vm = VirtualMachine(source.vcenter, name, source.host, pool)
        try:
            folder.add_child(vm)
            _fill(vm, source, datastore, spec)
        except Exception:
            vm.destroy()
            raise
        vm.complete = True
        vm.set_power("poweredOn")
        return vm

    return source.start_exclusive(ctx, "InstantClone_Task", "VirtualMachine.instantClone", work)


def _fill(vm: VirtualMachine, source: VirtualMachine, datastore: Any, spec: Any) -> None:
    vm.make_home(datastore, *make_directory(datastore, "", vm.name))
    vm.devices = Devices(controllers=list(source.devices.controllers))
    for device in source.devices.others:
        vm.devices.others.append(for_clone(vm, vm.devices, device))
    for attached in source.devices.disks:
        frozen = attached.disk
        vm.devices.add_disk(
            frozen.create_child(datastore.storage, vm.new_disk_path(datastore)),
            attached.controller_key,
            attached.unit_number,
            mode=attached.mode,
        )
        attached.disk = delta_on(source, frozen)
        vm.sync()
    source.touch()
    vm.settings = source.settings.for_clone()
    if spec.biosUuid:
        vm.settings.uuid = spec.biosUuid.lower()
    vm.settings.apply(vim.vm.ConfigSpec(extraConfig=spec.config))
    DeviceChanges(vm, spec.location.deviceChange).apply()


def promote(vm: VirtualMachine, unlink: bool, wanted: Any) -> None:
    """Replace deltas by full disks: for the given disks, or for all. A disk that others need is
    copied with ``unlink`` and left as it is without; so is the disk of a snapshot."""
    if vm.template:
        raise not_supported()
    keys = {disk.key for disk in wanted or []}
    for attached in vm.devices.disks:
        disk = attached.disk
        if disk.parent is None or (keys and attached.key not in keys):
            continue
        if unlink or not _is_needed_elsewhere(vm, attached):
            path = vm.new_disk_path(disk.datastore)
            attached.disk = disk.copy_to(disk.files, path)
            forget_chain(vm, disk)
    vm.touch()


def _is_needed_elsewhere(vm: VirtualMachine, attached: AttachedDisk) -> bool:
    chain = attached.disk.chain
    held: set[VirtualDisk] = set()
    for node in vm.snapshot_nodes():
        held.update(one.disk for one in node.devices.disks)
    return any(one in held or one.users - {vm} for one in chain)

"""RelocateVM_Task: moves a VM to another host, pool or datastore, and changes its disks' types.

A template may move to another host; a move to another datastore is NotSupported (clone it with
template=true instead). Disks that other VMs need stay, and the VM gets full copies. A move never
fails half-way for lack of space: space is checked for all files before the first one moves.
(vSphere API reference, RelocateVM_Task)
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.transfers import Transfer
from tests.fakes.vcenter.virtual_disk import Provisioning, VirtualDisk
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges, provisioning_of
from tests.fakes.vcenter.virtual_machine_devices import AttachedDisk
from tests.fakes.vcenter.virtual_machine_operations import require_files, require_there
from tests.fakes.vcenter.virtual_machine_placement import (
    choose_host,
    not_supported,
    require_datastore,
    require_in_datacenter,
)


@dataclass
class DiskMove:
    """Where one disk goes, and which type it gets (None: keeps its own)."""

    attached: AttachedDisk
    datastore: Any
    provisioning: Provisioning | None

    @property
    def is_needed(self) -> bool:
        disk = self.attached.disk
        return self.datastore is not disk.datastore or (
            self.provisioning is not None and self.provisioning != disk.provisioning
        )


def start(vm: VirtualMachine, ctx: Context, spec: Any) -> Task:
    """Queue the move; the call itself raises a fault for references that are gone."""
    require = vm.vcenter.registry.require
    target_host = require(spec.host) if spec.host else None
    target_pool = require(spec.pool) if spec.pool else None
    target_datastore = require(spec.datastore) if spec.datastore else None
    target_folder = require(spec.folder) if spec.folder else None
    locators = {one.diskId: (require(one.datastore), one) for one in spec.disk or []}

    def body(task: Task) -> Generator[float | Transfer, None, None]:
        with vm.lock.exclusive(task):
            require_there(vm)
            moves = _plan(vm, target_datastore, locators)
            host, pool = _place(vm, target_host, target_pool, target_datastore, moves)
            _check_space(vm, moves, target_datastore)
            yield from _take_time(vm, moves)
            if not vm.template:
                vm.set_pool(pool)
            vm.set_host(host)
            _move_files(vm, target_datastore, moves)
            if target_folder is not None:
                target_folder.move_in(vm)
            DeviceChanges(vm, spec.deviceChange).apply()
            vm.touch()

    return vm.vcenter.tasks.start(
        vm, "RelocateVM_Task", "VirtualMachine.relocate", body, session=ctx.session, delay_s=0.0
    )


def _take_time(
    vm: VirtualMachine, moves: list[DiskMove]
) -> Generator[float | Transfer, None, None]:
    """Wait for the disks, which the VM's host moves one after the other."""
    costs = vm.vcenter.cost_model
    yield costs.task_seconds()
    if not costs.enabled:
        return
    for move in moves:
        if move.is_needed:
            disk = move.attached.disk
            route = costs.copy_route(disk.datastore, move.datastore, vm.host, offloadable=False)
            transfer = vm.vcenter.transfers.new(costs.counted(disk.occupied_bytes), route)
            try:
                yield transfer
            finally:
                transfer.cancel()


def _plan(vm: VirtualMachine, datastore: Any, locators: dict[int, Any]) -> list[DiskMove]:
    moves = []
    for attached in vm.devices.disks:
        target = datastore or attached.disk.datastore
        provisioning = None
        if attached.key in locators:
            target, locator = locators[attached.key]
            provisioning = provisioning_of(locator.diskBackingInfo)
        moves.append(DiskMove(attached, target, provisioning))
    elsewhere = datastore is not None and datastore is not vm.home_datastore
    if vm.template and (elsewhere or any(move.is_needed for move in moves)):
        raise not_supported()
    return moves


def _place(
    vm: VirtualMachine, host: Any, pool: Any, datastore: Any, moves: list[DiskMove]
) -> tuple[Any, Any]:
    home = datastore or vm.home_datastore
    if pool is None:
        pool = vm.pool
        if host is not None and (pool is None or host not in pool.owner.host):
            pool = host.parent.resourcePool
    elif host is None and vm.host in pool.owner.host:
        host = vm.host
    target = choose_host(pool, host, home, prefix="spec") if pool else (host or vm.host)
    if host is None and pool is vm.pool:
        target = vm.host
    target.check_usable()
    require_in_datacenter(vm.datacenter, target, "spec.host")
    for one in {home, *(move.datastore for move in moves)}:
        require_in_datacenter(vm.datacenter, one, "spec.datastore")
        require_datastore(one, target)
    return target, pool


def _check_space(vm: VirtualMachine, moves: list[DiskMove], datastore: Any) -> None:
    require_files(vm)
    needed: dict[Any, int] = {}
    for move in moves:
        if not move.is_needed:
            continue
        base = move.attached.disk
        size_bytes = sum(one.occupied_bytes for one in base.chain)
        if move.provisioning not in (None, "thin"):
            size_bytes = max(size_bytes, base.capacity_bytes)
        if move.datastore is base.datastore:
            size_bytes -= base.occupied_bytes
        needed[move.datastore] = needed.get(move.datastore, 0) + size_bytes
    for target, size_bytes in needed.items():
        target.storage.require(size_bytes, vm.directory)


def _move_files(vm: VirtualMachine, datastore: Any, moves: list[DiskMove]) -> None:
    old_datastore, old_directory = vm.home_datastore, vm.directory
    assert old_datastore is not None
    if datastore is not None and datastore is not old_datastore:
        name = vm.base_name if old_datastore.is_vsan else old_directory or vm.base_name
        directory = datastore.make_vm_directory(name)
        for path in vm.own_files():
            file = old_datastore.storage.release(path)
            datastore.storage.adopt(file, posixpath.join(directory, posixpath.basename(path)))
        vm.home_datastore = datastore
        vm.vmx_path = posixpath.join(directory, posixpath.basename(vm.vmx_path))
    for move in moves:
        if move.is_needed:
            _move_disk(vm, move)
    old_datastore.storage.delete_if_empty(old_directory)
    vm.touch()


def _move_disk(vm: VirtualMachine, move: DiskMove) -> None:
    disk = move.attached.disk
    storage = move.datastore.storage
    if not storage.is_directory(vm.directory):
        storage.make_directory(vm.directory)
    if any(one.users - {vm} for one in disk.chain):
        path = vm.new_disk_path(move.datastore)
        move.attached.disk = disk.copy_to(storage, path, provisioning=move.provisioning)
        forget_chain(vm, disk)
        return
    for one in reversed(_family(vm, disk)):
        if one.datastore is not move.datastore:
            one.move_to(storage, posixpath.join(vm.directory, one.path.name))
        if move.provisioning is not None:
            one.convert(move.provisioning)


def _family(vm: VirtualMachine, disk: VirtualDisk) -> list[VirtualDisk]:
    """All disks of the VM with the same base (its chain and the branches of snapshots)."""
    base = disk.chain[-1]
    family = [one for one in vm.all_disks() if one.chain[-1] is base]
    return sorted(family, key=lambda one: -len(one.chain))


def forget_chain(vm: VirtualMachine, disk: VirtualDisk) -> None:
    """Delete the disks of an abandoned chain that no other VM needs."""
    chain = disk.chain
    vm.sync()
    for one in chain:
        if not one.users:
            one.delete()

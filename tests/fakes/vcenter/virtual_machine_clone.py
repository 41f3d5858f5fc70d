"""CloneVM_Task: copies a VM, template or snapshot as another VM or template.

Order: queued (host units of the cost model) -> plan checked -> shell under the final name -> disks
copied -> config applied -> complete. The source has a shared lock throughout, so clones of one
template, or of one powered-off VM, run in parallel. The new VM is locked until it is complete. A
fault or a cancellation removes the incomplete VM and its files. The task's entity is the source,
its result the new VM.

With costs on, only one task at a time clones a running source: vCenter takes a snapshot for the
copy and removes it again, and needs the VM exclusively for both. (vSphere API reference,
CloneVM_Task: an implicit snapshot of a powered on VM. Users report that later clones wait; in which
order vCenter runs them is not documented.)

The rules are in virtual_machine_clone_plan.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.transfers import Route, Transfer
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_clone_plan import ClonePlan, DiskPlan
from tests.fakes.vcenter.virtual_machine_create import make_directory
from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges
from tests.fakes.vcenter.virtual_machine_devices import Devices
from tests.fakes.vcenter.virtual_machine_operations import require_files, require_there
from tests.fakes.vcenter.virtual_machine_other_devices import for_clone

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_disk import VirtualDisk

_LOCK_LOOK_S = 0.1
Wait = Generator[float | Transfer, None, None]


@dataclass(frozen=True)
class _Copy:
    """The bytes of one disk, and their route."""

    size_bytes: int
    route: Route


def start(source: VirtualMachine, ctx: Context, folder: Any, name: str, spec: Any) -> Task:
    """Queue the clone; the call itself raises a fault for references that are gone."""
    vcenter = source.vcenter
    arguments = ClonePlan.resolve(source, folder, spec)
    admission = None
    if vcenter.cost_model.enabled:
        with contextlib.suppress(vmodl.MethodFault):  # the task will meet and report it
            target = ClonePlan(source, name, spec, arguments).placement.host
            admission = vcenter.cost_model.clone_admission(source.host, target)

    def body(task: Task) -> Generator[float | Transfer, None, VirtualMachine]:
        require_there(source)
        if vcenter.cost_model.enabled and source.power_state == "poweredOn":
            yield from _alone(source)
            lock = source.lock.exclusive(task)
        else:
            lock = source.lock.shared(task)
        with lock:
            for ref in arguments.refs:
                vcenter.registry.require(ref)
            plan = ClonePlan(source, name, spec, arguments)
            _check_source(source)
            plan.check()
            return (yield from _clone(plan, task))

    return vcenter.tasks.start(
        source,
        "CloneVM_Task",
        "VirtualMachine.clone",
        body,
        session=ctx.session,
        delay_s=0.0,
        admission=admission,
    )


def _check_source(source: VirtualMachine) -> None:
    """The source's host must be usable, its files present, and a fresh import no longer locked."""
    source.host.check_usable()
    require_files(source)
    locked_s = source.vcenter.switches.file_locked_after_import_s
    if source.imported_at is None or not source.disks:
        return
    if source.vcenter.clock.monotonic() - source.imported_at < locked_s:
        path = str(source.disks[0].path)
        raise vim.fault.FileLocked(
            msg=f"Unable to access file {path} since it is locked", file=path
        )


def _alone(source: VirtualMachine) -> Wait:
    """Wait until no other task uses the source."""
    while not source.lock.is_free:
        yield _LOCK_LOOK_S
        require_there(source)


def _clone(plan: ClonePlan, task: Task) -> Generator[float | Transfer, None, VirtualMachine]:
    vm = VirtualMachine(plan.source.vcenter, plan.name, plan.placement.host, plan.placement.pool)
    with vm.lock.exclusive(task):
        yield from _fill(vm, plan, task)
    vm.touch()
    return vm


def _fill(vm: VirtualMachine, plan: ClonePlan, task: Task) -> Wait:
    """Make an empty shell the clone; if it fails, nothing of it stays."""
    try:
        plan.folder.add_child(vm)
        vm.template = plan.template
        datastore = plan.placement.datastore
        directory, base_name = make_directory(datastore, "", plan.name)
        vm.make_home(datastore, directory, base_name)
        copies = _copy_disks(plan, vm)
        yield from _take_time(plan, task, copies)
        _configure(plan, vm)
    except Exception:
        vm.destroy()
        raise
    vm.complete = True


def _take_time(plan: ClonePlan, task: Task, copies: list[_Copy]) -> Wait:
    """Wait for the copies, one disk after the other, and report progress."""
    vcenter = plan.source.vcenter
    costs = vcenter.cost_model
    if clone_s := costs.clone_seconds():
        yield clone_s
    if not costs.enabled:
        return
    if plan.source.power_state == "poweredOn":
        yield costs.snapshot_s

    def progress(percent: int) -> None:
        with vcenter.lock:
            if not task.done:
                task.set_progress(percent)

    for copy in copies:
        counted = costs.counted(copy.size_bytes)
        transfer = vcenter.transfers.new(counted, copy.route, progress)
        try:
            yield transfer
        finally:
            transfer.cancel()


def _route(plan: ClonePlan, disk_plan: DiskPlan) -> Route:
    """The route of one disk. The source's host does the I/O, unless the array can copy by itself.

    An array does not copy if the source runs or has snapshots, nor from an eager zeroed disk to a
    thin one. (VMware vSphere 6.7 Storage, "Hardware Acceleration Considerations"; for NFS, Full
    File Clone works on VMs that are off.)
    """
    source = plan.source
    fits = disk_plan.source.provisioning != "eagerZeroedThick" or disk_plan.provisioning != "thin"
    return source.vcenter.cost_model.copy_route(
        disk_plan.source.datastore,
        disk_plan.datastore,
        source.host,
        offloadable=fits
        and source.power_state == "poweredOff"
        and plan.arguments.snapshot is None
        and disk_plan.source.parent is None,
    )


def _copy_disks(plan: ClonePlan, vm: VirtualMachine) -> list[_Copy]:
    """Add controllers and disks to `vm`; returns the copies to make."""
    vm.devices = Devices(
        controllers=[
            one for one in plan.devices.controllers if one.key not in plan.removed_controllers
        ],
    )
    for device in plan.devices.others:
        vm.devices.others.append(for_clone(vm, vm.devices, device))
    copies = []
    for disk_plan in plan.disks:
        disk = _copy_disk(disk_plan, vm)
        if not disk.parent:
            read_bytes = sum(one.occupied_bytes for one in disk_plan.source.chain)
            copies.append(_Copy(read_bytes, _route(plan, disk_plan)))
        attached = disk_plan.attached
        vm.devices.add_disk(
            disk,
            attached.controller_key,
            attached.unit_number,
            mode=attached.mode,
            profile_id=disk_plan.profile_id,
        )
        vm.sync()
    return copies


def _copy_disk(disk_plan: DiskPlan, vm: VirtualMachine) -> VirtualDisk:
    storage = disk_plan.datastore.storage
    if not storage.is_directory(vm.directory):
        storage.make_directory(vm.directory)
    path = vm.new_disk_path(disk_plan.datastore)
    if disk_plan.parent is not None:
        child = disk_plan.parent.create_child(storage, path)
        if disk_plan.parent is not disk_plan.source:
            child.extent.content = disk_plan.source.content.delta_on(child.content)
            storage.settle(child.extent)
        return child
    return disk_plan.source.copy_to(
        storage, path, provisioning=disk_plan.provisioning, size_bytes=disk_plan.size_bytes
    )


def _configure(plan: ClonePlan, vm: VirtualMachine) -> None:
    """Apply settings and custom values of the source, then CloneSpec.config."""
    source, switches = plan.source, plan.source.vcenter.switches
    vm.settings = plan.settings.for_clone()
    if switches.clone_inherits_custom_values:
        vm.custom_values = dict(source.custom_values)
    if not switches.clone_sets_create_date:
        vm.created_at = source.created_at
    if plan.config is not None:
        vm.settings.apply(plan.config)
        DeviceChanges(vm, plan.other_changes).apply()
        for disk_plan, disk in zip(plan.disks, vm.disks, strict=False):
            if disk_plan.uuid is not None:
                disk.uuid = disk_plan.uuid
                disk.write_descriptor()
    DeviceChanges(vm, plan.location.deviceChange).apply()
    if plan.home_profile is not None:
        vm.settings.profile_id = plan.home_profile or None
    if plan.power_on:
        vm.set_power("poweredOn")

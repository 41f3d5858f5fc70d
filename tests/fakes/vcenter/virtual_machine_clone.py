"""CloneVM_Task: a copy of a VM, template or snapshot as another VM or template.

Order: queued (host slots of the cost model) -> plan checked -> shell under the final name -> disks
copied -> config applied -> complete. The source is locked shared throughout, so clones of one
template run in parallel. A fault or a cancel removes the half-made VM and its files. The task's
entity is the source, its result the new VM.

The rules are in virtual_machine_clone_plan.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_clone_plan import ClonePlan, DiskPlan
from tests.fakes.vcenter.virtual_machine_create import make_directory
from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges
from tests.fakes.vcenter.virtual_machine_devices import Devices
from tests.fakes.vcenter.virtual_machine_operations import require_files, require_there

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_disk import VirtualDisk

_STEPS = 4


def start(source: VirtualMachine, ctx: Context, folder: Any, name: str, spec: Any) -> Task:
    """Queue the clone; references that are gone are a fault of the call itself."""
    vcenter = source.vcenter
    arguments = ClonePlan.resolve(source, folder, spec)
    admission = None
    if vcenter.cost_model.enabled:
        with contextlib.suppress(vmodl.MethodFault):  # the task will meet it and report it
            target = ClonePlan(source, name, spec, arguments).placement.host
            admission = vcenter.cost_model.clone_admission(source.host, target)

    def body(task: Task) -> Generator[float, None, VirtualMachine]:
        require_there(source)
        with source.lock.shared(task):
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
        admission=admission,
    )


def _check_source(source: VirtualMachine) -> None:
    """The source's host must be usable, its files there, and a fresh import no longer locked."""
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


def _clone(plan: ClonePlan, task: Task) -> Generator[float, None, VirtualMachine]:
    vm = VirtualMachine(plan.source.vcenter, plan.name, plan.placement.host, plan.placement.pool)
    try:
        plan.folder.add_child(vm)
        vm.template = plan.template
        datastore = plan.placement.datastore
        directory, base_name = make_directory(datastore, "", plan.name)
        vm.make_home(datastore, directory, base_name)
        copied_bytes = _copy_disks(plan, vm)
        yield from _take_time(plan, task, copied_bytes)
        _configure(plan, vm)
    except Exception:
        vm.destroy()
        raise
    vm.complete = True
    vm.touch()
    return vm


def _take_time(plan: ClonePlan, task: Task, copied_bytes: int) -> Generator[float, None, None]:
    """Wait as long as the copy takes, with progress; the I/O is done by the source's host."""
    costs = plan.source.vcenter.cost_model
    source, target = plan.source.home_datastore, plan.placement.datastore
    places = (source, target, plan.source.host)
    costs.transfer_started(*places)
    try:
        seconds = costs.clone_seconds(copied_bytes, source, target, plan.source.host)
        for step in range(_STEPS if seconds else 0):
            yield seconds / _STEPS
            task.set_progress((step + 1) * 100 // (_STEPS + 1))
    finally:
        costs.transfer_ended(*places)


def _copy_disks(plan: ClonePlan, vm: VirtualMachine) -> int:
    """Give `vm` its controllers and disks; returns the bytes that were read."""
    vm.devices = Devices(
        controllers=[
            one for one in plan.devices.controllers if one.key not in plan.removed_controllers
        ],
        others=list(plan.devices.others),
    )
    copied_bytes = 0
    for disk_plan in plan.disks:
        disk = _copy_disk(disk_plan, vm)
        copied_bytes += 0 if disk.parent else disk_plan.source.occupied_bytes
        attached = disk_plan.attached
        vm.devices.add_disk(
            disk,
            attached.controller_key,
            attached.unit_number,
            mode=attached.mode,
            profile_id=disk_plan.profile_id,
        )
        vm.sync()
    return copied_bytes


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
    """Settings and custom values of the source, then what CloneSpec.config says."""
    source, switches = plan.source, plan.source.vcenter.switches
    vm.settings = plan.settings.for_clone()
    if switches.clone_inherits_custom_values:
        vm.custom_values = dict(source.custom_values)
    if not switches.clone_sets_create_date:
        vm.created_at = source.created_at
    if plan.config is not None:
        vm.settings.apply(plan.config)
        DeviceChanges(vm, plan.other_changes).apply()
        if switches.set_disk_uuid_in_clone:
            for disk_plan, disk in zip(plan.disks, vm.disks, strict=False):
                if disk_plan.uuid and disk.parent is None:
                    disk.uuid = disk_plan.uuid
                    disk.write_descriptor()
    if plan.home_profile is not None:
        vm.settings.profile_id = plan.home_profile or None
    if plan.power_on:
        vm.power_state = "poweredOn"

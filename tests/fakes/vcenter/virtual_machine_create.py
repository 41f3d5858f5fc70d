"""Folder.CreateVM_Task and RegisterVM_Task, and the creation of a VM, which imports use as well.

The name is reserved when the task runs, so DuplicateName is the task's error. With vmPathName
"[ds]" the directory has the VM's name, or name_1, name_2 if that exists already; a full path that
exists is FileAlreadyExists. If any step fails, the previous ones are undone.
"""

from __future__ import annotations

import posixpath
from typing import Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore import find_datastore, parse_path
from tests.fakes.vcenter.datastore_path import DatastorePath
from tests.fakes.vcenter.managed_entity import check_name
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_disk import open_disk
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges
from tests.fakes.vcenter.virtual_machine_placement import (
    Placement,
    choose_host,
    require_datastore,
    require_in_datacenter,
)
from tests.fakes.vcenter.virtual_machine_settings import require_known_version


def start(folder: Any, ctx: Context, spec: Any, pool: Any, host: Any) -> Task:
    """CreateVM_Task; the entity is the folder, the result the VM."""
    registry = folder.vcenter.registry
    target_pool = registry.require(pool)
    target_host = registry.require(host) if host else None

    def body(task: Task) -> VirtualMachine:
        return make_vm(folder, spec, target_pool, target_host)

    task: Task = folder.vcenter.tasks.start(
        folder,
        "CreateVM_Task",
        "Folder.createVm",
        body,
        session=ctx.session,
        delay_s=folder.vcenter.cost_model.task_seconds(),
    )
    return task


def make_vm(folder: Any, spec: Any, pool: Any, host: Any) -> VirtualMachine:
    """Create a complete VM from `spec`; faults as in the module's docstring, and those of its
    parts.
    """
    name = check_name(spec.name)
    folder.check_free(name)
    path = _home_path(folder.vcenter, spec)
    datastore = find_datastore(folder.vcenter, path.datastore, folder.datacenter)
    require_in_datacenter(folder.datacenter, pool, "pool")
    placement = Placement(choose_host(pool, host, datastore, prefix=""), pool, datastore)
    placement.host.check_usable()
    require_datastore(datastore, placement.host)
    require_known_version(spec.version or "vmx-21", placement.host)
    vm = VirtualMachine(folder.vcenter, name, placement.host, pool)
    try:
        folder.add_child(vm)
        vm.settings.memory_mb = 32
        vm.settings.apply(spec)
        directory, base_name = make_directory(datastore, path.path, name)
        vm.make_home(datastore, directory, base_name)
        DeviceChanges(vm, spec.deviceChange).apply()
    except Exception:
        vm.destroy()
        raise
    vm.complete = True
    vm.touch()
    return vm


def _home_path(vcenter: Any, spec: Any) -> DatastorePath:
    if spec.files is None or not spec.files.vmPathName:
        raise vmodl.fault.InvalidArgument(
            msg="A specified parameter was not correct: configSpec.files",
            invalidProperty="configSpec.files",
        )
    return parse_path(vcenter, spec.files.vmPathName)


def make_directory(datastore: Any, path: str, name: str) -> tuple[str, str]:
    """(directory, base name) for a VM's files; creates the directory unless the path names it."""
    storage = datastore.storage
    if not path.endswith((".vmx", ".vmtx")):
        directory = datastore.make_vm_directory(posixpath.join(path, name) if path else name)
        return directory, name
    if storage.exists(path):
        raise vim.fault.FileAlreadyExists(
            msg=f"The file {storage.text(path)} already exists", file=storage.text(path)
        )
    directory = posixpath.dirname(path)
    if not storage.is_directory(directory):
        storage.make_directory(directory, parents=True)
    return directory, posixpath.basename(path).rpartition(".")[0]


def start_register(
    folder: Any,
    ctx: Context,
    path: str,
    name: str | None,
    as_template: bool,
    pool: Any,
    host: Any,
) -> Task:
    """RegisterVM_Task: a VM on existing files; a new moref, default settings, its disks."""
    registry = folder.vcenter.registry
    target_pool = registry.require(pool) if pool else None
    target_host = registry.require(host) if host else None

    def body(task: Task) -> VirtualMachine:
        return _register(folder, path, name, as_template, target_pool, target_host)

    task: Task = folder.vcenter.tasks.start(
        folder, "RegisterVM_Task", "Folder.registerVm", body, session=ctx.session
    )
    return task


def _register(
    folder: Any, path: str, name: str | None, as_template: bool, pool: Any, host: Any
) -> VirtualMachine:
    if (pool is None) != as_template or (pool is None and host is None):
        raise vmodl.fault.InvalidArgument(
            msg="A template needs a host and no pool, a virtual machine needs a pool.",
            invalidProperty="pool",
        )
    where = parse_path(folder.vcenter, path)
    datastore = find_datastore(folder.vcenter, where.datastore, folder.datacenter)
    datastore.storage.file(where.path)
    for other in datastore.members("vm"):
        if other.home_datastore is datastore and other.vmx_path == where.path:
            raise vim.fault.AlreadyExists(msg=f"{path} is registered already.", name=other.name)
    base_name = where.name.rpartition(".")[0]
    label = check_name(name or base_name)
    folder.check_free(label)
    target = choose_host(pool, host, datastore, prefix="") if pool else host
    target.check_usable()
    require_datastore(datastore, target)
    vm = VirtualMachine(folder.vcenter, label, target, pool)
    folder.add_child(vm)
    vm.home_datastore, vm.vmx_path = datastore, where.path
    _find_disks(vm)
    vm.complete = True
    vm.set_template(as_template)
    return vm


def _find_disks(vm: VirtualMachine) -> None:
    """Attach the flat disks in the home directory, since a .vmx of the fake does not list them."""
    assert vm.home_datastore is not None
    storage = vm.home_datastore.storage
    controller = vim.vm.device.VirtualLsiLogicController(key=-1, busNumber=0)
    for name in storage.listing(vm.directory):
        file = storage.get(posixpath.join(vm.directory, name))
        if file is None or file.disk is None or file.disk.parent is not None:
            continue
        if not vm.devices.controllers:
            vm.devices.add_controller(controller)
        vm.devices.add_disk(open_disk(storage, file.path), 1000)

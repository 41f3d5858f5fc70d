"""AttachDisk_Task and DetachDisk_Task: first class disks as disks of a VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.vstorage_object_manager import FirstClassDisk


def attach(
    vm: VirtualMachine, disk_id: Any, datastore: Any, controller_key: int | None, unit: int | None
) -> None:
    """Attach a disk to the given controller (0 and None mean any); MissingController without one,
    and InvalidState for a disk that is already attached.
    """
    found = _manager(vm).find(disk_id, datastore)
    if found.consumers:
        raise vim.fault.InvalidState(msg="The disk is attached to a virtual machine.")
    controllers = [one.key for one in vm.devices.controllers]
    if not controllers:
        raise vim.fault.MissingController(
            msg="The virtual machine has no disk controller.",
            property="virtualDeviceSpec.device.controllerKey",
            deviceIndex=0,
        )
    device = vim.vm.device.VirtualDisk(
        key=-1,
        controllerKey=controller_key or controllers[0],
        unitNumber=unit,
        capacityInKB=found.disk.capacity_bytes // 1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName=str(found.disk.path), diskMode="persistent"
        ),
    )
    _change(vm, "add", device)


def detach(vm: VirtualMachine, disk_id: Any) -> None:
    """Detach a disk, whose file stays; NotFound if the VM does not have it."""
    found: FirstClassDisk = _manager(vm).find(disk_id)
    for attached in vm.devices.disks:
        if attached.disk is found.disk:
            _change(vm, "remove", vim.vm.device.VirtualDisk(key=attached.key))
            return
    raise vim.fault.NotFound(msg=f"The disk {disk_id.id} is not attached to {vm.name}.")


def _change(vm: VirtualMachine, operation: str, device: Any) -> None:
    spec = vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
    DeviceChanges(vm, [spec]).apply()


def _manager(vm: VirtualMachine) -> Any:
    return vm.vcenter.registry.get("VStorageObjectManager")

"""The virtual devices of one VM: its controllers, its disks and all other added devices.

Disks are kept as `AttachedDisk` (a slot that holds a VirtualDisk). Their vim objects are created at
each read, so capacity, uuid and path are always those of the files (the capacity with one
exception: the switch `extended_disks_show_at_once`). Every VM has the devices that ESXi gives it:
two IDE controllers (keys 200, 201), PS/2, PCI, SIO, keyboard, pointing device and video card.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pyVmomi import vim

from tests.fakes.vcenter.virtual_disk import VirtualDisk
from tests.fakes.vcenter.virtual_machine_faults import too_many_devices

_device = vim.vm.device
_SCSI_LABELS = {
    "VirtualLsiLogicController": "LSI Logic",
    "VirtualLsiLogicSASController": "LSI Logic SAS",
    "VirtualBusLogicController": "BusLogic",
    "ParaVirtualSCSIController": "VMware paravirtual SCSI",
}


@dataclass
class AttachedDisk:
    """A disk in its slot of a controller."""

    key: int
    controller_key: int
    unit_number: int
    disk: VirtualDisk
    mode: str = "persistent"
    profile_id: str | None = None
    sharing: str = "sharingNone"


@dataclass
class Devices:
    """All devices of a VM. `controllers` are those added to the standard ones."""

    controllers: list[Any] = field(default_factory=list)
    disks: list[AttachedDisk] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)

    def copy(self) -> Devices:
        """A copy with slots of its own and the same disks (for a snapshot or the draft of a
        clone).
        """
        return Devices(
            copy.copy(self.controllers), [replace(d) for d in self.disks], copy.copy(self.others)
        )

    def controller(self, key: int) -> Any:
        """The controller with this key, including standard ones, or None."""
        for device in (*self.controllers, *standard_devices()):
            if device.key == key and isinstance(device, _device.VirtualController):
                return device
        return None

    def disk(self, key: int) -> AttachedDisk | None:
        return next((disk for disk in self.disks if disk.key == key), None)

    def other(self, key: int) -> Any:
        return next((device for device in self.others if device.key == key), None)

    def units_on(self, controller_key: int) -> set[int]:
        """Unit numbers in use on a controller."""
        units = {disk.unit_number for disk in self.disks if disk.controller_key == controller_key}
        for device in (*self.others, *self.controllers):
            if device.controllerKey == controller_key:
                units.add(device.unitNumber)
        return units

    def free_unit(self, index: int, controller: Any, wanted: int | None, first: int = 0) -> int:
        """`wanted` if it is free on the controller, else the next free one from `first` on.

        TooManyDevices if there is none.
        """
        units = self.units_on(controller.key)
        limit = _unit_limit(controller)
        if isinstance(controller, _device.VirtualSCSIController):
            units.add(controller.scsiCtlrUnitNumber)
        if wanted is not None and first <= wanted < limit and wanted not in units:
            return wanted
        free = next((unit for unit in range(first, limit) if unit not in units), None)
        if free is None:
            raise too_many_devices(index)
        return free

    def key_on(self, controller: Any, unit_number: int) -> int:
        """The key of a disk or drive at this unit of a controller."""
        return _disk_key(controller, unit_number)

    def on_controller(self, controller_key: int) -> list[int]:
        """Keys of the devices on a controller."""
        keys = [disk.key for disk in self.disks if disk.controller_key == controller_key]
        others = (*self.controllers, *self.others)
        keys += [dev.key for dev in others if dev.controllerKey == controller_key]
        return keys

    def all(self) -> Iterator[Any]:
        """Every device as a vim object, as config.hardware.device lists them."""
        for device in (*standard_devices(), *self.controllers):
            keys = self.on_controller(device.key)
            if keys and isinstance(device, _device.VirtualController):
                device = copy.copy(device)
                device.device = keys
            yield device
        for number, disk in enumerate(self.disks, start=1):
            yield disk_device(disk, number)
        yield from self.others

    def add_controller(self, asked: Any) -> Any:
        """A copy of `asked` with its final key and bus number."""
        controller = copy.copy(asked)
        controller.device = []
        base = _key_base(controller)
        taken = {c.busNumber for c in self.controllers if _key_base(c) == base}
        if controller.busNumber in taken:
            controller.busNumber = next(bus for bus in range(len(taken) + 1) if bus not in taken)
        controller.key = base + controller.busNumber
        if isinstance(controller, _device.VirtualSCSIController):
            controller.controllerKey, controller.scsiCtlrUnitNumber = 100, 7
            controller.unitNumber = 3 + controller.busNumber
            if not controller.sharedBus:
                controller.sharedBus = vim.vm.device.VirtualSCSIController.Sharing.noSharing
            label = f"SCSI controller {controller.busNumber}"
            kind = type(controller).__name__.rpartition(".")[2]
            summary = _SCSI_LABELS.get(kind, kind)
        elif isinstance(controller, _device.VirtualAHCIController):
            # Key, unit, label and summary as in a recording of 8.0.1.
            controller.controllerKey, controller.unitNumber = 100, 24 + controller.busNumber
            label, summary = f"SATA controller {controller.busNumber}", "AHCI"
        else:
            controller.controllerKey, controller.unitNumber = 100, 30 + controller.busNumber
            label = summary = f"NVME controller {controller.busNumber}"
        controller.deviceInfo = vim.Description(label=label, summary=summary)
        self.controllers.append(controller)
        return controller

    def add_disk(
        self,
        disk: VirtualDisk,
        controller_key: int,
        unit_number: int | None = None,
        *,
        mode: str = "persistent",
        profile_id: str | None = None,
    ) -> AttachedDisk:
        """Put a disk on a controller of this VM, at the wanted unit if that is free."""
        controller = self.controller(controller_key)
        assert controller is not None, "the caller checks that the controller exists"
        unit_number = self.free_unit(0, controller, unit_number)
        attached = AttachedDisk(
            key=_disk_key(controller, unit_number),
            controller_key=controller_key,
            unit_number=unit_number,
            disk=disk,
            mode=mode,
            profile_id=profile_id,
        )
        self.disks.append(attached)
        return attached

    def adapter_type(self, controller_key: int) -> str:
        """The adapter type for a new disk's descriptor: "ide", "busLogic" or "lsiLogic"."""
        controller = self.controller(controller_key)
        if isinstance(controller, _device.VirtualIDEController):
            return "ide"
        is_bus_logic = isinstance(controller, _device.VirtualBusLogicController)
        return "busLogic" if is_bus_logic else "lsiLogic"


def disk_device(attached: AttachedDisk, number: int = 1) -> Any:
    """The VirtualDisk device as clients see it."""
    disk = attached.disk
    shown_bytes = disk.shown_capacity_bytes or disk.capacity_bytes
    return _device.VirtualDisk(
        key=attached.key,
        controllerKey=attached.controller_key,
        unitNumber=attached.unit_number,
        capacityInKB=shown_bytes // 1024,
        capacityInBytes=shown_bytes,
        deviceInfo=vim.Description(
            label=f"Hard disk {number}", summary=f"{shown_bytes // 1024:,} KB"
        ),
        backing=disk_backing(disk, attached.mode, attached.sharing),
        shares=vim.SharesInfo(level="normal", shares=1000),
        diskObjectId=f"1-{attached.key}",
        vDiskVersion=4,
        nativeUnmanagedLinkedClone=False,
        guestReadOnly=False,
    )


def disk_backing(disk: VirtualDisk, mode: str = "persistent", sharing: str = "sharingNone") -> Any:
    """The FlatVer2BackingInfo of a disk and, nested in it, of its parents."""
    return _device.VirtualDisk.FlatVer2BackingInfo(
        fileName=str(disk.path),
        datastore=disk.datastore.ref,
        backingObjectId=disk.object_id,
        diskMode=mode,
        split=False,
        writeThrough=False,
        thinProvisioned=disk.provisioning == "thin",
        eagerlyScrub=disk.provisioning == "eagerZeroedThick",
        uuid=disk.uuid,
        contentId=disk.content_id,
        deltaDiskFormat="redoLogFormat" if disk.parent else None,
        digestEnabled=False,
        sharing=sharing,
        parent=disk_backing(disk.parent, mode) if disk.parent else None,
    )


@cache
def standard_devices() -> tuple[Any, ...]:
    """Devices that every VM has; shared by all VMs and never changed."""

    def described(device: Any, label: str) -> Any:
        device.deviceInfo = vim.Description(label=label, summary=label)
        return device

    return (
        described(_device.VirtualIDEController(key=200, busNumber=0), "IDE 0"),
        described(_device.VirtualIDEController(key=201, busNumber=1), "IDE 1"),
        described(_device.VirtualPS2Controller(key=300, busNumber=0), "PS2 controller 0"),
        described(_device.VirtualPCIController(key=100, busNumber=0), "PCI controller 0"),
        described(_device.VirtualSIOController(key=400, busNumber=0), "SIO controller 0"),
        described(_device.VirtualKeyboard(key=600, controllerKey=300, unitNumber=0), "Keyboard"),
        described(
            _device.VirtualPointingDevice(
                key=700,
                controllerKey=300,
                unitNumber=1,
                backing=_device.VirtualPointingDevice.DeviceBackingInfo(
                    deviceName="", useAutoDetect=False, hostPointingDevice="autodetect"
                ),
            ),
            "Pointing device",
        ),
        described(
            _device.VirtualVideoCard(
                key=500, controllerKey=100, unitNumber=0, videoRamSizeInKB=4096, numDisplays=1
            ),
            "Video card ",
        ),
    )


def _unit_limit(controller: Any) -> int:
    """The number of units of a controller, including its own. (vSphere 8 configuration maximums; a
    PCI or SIO controller has as many as its devices need)"""
    if isinstance(controller, _device.VirtualIDEController):
        return 2
    if isinstance(controller, _device.VirtualAHCIController):
        return 30
    if isinstance(controller, _device.ParaVirtualSCSIController):
        return 65
    if isinstance(controller, _device.VirtualSCSIController):
        return 16
    return 64 if isinstance(controller, _device.VirtualNVMEController) else 100


def _key_base(controller: Any) -> int:
    if isinstance(controller, _device.VirtualIDEController):
        return 200
    if isinstance(controller, _device.VirtualAHCIController):
        return 15000
    return 31000 if isinstance(controller, _device.VirtualNVMEController) else 1000


def _disk_key(controller: Any, unit_number: int) -> int:
    """ESXi's numbering: 2000 + 16 per SCSI bus, 3000 + 2 per IDE bus, 16000 + 30 per SATA bus."""
    bus: int = controller.busNumber
    if isinstance(controller, _device.VirtualIDEController):
        return 3000 + 2 * bus + unit_number
    if isinstance(controller, _device.VirtualAHCIController):
        return 16000 + 30 * bus + unit_number
    if isinstance(controller, _device.VirtualNVMEController):
        return 32000 + 64 * bus + unit_number
    return 2000 + 16 * bus + unit_number

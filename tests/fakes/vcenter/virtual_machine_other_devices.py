"""Devices other than disks and their controllers: network cards, drives, ports, USB and others.

A device is kept as the client sent it, with what vCenter adds: key, label, summary, controller and
unit, connect info, and a network card's MAC address and network. Keys, controllers, units, labels
and summaries of network cards, CD drives and VMCI devices are those of a recording of 8.0.1. Those
of other devices follow ESXi's ranges of keys and are unconfirmed, as are the limits per VM.

A VM, its snapshots and clones share a list of devices, so a device is never changed in place.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.datastore import find_datastore, parse_path
from tests.fakes.vcenter.distributed_virtual_portgroup import DistributedVirtualPortgroup
from tests.fakes.vcenter.virtual_machine_faults import (
    invalid_backing,
    invalid_spec,
    too_many_devices,
)

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_devices import Devices

_device = vim.vm.device
_PCI, _SIO = 100, 400


@dataclass(frozen=True)
class Kind:
    """What the devices of one type have in common.

    :ivar key: of the first one
    :ivar controller: key of the controller that has them all; None: the one that the client names
    :ivar unit: number of the first one on that controller
    :ivar limit: most devices of one VM
    :ivar label: with the number of the device, counted from ``first``
    """

    key: int
    controller: int | None
    unit: int
    limit: int
    label: str
    first: int = 1


#: The first matching type counts.
_KINDS: tuple[tuple[type, Kind], ...] = (
    (_device.VirtualEthernetCard, Kind(4000, _PCI, 7, 10, "Network adapter {}")),
    (_device.VirtualCdrom, Kind(3000, None, 0, 64, "CD/DVD drive {}")),
    (_device.VirtualFloppy, Kind(8000, _SIO, 0, 2, "Floppy drive {}")),
    (_device.VirtualSerialPort, Kind(9000, _SIO, 2, 32, "Serial port {}")),
    (_device.VirtualParallelPort, Kind(10000, _SIO, 34, 3, "Parallel port {}")),
    (_device.VirtualUSBXHCIController, Kind(14000, _PCI, 23, 1, "USB xHCI controller ")),
    (_device.VirtualUSBController, Kind(7000, _PCI, 22, 1, "USB controller")),
    (_device.VirtualPCIPassthrough, Kind(13000, _PCI, 40, 16, "PCI device {}", 0)),
    (_device.VirtualSoundCard, Kind(5000, _PCI, 20, 1, "Sound card")),
    (_device.VirtualTPM, Kind(11000, _PCI, 21, 1, "Virtual TPM")),
    (_device.VirtualPrecisionClock, Kind(19000, _PCI, 19, 1, "Precision clock")),
    (_device.VirtualVMCIDevice, Kind(12000, _PCI, 17, 1, "VMCI device")),
)
_ANY = Kind(20000, _PCI, 60, 64, "Device {}")
_VMCI_SUMMARY = (
    "Device on the virtual machine PCI bus that provides support for the virtual machine "
    "communication interface"
)


def kind_of(device: Any) -> tuple[type, Kind]:
    """The type that a device counts as, and its kind."""
    for one, kind in _KINDS:
        if isinstance(device, one):
            return one, kind
    return type(device), _ANY


def added(vm: VirtualMachine, devices: Devices, index: int, asked: Any) -> Any:
    """The device that results from adding ``asked``, whose ``controllerKey`` is final.

    InvalidDeviceSpec, InvalidDeviceBacking or TooManyDevices if it is impossible.
    """
    counted, kind = kind_of(asked)
    alike = [device for device in devices.others if kind_of(device)[0] is counted]
    if len(alike) >= kind.limit:
        raise too_many_devices(index)
    device = copy.copy(asked)
    device.controllerKey = kind.controller or asked.controllerKey
    controller = devices.controller(device.controllerKey)
    if controller is None:
        raise invalid_spec(index, "virtualDeviceSpec.device.controllerKey")
    device.unitNumber = devices.free_unit(index, controller, asked.unitNumber, kind.unit)
    device.key = _free_key(devices, controller, device.unitNumber, kind)
    if isinstance(device, _device.VirtualEthernetCard):
        _set_address(device)
    _set_backing(vm, devices, index, device)
    _set_connectable(device)
    labels = {one.deviceInfo.label for one in alike}
    numbers = range(kind.first, kind.first + kind.limit)
    label = next(one for one in map(kind.label.format, numbers) if one not in labels)
    device.deviceInfo = vim.Description(label=label, summary=_summary(vm, device))
    return device


def edited(vm: VirtualMachine, devices: Devices, index: int, present: Any, asked: Any) -> Any:
    """``present`` with the fields that ``asked`` sets."""
    if type(asked) is not type(present):
        raise invalid_spec(index, "virtualDeviceSpec.device")
    device = copy.copy(present)
    for info in present._GetPropertyList():
        value = getattr(asked, info.name, None)
        if value is not None and info.name not in ("key", "deviceInfo", "controllerKey"):
            setattr(device, info.name, value)
    device.unitNumber = present.unitNumber
    if isinstance(device, _device.VirtualEthernetCard):
        _set_address(device)
    _set_backing(vm, devices, index, device)
    _set_connectable(device)
    label = present.deviceInfo.label
    device.deviceInfo = vim.Description(label=label, summary=_summary(vm, device))
    return device


def for_clone(vm: VirtualMachine, devices: Devices, device: Any) -> Any:
    """A source's device for a clone: a network card gets its own MAC address, unless a user had set
    one, and its own port. (vSphere Networking, "MAC Address Assignment")"""
    if not isinstance(device, _device.VirtualEthernetCard):
        return device
    fresh = copy.copy(device)
    if not _is_manual(fresh):
        fresh.macAddress = None
        _set_address(fresh)
    network = _network_of(vm, fresh)
    if isinstance(network, DistributedVirtualPortgroup):
        port = copy.copy(fresh.backing.port)
        port.portKey = None
        fresh.backing = copy.copy(fresh.backing)
        fresh.backing.port = network.connection(port, devices)
    return fresh


def networks_of(vm: VirtualMachine, devices: Devices) -> list[Any]:
    """The networks of the network cards, each once."""
    found: dict[str, Any] = {}
    for device in devices.others:
        network = _network_of(vm, device)
        if network is not None:
            found[network.moref] = network
    return list(found.values())


def _free_key(devices: Devices, controller: Any, unit: int, kind: Kind) -> int:
    if kind.controller is None:
        return devices.key_on(controller, unit)
    taken = {device.key for device in devices.others}
    key = kind.key
    while key in taken:
        key += 1
    return key


# Network cards


def _is_manual(card: Any) -> bool:
    return (card.addressType or "").lower() == "manual"


def _set_address(card: Any) -> None:
    """Give a network card without a MAC address one from vCenter's range, 00:50:56:80:00:00 to
    00:50:56:bf:ff:ff. (vSphere Networking, "VMware OUI Allocation"; a recording of 8.0.1 has
    "assigned" for such a card)"""
    if not _is_manual(card):
        card.addressType = "assigned"
    if not card.macAddress:
        number = secrets.randbits(22)
        parts = (0x80 | number >> 16, number >> 8 & 0xFF, number & 0xFF)
        card.macAddress = "00:50:56:" + ":".join(f"{part:02x}" for part in parts)
    if card.wakeOnLanEnabled is None:
        card.wakeOnLanEnabled = True


def _network_of(vm: VirtualMachine, device: Any) -> Any:
    """The network of a network card; None for other devices, or if the network is gone."""
    backing = device.backing
    if isinstance(backing, _device.VirtualEthernetCard.NetworkBackingInfo):
        by_name = (one for one in vm.host.network if one.name == backing.deviceName)
        return next(by_name, None)
    if isinstance(backing, _device.VirtualEthernetCard.DistributedVirtualPortBackingInfo):
        return vm.vcenter.registry.get(backing.port.portgroupKey or "")
    return None


def _set_network(vm: VirtualMachine, devices: Devices, index: int, card: Any) -> None:
    """InvalidDeviceBacking for a network that the host does not have."""
    if not isinstance(
        card.backing,
        (
            _device.VirtualEthernetCard.NetworkBackingInfo,
            _device.VirtualEthernetCard.DistributedVirtualPortBackingInfo,
        ),
    ):
        return
    network = _network_of(vm, card)
    if network is None:
        raise invalid_backing(index)
    card.backing = copy.copy(card.backing)
    if isinstance(card.backing, _device.VirtualEthernetCard.NetworkBackingInfo):
        card.backing.network = network.ref
    elif not isinstance(network, DistributedVirtualPortgroup) or vm.host not in network.host:
        raise invalid_backing(index)
    else:
        card.backing.port = network.connection(card.backing.port, devices)


# All devices


def _set_backing(vm: VirtualMachine, devices: Devices, index: int, device: Any) -> None:
    if isinstance(device, _device.VirtualEthernetCard):
        _set_network(vm, devices, index, device)
    elif isinstance(device.backing, _device.VirtualDevice.FileBackingInfo):
        name = device.backing.fileName
        if not name:
            raise invalid_backing(index)
        path = parse_path(vm.vcenter, name)
        datastore = find_datastore(vm.vcenter, path.datastore, vm.datacenter)
        device.backing = copy.copy(device.backing)
        device.backing.datastore = datastore.ref


def _set_connectable(device: Any) -> None:
    if not isinstance(
        device,
        (
            _device.VirtualEthernetCard,
            _device.VirtualCdrom,
            _device.VirtualFloppy,
            _device.VirtualSerialPort,
            _device.VirtualParallelPort,
        ),
    ):
        return
    if device.connectable is None:
        device.connectable = _device.VirtualDevice.ConnectInfo(
            startConnected=True, allowGuestControl=True, connected=False
        )
    if not device.connectable.status:
        device.connectable = copy.copy(device.connectable)
        device.connectable.status = "untried"


def _summary(vm: VirtualMachine, device: Any) -> str:
    backing = device.backing
    for kind, text in _SUMMARIES:
        if isinstance(backing, kind):
            return text(backing)
    if isinstance(device, _device.VirtualVMCIDevice):
        return _VMCI_SUMMARY
    return kind_of(device)[1].label.format("").strip()


_SUMMARIES: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (
        _device.VirtualEthernetCard.DistributedVirtualPortBackingInfo,
        lambda backing: f"DVSwitch: {backing.port.switchUuid}",
    ),
    (_device.VirtualCdrom.IsoBackingInfo, lambda backing: f"ISO {backing.fileName}"),
    (
        _device.VirtualPCIPassthrough.VmiopBackingInfo,
        lambda backing: f"NVIDIA GRID vGPU {backing.vgpu}",
    ),
    (_device.VirtualDevice.FileBackingInfo, lambda backing: f"File {backing.fileName}"),
    (_device.VirtualDevice.RemoteDeviceBackingInfo, lambda backing: "Remote device"),
    (_device.VirtualDevice.URIBackingInfo, lambda backing: f"Remote {backing.serviceURI}"),
    (_device.VirtualDevice.DeviceBackingInfo, lambda backing: str(backing.deviceName)),
)

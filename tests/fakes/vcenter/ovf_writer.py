"""The OVF descriptor of a VM, as OvfManager.CreateDescriptor writes it.

Namespaces and sections are vCenter's. The files are those that the client exported, by the keys of
the lease's device URLs. (DMTF DSP0243)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from pyVmomi import vim

from tests.fakes.vcenter import ovf_descriptor as ovf
from tests.fakes.vcenter.lease_device import slot_name

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_devices import Devices

_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_NAMESPACES = {
    "xmlns": "http://schemas.dmtf.org/ovf/envelope/1",
    "xmlns:ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "xmlns:rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "xmlns:vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    "xmlns:vmw": "http://www.vmware.com/schema/ovf",
}
_SCSI_NAMES = {
    "VirtualLsiLogicController": "lsilogic",
    "ParaVirtualSCSIController": "VirtualSCSI",
    "VirtualLsiLogicSASController": "lsilogicsas",
    "VirtualBusLogicController": "buslogic",
}


def descriptor(vm: VirtualMachine, devices: Devices, params: Any) -> str:
    """The descriptor's text; `devices` are those of the VM or of a snapshot."""
    files = {file.deviceId: file for file in params.ovfFiles or []}
    name = params.name or vm.name
    networks = sorted({_network(card) for card in _cards(devices)})
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<Envelope{_attributes(_NAMESPACES)}>"]
    lines += ["  <References>"]
    for number, key in enumerate(files, 1):
        file = files[key]
        size = {"ovf:size": file.size}
        lines.append(_tag("File", {"ovf:href": file.path, "ovf:id": f"file{number}", **size}, 4))
    lines += ["  </References>", "  <DiskSection>", "    <Info>Virtual disk information</Info>"]
    for number, attached in enumerate(devices.disks, 1):
        disk = {
            "ovf:capacity": attached.disk.capacity_bytes,
            "ovf:capacityAllocationUnits": "byte",
            "ovf:diskId": f"vmdisk{number}",
            "ovf:format": _FORMAT,
            "ovf:populatedSize": attached.disk.content.written_bytes,
        }
        key = f"/{vm.moref}/{slot_name(devices, attached)}"
        if key in files:
            disk["ovf:fileRef"] = f"file{list(files).index(key) + 1}"
        lines.append(_tag("Disk", disk, 4))
    lines += ["  </DiskSection>", "  <NetworkSection>", "    <Info>The list of networks</Info>"]
    for network in networks:
        lines += [f"    <Network ovf:name={quoteattr(network)}>"]
        lines += [f"      <Description>The {escape(network)} network</Description>"]
        lines += ["    </Network>"]
    lines += ["  </NetworkSection>", f"  <VirtualSystem ovf:id={quoteattr(name)}>"]
    lines += ["    <Info>A Virtual system</Info>", f"    <Name>{escape(name)}</Name>"]
    if params.description or vm.settings.annotation:
        text = escape(params.description or vm.settings.annotation)
        lines += ["    <AnnotationSection>", "      <Info>A human-readable annotation</Info>"]
        lines += [f"      <Annotation>{text}</Annotation>", "    </AnnotationSection>"]
    system = {"ovf:id": 1, "vmw:osType": vm.settings.guest_id}
    lines += [f"    <OperatingSystemSection{_attributes(system)}>"]
    lines += ["      <Info>The operating system installed</Info>", "    </OperatingSystemSection>"]
    lines += ["    <VirtualHardwareSection>", "      <Info>Virtual hardware requirements</Info>"]
    lines += ["      <System>"]
    for key, value in (
        ("ElementName", "Virtual Hardware Family"),
        ("InstanceID", 0),
        ("VirtualSystemIdentifier", name),
        ("VirtualSystemType", vm.settings.version),
    ):
        lines.append(f"        <vssd:{key}>{escape(str(value))}</vssd:{key}>")
    lines += ["      </System>", *_items(vm, devices), "    </VirtualHardwareSection>"]
    lines += ["  </VirtualSystem>", "</Envelope>", ""]
    return "\n".join(lines)


def _items(vm: VirtualMachine, devices: Devices) -> list[str]:
    settings = vm.settings
    lines = _item(1, ovf.CPU, f"{settings.num_cpus} virtual CPU(s)", quantity=settings.num_cpus)
    memory = f"{settings.memory_mb}MB of memory"
    lines += _item(2, ovf.MEMORY, memory, quantity=settings.memory_mb, units="byte * 2^20")
    number, keys = 3, {}
    used = [devices.controller(attached.controller_key) for attached in devices.disks]
    for controller in {one.key: one for one in [*devices.controllers, *used]}.values():
        kind = type(controller).__name__.rpartition(".")[2]
        keys[controller.key] = number
        if isinstance(controller, vim.vm.device.VirtualIDEController):
            about, cim, sub_type = "IDE Controller", ovf.IDE, None
        elif kind in _SCSI_NAMES:
            about, cim, sub_type = "SCSI Controller", ovf.SCSI, _SCSI_NAMES[kind]
        else:
            about, cim, sub_type = "SATA Controller", ovf.SATA, "vmware.sata.ahci"
        name = f"{about} {controller.busNumber}"
        lines += _item(number, cim, name, sub_type=sub_type, address=controller.busNumber)
        number += 1
    for index, attached in enumerate(devices.disks, 1):
        lines += _item(
            number,
            ovf.DISK,
            f"Hard disk {index}",
            host_resource=f"ovf:/disk/vmdisk{index}",
            parent=keys[attached.controller_key],
            address_on_parent=attached.unit_number,
        )
        number += 1
    for index, card in enumerate(_cards(devices), 1):
        kind = type(card).__name__.rpartition(".")[2].removeprefix("Virtual")
        lines += _item(
            number,
            ovf.NETWORK,
            f"Network adapter {index}",
            sub_type=kind,
            connection=_network(card),
        )
        number += 1
    return lines


def _item(instance_id: int, kind: int, name: str, **more: Any) -> list[str]:
    values = {
        "Address": more.get("address"),
        "AddressOnParent": more.get("address_on_parent"),
        "AllocationUnits": more.get("units"),
        "Connection": more.get("connection"),
        "ElementName": name,
        "HostResource": more.get("host_resource"),
        "InstanceID": instance_id,
        "Parent": more.get("parent"),
        "ResourceSubType": more.get("sub_type"),
        "ResourceType": kind,
        "VirtualQuantity": more.get("quantity"),
    }
    inner = [
        f"        <rasd:{key}>{escape(str(value))}</rasd:{key}>"
        for key, value in values.items()
        if value is not None
    ]
    return ["      <Item>", *inner, "      </Item>"]


def _cards(devices: Devices) -> list[Any]:
    return [one for one in devices.others if isinstance(one, vim.vm.device.VirtualEthernetCard)]


def _network(card: Any) -> str:
    name = getattr(card.backing, "deviceName", None)
    return str(name or "VM Network")


def _attributes(values: dict[str, Any]) -> str:
    return "".join(
        f" {key}={quoteattr(str(value))}" for key, value in values.items() if value is not None
    )


def _tag(name: str, values: dict[str, Any], indent: int) -> str:
    return f"{' ' * indent}<{name}{_attributes(values)}/>"

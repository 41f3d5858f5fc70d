"""An OVF descriptor as the OvfManager reads it: files, disks, networks and one virtual system.

It reads the parts of DMTF's "Open Virtualization Format Specification" (DSP0243) 1 and 2 that a
package of one virtual machine needs. `BadDescriptor` holds the fault for a result's `error`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as Xml

from pyVmomi import vim

CPU, MEMORY, IDE, SCSI, NETWORK, DISK, SATA = 3, 4, 5, 6, 10, 17, 20
FLOPPY, CDROM, DVD = 14, 15, 16
# Devices that every VM has, or that have no settings: VMCI and others, USB, video, sound.
IGNORED = (1, 23, 24, 35)


class BadDescriptor(Exception):
    """The descriptor cannot be used; `fault` is the reason as a pyVmomi fault."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class OvfFile:
    """A <File> of the references; `size_bytes` is 0 if the descriptor does not state it."""

    href: str
    size_bytes: int = 0


@dataclass(frozen=True)
class OvfDisk:
    """A <Disk>; without a file, it starts empty."""

    capacity_bytes: int
    file: OvfFile | None
    populated_bytes: int


@dataclass(frozen=True)
class OvfItem:
    """An <Item> of the virtual hardware, with the names of CIM_ResourceAllocationSettingData."""

    kind: int
    sub_type: str
    instance_id: str
    name: str
    parent: str | None
    address_on_parent: int | None
    address: int | None
    quantity: int
    host_resource: str | None
    connection: str | None


@dataclass
class OvfDescriptor:
    """One virtual system and the objects that it refers to."""

    name: str
    annotation: str = ""
    os_type: str | None = None
    hardware_version: str = ""
    files: list[OvfFile] = field(default_factory=list)
    disks: dict[str, OvfDisk] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    items: list[OvfItem] = field(default_factory=list)
    properties: list[dict[str, str]] = field(default_factory=list)

    @property
    def capacity_bytes(self) -> int:
        return sum(disk.capacity_bytes for disk in self.disks.values())

    @property
    def populated_bytes(self) -> int:
        return sum(disk.populated_bytes for disk in self.disks.values())


def read(text: str) -> OvfDescriptor:
    """Parse a descriptor; BadDescriptor if the text is not one, or describes more than one VM."""
    try:
        root = Xml.fromstring(text.encode())
    except Xml.ParseError as error:
        raise BadDescriptor(
            vim.fault.OvfXmlFormat(
                msg=f"The OVF descriptor is not XML: {error}",
                lineNumber=error.position[0],
                description=str(error),
            )
        ) from error
    system = _child(root, "VirtualSystem")
    if _local(root) != "Envelope" or system is None:
        name = _local(root)
        if _child(root, "VirtualSystemCollection") is not None:
            name = "VirtualSystemCollection"  # a vApp of several VMs is not simulated
        raise BadDescriptor(
            vim.fault.OvfUnsupportedElement(
                msg=f"The element {name} is not supported.", lineNumber=1, name=name
            )
        )
    files = {_get(one, "id"): _file(one) for one in _all(root, "References", "File")}
    hardware = _child(system, "VirtualHardwareSection")
    operating_system = _child(system, "OperatingSystemSection")
    if hardware is None:
        raise missing("VirtualHardwareSection")
    return OvfDescriptor(
        name=_text(system, "Name") or _get(system, "id"),
        annotation=_text(_child(system, "AnnotationSection"), "Annotation"),
        os_type=None if operating_system is None else _get(operating_system, "osType") or None,
        hardware_version=_text(_child(hardware, "System"), "VirtualSystemType"),
        files=list(files.values()),
        disks={_get(one, "diskId"): _disk(one, files) for one in _all(root, "DiskSection", "Disk")},
        networks={
            _get(one, "name"): _text(one, "Description")
            for one in _all(root, "NetworkSection", "Network")
        },
        items=[
            _item(one)
            for one in hardware
            if _local(one) in ("Item", "EthernetPortItem", "StorageItem")
        ],
        properties=[_property(one) for one in _all(system, "ProductSection", "Property")],
    )


def _file(element: Xml.Element) -> OvfFile:
    if _get(element, "compression") not in ("", "identity"):
        raise BadDescriptor(
            vim.fault.OvfUnsupportedAttribute(
                msg="Compressed files are not supported.",
                lineNumber=1,
                elementName="File",
                attributeName="compression",
            )
        )
    return OvfFile(_get(element, "href"), int(_get(element, "size") or 0))


def _disk(element: Xml.Element, files: dict[str, OvfFile]) -> OvfDisk:
    reference = _get(element, "fileRef")
    if reference and reference not in files:
        raise missing(f"File {reference}")
    unit = _unit_bytes(_get(element, "capacityAllocationUnits") or "byte")
    return OvfDisk(
        capacity_bytes=int(_get(element, "capacity")) * unit,
        file=files.get(reference),
        populated_bytes=int(_get(element, "populatedSize") or 0),
    )


def _item(element: Xml.Element) -> OvfItem:
    address = _text(element, "Address")
    on_parent = _text(element, "AddressOnParent")
    quantity = int(_text(element, "VirtualQuantity") or 0)
    kind = int(_text(element, "ResourceType") or 0)
    if kind == MEMORY:
        unit = _unit_bytes(_text(element, "AllocationUnits") or "byte * 2^20")
        quantity = quantity * unit >> 20
    return OvfItem(
        kind=kind,
        sub_type=_text(element, "ResourceSubType"),
        instance_id=_text(element, "InstanceID"),
        name=_text(element, "ElementName") or _text(element, "Caption"),
        parent=_text(element, "Parent") or None,
        address_on_parent=int(on_parent) if on_parent.isdigit() else None,
        address=int(address) if address.isdigit() else None,
        quantity=quantity,
        host_resource=_text(element, "HostResource") or None,
        connection=_text(element, "Connection") or None,
    )


def _property(element: Xml.Element) -> dict[str, str]:
    return {
        "id": _get(element, "key"),
        "type": _get(element, "type") or "string",
        "default": _get(element, "value"),
        "label": _text(element, "Label"),
        "description": _text(element, "Description"),
        "configurable": _get(element, "userConfigurable"),
    }


def _unit_bytes(text: str) -> int:
    """Bytes of "byte", "byte * 2^20", "MegaBytes" or "byte * 1024"."""
    plain = {
        "byte": 1,
        "bytes": 1,
        "kilobytes": 1 << 10,
        "megabytes": 1 << 20,
        "gigabytes": 1 << 30,
    }
    match = re.fullmatch(r"byte\s*\*\s*(\d+)(?:\^(\d+))?", text.strip())
    if match:
        return int(match[1]) ** int(match[2] or 1)
    if text.strip().lower() not in plain:
        raise BadDescriptor(
            vim.fault.OvfInvalidValue(
                msg=f"The unit {text!r} is not known.",
                lineNumber=1,
                elementName="AllocationUnits",
                value=text,
            )
        )
    return plain[text.strip().lower()]


def missing(what: str) -> BadDescriptor:
    """OvfMissingElement for an element that the descriptor refers to or must have."""
    return BadDescriptor(
        vim.fault.OvfMissingElement(
            msg=f"The OVF descriptor has no {what}.", lineNumber=1, name=what
        )
    )


def _local(element: Xml.Element) -> str:
    return element.tag.rpartition("}")[2]


def _get(element: Xml.Element, name: str) -> str:
    """An attribute, in any namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return ""


def _child(element: Xml.Element | None, name: str) -> Xml.Element | None:
    if element is None:
        return None
    return next((child for child in element if _local(child) == name), None)


def _all(element: Xml.Element, section: str, name: str) -> list[Xml.Element]:
    sections = [child for child in element if _local(child) == section]
    return [one for each in sections for one in each if _local(one) == name]


def _text(element: Xml.Element | None, name: str) -> str:
    child = _child(element, name)
    return (child.text or "").strip() if child is not None else ""

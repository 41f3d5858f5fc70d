"""The fake's OvfManager reads a descriptor like vCenter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.network import Network
from tests.unit.fakes.vm_client import Client, MiB, connected

HEAD = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
<References>
  <File ovf:id="f1" ovf:href="a.vmdk" ovf:size="700"/>
  <File ovf:id="f2" ovf:href="b.vmdk" ovf:size="35"/>
</References>
<DiskSection><Info/>
  <Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="8" ovf:populatedSize="1000"
    ovf:capacityAllocationUnits="byte * 2^20"/>
  <Disk ovf:diskId="d2" ovf:fileRef="f2" ovf:capacity="4096"
    ovf:capacityAllocationUnits="byte * 1024"/>
  <Disk ovf:diskId="d3" ovf:capacity="1048576"/>
</DiskSection>
<NetworkSection><Info/>
  <Network ovf:name="front"><Description>for clients</Description></Network>
</NetworkSection>
"""
SYSTEM = """<VirtualSystem ovf:id="appliance"><Info/><Name>The Appliance</Name>
<AnnotationSection><Info/><Annotation>made here</Annotation></AnnotationSection>
<ProductSection ovf:class="c"><Property ovf:key="ip" ovf:type="string" ovf:value="192.0.2.7"
  ovf:userConfigurable="true"><Label>Address</Label></Property></ProductSection>
<OperatingSystemSection ovf:id="1" vmw:osType="debian10_64Guest"><Info/></OperatingSystemSection>
<VirtualHardwareSection><Info/>
<System><vssd:VirtualSystemType>vmx-10 vmx-13</vssd:VirtualSystemType></System>
"""
TAIL = "</VirtualHardwareSection></VirtualSystem></Envelope>"


def item(kind: int, **values: Any) -> str:
    """An Item of the virtual hardware."""
    values = {"ResourceType": kind, "ElementName": f"element {kind}", **values}
    inner = "".join(f"<rasd:{key}>{value}</rasd:{key}>" for key, value in values.items())
    return f"<Item>{inner}</Item>"


CPU = item(3, InstanceID=1, VirtualQuantity=3)
MEMORY = item(4, InstanceID=2, VirtualQuantity=2, AllocationUnits="byte * 2^30")
SCSI = item(6, InstanceID=3, Address=0, ResourceSubType="lsilogic")
SATA = item(20, InstanceID=4, Address=0, ResourceSubType="vmware.sata.ahci")
IDE = item(5, InstanceID=5, Address=1)


def disk(number: int, parent: int, **more: Any) -> str:
    resource = f"ovf:/disk/d{number}"
    return item(17, InstanceID=10 + number, Parent=parent, HostResource=resource, **more)


def network(sub_type: str = "VmxNet3", connection: str = "front") -> str:
    return item(10, InstanceID=20, ResourceSubType=sub_type, Connection=connection)


def descriptor(*items: str) -> str:
    return HEAD + SYSTEM + "".join(items) + TAIL


WHOLE = descriptor(
    CPU,
    MEMORY,
    SCSI,
    SATA,
    IDE,
    disk(1, 3, AddressOnParent=7),
    disk(2, 3, AddressOnParent=0),
    disk(3, 4),
    network(),
    item(15, InstanceID=30, Parent=5),
    item(23, InstanceID=31),
)


@pytest.fixture(scope="module")
def vc() -> Iterator[VCenter]:
    with VCenter(Model(hosts_per_cluster=1)) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


def imported(client: Client, text: str = WHOLE, **more: Any) -> Any:
    params = vim.OvfManager.CreateImportSpecParams(**{"entityName": "made", **more})
    return client.content.ovfManager.CreateImportSpec(
        text, client.pool, client.datastores[0], params
    )


def devices(made: Any, kind: Any) -> list[Any]:
    changes = made.importSpec.configSpec.deviceChange
    return [change.device for change in changes if isinstance(change.device, kind)]


def test_the_spec_describes_the_same_vm(client: Client) -> None:
    made = imported(client)
    assert (made.error, made.warning) == ([], [])
    config = made.importSpec.configSpec
    assert (config.name, config.version, config.guestId) == ("made", "vmx-13", "debian10_64Guest")
    assert (config.numCPUs, config.memoryMB, config.annotation) == (3, 2048, "made here")
    assert config.files.vmPathName == "[DC0_DS0]"
    (scsi,) = devices(made, vim.vm.device.VirtualSCSIController)
    (sata,) = devices(made, vim.vm.device.VirtualAHCIController)
    assert devices(made, vim.vm.device.VirtualIDEController) == [], "every VM has its two"
    slots = [
        (one.controllerKey, one.unitNumber, one.capacityInKB)
        for one in devices(made, vim.vm.device.VirtualDisk)
    ]
    # Unit 7 is the SCSI controller's own.
    assert slots == [(scsi.key, 0, 8192), (scsi.key, 1, 4096), (sata.key, 0, 1024)]
    assert [(one.deviceId, one.path, one.size, one.create) for one in made.fileItem] == [
        ("/made/VirtualLsiLogicController0:0", "a.vmdk", 700, False),
        ("/made/VirtualLsiLogicController0:1", "b.vmdk", 35, False),
    ]


def test_an_imported_vm_has_everything_that_was_described(client: Client, vc: VCenter) -> None:
    made = imported(client)
    lease = client.pool.ImportVApp(made.importSpec, client.folder)
    while lease.state == "initializing":
        pass
    keys = {device.importKey for device in lease.info.deviceUrl}
    assert {one.deviceId for one in made.fileItem} <= keys
    lease.HttpNfcLeaseComplete()
    vm = vc.find_vm("made")
    assert [one.capacity_bytes for one in vm.disks] == [8 * MiB, 4 * MiB, MiB]
    with vc.lock:
        vm.destroy()


@pytest.mark.parametrize(
    ("wanted", "thin", "eager"),
    [
        ("thin", True, False),
        ("thick", False, False),
        ("flat", False, False),
        ("eagerZeroedThick", False, True),
        (None, False, False),
    ],
)
def test_disks_are_provisioned_as_requested(
    client: Client, wanted: str | None, thin: bool, eager: bool
) -> None:
    made = imported(client, diskProvisioning=wanted)
    backings = [one.backing for one in devices(made, vim.vm.device.VirtualDisk)]
    assert {(backing.thinProvisioned, backing.eagerlyScrub) for backing in backings} == {
        (thin, eager)
    }


@pytest.mark.parametrize("number", [0, 1])
def test_a_disk_stays_on_its_ide_controller(client: Client, number: int) -> None:
    ide = item(5, InstanceID=5, Address=number)
    made = imported(client, descriptor(ide, disk(1, 5), disk(2, 5)))
    found = devices(made, vim.vm.device.VirtualDisk)
    assert [(one.controllerKey, one.unitNumber) for one in found] == [
        (200 + number, 0),
        (200 + number, 1),
    ]
    assert made.fileItem[1].deviceId == f"/made/VirtualIDEController{number}:1"


@pytest.mark.parametrize(
    ("sub_type", "kind"),
    [
        ("lsilogic", vim.vm.device.VirtualLsiLogicController),
        ("VirtualSCSI", vim.vm.device.ParaVirtualSCSIController),
        ("lsilogicsas", vim.vm.device.VirtualLsiLogicSASController),
        ("buslogic", vim.vm.device.VirtualBusLogicController),
    ],
)
def test_a_scsi_controller_keeps_its_kind(client: Client, sub_type: str, kind: Any) -> None:
    two = [item(6, InstanceID=number, ResourceSubType=sub_type) for number in (3, 4)]
    made = imported(client, descriptor(*two, disk(1, 4)))
    assert [
        (type(one), one.busNumber) for one in devices(made, vim.vm.device.VirtualController)
    ] == [
        (kind, 0),
        (kind, 1),
    ]
    name = kind.__name__.rpartition(".")[2]
    assert made.fileItem[0].deviceId == f"/made/{name}1:0"


def test_a_network_card_is_on_its_network(client: Client, vc: VCenter) -> None:
    """As mapped; else the network of that name, else the first."""
    with vc.lock:
        front = Network(vc, "front")
        datacenter = vc.registry.require(client.datacenter)
        datacenter.networkFolder.add_child(front)
        datacenter.add_member("network", front)
    first = next(one for one in client.datacenter.network if one.name == "VM Network")
    mapping = [vim.OvfManager.NetworkMapping(name="front", network=first)]

    def card(text: str = WHOLE, **more: Any) -> Any:
        (found,) = devices(imported(client, text, **more), vim.vm.device.VirtualEthernetCard)
        assert found.connectable.startConnected
        return found

    assert isinstance(card(), vim.vm.device.VirtualVmxnet3)
    assert isinstance(card(descriptor(network("E1000e"))), vim.vm.device.VirtualE1000e)
    assert card().backing.network._moId == front.moref
    assert card(networkMapping=mapping).backing.network == first
    unknown = card(descriptor(network(connection="back")))
    assert (unknown.backing.network, unknown.backing.deviceName) == (first, "VM Network")


BAD = {
    "no XML": (WHOLE.replace("</Envelope>", ""), vim.fault.OvfXmlFormat, "XML"),
    "several machines": (
        WHOLE.replace("VirtualSystem ", "VirtualSystemCollection ").replace(
            "</VirtualSystem>", "</VirtualSystemCollection>"
        ),
        vim.fault.OvfUnsupportedElement,
        "VirtualSystemCollection",
    ),
    "no hardware": (
        WHOLE.replace("VirtualHardwareSection", "Other"),
        vim.fault.OvfMissingElement,
        "VirtualHardwareSection",
    ),
    "no such disk": (descriptor(SCSI, disk(9, 3)), vim.fault.OvfMissingElement, "ovf:/disk/d9"),
    "no such file": (
        WHOLE.replace('ovf:id="f2"', 'ovf:id="f9"'),
        vim.fault.OvfMissingElement,
        "f2",
    ),
    "compressed": (
        WHOLE.replace('ovf:size="35"', 'ovf:compression="gzip"'),
        vim.fault.OvfUnsupportedAttribute,
        "Compressed",
    ),
    "a strange unit": (WHOLE.replace("byte * 1024", "stone"), vim.fault.OvfInvalidValue, "stone"),
    "another family": (
        WHOLE.replace("vmx-10 vmx-13", "virtualbox-2.2"),
        vim.fault.OvfNoSupportedHardwareFamily,
        "virtualbox-2.2",
    ),
    "no controller": (descriptor(disk(1, 3)), vim.fault.OvfUnsupportedSubType, "element 17"),
    "a strange card": (
        descriptor(network("token ring")),
        vim.fault.OvfUnsupportedSubType,
        "element 10",
    ),
    "a strange controller": (
        descriptor(item(6, InstanceID=3, ResourceSubType="esdi")),
        vim.fault.OvfUnsupportedSubType,
        "element 6",
    ),
    "a medium in a drive": (
        descriptor(IDE, item(15, Parent=5, HostResource="ovf:/file/f1")),
        vim.fault.OvfUnsupportedSubType,
        "element 15",
    ),
    "a printer": (descriptor(item(34)), vim.fault.OvfUnsupportedSubType, "element 34"),
}


@pytest.mark.parametrize(("text", "kind", "told"), BAD.values(), ids=BAD)
def test_a_bad_descriptor_is_refused(client: Client, text: str, kind: Any, told: str) -> None:
    made = imported(client, text)
    (error,) = made.error
    assert isinstance(error, kind)
    assert told in error.msg
    assert made.importSpec is None


def test_a_parsed_descriptor_shows_its_content(client: Client) -> None:
    manager = client.content.ovfManager
    wanted = vim.OvfManager.ParseDescriptorParams(deploymentOption="", locale="")
    parsed = manager.ParseDescriptor(WHOLE, wanted)
    assert (parsed.defaultEntityName, parsed.annotation) == ("The Appliance", "made here")
    assert [(one.name, one.description) for one in parsed.network] == [("front", "for clients")]
    (known,) = parsed.property
    assert (known.id, known.label, known.type) == ("ip", "Address", "string")
    assert (known.defaultValue, known.userConfigurable) == ("192.0.2.7", True)
    assert parsed.approximateDownloadSize == 735
    assert parsed.approximateFlatDeploymentSize == 13 * MiB
    assert parsed.approximateSparseDeploymentSize == 1000
    valid = manager.ValidateHost(
        WHOLE, client.hosts[0], vim.OvfManager.ValidateHostParams(deploymentOption="", locale="")
    )
    assert (valid.downloadSize, valid.flatDeploymentSize) == (735, 13 * MiB)
    assert "thin" in valid.supportedDiskProvisioning
    (error,) = manager.ValidateHost(
        "", client.hosts[0], vim.OvfManager.ValidateHostParams(deploymentOption="", locale="")
    ).error
    assert isinstance(error, vim.fault.OvfXmlFormat)


def test_a_written_descriptor_describes_the_same_vm(client: Client) -> None:
    """The written descriptor is read again: controllers, cards, quotes in names, and the note."""
    vm = client.create('<origin> & "co"')
    card = vim.vm.device.VirtualVmxnet3(
        key=-1,
        backing=vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network"),
    )
    changes = [vim.vm.device.VirtualDeviceSpec(operation="add", device=card)]
    config = vim.vm.ConfigSpec(annotation="a & b", numCPUs=2, deviceChange=changes)
    task = vm.ReconfigVM_Task(config)
    while task.info.state not in ("success", "error"):
        pass
    assert task.info.state == "success"
    key = f"/{vm._moId}/VirtualLsiLogicController0:0"
    files = [
        vim.OvfManager.OvfFile(deviceId=name, path=path, size=5)
        for name, path in (("/other", "x.nvram"), (key, "a & b.vmdk"))
    ]
    params = vim.OvfManager.CreateDescriptorParams(name="copy <1>", ovfFiles=files)
    text = client.content.ovfManager.CreateDescriptor(vm, params).ovfDescriptor
    made = imported(client, text)
    assert made.error == []
    config = made.importSpec.configSpec
    assert (config.numCPUs, config.memoryMB) == (2, vm.config.hardware.memoryMB)
    assert (config.version, config.guestId) == (vm.config.version, vm.config.guestId)
    assert config.annotation == "a & b"
    kinds = [
        type(one) for one in vm.config.hardware.device
        if isinstance(one, vim.vm.device.VirtualSCSIController)
    ]  # fmt: skip
    assert [type(one) for one in devices(made, vim.vm.device.VirtualController)] == kinds
    assert len(devices(made, vim.vm.device.VirtualVmxnet3)) == 1
    (one,) = devices(made, vim.vm.device.VirtualDisk)
    assert one.capacityInKB == MiB // 1024
    assert [(file.path, file.size) for file in made.fileItem] == [("a & b.vmdk", 5)]
    wanted = vim.OvfManager.ParseDescriptorParams(deploymentOption="", locale="")
    parsed = client.content.ovfManager.ParseDescriptor(text, wanted)
    assert parsed.defaultEntityName == "copy <1>"
    with pytest.raises(vmodl.fault.NotSupported):
        client.content.ovfManager.CreateDescriptor(client.datacenter, params)

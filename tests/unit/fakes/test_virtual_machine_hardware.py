"""Network cards, drives, guests and power are kept as in vCenter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.unit.fakes.vm_client import Client, MiB, connected, disk_changes, wait

_device = vim.vm.device
_ENVELOPE = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>
<CloneVM_Task xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<_this type="VirtualMachine">{vm}</_this><folder type="Folder">{folder}</folder><name>copy</name>
<spec><powerOn>false</powerOn><template>false</template></spec>
</CloneVM_Task></Body></Envelope>"""


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model()) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


def _change(vm: Any, *changes: Any) -> None:
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=list(changes))))


def _add(device: Any) -> Any:
    return _device.VirtualDeviceSpec(operation="add", device=device)


def _card(**more: Any) -> Any:
    backing = _device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network")
    return _device.VirtualVmxnet3(**{"key": -1, "backing": backing, **more})


def _devices(vm: Any, kind: Any) -> list[Any]:
    return [one for one in vm.config.hardware.device if isinstance(one, kind)]


def test_a_clone_without_a_location_is_an_invalid_request(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    body = _ENVELOPE.format(vm=vm._moId, folder=client.folder._moId)
    headers = {"SOAPAction": "urn:vim25/8.0.3.0", **client.cookie}
    status, answer = client.request("POST", vc.url, body.encode(), headers)
    text = answer.decode()
    assert status == 500
    assert "InvalidRequestFault" in text
    missing = "Required property location is missing from data object of type VirtualMachineClone"
    assert missing in text


def test_a_network_card_gets_what_vcenter_adds(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    _change(vm, _add(_card()))
    (card,) = _devices(vm, _device.VirtualVmxnet3)
    (network,) = vm.network
    assert (card.key, card.controllerKey, card.unitNumber) == (4000, 100, 7)
    assert (card.deviceInfo.label, card.deviceInfo.summary) == ("Network adapter 1", "VM Network")
    assert card.backing.network == network
    assert card.addressType == "assigned"
    assert (card.connectable.status, card.connectable.startConnected) == ("untried", True)
    assert re.fullmatch("00:50:56:[89ab].:..:..", card.macAddress)
    assert vm.summary.config.numEthernetCards == 1
    assert list(network.vm) == [vm]
    _change(vm, _removal(card))
    assert list(network.vm) == list(vm.network) == []


def _removal(device: Any) -> Any:
    return _device.VirtualDeviceSpec(operation="remove", device=device)


def _edit(device: Any) -> Any:
    return _device.VirtualDeviceSpec(operation="edit", device=device)


def test_an_edit_of_a_network_card_keeps_unset_fields(client: Client) -> None:
    vm = client.create("vm")
    _change(vm, _add(_card(wakeOnLanEnabled=False)))
    (before,) = _devices(vm, _device.VirtualVmxnet3)
    _change(vm, _edit(_device.VirtualVmxnet3(key=4000, macAddress="00:50:56:00:00:01")))
    (after,) = _devices(vm, _device.VirtualVmxnet3)
    assert after.macAddress == "00:50:56:00:00:01" != before.macAddress
    assert after.wakeOnLanEnabled is False
    assert after.backing.deviceName == "VM Network"
    assert after.unitNumber == before.unitNumber


def test_an_edit_cannot_change_the_kind_of_a_device(client: Client) -> None:
    vm = client.create("vm")
    _change(vm, _add(_card()))
    backing = _device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        _change(vm, _edit(_device.VirtualCdrom(key=4000, backing=backing)))
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        _change(vm, _edit(_device.VirtualVmxnet3(key=4001)))
    assert len(_devices(vm, _device.VirtualVmxnet3)) == 1


def test_snapshots_and_clones_do_not_share_changes_of_a_network_card(client: Client) -> None:
    vm = client.create("vm")
    _change(vm, _add(_card()), _add(_card(addressType="manual", macAddress="00:50:56:00:00:02")))
    wait(vm.CreateSnapshot_Task("now", "", False, False))
    before = [card.macAddress for card in _devices(vm, _device.VirtualVmxnet3)]
    clone = client.clone(vm, "clone")
    copied = [card.macAddress for card in _devices(clone, _device.VirtualVmxnet3)]
    assert copied[0] != before[0], "two machines with one address"
    assert copied[1] == before[1]
    _change(vm, _edit(_device.VirtualVmxnet3(key=4000, macAddress="00:50:56:00:00:03")))
    wait(vm.snapshot.currentSnapshot.RevertToSnapshot_Task())
    assert [card.macAddress for card in _devices(vm, _device.VirtualVmxnet3)] == before


def test_a_card_needs_a_network_of_the_host(client: Client) -> None:
    vm = client.create("vm")
    backing = _device.VirtualEthernetCard.NetworkBackingInfo(deviceName="elsewhere")
    with pytest.raises(vim.fault.InvalidDeviceBacking):
        _change(vm, _add(_card(backing=backing)))
    assert _devices(vm, _device.VirtualVmxnet3) == []


def test_the_number_of_devices_is_limited(client: Client) -> None:
    vm = client.create("vm")
    _change(vm, *[_add(_card(key=-number)) for number in range(1, 11)])
    with pytest.raises(vim.fault.TooManyDevices):
        _change(vm, _add(_card()))
    drive = _device.VirtualCdrom(
        key=-1,
        controllerKey=200,
        backing=_device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False),
    )
    _change(vm, _add(drive))
    _change(vm, _add(drive))
    assert [one.key for one in _devices(vm, _device.VirtualCdrom)] == [3000, 3001]
    with pytest.raises(vim.fault.TooManyDevices):
        _change(vm, _add(drive))


def test_a_revert_without_memory_powers_the_vm_off(client: Client) -> None:
    vm = client.create("vm")
    wait(vm.PowerOnVM_Task())
    wait(vm.CreateSnapshot_Task("disks", "", False, False))
    wait(vm.CreateSnapshot_Task("memory", "", True, False))
    (disks,) = vm.snapshot.rootSnapshotList
    (memory,) = disks.childSnapshotList
    assert (disks.state, memory.state) == ("poweredOff", "poweredOn")
    wait(disks.snapshot.RevertToSnapshot_Task())
    assert vm.runtime.powerState == "poweredOff"
    wait(memory.snapshot.RevertToSnapshot_Task())
    assert vm.runtime.powerState == "poweredOn"


def test_the_guest_ends_with_the_power(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    with pytest.raises(vim.fault.InvalidPowerState):
        vm.ShutdownGuest()
    wait(vm.PowerOnVM_Task())
    for asked in (vm.ShutdownGuest, vm.RebootGuest, vm.StandbyGuest):
        with pytest.raises(vim.fault.ToolsUnavailable):
            asked()
    assert vm.guestHeartbeatStatus == "gray"
    vc.find_vm("vm").boot_guest("10.0.0.1", "web")
    index = client.content.searchIndex
    assert index.FindByIp(None, "10.0.0.1", True) == index.FindByDnsName(None, "web", True) == vm
    assert (vm.summary.guest.ipAddress, vm.guest.hostName) == ("10.0.0.1", "web")
    assert vm.guestHeartbeatStatus == "green"
    vm.ShutdownGuest()
    assert vm.runtime.powerState == "poweredOff"
    assert vm.guest.ipAddress is None
    assert index.FindByIp(None, "10.0.0.1", True) is None


def test_a_power_operation_is_refused_in_a_wrong_state(client: Client) -> None:
    vm = client.create("vm")
    for refused in (vm.SuspendVM_Task, vm.ResetVM_Task, vm.PowerOffVM_Task):
        with pytest.raises(vim.fault.InvalidPowerState):
            wait(refused())
    wait(vm.PowerOnVM_Task())
    wait(vm.SuspendVM_Task())
    assert vm.runtime.powerState == "suspended"
    with pytest.raises(vim.fault.InvalidPowerState):
        wait(vm.Destroy_Task())
    wait(vm.PowerOnVM_Task())
    wait(vm.PowerOffVM_Task())
    wait(vm.Destroy_Task())


def test_a_vm_forgets_what_ended_with_its_power(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    assert vm.runtime.bootTime is None
    wait(vm.PowerOnVM_Task())
    assert vm.runtime.bootTime is not None
    vm.MountToolsInstaller()
    vc.find_vm("vm").ask("Which?", {"0": "this", "1": "that"})
    wait(vm.SuspendVM_Task())
    assert vm.runtime.question.text == "Which?"
    assert vm.runtime.toolsInstallerMounted
    wait(vm.PowerOffVM_Task())
    assert vm.runtime.question is None
    assert not vm.runtime.toolsInstallerMounted
    assert vm.runtime.bootTime is None


def test_a_vm_does_not_start_on_a_disconnected_host(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    vc.find_vm("vm").host.set_connected(False)
    with pytest.raises(vmodl.fault.HostNotConnected):
        wait(vm.PowerOnVM_Task())
    assert vm.runtime.powerState == "poweredOff"


def test_parts_of_a_config_spec_do_not_undo_each_other(client: Client) -> None:
    vm = client.create("vm")
    for options in ({"bootDelay": 500}, {"enterBIOSSetup": True}):
        spec = vim.vm.ConfigSpec(bootOptions=vim.vm.BootOptions(**options), firmware="efi")
        wait(vm.ReconfigVM_Task(spec))
    assert (vm.config.bootOptions.bootDelay, vm.config.bootOptions.enterBIOSSetup) == (500, True)
    assert vm.config.firmware == "efi"
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(flags=vim.vm.FlagInfo(diskUuidEnabled=True))))
    assert (vm.config.flags.diskUuidEnabled, vm.config.flags.enableLogging) == (True, True)


def test_an_instant_clone_has_what_its_source_wrote(vc: VCenter, client: Client) -> None:
    source = client.create("source")
    spec = vim.vm.InstantCloneSpec(name="twin", location=vim.vm.RelocateSpec())
    with pytest.raises(vim.fault.InvalidPowerState):
        wait(source.InstantClone_Task(spec))
    wait(source.PowerOnVM_Task())
    vc.find_vm("source").disks[0].content.write(0, b"before")
    wait(source.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="of the source")))
    twin = wait(source.InstantClone_Task(spec))
    assert twin.config.annotation == "of the source"
    assert twin.config.uuid != source.config.uuid
    vc.find_vm("source").disks[0].content.write(0, b"source")
    vc.find_vm("twin").disks[0].content.write(6, b"-twin")
    assert vc.read_disk("source").read(0, 6) == b"source"
    assert vc.read_disk("twin").read(0, 11) == b"before-twin"
    assert twin.runtime.powerState == "poweredOn"
    for vm in (source, twin):
        wait(vm.PowerOffVM_Task())
        wait(vm.Destroy_Task())
    assert not vc.datastore("DC0_DS0").files()


def test_a_promoted_disk_needs_no_other_vm(vc: VCenter, client: Client) -> None:
    source = client.create("source")
    wait(source.PowerOnVM_Task())
    vc.find_vm("source").disks[0].content.write(0, b"base")
    location = vim.vm.RelocateSpec(datastore=client.datastores[1])
    spec = vim.vm.InstantCloneSpec(name="twin", location=location)
    twin = wait(source.InstantClone_Task(spec))
    assert twin.config.files.vmPathName == "[DC0_DS1] twin/twin.vmx"
    with pytest.raises(vim.fault.DuplicateName):
        wait(source.InstantClone_Task(spec))
    wait(twin.PromoteDisks_Task(False, []))
    assert vc.find_vm("twin").disks[0].parent is not None, "the base is shared"
    wait(twin.PromoteDisks_Task(True, []))
    assert vc.find_vm("twin").disks[0].parent is None
    wait(source.PowerOffVM_Task())
    wait(source.Destroy_Task())
    assert vc.read_disk("twin").read(0, 4) == b"base"


def test_every_disk_is_promoted(vc: VCenter, client: Client) -> None:
    source = client.create("source")
    wait(source.PowerOnVM_Task())
    spec = vim.vm.InstantCloneSpec(name="twin", location=vim.vm.RelocateSpec())
    twin = wait(source.InstantClone_Task(spec))
    _change(twin, *disk_changes(MiB))
    disks = vc.find_vm("twin").devices.disks
    disks.reverse()  # the full one first
    wait(twin.PromoteDisks_Task(True, []))
    assert [attached.disk.parent for attached in disks] == [None, None]


def test_an_environment_browser_ends_with_its_vm(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    browser = vm.environmentBrowser
    assert browser == vm.environmentBrowser
    target = browser.QueryConfigTarget(None)
    assert {one.name for one in target.datastore} == {"DC0_DS0", "DC0_DS1"}
    with pytest.raises(vmodl.fault.InvalidArgument):
        browser.QueryConfigOption("vmx-99", None)
    wait(vm.Destroy_Task())
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        browser.QueryConfigTarget(None)

"""The devices of a virtual machine: device.*, vm.disk.*, vm.network.*, gpu.vm.*"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


@pytest.fixture
def govc(govc: Govc) -> Govc:
    govc.environment["GOVC_DATASTORE"] = "DC0_DS0"
    return govc


def create(govc: Govc, name: str) -> None:
    """A VM with a disk of 10 MiB, the one that commands are then about."""
    govc("vm.create", "-on=false", "-disk", "10MB", "-net.adapter=vmxnet3", name)
    govc.environment["GOVC_VM"] = name


def devices(govc: Govc, *names: str) -> list[dict[str, Any]]:
    """Devices as govc shows them."""
    found: list[dict[str, Any]] = govc.json("device.info", *names)["devices"]
    return found


@holds("device.ls", "device.info")
def test_a_network_card_is_shown_as_vcenter_shows_it(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "shown")
    assert "ethernet-0  VirtualVmxnet3" in re.sub(r"  +", "  ", govc("device.ls"))
    (card,) = devices(govc, "ethernet-0")
    network = vcenter.find_vm("shown").network[0]
    assert card["deviceInfo"] == {"label": "Network adapter 1", "summary": "VM Network"}
    assert (card["key"], card["controllerKey"], card["unitNumber"]) == (4000, 100, 7)
    assert card["backing"]["network"] == {"type": "Network", "value": network.moref}
    assert re.fullmatch("00:50:56:[89ab][0-9a-f]:[0-9a-f]{2}:[0-9a-f]{2}", card["macAddress"])
    assert card["addressType"] == "assigned"
    assert [vm.name for vm in network.vm] == ["shown"]


@holds("vm.network.add", "vm.network.change")
def test_a_network_card_is_added_and_changed(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "cards")
    govc("vm.network.add", "-net.adapter=e1000e", "-net", "VM Network")
    assert [card["key"] for card in devices(govc, "ethernet-*")] == [4000, 4001]
    govc("vm.network.change", "-net.address=00:50:56:00:0a:0b", "ethernet-1", "VM Network")
    (card,) = devices(govc, "ethernet-1")
    assert (card["macAddress"], card["addressType"]) == ("00:50:56:00:0a:0b", "manual")
    assert card["deviceInfo"]["label"] == "Network adapter 2"
    for _ in range(8):
        govc("vm.network.add", "-net", "VM Network")
    assert "Too many" in govc.refused("vm.network.add", "-net", "VM Network")


@holds("device.connect", "device.disconnect")
def test_a_device_is_connected_and_disconnected(govc: Govc) -> None:
    create(govc, "plugged")
    govc("device.disconnect", "ethernet-0")
    assert devices(govc, "ethernet-0")[0]["connectable"]["connected"] is False
    govc("device.connect", "ethernet-0")
    assert devices(govc, "ethernet-0")[0]["connectable"]["connected"] is True


@holds("device.cdrom.add", "device.cdrom.insert", "device.cdrom.eject")
def test_a_cd_is_inserted_and_ejected(govc: Govc) -> None:
    create(govc, "cd")
    (govc.directory / "boot.iso").write_bytes(b"iso")
    govc("datastore.upload", "boot.iso", "iso/boot.iso")
    name = govc("device.cdrom.add").strip()
    assert name == "cdrom-3000"
    govc("device.cdrom.insert", "-device", name, "iso/boot.iso")
    (drive,) = devices(govc, name)
    assert drive["backing"]["fileName"] == "[DC0_DS0] iso/boot.iso"
    assert drive["deviceInfo"]["summary"] == "ISO [DC0_DS0] iso/boot.iso"
    govc("device.cdrom.eject", "-device", name)
    assert "fileName" not in devices(govc, name)[0]["backing"]
    assert govc("device.cdrom.add").strip() == "cdrom-3001"


@holds("device.floppy.add", "device.floppy.insert", "device.floppy.eject")
def test_a_floppy_is_inserted_and_ejected(govc: Govc) -> None:
    create(govc, "floppy")
    name = govc("device.floppy.add").strip()
    assert name == "floppy-8000"
    govc("device.floppy.insert", "-device", name, "img/a.img")
    assert devices(govc, name)[0]["backing"]["fileName"] == "[DC0_DS0] img/a.img"
    govc("device.floppy.eject", "-device", name)
    assert "fileName" not in devices(govc, name)[0]["backing"]


@holds("device.serial.add", "device.serial.connect", "device.serial.disconnect")
def test_a_serial_port_is_connected(govc: Govc) -> None:
    create(govc, "serial")
    name = govc("device.serial.add").strip()
    assert name == "serialport-9000"
    govc("device.serial.connect", "-device", name, "telnet://:33233")
    (port,) = devices(govc, name)
    assert port["backing"]["serviceURI"] == "telnet://:33233"
    govc("device.serial.disconnect", "-device", name)
    assert devices(govc, name)[0]["backing"]["serviceURI"] == "localhost:0"


@holds("device.scsi.add", "device.sata.add", "device.usb.add", "device.clock.add", "device.remove")
def test_controllers_are_added_and_removed(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "controllers")
    made = {
        govc("device.scsi.add", "-type=pvscsi").strip(): "SCSI controller 1",
        govc("device.sata.add").strip(): "SATA controller 0",
        govc("device.usb.add").strip(): "USB controller",
        govc("device.usb.add", "-type=xhci").strip(): "USB xHCI controller",
        govc("device.clock.add").strip(): "Precision clock",
    }
    labels = [one["deviceInfo"]["label"].strip() for one in devices(govc, *made)]
    assert sorted(labels) == sorted(made.values())
    govc("device.remove", *made)
    assert vcenter.find_vm("controllers").devices.controllers[1:] == []
    assert "Too many" in (govc("device.usb.add") and govc.refused("device.usb.add"))


@holds("device.pci.ls", "device.pci.add", "device.pci.remove")
def test_a_pci_device_of_the_host_is_passed_through(govc: Govc) -> None:
    create(govc, "pci")
    address = govc("device.pci.ls").splitlines()[1].split()[1]
    govc("device.pci.add", address)
    assert [one["key"] for one in devices(govc, "pcipassthrough-*")] == [13000]
    govc("device.pci.remove", "pcipassthrough-13000")
    assert "pcipassthrough" not in govc("device.ls")


@holds("gpu.vm.add", "gpu.vm.info", "gpu.vm.remove")
def test_a_virtual_gpu_is_added_and_removed(govc: Govc) -> None:
    create(govc, "gpu")
    govc("gpu.vm.add", "-profile=grid_t4-8q")
    (gpu,) = govc.json("gpu.vm.info")["gpus"]
    assert gpu["summary"] == "NVIDIA GRID vGPU grid_t4-8q"
    govc("gpu.vm.remove")
    assert not govc.json("gpu.vm.info")["gpus"]


@holds("device.boot")
def test_the_order_of_boot_devices_is_set(govc: Govc) -> None:
    create(govc, "boot")
    govc("device.boot", "-delay=1000", "-order=disk,ethernet", "-firmware=efi", "-secure")
    assert [line.split()[0] for line in govc("device.ls", "-boot").splitlines()] == [
        "disk-1000-0",
        "ethernet-0",
    ]
    options = govc.json("collect", "-s", "/DC0/vm/boot", "config.bootOptions")
    assert (options["bootDelay"], options["efiSecureBootEnabled"]) == (1000, True)
    assert govc("collect", "-s", "/DC0/vm/boot", "config.firmware").strip() == "efi"


@holds("device.model.tree")
def test_the_types_of_devices_are_listed(govc: Govc) -> None:
    assert "VirtualVmxnet3" in govc("device.model.tree", "VirtualEthernetCard")


@holds("vm.disk.create", "vm.disk.attach", "vm.disk.change")
def test_disks_are_created_attached_and_changed(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "disks")
    govc("vm.disk.create", "-name", "disks/more", "-size=20MB")
    vm = vcenter.find_vm("disks")
    assert [disk.capacity_bytes >> 20 for disk in vm.disks] == [10, 20]
    govc("vm.disk.change", "-disk.label=Hard disk 2", "-size=30MB", "-sharing=sharingMultiWriter")
    assert vm.disks[1].capacity_bytes >> 20 == 30
    (shown,) = devices(govc, "disk-1000-1")
    assert shown["backing"]["sharing"] == "sharingMultiWriter"
    assert "shrunk" in govc.refused("vm.disk.change", "-disk.label=Hard disk 2", "-size=1MB")
    govc("device.remove", "-keep", "disk-1000-1")
    assert len(vm.disks) == 1
    govc("vm.disk.attach", "-link=false", "-disk", "disks/more.vmdk")
    assert [disk.parent for disk in vm.disks] == [None, None]
    govc("device.remove", "-keep", "disk-1000-1")
    govc("vm.disk.attach", "-link=true", "-disk", "disks/more.vmdk")
    assert str(vm.disks[1].parent.path) == "[DC0_DS0] disks/more.vmdk"

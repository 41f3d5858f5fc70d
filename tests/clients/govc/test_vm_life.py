"""Virtual machines from their creation to their end: vm.*"""

from __future__ import annotations

import json

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


@pytest.fixture
def govc(govc: Govc) -> Govc:
    govc.environment["GOVC_DATASTORE"] = "DC0_DS0"
    return govc


def create(govc: Govc, name: str, *options: str) -> None:
    """A VM that is off, with a disk of 10 MiB."""
    govc("vm.create", "-on=false", "-disk", "10MB", *options, name)


def collected(govc: Govc, name: str, path: str) -> str:
    """A property of a VM as text."""
    return govc("collect", "-s", f"/DC0/vm/{name}", path).strip()


@holds("vm.create", "vm.info", "vm.destroy")
def test_a_vm_is_created_shown_and_destroyed(govc: Govc, vcenter: VCenter) -> None:
    govc("vm.create", "-on=false", "-disk=10MB", "-m=256", "-c=2", "-annotation=made here", "made")
    assert "2 vCPU(s)" in govc("vm.info", "made")
    (shown,) = govc.json("vm.info", "made")["virtualMachines"]
    assert shown["summary"]["config"]["memorySizeMB"] == 256
    assert shown["summary"]["config"]["annotation"] == "made here"
    assert shown["summary"]["config"]["numEthernetCards"] == 1
    assert shown["summary"]["guest"]["toolsRunningStatus"] == "guestToolsNotRunning"
    govc("vm.destroy", "made")
    assert vcenter.find_vm("made") is None


@holds("vm.power")
def test_the_power_of_a_vm_is_changed(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "powered")
    states = []
    for option in ("-on", "-suspend", "-on", "-reset", "-off"):
        govc("vm.power", option, "powered")
        states.append(collected(govc, "powered", "runtime.powerState"))
    assert states == ["poweredOn", "suspended", "poweredOn", "poweredOn", "poweredOff"]
    assert "current state" in govc.refused("vm.power", "-suspend", "powered")
    govc("vm.power", "-on", "powered")
    assert "Tools is not running" in govc.refused("vm.power", "-s", "powered")
    vm = vcenter.find_vm("powered")
    vm.boot_guest("10.0.0.6", "powered")
    govc("vm.power", "-r", "powered")
    vm.boot_guest("10.0.0.6", "powered")
    govc("vm.power", "-s", "powered")
    assert vm.power_state == "poweredOff"


@holds("vm.ip")
def test_the_address_of_a_guest_is_read(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "guest")
    govc("vm.power", "-on", "guest")
    vm = vcenter.find_vm("guest")
    vm.boot_guest("10.0.0.7", "web-1")
    assert govc("vm.ip", "guest").strip() == "10.0.0.7"
    assert govc("vm.ip", "-a", "guest").strip() == "10.0.0.7"
    assert govc("find", "/", "-type", "m", "-guest.hostName", "web-1").strip() == "/DC0/vm/guest"
    assert "10.0.0.7" in govc("vm.info", "-vm.ip", "10.0.0.7")
    assert "guest" in govc("vm.info", "-vm.dns", "web-1")


@holds("vm.clone")
def test_a_vm_is_cloned(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "origin", "-net.adapter=vmxnet3")
    govc("vm.clone", "-vm", "origin", "-on=false", "-annotation=a clone", "copy")
    source, clone = vcenter.find_vm("origin"), vcenter.find_vm("copy")
    assert clone.settings.annotation == "a clone"
    (old,), (new,) = source.devices.others, clone.devices.others
    assert new.macAddress != old.macAddress
    assert new.key == old.key
    govc("snapshot.create", "-vm", "origin", "now")
    govc("vm.clone", "-vm", "origin", "-on=false", "-link", "-snapshot=now", "linked")
    assert vcenter.find_vm("linked").disks[0].parent is not None


@holds("vm.instantclone")
def test_a_running_vm_is_cloned_at_once(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "running")
    assert "current state" in govc.refused("vm.instantclone", "-vm", "running", "twin")
    govc("vm.power", "-on", "running")
    govc("vm.instantclone", "-vm", "running", "-e", "guestinfo.name=twin", "twin")
    source, twin = vcenter.find_vm("running"), vcenter.find_vm("twin")
    assert twin.power_state == "poweredOn"
    assert twin.disks[0].parent is source.disks[0].parent is not None
    assert "guestinfo.name" in govc("vm.info", "-e", "twin")


@holds("vm.disk.promote")
def test_a_linked_disk_becomes_a_full_one(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "base")
    govc("snapshot.create", "-vm", "base", "now")
    govc("vm.clone", "-vm", "base", "-on=false", "-link", "-snapshot=now", "child")
    child = vcenter.find_vm("child")
    disks = [one for one in govc("device.ls", "-vm", "child").split() if one.startswith("disk-")]
    assert child.disks[0].parent is not None
    govc("vm.disk.promote", "-vm", "child", *disks)
    assert child.disks[0].parent is None
    govc("vm.destroy", "base")
    govc("vm.power", "-on", "child")


@holds("vm.markastemplate", "vm.markasvm")
def test_a_vm_becomes_a_template_and_a_vm_again(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "mark")
    govc("vm.markastemplate", "mark")
    assert collected(govc, "mark", "config.template") == "true"
    assert "not supported" in govc.refused("vm.power", "-on", "mark")
    govc("vm.markasvm", "-pool", "DC0_C0/Resources", "mark")
    assert collected(govc, "mark", "config.template") == "false"


@holds("vm.unregister", "vm.register")
def test_a_vm_leaves_the_inventory_and_comes_back(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "guestless")
    govc("vm.unregister", "guestless")
    assert vcenter.find_vm("guestless") is None
    govc("vm.register", "guestless/guestless.vmx")
    assert len(vcenter.find_vm("guestless").disks) == 1


@holds("vm.migrate")
def test_a_vm_moves(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "mover", "-host=DC0_C0_H0")
    govc("folder.create", "/DC0/vm/elsewhere")
    govc("vm.migrate", "-host=DC0_C0_H1", "mover")
    govc("vm.migrate", "-ds=DC0_DS1", "-folder=/DC0/vm/elsewhere", "mover")
    vm = vcenter.find_vm("mover")
    assert vm.host.name == "DC0_C0_H1"
    assert vm.home_datastore.name == "DC0_DS1"
    assert govc("find", "/DC0/vm/elsewhere", "-type", "m").strip() == "/DC0/vm/elsewhere/mover"


@holds("vm.change")
def test_a_vm_is_configured(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "changed")
    govc("vm.change", "-vm", "changed", "-c=4", "-m=512", "-e", "guestinfo.role=db")
    govc("vm.change", "-vm", "changed", "-nested-hv-enabled=true", "-sync-time-with-host=true")
    govc("vm.change", "-vm", "changed", "-cpu.shares=high", "-latency=high", "-g=ubuntu64Guest")
    (shown,) = govc.json("vm.info", "-e", "changed")["virtualMachines"]
    config = shown["config"]
    assert config["hardware"]["numCPU"] == 4
    assert {"key": "guestinfo.role", "value": "db"}.items() <= config["extraConfig"][0].items()
    full = json.loads(govc("collect", "-json", "-s", "/DC0/vm/changed", "config"))
    assert full["nestedHVEnabled"] is True
    assert full["tools"]["syncTimeWithHost"] is True
    assert full["cpuAllocation"]["shares"]["level"] == "high"
    assert full["latencySensitivity"]["level"] == "high"
    assert full["guestFullName"] == "Ubuntu Linux (64-bit)"
    govc("vm.change", "-vm", "changed", "-uuid=42ABCDEF-0000-1111-2222-333344445555")
    assert collected(govc, "changed", "config.uuid") == "42abcdef-0000-1111-2222-333344445555"


@holds("vm.upgrade")
def test_the_hardware_of_a_vm_is_upgraded(govc: Govc) -> None:
    create(govc, "old", "-version=vmx-14")
    assert collected(govc, "old", "config.version") == "vmx-14"
    govc("vm.upgrade", "-vm", "old", "-version=19")
    assert collected(govc, "old", "config.version") == "vmx-19"
    govc("vm.upgrade", "-vm", "old")
    assert collected(govc, "old", "config.version") == "vmx-21"
    assert "up to date" in govc("vm.upgrade", "-vm", "old")


@holds("vm.customize")
def test_a_customization_waits_for_the_next_boot(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "custom")
    assert "not match" in govc.refused("vm.customize", "-vm", "custom", "-name=web", "-tz=UTC")
    govc("vm.customize", "-vm", "custom", "-name=web", "-ip=10.0.0.9", "-netmask=255.0.0.0")
    asked = vcenter.find_vm("custom").customization
    assert asked.nicSettingMap[0].adapter.ip.ipAddress == "10.0.0.9"
    assert asked.identity.hostName.name == "web"


@holds("vm.question")
def test_a_question_is_answered(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "asking")
    assert "No pending question" in govc("vm.question", "-vm", "asking")
    vm = vcenter.find_vm("asking")
    vm.ask("Was it moved or copied?", {"0": "I moved it", "1": "I copied it"})
    assert "1) I copied it" in govc("vm.question", "-vm", "asking")
    assert "answerChoice" in govc.refused("vm.question", "-vm", "asking", "-answer=7")
    govc("vm.question", "-vm", "asking", "-answer=1")
    assert vm.question is None


@holds("vm.console", "vm.keystrokes")
def test_the_console_of_a_running_vm_is_reached(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "screen")
    assert "current state" in govc.refused("vm.keystrokes", "-vm", "screen", "-s", "ls")
    govc("vm.power", "-on", "screen")
    govc("vm.keystrokes", "-vm", "screen", "-s", "ls -l")
    assert vcenter.request_log.count("PutUsbScanCodes") == 2
    assert govc("vm.console", "-wss", "screen").startswith("wss://DC0_C0_H")


@holds("vm.guest.tools")
def test_the_image_of_tools_is_inserted(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "tools")
    assert "not running" in govc.refused("vm.guest.tools", "-mount", "tools")
    govc("vm.power", "-on", "tools")
    govc("vm.guest.tools", "-mount", "tools")
    assert collected(govc, "tools", "runtime.toolsInstallerMounted") == "true"
    govc("vm.guest.tools", "-unmount", "tools")
    assert collected(govc, "tools", "runtime.toolsInstallerMounted") == "false"


@holds("vm.vnc")
def test_vnc_is_configured(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "vnc")
    govc("vm.vnc", "-enable", "-port=5901", "-password=secret", "vnc")
    assert vcenter.find_vm("vnc").settings.extra_config["RemoteDisplay.vnc.port"] == "5901"
    assert ":5901" in govc("vm.vnc", "vnc")
    govc("vm.vnc", "-disable", "vnc")
    assert "disabled" in govc("vm.vnc", "vnc")


@holds("vm.option.ls", "vm.option.info", "vm.target.info", "vm.target.cap.ls")
def test_what_a_cluster_offers_is_listed(govc: Govc) -> None:
    assert "vmx-19" in govc("vm.option.ls", "-cluster", "DC0_C0")
    guests = govc("vm.option.info", "-cluster", "DC0_C0", "ubuntu64Guest").splitlines()
    assert [line.split()[0] for line in guests] == ["ubuntu64Guest"]
    assert "DC0_DS1" in govc("vm.target.info", "-cluster", "DC0_C0")
    create(govc, "browsing")
    assert "VM Network" in govc("vm.target.info", "-vm", "browsing")
    assert "MaintenanceModeSupported" in govc("vm.target.cap.ls", "-host", "DC0_C0_H0")

"""The configuration of a host: host.vswitch.*, host.portgroup.*, host.service.* and the like."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


@pytest.fixture
def govc(govc: Govc) -> Govc:
    govc.environment["GOVC_HOST"] = "DC0_C0_H0"
    return govc


@holds("host.vswitch.add", "host.vswitch.info", "host.vswitch.remove")
def test_a_switch_is_added_and_removed(govc: Govc) -> None:
    govc("host.vswitch.add", "-nic=vmnic1", "-mtu=9000", "vSwitch1")
    switches = govc.json("host.vswitch.info")["vswitch"]
    assert [(one["name"], one["mtu"]) for one in switches] == [
        ("vSwitch0", 1500),
        ("vSwitch1", 9000),
    ]
    assert govc.refused("host.vswitch.add", "vSwitch1")
    assert govc.refused("host.vswitch.add", "-nic=vmnic1", "vSwitch2")
    assert govc.refused("host.vswitch.remove", "vSwitch0")
    govc("host.vswitch.remove", "vSwitch1")
    assert "vSwitch1" not in govc("host.vswitch.info")


@holds(
    "host.portgroup.add", "host.portgroup.info", "host.portgroup.change", "host.portgroup.remove"
)
def test_a_port_group_is_a_network_of_vms(govc: Govc, vcenter: VCenter) -> None:
    govc("host.portgroup.add", "-vswitch=vSwitch0", "-vlan=12", "front")
    govc("vm.create", "-on=false", "-ds=DC0_DS0", "-net=front", "on-front")
    assert [one.name for one in vcenter.find_vm("on-front").network] == ["front"]
    assert govc.refused("host.portgroup.remove", "front")
    govc("host.portgroup.change", "-vlan-id=13", "-allow-promiscuous=true", "front")
    shown = {one["spec"]["name"]: one for one in govc.json("host.portgroup.info")["portgroup"]}
    assert shown["front"]["spec"]["vlanId"] == 13
    assert shown["front"]["computedPolicy"]["security"]["allowPromiscuous"] is True
    assert shown["VM Network"]["computedPolicy"]["security"]["allowPromiscuous"] is False
    govc("vm.destroy", "on-front")
    govc("host.portgroup.remove", "front")
    assert "front" not in govc("ls", "/DC0/network")


@holds("host.vnic.info", "host.vnic.change", "host.vnic.service", "host.vnic.hint")
def test_the_adapters_of_a_host_are_configured(govc: Govc) -> None:
    (nic,) = govc.json("host.vnic.info")["info"]
    assert (nic["device"], nic["switch"], nic["services"]) == ("vmk0", "vSwitch0", ["management"])
    govc("host.vnic.service", "-enable", "vmotion", "vmk0")
    assert govc.json("host.vnic.info")["info"][0]["services"] == ["vmotion", "management"]
    govc("host.vnic.service", "-enable=false", "vmotion", "vmk0")
    assert govc.json("host.vnic.info")["info"][0]["services"] == ["management"]
    govc("host.vnic.change", "-mtu=9000", "vmk0")
    assert govc.refused("host.vnic.change", "-mtu=9000", "vmk7")
    assert [one["device"] for one in govc.json("host.vnic.hint")["hint"]] == ["vmnic0", "vmnic1"]


@holds("host.service", "host.service.ls")
def test_a_service_is_started_and_stopped(govc: Govc) -> None:
    govc("host.service", "start", "TSM-SSH")
    govc("host.service", "enable", "TSM-SSH")
    assert govc("host.service", "status", "TSM-SSH").strip() == "Running"
    assert govc.refused("host.service", "start", "TSM-SSH")
    (ssh,) = [one for one in govc.json("host.service.ls") if one["key"] == "TSM-SSH"]
    assert (ssh["running"], ssh["policy"]) == (True, "on")
    govc("host.service", "stop", "TSM-SSH")
    assert govc("host.service", "status", "TSM-SSH").strip() == "Stopped"


@holds("host.date.info", "host.date.change")
def test_the_clock_of_a_host_is_set(govc: Govc, vcenter: VCenter) -> None:
    govc("host.date.change", "-server=ntp.example.org")
    assert govc.json("host.date.info")["ntpConfig"]["server"] == ["ntp.example.org"]
    govc("host.date.change", "-date=Mon Jan 2 15:04:05 UTC 2040")
    assert govc.json("host.date.info")["current"].startswith("2040-01-02T15:0")
    assert vcenter.clock.now().year < 2040, "the clock of vCenter moved too"


@holds("host.account.create", "host.account.update", "host.account.remove")
def test_an_account_is_made_and_removed(govc: Govc, vcenter: VCenter) -> None:
    govc("host.account.create", "-id=backup", "-password=secret", "-description=for backups")
    assert govc.refused("host.account.create", "-id=backup", "-password=secret")
    govc("host.account.update", "-id=backup", "-description=other")
    host, _ = vcenter.registry.of_type(vim.HostSystem)
    assert host.parts["accountManager"].descriptions["backup"] == "other"
    govc("host.account.remove", "-id=backup")
    assert govc.refused("host.account.update", "-id=backup")


@holds(
    "host.autostart.add",
    "host.autostart.info",
    "host.autostart.remove",
    "host.autostart.configure",
)
def test_a_vm_starts_with_its_host(govc: Govc) -> None:
    govc("vm.create", "-on=false", "-ds=DC0_DS0", "starting")
    govc("host.autostart.add", "-start-delay=7", "starting")
    (row,) = govc("host.autostart.info").splitlines()[1:]
    assert row.split()[:3] == ["/DC0/vm/starting", "powerOn", "7"]
    govc("host.autostart.configure", "-enabled=true", "-start-delay=9")
    defaults = govc.json("host.autostart.info")["config"]["defaults"]
    assert (defaults["enabled"], defaults["startDelay"], defaults["stopDelay"]) == (True, 9, 120)
    govc("host.autostart.remove", "starting")
    assert govc("host.autostart.info").splitlines()[1:] == []


@holds("host.cert.info", "host.cert.csr", "host.cert.import")
def test_the_certificate_of_a_host_is_replaced(govc: Govc, vcenter: VCenter) -> None:
    assert "Fake vCenter" in govc.json("host.cert.info")["issuer"]
    assert govc("host.cert.csr").startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert govc.refused("host.cert.import", "-", stdin="no certificate")
    with open(vcenter.ca_file) as file:
        govc("host.cert.import", "-", stdin=file.read())
    assert "CA" in govc.json("host.cert.info")["subject"]


@holds("host.option.ls", "host.option.set")
def test_an_option_of_a_host_is_set(govc: Govc) -> None:
    govc("host.option.set", "Config.HostAgent.log.level", "verbose")
    govc("host.option.set", "NFS.MaxVolumes", "128")
    assert "verbose" in govc("host.option.ls", "Config.HostAgent.")
    assert govc("host.option.ls", "NFS.MaxVolumes").split() == ["NFS.MaxVolumes:", "128"]
    assert govc.refused("host.option.set", "No.Such", "1")


@holds("host.storage.info", "host.storage.mark", "host.storage.partition")
def test_the_disk_of_a_host_is_marked(govc: Govc) -> None:
    assert "vmhba0" in govc("host.storage.info", "-rescan", "-t=hba")
    (lun,) = govc.json("host.storage.info", "-t=lun")["storageDeviceInfo"]["scsiLun"]
    path = lun["devicePath"]
    govc("host.storage.mark", "-ssd=true", path)
    assert "ssd" in govc("host.storage.info", "-t=lun", "-unclaimed")
    govc("host.storage.mark", "-ssd=false", "-local=false", path)
    assert "(" not in govc("host.storage.info", "-t=lun")
    assert "gpt" in govc("host.storage.partition", path)


@holds("firewall.ruleset.find")
def test_a_rule_of_the_firewall_is_found(govc: Govc) -> None:
    find = ("firewall.ruleset.find", "-c=false", "-direction=inbound")
    assert govc(*find, "-port=902").split() == ["NFC"]
    assert govc(*find, "-port=22", "-enabled=false").split() == ["sshServer"]
    assert govc.refused(*find, "-port=22")


@holds("host.tpm.info", "host.tpm.report")
def test_a_host_has_no_tpm(govc: Govc) -> None:
    rows = [line.split() for line in govc("host.tpm.info").splitlines()[1:]]
    assert [row[:2] for row in rows] == [["DC0_C0_H0", "N/A"], ["DC0_C0_H1", "N/A"]]
    assert govc("host.tpm.report") == ""


@holds("datastore.create", "datastore.remove")
def test_an_export_is_mounted_and_taken_away(govc: Govc, vcenter: VCenter) -> None:
    mount = ("-type=nfs", "-name=nfs", "-mode=readWrite", "-remote-host=nas", "-remote-path=/e")
    govc("datastore.create", *mount, "DC0_C0/*")
    assert [host.name for host in vcenter.datastore("nfs").mounts] == ["DC0_C0_H0", "DC0_C0_H1"]
    assert govc.refused("datastore.create", *mount, "DC0_C0_H0")
    govc("vm.create", "-on=false", "-ds=nfs", "-host=DC0_C0_H1", "on-nfs")
    govc("datastore.remove", "-ds=nfs", "DC0_C0_H0")
    assert govc.refused("datastore.remove", "-ds=nfs", "DC0_C0_H1")
    govc("vm.destroy", "on-nfs")
    govc("datastore.remove", "-ds=nfs", "DC0_C0_H1")
    assert "nfs" not in govc("ls", "/DC0/datastore").replace("DC0", "").split("/")

"""Distributed switches and their port groups: dvs.*"""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


@holds("dvs.create", "dvs.add", "dvs.change")
def test_a_switch_is_created_and_joined(govc: Govc, vcenter: VCenter) -> None:
    govc("dvs.create", "-mtu=9000", "-num-uplinks=2", "DSwitch")
    assert govc.refused("dvs.create", "DSwitch")
    govc("dvs.add", "-dvs=DSwitch", "-pnic=vmnic1", "DC0_C0_H0", "DC0_C0_H1")
    govc("dvs.change", "-mtu=1600", "-discovery-protocol=lldp", "DSwitch")
    config = govc.json("collect", "-s", "/DC0/network/DSwitch", "config")
    assert (config["maxMtu"], len(config["host"])) == (1600, 2)
    assert config["linkDiscoveryProtocolConfig"]["protocol"] == "lldp"
    assert config["uplinkPortPolicy"]["uplinkPortName"] == ["Uplink 1", "Uplink 2"]
    assert "DSwitch-DVUplinks-" in govc("ls", "/DC0/network")


@holds("dvs.portgroup.add", "dvs.portgroup.info", "dvs.portgroup.change", "object.destroy")
def test_a_port_group_is_a_network_of_the_members(govc: Govc, vcenter: VCenter) -> None:
    govc("dvs.create", "Members")
    govc("dvs.add", "-dvs=Members", "DC0_C0_H0")
    govc("dvs.portgroup.add", "-dvs=Members", "-vlan=7", "-nports=3", "front")
    ports = govc("dvs.portgroup.info", "-pg=front", "Members")
    assert ports.count("VlanId:       7\n") == 3
    make = ("vm.create", "-on=false", "-ds=DC0_DS0", "-net=front")
    assert "backing" in govc.refused(*make, "-host=DC0_C0_H1", "elsewhere")
    govc(*make, "-host=DC0_C0_H0", "member")
    (card,) = govc.json("device.info", "-vm=member", "ethernet-0")["devices"]
    assert card["backing"]["port"]["portKey"] == "0"
    assert [one.name for one in vcenter.find_vm("member").network] == ["front"]
    assert govc("dvs.portgroup.info", "-pg=front", "Members").count("PortKey") == 2
    assert govc("dvs.portgroup.info", "-pg=front", "-connected", "Members").count("PortKey") == 1
    govc("dvs.portgroup.change", "-nports=4", "-vlan=8", "front")
    assert govc("dvs.portgroup.info", "-pg=front", "Members").count("VlanId:       8\n") == 3
    assert govc.refused("object.destroy", "/DC0/network/front")
    govc("vm.clone", "-vm=member", "-ds=DC0_DS0", "-host=DC0_C0_H0", "-on=false", "clone")
    govc("vm.network.add", "-vm=member", "-net=front")
    connected = [
        device.backing.port.portKey
        for name in ("member", "clone")
        for device in vcenter.find_vm(name).devices.others
    ]
    assert sorted(connected) == ["0", "1", "2"], "two cards share a port"
    govc("vm.destroy", "member", "clone")
    govc("object.destroy", "/DC0/network/front")
    govc("object.destroy", "/DC0/network/Members")
    assert "Members" not in govc("ls", "/DC0/network")

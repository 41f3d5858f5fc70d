"""HostNetworkSystem: the virtual switches of a host and their port groups.

A new host has vSwitch0 on vmnic0, with the port groups "VM Network" for its VMs and "Management
Network" with vmk0. A port group for VMs is a Network of the datacenter, shared by all hosts that
have one of that name. (vSphere Networking, "vSphere Standard Switches")
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart
from tests.fakes.vcenter.network import Network

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem

MANAGEMENT = "Management Network"
_PORTS = 128


@dataclass
class Switch:
    """A virtual switch: its spec, and its port groups by name."""

    name: str
    spec: Any
    groups: dict[str, Any] = field(default_factory=dict)


class HostNetworkSystem(HostPart):
    """See the module's docstring. For tests: `switches`, `nics`."""

    TYPE = vim.host.NetworkSystem
    NAME = "networkSystem"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        bridge = vim.host.VirtualSwitch.BondBridge(nicDevice=["vmnic0"])
        switch = Switch("vSwitch0", _switch_spec(bridge))
        names = [network.name for network in host.network if network.TYPE is vim.Network]  # type: ignore[attr-defined]
        for name in (*names, MANAGEMENT):
            switch.groups[name] = _group_spec(name, switch.name)
        self.switches = {switch.name: switch}
        number = int(host.moref.rpartition("-")[2]) % 250
        address = vim.host.IpConfig(
            dhcp=False, ipAddress=f"192.0.2.{number}", subnetMask="255.255.255.0"
        )
        self.nics = {
            "vmk0": vim.host.VirtualNic(
                device="vmk0",
                key="key-vim.host.VirtualNic-vmk0",
                portgroup=MANAGEMENT,
                spec=vim.host.VirtualNic.Specification(
                    ip=address,
                    mac=f"00:50:56:60:00:{number:02x}",
                    mtu=1500,
                    tsoEnabled=True,
                    netStackInstanceKey="defaultTcpipStack",
                ),
            )
        }

    @property
    def networkInfo(self) -> Any:
        """Switches, port groups and network adapters."""
        return vim.host.NetworkInfo(
            vswitch=[_switch_info(switch) for switch in self.switches.values()],
            portgroup=[
                vim.host.PortGroup(
                    key=f"key-vim.host.PortGroup-{name}",
                    vswitch=f"key-vim.host.VirtualSwitch-{switch.name}",
                    computedPolicy=_computed(switch, spec),
                    spec=spec,
                )
                for switch in self.switches.values()
                for name, spec in switch.groups.items()
            ],
            pnic=[_physical_nic("vmnic0", 0), _physical_nic("vmnic1", 1)],
            vnic=list(self.nics.values()),
        )

    # Switches

    def AddVirtualSwitch(self, ctx: Context, vswitchName: str, spec: Any) -> None:
        """AlreadyExists for a taken name; ResourceInUse for an adapter of another switch."""
        if vswitchName in self.switches:
            raise vim.fault.AlreadyExists(name=vswitchName)
        asked = copy.copy(spec) if spec is not None else _switch_spec(None)
        self._check_bridge(vswitchName, asked.bridge)
        asked.numPorts = asked.numPorts or _PORTS
        asked.policy = asked.policy or _policy()
        self.switches[vswitchName] = Switch(vswitchName, asked)
        self.changed("networkInfo")

    def _check_bridge(self, name: str, bridge: Any) -> None:
        cards = {card for switch in self.switches.values() for card in _cards(switch.spec)}
        wanted = set(bridge.nicDevice) if bridge is not None else set()
        if wanted & cards:
            raise vim.fault.ResourceInUse(type=vim.host.PhysicalNic, name=min(wanted & cards))
        if wanted - {"vmnic0", "vmnic1"}:
            raise vim.fault.NotFound(msg=f"{name}: no such physical network adapter")

    def RemoveVirtualSwitch(self, ctx: Context, vswitchName: str) -> None:
        """NotFound for an unknown switch; ResourceInUse while VMs or the host itself are connected
        to it.
        """
        switch = self._switch(vswitchName)
        for name in switch.groups:
            self._check_unused(name)
        for name in list(switch.groups):
            self._remove_group(switch, name)
        del self.switches[vswitchName]
        self.changed("networkInfo")

    def _switch(self, name: str) -> Switch:
        if name not in self.switches:
            raise vim.fault.NotFound(msg=f"The switch {name} was not found.")
        return self.switches[name]

    # Port groups

    def AddPortGroup(self, ctx: Context, portgrp: Any) -> None:
        """Add a Network for the VMs of this host. AlreadyExists for a taken name, NotFound for an
        unknown switch, InvalidArgument for an impossible VLAN."""
        _check_vlan(portgrp)
        if any(portgrp.name in switch.groups for switch in self.switches.values()):
            raise vim.fault.AlreadyExists(name=portgrp.name)
        self._switch(portgrp.vswitchName).groups[portgrp.name] = portgrp
        self._attach(portgrp.name)
        self.changed("networkInfo")

    def _attach(self, name: str) -> None:
        datacenter = self.host.datacenter
        network = datacenter.networkFolder.child(name)
        if network is None:
            network = Network(self.vcenter, name)
            datacenter.networkFolder.add_child(network)
            datacenter.add_member("network", network)
        self.host.add_member("network", network)
        network.add_member("host", self.host)

    def UpdatePortGroup(self, ctx: Context, pgName: str, portgrp: Any) -> None:
        """Change the name, switch, VLAN or policy."""
        _check_vlan(portgrp)
        present = self._switch_of(pgName)
        target = self._switch(portgrp.vswitchName)
        renamed = portgrp.name != pgName
        if renamed:
            self._check_unused(pgName)
            if any(portgrp.name in switch.groups for switch in self.switches.values()):
                raise vim.fault.AlreadyExists(name=portgrp.name)
            self._remove_group(present, pgName)
            self._attach(portgrp.name)
        else:
            del present.groups[pgName]
        target.groups[portgrp.name] = portgrp
        self.changed("networkInfo")

    def RemovePortGroup(self, ctx: Context, pgName: str) -> None:
        """NotFound for an unknown port group; ResourceInUse while VMs or the host itself are
        connected to it.
        """
        switch = self._switch_of(pgName)
        self._check_unused(pgName)
        self._remove_group(switch, pgName)
        self.changed("networkInfo")

    def _switch_of(self, name: str) -> Switch:
        for switch in self.switches.values():
            if name in switch.groups:
                return switch
        raise vim.fault.NotFound(msg=f"The port group {name} was not found.")

    def _check_unused(self, name: str) -> None:
        used = any(nic.portgroup == name for nic in self.nics.values())
        network = self._network(name)
        if network is not None:
            used = used or any(vm.host is self.host for vm in network.vm)  # type: ignore[attr-defined]
        if used:
            raise vim.fault.ResourceInUse(type=vim.host.PortGroup, name=name)

    def _network(self, name: str) -> Network | None:
        found = (one for one in self.host.network if isinstance(one, Network))
        return next((one for one in found if one.name == name), None)

    def _remove_group(self, switch: Switch, name: str) -> None:
        del switch.groups[name]
        network = self._network(name)
        if network is None:
            return
        self.host.remove_member("network", network)
        network.remove_member("host", self.host)
        if not network.host:
            datacenter = self.host.datacenter
            datacenter.remove_member("network", network)
            datacenter.networkFolder.remove_child(network)
            network.destroy_object()

    # -- network adapters

    def UpdateVirtualNic(self, ctx: Context, device: str, nic: Any) -> None:
        """Fields that are unset stay."""
        if device not in self.nics:
            raise vim.fault.NotFound(msg=f"The virtual network adapter {device} was not found.")
        changed = copy.copy(self.nics[device])
        changed.spec = copy.copy(changed.spec)
        for info in nic._GetPropertyList():
            value = getattr(nic, info.name)
            if value is not None:
                setattr(changed.spec, info.name, value)
        self.nics[device] = changed
        self.changed("networkInfo")

    def QueryNetworkHint(self, ctx: Context, device: Any) -> list[Any]:
        """The networks that the adapters see; InvalidArgument for an unknown adapter is
        unconfirmed.
        """
        known = ["vmnic0", "vmnic1"]
        for one in device or []:
            if one not in known:
                raise vmodl.fault.InvalidArgument(invalidProperty="device")
        return [vim.host.PhysicalNic.NetworkHint(device=one) for one in device or known]


def _cards(spec: Any) -> list[str]:
    return list(spec.bridge.nicDevice) if spec.bridge is not None else []


def _check_vlan(spec: Any) -> None:
    if not 0 <= spec.vlanId <= 4095:
        raise vmodl.fault.InvalidArgument(invalidProperty="portgrp.vlanId")


def _policy() -> Any:
    """The defaults of a new switch since ESXi 7. (vSphere Security, "Securing vSphere Standard
    Switches")"""
    return vim.host.NetworkPolicy(
        security=vim.host.NetworkPolicy.SecurityPolicy(
            allowPromiscuous=False, macChanges=False, forgedTransmits=False
        )
    )


def _computed(switch: Switch, spec: Any) -> Any:
    """The settings of a port group, which inherits whatever it leaves unset."""
    own = spec.policy.security if spec.policy else None
    above = switch.spec.policy.security
    names = ("allowPromiscuous", "macChanges", "forgedTransmits")
    values = {name: getattr(own, name, None) for name in names}
    return vim.host.NetworkPolicy(
        security=vim.host.NetworkPolicy.SecurityPolicy(
            **{
                name: getattr(above, name) if value is None else value
                for name, value in values.items()
            }
        )
    )


def _switch_spec(bridge: Any) -> Any:
    return vim.host.VirtualSwitch.Specification(numPorts=_PORTS, bridge=bridge, policy=_policy())


def _group_spec(name: str, switch: str) -> Any:
    return vim.host.PortGroup.Specification(
        name=name, vlanId=0, vswitchName=switch, policy=vim.host.NetworkPolicy()
    )


def _switch_info(switch: Switch) -> Any:
    return vim.host.VirtualSwitch(
        name=switch.name,
        key=f"key-vim.host.VirtualSwitch-{switch.name}",
        numPorts=switch.spec.numPorts,
        numPortsAvailable=switch.spec.numPorts - len(switch.groups),
        mtu=switch.spec.mtu or 1500,
        portgroup=[f"key-vim.host.PortGroup-{name}" for name in switch.groups],
        pnic=[f"key-vim.host.PhysicalNic-{card}" for card in _cards(switch.spec)],
        spec=switch.spec,
    )


def _physical_nic(device: str, number: int) -> Any:
    return vim.host.PhysicalNic(
        key=f"key-vim.host.PhysicalNic-{device}",
        device=device,
        pci=f"0000:04:00.{number}",
        driver="ixgben",
        spec=vim.host.PhysicalNic.Specification(),
        wakeOnLanSupported=False,
        mac=f"02:00:00:00:00:0{number}",
    )

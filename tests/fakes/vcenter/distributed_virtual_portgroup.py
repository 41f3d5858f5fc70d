"""DistributedVirtualPortgroup: a network of the hosts that are members of its switch.

Its key is its moref. A network card connected to it gets the first free port.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.network import Network
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.distributed_virtual_switch import DistributedVirtualSwitch
    from tests.fakes.vcenter.virtual_machine_devices import Devices

_Backing = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo
_Port = vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy
_TYPES = ("earlyBinding", "lateBinding", "ephemeral")


class DistributedVirtualPortgroup(Network):
    """See the module's docstring."""

    TYPE = vim.dvs.DistributedVirtualPortgroup
    PREFIX = "dvportgroup"

    def __init__(self, switch: DistributedVirtualSwitch, name: str, *, is_uplink: bool) -> None:
        super().__init__(switch.vcenter, name)
        self.switch = switch
        self.is_uplink = is_uplink
        self.kind = "earlyBinding"
        self.port_count = 0
        self.auto_expand = True
        self.port_config: Any = _Port(
            vlan=vim.dvs.VmwareDistributedVirtualSwitch.VlanIdSpec(vlanId=0, inherited=False)
        )
        self.change_number = 0

    @property
    def key(self) -> str:
        return self.moref

    @property
    def config(self) -> Any:
        """The DVPortgroupConfigInfo."""
        return vim.dvs.DistributedVirtualPortgroup.ConfigInfo(
            key=self.key,
            name=self.name,
            numPorts=self.port_count,
            distributedVirtualSwitch=self.switch.ref,
            defaultPortConfig=self.port_config,
            type=self.kind,
            policy=vim.dvs.DistributedVirtualPortgroup.PortgroupPolicy(
                blockOverrideAllowed=True,
                portConfigResetAtDisconnect=True,
            ),
            configVersion=str(self.change_number),
            autoExpand=self.auto_expand,
            uplink=self.is_uplink,
        )

    @property
    def portKeys(self) -> list[str]:
        """Keys of its ports. Unlike in a real vCenter, they are unique only within the port
        group.
        """
        return [str(number) for number in range(self.port_count)]

    def apply(self, spec: Any) -> None:
        """Apply the fields that are set. ConcurrentAccess for a version other than the present one,
        InvalidArgument for an unknown type, ResourceInUse for fewer ports than are in use."""
        if spec.configVersion and spec.configVersion != str(self.change_number):
            raise vim.fault.ConcurrentAccess()
        if spec.type and spec.type not in _TYPES:
            raise vmodl.fault.InvalidArgument(invalidProperty="spec.type")
        if spec.numPorts is not None and spec.numPorts < len(self.connected()):
            raise vim.fault.ResourceInUse(type=self.TYPE, name=self.name)
        if spec.name and spec.name != self.name:
            self.rename(spec.name)
        self.kind = spec.type or self.kind
        self.port_count = self.port_count if spec.numPorts is None else spec.numPorts
        if spec.autoExpand is not None:
            self.auto_expand = spec.autoExpand
        if spec.defaultPortConfig is not None:
            self.port_config = spec.defaultPortConfig
        self.change_number += 1
        self.changed("config", "portKeys")

    # Members

    def attach(self, host: Any) -> None:
        """Add it to the host's networks."""
        host.add_member("network", self)
        self.add_member("host", host)

    def detach(self, host: Any) -> None:
        """Remove it from the host's networks."""
        host.remove_member("network", self)
        self.remove_member("host", host)

    def leave(self) -> None:
        """Remove it from the inventory."""
        for host in self.host:
            self.detach(host)
        if self.datacenter is not None:
            self.datacenter.remove_member("network", self)
        self.switch.remove_member("portgroup", self)
        if self.folder is not None:
            self.folder.remove_child(self)
        self.destroy_object()

    # Ports

    def connected(self) -> dict[str, tuple[ManagedObject, Any]]:
        """Port key -> the VM and its network card."""
        return {
            device.backing.port.portKey: (vm, device)
            for vm in self.vm
            for device in self.cards_of(vm.devices)  # type: ignore[attr-defined]
        }

    def cards_of(self, devices: Devices) -> list[Any]:
        """The network cards among `devices` that are on this port group."""
        cards = [device for device in devices.others if isinstance(device.backing, _Backing)]
        return [card for card in cards if card.backing.port.portgroupKey == self.key]

    def connection(self, port: Any, devices: Devices) -> Any:
        """The port connection of a network card that asks for `port` and will be one of `devices`.

        ResourceNotAvailable if no port is free and the port group does not grow; a port requested
        by its key is not checked.
        """
        made = copy.copy(port)
        made.switchUuid = self.switch.uuid
        made.connectionCookie = made.connectionCookie or 1
        if made.portKey is None:
            taken = {card.backing.port.portKey for card in self.cards_of(devices)}
            made.portKey = self._free_port(taken | self.connected().keys())
        return made

    def _free_port(self, taken: set[str]) -> str:
        key = next((key for key in self.portKeys if key not in taken), None)
        if key is not None:
            return key
        if not (self.auto_expand or self.kind == "ephemeral"):
            raise vim.fault.ResourceNotAvailable(name=self.name)
        self.port_count += 1
        self.changed("config", "portKeys")
        return self.portKeys[-1]

    def ports(self) -> list[Any]:
        """All ports, with the connected network cards."""
        taken = self.connected()
        return [
            vim.dvs.DistributedVirtualPort(
                key=key,
                config=vim.dvs.DistributedVirtualPort.ConfigInfo(
                    setting=self.port_config, configVersion="0"
                ),
                dvsUuid=self.switch.uuid,
                portgroupKey=self.key,
                connectee=_connectee(*taken[key]) if key in taken else None,
                conflict=False,
                lastStatusChange=self.switch.created_at,
            )
            for key in self.portKeys
        ]

    # -- the vSphere API

    def ReconfigureDVPortgroup_Task(self, ctx: Context, spec: Any) -> Task:
        return self.vcenter.tasks.start(
            self,
            "ReconfigureDVPortgroup_Task",
            "DistributedVirtualPortgroup.reconfigure",
            lambda task: self.apply(spec),
            session=ctx.session,
        )

    def Destroy_Task(self, ctx: Context) -> Task:
        """ResourceInUse while a VM has a network card on it; NotSupported for the uplink port
        group.
        """

        def work(task: Task) -> None:
            if self.is_uplink:
                raise vmodl.fault.NotSupported()
            if self.vm:
                raise vim.fault.ResourceInUse(type=self.TYPE, name=self.name)
            self.leave()

        return self.vcenter.tasks.start(
            self, "Destroy_Task", "Network.destroy", work, session=ctx.session
        )


def _connectee(vm: ManagedObject, card: Any) -> Any:
    return vim.dvs.PortConnectee(connectedEntity=vm.ref, nicKey=str(card.key), type="vmVnic")

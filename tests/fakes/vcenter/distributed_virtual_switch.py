"""DistributedVirtualSwitch: one switch for many hosts, with port groups; it carries no traffic.

A host that joins has all port groups of the switch. Every switch has an uplink port group, named
"<switch>-DVUplinks-<number>". (vSphere Networking, "vSphere Distributed Switches")
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.distributed_virtual_portgroup import DistributedVirtualPortgroup
from tests.fakes.vcenter.managed_entity import ManagedEntity, check_name
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.folder import Folder
    from tests.fakes.vcenter.vcenter import VCenter

_Spec = vim.dvs.VmwareDistributedVirtualSwitch.ConfigSpec
_UPLINKS = 4


class DistributedVirtualSwitch(ManagedEntity):
    """For tests: `portgroups`, `hosts`."""

    TYPE = vim.dvs.VmwareDistributedVirtualSwitch
    PREFIX = "dvs"

    def __init__(self, vcenter: VCenter, name: str, version: str) -> None:
        super().__init__(vcenter, name)
        self.version = version
        digits = uuid.uuid4().hex
        pairs = [digits[position : position + 2] for position in range(0, 32, 2)]
        self.uuid = f"{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"
        self.created_at = vcenter.clock.now()
        self.change_number = 1
        self.max_mtu = 1500
        self.discovery: Any = None
        self.uplinks = [f"Uplink {number}" for number in range(1, _UPLINKS + 1)]
        self.hosts: dict[str, Any] = {}  # moref -> backing

    @property
    def portgroup(self) -> list[Any]:
        """All port groups, including the uplinks'."""
        return self.members("portgroup")

    @property
    def portgroups(self) -> list[DistributedVirtualPortgroup]:
        return self.members("portgroup")

    @property
    def config(self) -> Any:
        """The VMwareDVSConfigInfo."""
        ports = sum(group.port_count for group in self.portgroups)
        return vim.dvs.VmwareDistributedVirtualSwitch.ConfigInfo(
            uuid=self.uuid,
            name=self.name,
            numStandalonePorts=0,
            numPorts=ports,
            maxPorts=2147483647,
            uplinkPortPolicy=vim.DistributedVirtualSwitch.NameArrayUplinkPortPolicy(
                uplinkPortName=self.uplinks
            ),
            uplinkPortgroup=[group.ref for group in self.portgroups if group.is_uplink],
            defaultPortConfig=vim.dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy(),
            host=[self._member(moref, backing) for moref, backing in self.hosts.items()],
            productInfo=self._product(),
            configVersion=str(self.change_number),
            contact=vim.DistributedVirtualSwitch.ContactInfo(),
            createTime=self.created_at,
            networkResourceManagementEnabled=True,
            maxMtu=self.max_mtu,
            linkDiscoveryProtocolConfig=self.discovery,
        )

    def _member(self, moref: str, backing: Any) -> Any:
        return vim.dvs.HostMember(
            config=vim.dvs.HostMember.ConfigInfo(
                host=vim.HostSystem(moref), maxProxySwitchPorts=2048, backing=backing
            ),
            status="up",
        )

    def _product(self) -> Any:
        return vim.dvs.ProductSpec(
            name="DVS",
            vendor="VMware, Inc.",
            version=self.version,
            build="1",
            forwardingClass="etherswitch",
        )

    @property
    def summary(self) -> Any:
        """Name, ports and hosts."""
        return vim.DistributedVirtualSwitch.Summary(
            name=self.name,
            uuid=self.uuid,
            numPorts=self.config.numPorts,
            productInfo=self._product(),
            hostMember=[vim.HostSystem(moref) for moref in self.hosts],
            portgroupName=[group.name for group in self.portgroups],
            numHosts=len(self.hosts),
        )

    def _member_hosts(self) -> Iterator[ManagedEntity]:
        for moref in list(self.hosts):
            host = self.vcenter.registry.get(moref)
            if host is None:
                del self.hosts[moref]
            else:
                yield host  # type: ignore[misc]

    # Changes

    def apply(self, spec: Any) -> None:
        """Apply the fields that are set. ConcurrentAccess for a version other than the present
        one.
        """
        if spec.configVersion and spec.configVersion != str(self.change_number):
            raise vim.fault.ConcurrentAccess()
        for member in spec.host or []:
            self._change_host(member)
        if spec.name and spec.name != self.name:
            self.rename(spec.name)
        if isinstance(spec, _Spec):
            self.max_mtu = spec.maxMtu or self.max_mtu
            self.discovery = spec.linkDiscoveryProtocolConfig or self.discovery
        if spec.uplinkPortPolicy is not None:
            self.uplinks = list(spec.uplinkPortPolicy.uplinkPortName)
        self.change_number += 1
        self.changed("config", "summary")

    def _change_host(self, member: Any) -> None:
        """AlreadyExists for a host that is a member, NotFound for one that is not, ResourceInUse
        for one whose VMs have network cards on the switch."""
        host = self.vcenter.registry.require(member.host)
        if member.operation == "remove":
            if host.moref not in self.hosts:
                raise vim.fault.NotFound(msg=f"'{host.name}' is not a member of '{self.name}'.")
            if any(vm.host is host for group in self.portgroups for vm in group.vm):
                raise vim.fault.ResourceInUse(type=vim.HostSystem, name=host.name)
            del self.hosts[host.moref]
            for group in self.portgroups:
                group.detach(host)
            return
        if member.operation == "add" and host.moref in self.hosts:
            raise vim.fault.AlreadyExists(name=host.name)
        if member.operation == "edit" and host.moref not in self.hosts:
            raise vim.fault.NotFound(msg=f"'{host.name}' is not a member of '{self.name}'.")
        self.hosts[host.moref] = member.backing or vim.dvs.HostMember.PnicBacking()
        for group in self.portgroups:
            group.attach(host)

    def add_portgroup(self, spec: Any, *, is_uplink: bool = False) -> DistributedVirtualPortgroup:
        """Create a port group in the switch's folder."""
        name = check_name(spec.name)
        assert self.folder is not None
        self.folder.check_free(name)
        group = DistributedVirtualPortgroup(self, name, is_uplink=is_uplink)
        group.apply(spec)
        self.folder.add_child(group)
        self.add_member("portgroup", group)
        if self.datacenter is not None:
            self.datacenter.add_member("network", group)
        for host in self._member_hosts():
            group.attach(host)
        self.changed("config", "summary")
        return group

    def destroy(self) -> None:
        """ResourceInUse while a VM has a network card on it."""
        if any(group.vm for group in self.portgroups):
            raise vim.fault.ResourceInUse(type=self.TYPE, name=self.name)
        for group in list(self.portgroups):
            group.leave()
        if self.folder is not None:
            self.folder.remove_child(self)
        self.destroy_object()

    # -- the vSphere API

    def ReconfigureDvs_Task(self, ctx: Context, spec: Any) -> Task:
        return self._task(ctx, "ReconfigureDvs_Task", "reconfigure", lambda: self.apply(spec))

    def AddDVPortgroup_Task(self, ctx: Context, spec: Any) -> Task:
        """Add all port groups or none; DuplicateName for a taken name."""

        def add() -> None:
            made: list[DistributedVirtualPortgroup] = []
            try:
                for one in spec:
                    made += [self.add_portgroup(one)]
            except vmodl.MethodFault:
                for group in made:
                    group.leave()
                raise

        return self._task(ctx, "AddDVPortgroup_Task", "addPortgroups", add)

    def CreateDVPortgroup_Task(self, ctx: Context, spec: Any) -> Task:
        return self._task(
            ctx, "CreateDVPortgroup_Task", "addPortgroup", lambda: self.add_portgroup(spec)
        )

    def Destroy_Task(self, ctx: Context) -> Task:
        return self._task(ctx, "Destroy_Task", "destroy", self.destroy)

    def _task(self, ctx: Context, method: str, what: str, work: Any) -> Task:
        return self.vcenter.tasks.start(
            self,
            method,
            f"DistributedVirtualSwitch.{what}",
            lambda task: work(),
            session=ctx.session,
        )

    def LookupDvPortGroup(self, ctx: Context, portgroupKey: str) -> Any:
        """NotFound for an unknown key."""
        for group in self.portgroups:
            if group.key == portgroupKey:
                return group
        raise vim.fault.NotFound(msg=f"The port group {portgroupKey} was not found.")

    def FetchDVPorts(self, ctx: Context, criteria: Any = None) -> list[Any]:
        """The ports that match all given criteria."""
        asked = criteria or vim.dvs.PortCriteria()
        groups = [
            group
            for group in self.portgroups
            if (asked.uplinkPort is None or group.is_uplink == asked.uplinkPort)
            and (
                not asked.portgroupKey
                or (group.key in asked.portgroupKey) == (asked.inside is not False)
            )
        ]
        ports = [port for group in groups for port in group.ports()]
        return [
            port
            for port in ports
            if (asked.connected is None or (port.connectee is not None) == asked.connected)
            and (not asked.portKey or port.key in asked.portKey)
        ]


def start_create(folder: Folder, ctx: Context, spec: Any) -> Task:
    """Folder.CreateDVS_Task."""

    def create(task: Task) -> DistributedVirtualSwitch:
        name = check_name(spec.configSpec.name)
        folder.check_free(name)
        product = spec.productInfo
        version = (product.version if product is not None else None) or "8.0.3"
        switch = DistributedVirtualSwitch(folder.vcenter, name, version)
        folder.add_child(switch)
        settings = copy.copy(spec.configSpec)
        settings.name, settings.configVersion = None, None
        try:
            number = switch.moref.rpartition("-")[2]
            uplinks = vim.dvs.DistributedVirtualPortgroup.ConfigSpec(
                name=f"{name}-DVUplinks-{number}", numPorts=0, type="earlyBinding"
            )
            switch.add_portgroup(uplinks, is_uplink=True)
            switch.apply(settings)
        except Exception:
            switch.destroy()
            raise
        return switch

    return folder.vcenter.tasks.start(
        folder,
        "CreateDVS_Task",
        "Folder.createDistributedVirtualSwitch",
        create,
        session=ctx.session,
    )

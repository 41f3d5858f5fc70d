"""ComputeResource and ClusterComputeResource: hosts, their root resource pool, and the datastores
and networks that the hosts see.

An added host cannot be reached for real: any unused name is accepted, its user is root, and its
certificate is the fake's. A wrong thumbprint is SSLVerifyFault with the right one, a host that is
already in the inventory AlreadyConnected. (vSphere API reference, AddHost_Task and HostConnectSpec)
The new host mounts no datastore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.cluster_configuration import ClusterConfiguration
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.environment_browser import browser_of
from tests.fakes.vcenter.event import Place
from tests.fakes.vcenter.managed_entity import ManagedEntity, check_name
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.resource_pool import ResourcePool
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem
    from tests.fakes.vcenter.vcenter import VCenter

_HOSTS_USER = "root"


class ComputeResource(ManagedEntity):
    """A standalone host."""

    TYPE: ClassVar[type] = vim.ComputeResource
    PREFIX = "domain-s"
    SUMMARY: ClassVar[Any] = vim.ComputeResource.Summary

    def __init__(self, vcenter: VCenter, name: str) -> None:
        super().__init__(vcenter, name)
        self.resourcePool = ResourcePool(vcenter, "Resources", owner=self)
        self.resourcePool.parent = self

    def add_host(self, host: HostSystem) -> None:
        """Add a host."""
        host.parent = self
        self.add_member("host", host)

    @property
    def host(self) -> list[HostSystem]:
        """Its hosts."""
        return self.members("host")

    @property
    def datastore(self) -> list[ManagedObject]:
        """Datastores that at least one of its hosts mounts."""
        return _union(host.members("datastore") for host in self.host)

    @property
    def environmentBrowser(self) -> ManagedObject:
        """The capabilities that its hosts offer to virtual machines."""
        return browser_of(self)

    @property
    def network(self) -> list[ManagedObject]:
        """Networks that at least one of its hosts has."""
        return _union(host.members("network") for host in self.host)

    @property
    def summary(self) -> Any:
        """Sums over the hosts."""
        return self.SUMMARY(**self._sums())

    @property
    def configurationEx(self) -> Any:
        """Where a VM's swap file goes: into the VM's directory."""
        return vim.ComputeResource.ConfigInfo(vmSwapPlacement="vmDirectory")

    def _sums(self) -> dict[str, Any]:
        hosts = self.host
        return {
            "totalCpu": sum(host.CPU_MHZ * host.CPU_CORES for host in hosts),
            "totalMemory": sum(host.MEMORY_BYTES for host in hosts),
            "numCpuCores": sum(host.CPU_CORES for host in hosts),
            "numCpuThreads": sum(host.CPU_CORES for host in hosts),
            "effectiveCpu": sum(host.CPU_MHZ * host.CPU_CORES for host in hosts if host.usable),
            "effectiveMemory": sum(host.MEMORY_BYTES >> 20 for host in hosts if host.usable),
            "numHosts": len(hosts),
            "numEffectiveHosts": sum(host.usable for host in hosts),
            "overallStatus": self.overallStatus,
        }

    def Destroy_Task(self, ctx: Context) -> Task:
        """Remove it with its hosts; their VMs leave the inventory."""
        return self.vcenter.tasks.start(
            self,
            "Destroy_Task",
            "ComputeResource.destroy",
            lambda task: self.destroy(),
            session=ctx.session,
        )

    def destroy(self) -> None:
        """Remove hosts first, then resource pools, then the object itself."""
        for host in self.host:
            host.leave()
        self.resourcePool.leave()
        if self.folder is not None:
            self.folder.remove_child(self)
        self.destroy_object()


class ClusterComputeResource(ComputeResource):
    """A cluster. DRS never places a VM; the caller chooses the host."""

    TYPE = vim.ClusterComputeResource
    PREFIX = "domain-c"
    SUMMARY = vim.ClusterComputeResource.Summary

    def __init__(self, vcenter: VCenter, name: str) -> None:
        super().__init__(vcenter, name)
        self.settings = ClusterConfiguration()

    def _sums(self) -> dict[str, Any]:
        return {**super()._sums(), "currentFailoverLevel": 0, "numVmotions": 0}

    @property
    def configurationEx(self) -> Any:
        """The configuration."""
        return self.settings.describe()

    @property
    def configuration(self) -> Any:
        """The configuration in its deprecated form."""
        return self.settings.describe_short()

    # -- the vSphere API

    def ReconfigureComputeResource_Task(self, ctx: Context, spec: Any, modify: bool) -> Task:
        """Change the configuration."""

        def change(task: Task) -> None:
            self.settings.apply(spec, modify)
            self.changed("configuration", "configurationEx")

        return self.vcenter.tasks.start(
            self,
            "ReconfigureComputeResource_Task",
            "ComputeResource.reconfigureEx",
            change,
            session=ctx.session,
        )

    def FindRulesForVm(self, ctx: Context, vm: Any) -> list[Any]:
        """The affinity rules that name a VM."""
        moref = self.vcenter.registry.require(vm).moref
        return [
            rule
            for rule in self.settings.rules
            if any(each._moId == moref for each in getattr(rule, "vm", None) or [])
        ]

    def AddHost_Task(
        self, ctx: Context, spec: Any, asConnected: bool, resourcePool: Any, license: str | None
    ) -> Task:
        """Add a new host."""
        return self.vcenter.tasks.start(
            self,
            "AddHost_Task",
            "ClusterComputeResource.addHost",
            lambda task: connected_host(self, ctx, spec, asConnected),
            session=ctx.session,
        )

    def MoveInto_Task(self, ctx: Context, host: list[Any]) -> Task:
        """Move hosts of the same datacenter here; a host of another cluster must be in maintenance
        mode.
        """
        moved = [self.vcenter.registry.require(each) for each in host]
        return self.vcenter.tasks.start(
            self,
            "MoveInto_Task",
            "ClusterComputeResource.moveInto",
            lambda task: [self._move_in(each) for each in moved] and None,
            session=ctx.session,
        )

    def _move_in(self, host: Any) -> None:
        former = host.parent
        if former is self:
            return
        if host.datacenter is not self.datacenter:
            raise vmodl.fault.InvalidArgument(invalidProperty="host")
        if former.TYPE is vim.ClusterComputeResource and not host.in_maintenance:
            raise vim.fault.InvalidState(msg="The host must be in maintenance mode.")
        former.remove_member("host", host)
        self.add_host(host)
        host.changed("parent")
        for vm in host.vm:
            if vm.pool is not None:
                vm.set_pool(self.resourcePool)
        if former.TYPE is not vim.ClusterComputeResource:
            former.destroy()


def connected_host(
    parent: ComputeResource, ctx: Context, spec: Any, as_connected: bool
) -> HostSystem:
    """Create the host that a HostConnectSpec describes, and add it to `parent`."""
    from tests.fakes.vcenter.host_system import HostSystem

    vcenter = parent.vcenter
    check_connectable(vcenter, spec)
    host = HostSystem(vcenter, check_name(spec.hostName), vcenter.model.host_version)
    parent.add_host(host)
    host.set_connected(as_connected)
    datacenter = parent.datacenter
    for network in datacenter.network[:1] if datacenter is not None else []:
        host.add_member("network", network)
        network.add_member("host", host)
    vcenter.events.post("HostAddedEvent", ctx.user, Place.of(host))
    return host


def check_connectable(vcenter: VCenter, spec: Any) -> None:
    """Check that a host can be added, by its name, certificate and account."""
    for other in vcenter.registry.of_type(vim.HostSystem):
        if other.name == spec.hostName:
            raise vim.fault.AlreadyConnected(
                name=other.name, msg="The specified host is managed by this vCenter Server."
            )
    if (spec.sslThumbprint or "").lower() != vcenter.thumbprint.lower():
        raise vim.fault.SSLVerifyFault(
            selfSigned=True,
            thumbprint=vcenter.thumbprint,
            msg="Authenticity of the host's SSL certificate is not verified.",
        )
    if spec.userName != _HOSTS_USER or not spec.password:
        raise vim.fault.InvalidLogin(
            msg="Cannot complete login due to an incorrect user name or password."
        )


def _union(lists: Any) -> list[ManagedObject]:
    found: dict[str, ManagedObject] = {}
    for members in lists:
        for member in members:
            found[member.moref] = member
    return list(found.values())

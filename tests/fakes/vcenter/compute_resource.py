"""ClusterComputeResource: hosts, their root resource pool, and the datastores they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.resource_pool import ResourcePool

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem
    from tests.fakes.vcenter.vcenter import VCenter


class ClusterComputeResource(ManagedEntity):
    """A cluster; DRS is off, so placement is the caller's."""

    TYPE = vim.ClusterComputeResource
    PREFIX = "domain-c"

    def __init__(self, vcenter: VCenter, name: str) -> None:
        super().__init__(vcenter, name)
        self.resourcePool = ResourcePool(vcenter, "Resources", owner=self)
        self.resourcePool.parent = self

    def add_host(self, host: HostSystem) -> None:
        """Let `host` belong to this cluster."""
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
    def network(self) -> list[ManagedObject]:
        """Networks that at least one of its hosts has."""
        return _union(host.members("network") for host in self.host)

    @property
    def summary(self) -> Any:
        """Sums over the hosts."""
        hosts = self.host
        return vim.ClusterComputeResource.Summary(
            totalCpu=sum(host.CPU_MHZ * host.CPU_CORES for host in hosts),
            totalMemory=sum(host.MEMORY_BYTES for host in hosts),
            numCpuCores=sum(host.CPU_CORES for host in hosts),
            numCpuThreads=sum(host.CPU_CORES for host in hosts),
            effectiveCpu=sum(host.CPU_MHZ * host.CPU_CORES for host in hosts if host.usable),
            effectiveMemory=sum(host.MEMORY_BYTES >> 20 for host in hosts if host.usable),
            numHosts=len(hosts),
            numEffectiveHosts=sum(host.usable for host in hosts),
            overallStatus=self.overallStatus,
            currentFailoverLevel=0,
            numVmotions=0,
        )

    @property
    def configurationEx(self) -> Any:
        """DRS and HA are off."""
        return vim.cluster.ConfigInfoEx(
            dasConfig=vim.cluster.DasConfigInfo(enabled=False),
            drsConfig=vim.cluster.DrsConfigInfo(enabled=False),
        )


def _union(lists: Any) -> list[ManagedObject]:
    found: dict[str, ManagedObject] = {}
    for members in lists:
        for member in members:
            found[member.moref] = member
    return list(found.values())

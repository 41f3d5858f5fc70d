"""ResourcePool: which virtual machines run out of it, and the entry point of ImportVApp.

Templates are in no pool (vSphere API reference, VirtualMachine.resourcePool).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_entity import ManagedEntity, check_name
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.compute_resource import ClusterComputeResource
    from tests.fakes.vcenter.vcenter import VCenter


class ResourcePool(ManagedEntity):
    """`owner` is the cluster; `parent` is the cluster or the pool above."""

    TYPE = vim.ResourcePool
    PREFIX = "resgroup"

    def __init__(self, vcenter: VCenter, name: str, owner: ClusterComputeResource) -> None:
        super().__init__(vcenter, name)
        self.owner = owner

    @property
    def vm(self) -> list[ManagedObject]:
        """Virtual machines directly in this pool."""
        return self.members("vm")

    @property
    def resourcePool(self) -> list[ResourcePool]:
        """Pools directly below."""
        return self.members("resourcePool")

    @property
    def config(self) -> Any:
        """No reservations, no limits."""
        return vim.ResourceConfigSpec(
            cpuAllocation=_allocation(), memoryAllocation=_allocation(), entity=self.ref
        )

    @property
    def runtime(self) -> Any:
        """Nothing runs hot here."""
        usage = vim.ResourcePool.ResourceUsage(
            reservationUsed=0,
            reservationUsedForVm=0,
            unreservedForPool=0,
            unreservedForVm=0,
            overallUsage=0,
            maxUsage=0,
        )
        return vim.ResourcePool.RuntimeInfo(memory=usage, cpu=usage, overallStatus="green")

    @property
    def summary(self) -> Any:
        """Name, configuration and runtime in one."""
        return vim.ResourcePool.Summary(name=self.name, config=self.config, runtime=self.runtime)

    # -- the vSphere API

    def CreateResourcePool(self, ctx: Context, name: str, spec: Any) -> ResourcePool:
        """A new pool below this one; DuplicateName when there is one of that name."""
        escaped = check_name(name)
        for pool in self.resourcePool:
            if pool.name == escaped:
                raise vim.fault.DuplicateName(name=escaped, object=pool.ref)
        pool = ResourcePool(self.vcenter, escaped, self.owner)
        pool.parent = self
        self.add_member("resourcePool", pool)
        return pool

    def ImportVApp(self, ctx: Context, spec: Any, folder: Any, host: Any) -> ManagedObject:
        """A lease for the upload of a new virtual machine's disks; errors of the VM are the
        lease's.
        """
        from tests.fakes.vcenter import http_nfc_lease

        return http_nfc_lease.import_vapp(self, ctx, spec, folder, host)


def _allocation() -> Any:
    return vim.ResourceAllocationInfo(
        reservation=0,
        expandableReservation=True,
        limit=-1,
        shares=vim.SharesInfo(shares=4000, level="normal"),
    )

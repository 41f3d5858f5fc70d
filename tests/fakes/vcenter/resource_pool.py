"""ResourcePool: the virtual machines that draw on it, and the entry point of ImportVApp.

Templates are in no pool (vSphere API reference, VirtualMachine.resourcePool). A pool that is
destroyed leaves its virtual machines and child pools to its parent. (the same, ResourcePool)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Place, argument
from tests.fakes.vcenter.managed_entity import ManagedEntity, check_name
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.resource_allocation import (
    CPU_SHARES,
    MEMORY_SHARES,
    allocated,
    unlimited,
)
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.compute_resource import ComputeResource
    from tests.fakes.vcenter.vcenter import VCenter


class ResourcePool(ManagedEntity):
    """`owner` is the cluster; `parent` is the cluster or the parent pool."""

    TYPE = vim.ResourcePool
    PREFIX = "resgroup"

    def __init__(self, vcenter: VCenter, name: str, owner: ComputeResource) -> None:
        super().__init__(vcenter, name)
        self.owner = owner
        self.cpu = unlimited(CPU_SHARES)
        self.memory = unlimited(MEMORY_SHARES)

    @property
    def vm(self) -> list[ManagedObject]:
        """Virtual machines directly in this pool."""
        return self.members("vm")

    @property
    def resourcePool(self) -> list[ResourcePool]:
        """Child pools."""
        return self.members("resourcePool")

    @property
    def config(self) -> Any:
        """Reservations, limits and shares."""
        return vim.ResourceConfigSpec(
            cpuAllocation=self.cpu, memoryAllocation=self.memory, entity=self.ref
        )

    @property
    def runtime(self) -> Any:
        """Every pool can use all resources of the hosts."""
        sums = self.owner.summary
        return vim.ResourcePool.RuntimeInfo(
            memory=_usage(sums.effectiveMemory << 20),
            cpu=_usage(sums.effectiveCpu),
            overallStatus="green",
        )

    @property
    def summary(self) -> Any:
        """Name, configuration and runtime in one."""
        return vim.ResourcePool.Summary(name=self.name, config=self.config, runtime=self.runtime)

    def leave(self) -> None:
        """Remove this pool and all pools below; their VMs must have gone."""
        for child in self.resourcePool:
            child.leave()
        self._leave_parent()
        self.destroy_object()

    def destroy(self) -> None:
        """Remove this pool, and leave its pools and virtual machines to its parent."""
        parent = self._above()
        for child in self.resourcePool:
            parent.check_free(child.name)
        for child in self.resourcePool:
            self.remove_member("resourcePool", child)
            child.parent = parent
            parent.add_member("resourcePool", child)
        for vm in self.vm:
            vm.set_pool(parent)
        self._leave_parent()
        self.destroy_object()

    def _above(self) -> ResourcePool:
        if not isinstance(self.parent, ResourcePool):
            raise vmodl.fault.NotSupported(msg="The root resource pool cannot be removed.")
        return self.parent

    def _leave_parent(self) -> None:
        if isinstance(self.parent, ResourcePool):
            self.parent.remove_member("resourcePool", self)

    def check_free(self, name: str) -> None:
        """DuplicateName if a child pool has this name."""
        for pool in self.resourcePool:
            if pool.name == name:
                raise vim.fault.DuplicateName(name=name, object=pool.ref)

    # -- the vSphere API

    def CreateResourcePool(self, ctx: Context, name: str, spec: Any) -> ResourcePool:
        """Create a child pool; DuplicateName if one has this name."""
        escaped = check_name(name)
        self.check_free(escaped)
        pool = ResourcePool(self.vcenter, escaped, self.owner)
        pool.cpu = allocated(pool.cpu, spec.cpuAllocation, CPU_SHARES)
        pool.memory = allocated(pool.memory, spec.memoryAllocation, MEMORY_SHARES)
        pool.parent = self
        self.add_member("resourcePool", pool)
        self.vcenter.events.post(
            "ResourcePoolCreatedEvent",
            ctx.user,
            Place.of(pool),
            resourcePool=argument("ResourcePool", pool),
            parent=argument("ResourcePool", self),
        )
        return pool

    def UpdateConfig(self, ctx: Context, name: str | None, config: Any) -> None:
        """Change the name and the allocations; the root pool keeps its name."""
        if name is not None and check_name(name) != self.name:
            self._above().check_free(check_name(name))
            self.name = check_name(name)
            self.changed("name", "summary.name")
        if config is not None:
            self.cpu = allocated(self.cpu, config.cpuAllocation, CPU_SHARES)
            self.memory = allocated(self.memory, config.memoryAllocation, MEMORY_SHARES)
            self.changed("config", "summary.config")

    def Destroy_Task(self, ctx: Context) -> Task:
        """Remove the pool; its content moves to the parent pool."""
        return self.vcenter.tasks.start(
            self,
            "Destroy_Task",
            "ResourcePool.destroy",
            lambda task: self.destroy(),
            session=ctx.session,
        )

    def DestroyChildren(self, ctx: Context) -> None:
        """Remove all child pools; their content moves here."""
        for child in self.resourcePool:
            child.DestroyChildren(ctx)
            child.destroy()

    def ImportVApp(self, ctx: Context, spec: Any, folder: Any, host: Any) -> ManagedObject:
        """A lease for the upload of a new virtual machine's disks. Errors of the VM are the
        lease's.
        """
        from tests.fakes.vcenter import lease_request

        return lease_request.import_vapp(self, ctx, spec, folder, host)


def _usage(most: int) -> Any:
    return vim.ResourcePool.ResourceUsage(
        reservationUsed=0,
        reservationUsedForVm=0,
        unreservedForPool=most,
        unreservedForVm=most,
        overallUsage=0,
        maxUsage=most,
    )

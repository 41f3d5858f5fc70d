"""ResourcePool: which virtual machines run out of it, and the entry point of ImportVApp.

Templates are in no pool (vSphere API reference, VirtualMachine.resourcePool). A pool that goes
leaves its virtual machines and pools to the one above. (the same, ResourcePool)
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
    """`owner` is the cluster; `parent` is the cluster or the pool above."""

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
        """Pools directly below."""
        return self.members("resourcePool")

    @property
    def config(self) -> Any:
        """Reservations, limits and shares."""
        return vim.ResourceConfigSpec(
            cpuAllocation=self.cpu, memoryAllocation=self.memory, entity=self.ref
        )

    @property
    def runtime(self) -> Any:
        """Nothing runs hot here: what the hosts have is there for all pools."""
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
        """Go with all pools below; what runs in them has to be gone."""
        for child in self.resourcePool:
            child.leave()
        self._leave_parent()
        self.destroy_object()

    def destroy(self) -> None:
        """Go, and leave pools and virtual machines to the pool above."""
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
        """DuplicateName when a pool directly below has this name."""
        for pool in self.resourcePool:
            if pool.name == name:
                raise vim.fault.DuplicateName(name=name, object=pool.ref)

    # -- the vSphere API

    def CreateResourcePool(self, ctx: Context, name: str, spec: Any) -> ResourcePool:
        """A new pool below this one; DuplicateName when there is one of that name."""
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
        """Another name, other allocations; the root pool has its name for ever."""
        if name is not None and check_name(name) != self.name:
            self._above().check_free(check_name(name))
            self.name = check_name(name)
            self.changed("name", "summary.name")
        if config is not None:
            self.cpu = allocated(self.cpu, config.cpuAllocation, CPU_SHARES)
            self.memory = allocated(self.memory, config.memoryAllocation, MEMORY_SHARES)
            self.changed("config", "summary.config")

    def Destroy_Task(self, ctx: Context) -> Task:
        """Remove the pool; what is in it goes to the pool above."""
        return self.vcenter.tasks.start(
            self,
            "Destroy_Task",
            "ResourcePool.destroy",
            lambda task: self.destroy(),
            session=ctx.session,
        )

    def DestroyChildren(self, ctx: Context) -> None:
        """Remove all pools below; what is in them comes here."""
        for child in self.resourcePool:
            child.DestroyChildren(ctx)
            child.destroy()

    def ImportVApp(self, ctx: Context, spec: Any, folder: Any, host: Any) -> ManagedObject:
        """A lease for the upload of a new virtual machine's disks; errors of the VM are the
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

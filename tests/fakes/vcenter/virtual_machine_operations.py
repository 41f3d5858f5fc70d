"""The methods of the VirtualMachine type, one short entry each; other modules do the work.

Requests that a template refuses are refused here with NotSupported, as the task's error if the
method is a task. (vSphere API reference, VirtualMachine: "NotSupported if marked as a template")
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, cast

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Place
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_machine_placement import (
    choose_host,
    not_supported,
    require_datastore,
    require_powered_off,
)
from tests.fakes.vcenter.virtual_machine_power import PowerOperations

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine

Work = Callable[[Task], Any]


class Operations(PowerOperations):
    """A mixin of VirtualMachine."""

    @property
    def _vm(self) -> VirtualMachine:
        return cast("VirtualMachine", self)

    def start_exclusive(self, ctx: Context, name: str, description: str, work: Work) -> Task:
        """A task that holds the VM exclusively while `work` runs, including its costs."""
        vm = self._vm

        def body(task: Task) -> Generator[float, None, Any]:
            with vm.lock.exclusive(task):
                cost_s = vm.vcenter.cost_model.task_seconds()
                if cost_s:
                    yield cost_s
                require_there(vm)
                return work(task)

        return vm.vcenter.tasks.start(vm, name, description, body, session=ctx.session, delay_s=0.0)

    # Cloning and moving

    def CloneVM_Task(self, ctx: Context, folder: Any, name: str, spec: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_clone

        return virtual_machine_clone.start(self._vm, ctx, folder, name, spec)

    def RelocateVM_Task(self, ctx: Context, spec: Any, priority: Any = None) -> Task:
        from tests.fakes.vcenter import virtual_machine_relocate

        return virtual_machine_relocate.start(self._vm, ctx, spec)

    def InstantClone_Task(self, ctx: Context, spec: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_linked

        return virtual_machine_linked.start_instant_clone(self._vm, ctx, spec)

    def PromoteDisks_Task(self, ctx: Context, unlink: bool, disks: Any = None) -> Task:
        from tests.fakes.vcenter import virtual_machine_linked

        return self.start_exclusive(
            ctx,
            "PromoteDisks_Task",
            "VirtualMachine.promoteDisks",
            lambda task: virtual_machine_linked.promote(self._vm, unlink, disks),
        )

    # Configuration

    def ReconfigVM_Task(self, ctx: Context, spec: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_reconfigure

        return self.start_exclusive(
            ctx,
            "ReconfigVM_Task",
            "VirtualMachine.reconfigure",
            lambda task: virtual_machine_reconfigure.reconfigure(self._vm, spec),
        )

    def UpgradeVM_Task(self, ctx: Context, version: str | None = None) -> Task:
        from tests.fakes.vcenter import virtual_machine_reconfigure

        return self.start_exclusive(
            ctx,
            "UpgradeVM_Task",
            "VirtualMachine.upgradeVirtualHardware",
            lambda task: virtual_machine_reconfigure.upgrade(self._vm, version),
        )

    def CustomizeVM_Task(self, ctx: Context, spec: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_reconfigure

        return self.start_exclusive(
            ctx,
            "CustomizeVM_Task",
            "VirtualMachine.customize",
            lambda task: virtual_machine_reconfigure.customize(self._vm, spec),
        )

    def Rename_Task(self, ctx: Context, newName: str) -> Task:
        return self.start_exclusive(
            ctx, "Rename_Task", "VirtualMachine.rename", lambda task: self._vm.rename(newName)
        )

    def MarkAsTemplate(self, ctx: Context) -> None:
        """Without a task; NotSupported on a template, InvalidPowerState on a running VM."""
        vm = self._vm
        if vm.template:
            raise not_supported()
        vm.lock.check_free()
        require_powered_off(vm)
        if not vm.complete:
            raise vim.fault.InvalidState(msg="The configuration of the VM is not available.")
        require_files(vm)
        vm.set_pool(None)
        vm.set_template(True)

    def MarkAsVirtualMachine(self, ctx: Context, pool: Any, host: Any = None) -> None:
        """Without a task; InvalidState if it is not a template."""
        vm = self._vm
        if not vm.template:
            raise vim.fault.InvalidState(
                msg="The operation is not allowed in the current state: not a template."
            )
        vm.lock.check_free()
        target_pool = vm.vcenter.registry.require(pool)
        wanted = vm.vcenter.registry.require(host) if host else None
        if wanted is None and vm.host in target_pool.owner.host:
            wanted = vm.host
        target = choose_host(target_pool, wanted, vm.home_datastore, prefix="")
        target.check_usable()
        require_datastore(vm.home_datastore, target)
        vm.set_host(target)
        vm.set_pool(target_pool)
        vm.set_template(False)

    # Deletion

    def Destroy_Task(self, ctx: Context) -> Task:
        """Delete it with its files. While it is being cloned, TaskInProgress or a wait, depending
        on the switch.
        """
        vm = self._vm

        def body(task: Task) -> Generator[float, None, None]:
            while vm.vcenter.switches.destroy_during_clone == "queue" and vm.lock.is_shared:
                yield 0.05
            with vm.lock.exclusive(task):
                yield vm.vcenter.cost_model.task_seconds()
                require_there(vm)
                vm.destroy()

        return vm.vcenter.tasks.start(
            vm, "Destroy_Task", "VirtualMachine.destroy", body, session=ctx.session, delay_s=0.0
        )

    def UnregisterVM(self, ctx: Context) -> None:
        """Remove it from the inventory without a task; the files stay."""
        vm = self._vm
        vm.lock.check_free()
        require_powered_off(vm)
        place = Place.of(vm)
        vm.remove()
        vm.vcenter.events.post("VmRemovedEvent", ctx.user, place, template=vm.template)

    def destroy(self) -> None:
        """Delete the files that no other VM needs, then leave the inventory.

        InvalidPowerState if it runs; InvalidArgument if its home has vanished (then only
        UnregisterVM helps).
        """
        vm = self._vm
        require_powered_off(vm)
        if vm.complete and vm.home_datastore is not None:
            vm.look_at_files()
            if vm.files_lost:
                raise vmodl.fault.InvalidArgument(
                    msg="A specified parameter was not correct: ConfigSpec.files.vmPathName",
                    invalidProperty="ConfigSpec.files.vmPathName",
                )
        for disk in vm.all_disks():
            if disk.users <= {vm}:
                disk.delete()
                disk.files.delete_if_empty(disk.path.parent.path)
        if vm.home_datastore is not None:
            storage, directory = vm.home_datastore.storage, vm.directory
            for path in vm.own_files():
                storage.delete(path)
            storage.delete_if_empty(directory)
        vm.remove()

    # Snapshots

    def CreateSnapshot_Task(
        self, ctx: Context, name: str, description: str | None, memory: bool, quiesce: bool
    ) -> Task:
        from tests.fakes.vcenter import virtual_machine_snapshot

        return self.start_exclusive(
            ctx,
            "CreateSnapshot_Task",
            "VirtualMachine.createSnapshot",
            lambda task: virtual_machine_snapshot.create(
                self._vm, name, description or "", memory=memory
            ),
        )

    def RemoveAllSnapshots_Task(
        self, ctx: Context, consolidate: bool | None = None, spec: Any = None
    ) -> Task:
        from tests.fakes.vcenter import virtual_machine_snapshot

        return self.start_exclusive(
            ctx,
            "RemoveAllSnapshots_Task",
            "VirtualMachine.removeAllSnapshots",
            lambda task: virtual_machine_snapshot.remove_all(self._vm),
        )

    def RevertToCurrentSnapshot_Task(
        self, ctx: Context, host: Any = None, suppressPowerOn: bool | None = None
    ) -> Task:
        from tests.fakes.vcenter import virtual_machine_snapshot

        return self.start_exclusive(
            ctx,
            "RevertToCurrentSnapshot_Task",
            "VirtualMachine.revertToCurrentSnapshot",
            lambda task: virtual_machine_snapshot.revert_to_current(self._vm),
        )

    # First class disks

    def AttachDisk_Task(
        self,
        ctx: Context,
        diskId: Any,
        datastore: Any,
        controllerKey: int | None,
        unitNumber: int | None,
        **newer: Any,
    ) -> Task:
        from tests.fakes.vcenter import virtual_machine_first_class_disks as first_class_disks

        return self.start_exclusive(
            ctx,
            "AttachDisk_Task",
            "VirtualMachine.attachDisk",
            lambda task: first_class_disks.attach(
                self._vm, diskId, datastore, controllerKey, unitNumber
            ),
        )

    def DetachDisk_Task(self, ctx: Context, diskId: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_first_class_disks as first_class_disks

        return self.start_exclusive(
            ctx,
            "DetachDisk_Task",
            "VirtualMachine.detachDisk",
            lambda task: first_class_disks.detach(self._vm, diskId),
        )

    # Reading

    def Reload(self, ctx: Context) -> None:
        """Check the files again, and the capacity of disks that were extended without the VM."""
        self._vm.look_at_files()
        for disk in self._vm.disks:
            disk.shown_capacity_bytes = None
        self._vm.sync()

    def ExportVm(self, ctx: Context) -> Any:
        from tests.fakes.vcenter import lease_request

        return lease_request.export_vm(self._vm, ctx)

    def RefreshStorageInfo(self, ctx: Context) -> None:
        """Check the files again: now, or with `storage_look_s` (switch) after the answer."""
        vm, later_s = self._vm, self._vm.vcenter.switches.storage_look_s

        def look() -> None:
            with vm.vcenter.lock:
                if vm.exists:
                    vm.storage_seen_at = vm.vcenter.clock.now()
                    vm.look_at_files()
                    vm.sync()

        if later_s:
            vm.vcenter.clock.call_later(later_s, look)
        else:
            look()


def require_there(vm: VirtualMachine) -> None:
    """ManagedObjectNotFound if the VM has gone since the task was queued."""
    if not vm.exists:
        raise vmodl.fault.ManagedObjectNotFound(
            obj=vm.ref,
            msg=f"The object '{vm.ref}' has already been deleted or has not been completely "
            "created",
        )


def require_files(vm: VirtualMachine) -> None:
    """FileNotFound if the home or a disk has vanished from its datastore."""
    vm.look_at_files()
    storage = vm.home_datastore.storage if vm.home_datastore else None
    if storage is not None:
        storage.file(vm.vmx_path)
    for disk in vm.disks:
        for one in disk.chain:
            one.files.file(one.descriptor.path)
            one.files.file(one.extent_path)

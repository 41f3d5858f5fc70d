"""The methods of the VirtualMachine type, one short entry each; their work is done elsewhere.

What a template refuses is refused here, with NotSupported: as the task's error where the method is
a task. (vSphere API reference, VirtualMachine: "NotSupported if marked as a template")
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, cast

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_machine_placement import (
    choose_host,
    not_supported,
    require_datastore,
    require_powered_off,
)

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine

Work = Callable[[Task], Any]


class Operations:
    """Mixed into VirtualMachine."""

    @property
    def _vm(self) -> VirtualMachine:
        return cast("VirtualMachine", self)

    def start_exclusive(self, ctx: Context, name: str, description: str, work: Work) -> Task:
        """A task that has the VM to itself while `work` runs, costs of the cost model included."""
        vm = self._vm

        def body(task: Task) -> Generator[float, None, Any]:
            with vm.lock.exclusive(task):
                cost_s = vm.vcenter.cost_model.task_seconds()
                if cost_s:
                    yield cost_s
                require_there(vm)
                return work(task)

        return vm.vcenter.tasks.start(vm, name, description, body, session=ctx.session)

    # Cloning and moving

    def CloneVM_Task(self, ctx: Context, folder: Any, name: str, spec: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_clone

        return virtual_machine_clone.start(self._vm, ctx, folder, name, spec)

    def RelocateVM_Task(self, ctx: Context, spec: Any, priority: Any = None) -> Task:
        from tests.fakes.vcenter import virtual_machine_relocate

        return virtual_machine_relocate.start(self._vm, ctx, spec)

    # Configuration

    def ReconfigVM_Task(self, ctx: Context, spec: Any) -> Task:
        from tests.fakes.vcenter import virtual_machine_reconfigure

        return self.start_exclusive(
            ctx,
            "ReconfigVM_Task",
            "VirtualMachine.reconfigure",
            lambda task: virtual_machine_reconfigure.reconfigure(self._vm, spec),
        )

    def Rename_Task(self, ctx: Context, newName: str) -> Task:
        return self.start_exclusive(
            ctx, "Rename_Task", "VirtualMachine.rename", lambda task: self._vm.rename(newName)
        )

    def MarkAsTemplate(self, ctx: Context) -> None:
        """At once; NotSupported on a template, InvalidPowerState on a running VM."""
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
        """At once; InvalidState when it is not a template."""
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

    # Power: a state, nothing runs

    def PowerOnVM_Task(self, ctx: Context, host: Any = None) -> Task:
        return self._power(ctx, "PowerOnVM_Task", "powerOn", "poweredOn")

    def PowerOffVM_Task(self, ctx: Context) -> Task:
        return self._power(ctx, "PowerOffVM_Task", "powerOff", "poweredOff")

    def _power(self, ctx: Context, name: str, description: str, state: str) -> Task:
        def work(task: Task) -> None:
            vm = self._vm
            if vm.template:
                raise not_supported()
            vm.host.check_usable()
            if vm.power_state == state:
                raise vim.fault.InvalidPowerState(
                    msg="The attempted operation cannot be performed in the current state.",
                    requestedState=state,
                    existingState=vm.power_state,
                )
            vm.power_state = state
            vm.changed("runtime", "summary")

        return self.start_exclusive(ctx, name, f"VirtualMachine.{description}", work)

    # The end

    def Destroy_Task(self, ctx: Context) -> Task:
        """Files and all; TaskInProgress or waiting while it is cloned, as the switch says."""
        vm = self._vm

        def body(task: Task) -> Generator[float, None, None]:
            while vm.vcenter.switches.destroy_during_clone == "queue" and vm.lock.is_shared:
                yield 0.05
            with vm.lock.exclusive(task):
                yield vm.vcenter.cost_model.task_seconds()
                require_there(vm)
                vm.destroy()

        return vm.vcenter.tasks.start(
            vm, "Destroy_Task", "VirtualMachine.destroy", body, session=ctx.session
        )

    def UnregisterVM(self, ctx: Context) -> None:
        """Out of the inventory at once; the files stay."""
        vm = self._vm
        vm.lock.check_free()
        require_powered_off(vm)
        vm.remove()

    def destroy(self) -> None:
        """Delete the files that no other VM needs, then leave the inventory.

        InvalidPowerState when it runs; InvalidArgument when its home has vanished (then only
        UnregisterVM helps)."""
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
            lambda task: virtual_machine_snapshot.create(self._vm, name, description or ""),
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

    # Reading

    def Reload(self, ctx: Context) -> None:
        """Look at the files again."""
        self._vm.look_at_files()

    def ExportVm(self, ctx: Context) -> Any:
        from tests.fakes.vcenter import http_nfc_lease

        return http_nfc_lease.export_vm(self._vm, ctx)

    def RefreshStorageInfo(self, ctx: Context) -> None:
        """Look at the files again."""
        self._vm.storage_refreshed = True
        self._vm.look_at_files()
        self._vm.sync()


def require_there(vm: VirtualMachine) -> None:
    """ManagedObjectNotFound when the VM has gone since the task was queued."""
    if not vm.exists:
        raise vmodl.fault.ManagedObjectNotFound(
            obj=vm.ref,
            msg=f"The object '{vm.ref}' has already been deleted or has not been completely "
            "created",
        )


def require_files(vm: VirtualMachine) -> None:
    """FileNotFound when the home or a disk has vanished from its datastore."""
    vm.look_at_files()
    storage = vm.home_datastore.storage if vm.home_datastore else None
    if storage is not None:
        storage.file(vm.vmx_path)
    for disk in vm.disks:
        for one in disk.chain:
            one.files.file(one.descriptor.path)
            one.files.file(one.extent_path)

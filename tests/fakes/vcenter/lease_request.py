"""ImportVApp, ExportVm and ExportSnapshot: the calls that return an HttpNfcLease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.http_nfc_lease import HttpNfcLease
from tests.fakes.vcenter.virtual_machine_create import make_vm
from tests.fakes.vcenter.virtual_machine_placement import require_powered_off

if TYPE_CHECKING:
    from tests.fakes.vcenter.context import Context
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_snapshot import VirtualMachineSnapshot


def import_vapp(pool: Any, ctx: Context, spec: Any, folder: Any, host: Any) -> HttpNfcLease:
    """ResourcePool.ImportVApp; NotSupported without a folder or for anything but one VM."""
    if not isinstance(spec, vim.vm.VmImportSpec) or folder is None:
        raise vmodl.fault.NotSupported(msg="Only a virtual machine can be imported, to a folder.")
    registry = pool.vcenter.registry
    target_folder = registry.require(folder)
    target_host = registry.require(host) if host else None
    lease = HttpNfcLease(ctx, "import")

    def make() -> VirtualMachine:
        return make_vm(target_folder, spec.configSpec, pool, target_host)

    lease.begin("ImportVApp", make, pool.name, pool.moref)
    return lease


def export_vm(vm: VirtualMachine, ctx: Context) -> HttpNfcLease:
    """VirtualMachine.ExportVm; InvalidPowerState if it runs, TaskInProgress if it is busy,
    NotSupported for a template (switch).
    """
    if vm.config.template and not vm.vcenter.switches.exports_templates:
        raise vmodl.fault.NotSupported(msg="The operation is not supported on the object.")
    require_powered_off(vm)
    lease = HttpNfcLease(ctx, "export")
    try:
        lease.hold(vm)
    except vmodl.MethodFault:
        lease.forget()
        raise
    lease.begin("ExportVm", lambda: vm, vm.name, vm.moref)
    return lease


def export_snapshot(snapshot: VirtualMachineSnapshot, ctx: Context) -> HttpNfcLease:
    """VirtualMachineSnapshot.ExportSnapshot: the disks of the snapshot, even of a running VM."""
    vm = snapshot.vm
    lease = HttpNfcLease(ctx, "export", snapshot.node.devices)
    try:
        lease.hold(vm)
    except vmodl.MethodFault:
        lease.forget()
        raise
    lease.begin("ExportSnapshot", lambda: vm, vm.name, vm.moref)
    return lease

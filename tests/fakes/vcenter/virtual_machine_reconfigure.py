"""ReconfigVM_Task: the changes that a ConfigSpec may make to a VM or a template.

A template accepts name and annotation only; any other field that is set, even an empty object, is
NotSupported. (govmomi on templates: "only name and annotation") A changeVersion other than the
present one is ConcurrentAccess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.virtual_machine_device_changes import DeviceChanges
from tests.fakes.vcenter.virtual_machine_placement import not_supported, require_powered_off
from tests.fakes.vcenter.virtual_machine_settings import DEFAULT_VERSION, require_known_version

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine

_OF_TEMPLATES = {"name", "annotation", "changeVersion", "dynamicType", "dynamicProperty"}


def reconfigure(vm: VirtualMachine, spec: Any) -> None:
    """Change `vm` as `spec` says, completely or not at all."""
    if vm.template and set_fields(spec) - _OF_TEMPLATES:
        raise not_supported()
    vm.host.check_usable()
    if vm.config is None:
        raise vim.fault.InvalidState(msg="The configuration of the VM is not available.")
    if spec.changeVersion and spec.changeVersion != vm.config.changeVersion:
        raise vim.fault.ConcurrentAccess(
            msg="The operation cannot complete because the object has been changed by another."
        )
    if spec.version:
        require_known_version(spec.version, vm.host)
    settings = vm.settings.copy()
    settings.apply(spec)
    old_name = vm.name
    if spec.name is not None:
        vm.rename(spec.name)
    try:
        DeviceChanges(vm, spec.deviceChange).apply()
    except Exception:
        if vm.name != old_name:
            vm.rename(old_name)
        raise
    vm.settings = settings
    vm.touch()


def set_fields(spec: Any) -> set[str]:
    """Names of the fields of a data object that are set; an empty list counts as unset."""
    found = set()
    for info in spec._GetPropertyList():
        value = getattr(spec, info.name)
        if value is not None and not (isinstance(value, list) and not value):
            found.add(info.name)
    return found


def upgrade(vm: VirtualMachine, version: str | None) -> None:
    """Upgrade the hardware version, by default to the newest; AlreadyUpgraded if the VM has it."""
    if vm.template:
        raise not_supported()
    require_powered_off(vm)
    wanted = version or DEFAULT_VERSION
    require_known_version(wanted, vm.host)
    if _number(vm.settings.version) >= _number(wanted):
        raise vim.fault.AlreadyUpgraded(
            msg="The virtual machine's hardware version is up to date already."
        )
    vm.settings = vm.settings.copy()
    vm.settings.version = wanted
    vm.touch()


def _number(version: str) -> int:
    return int(version.removeprefix("vmx-"))


def customize(vm: VirtualMachine, spec: Any) -> None:
    """Store a customization for the next boot; no guest exists to apply it.

    NicSettingMismatch unless it has settings for each network card.
    """
    if vm.template:
        raise not_supported()
    require_powered_off(vm)
    cards = sum(isinstance(one, vim.vm.device.VirtualEthernetCard) for one in vm.devices.others)
    settings = len(spec.nicSettingMap or [])
    if settings != cards:
        raise vim.fault.NicSettingMismatch(
            msg="The number of network adapter settings in the customization specification does "
            "not match the number of network adapters of the virtual machine.",
            numberOfNicsInSpec=settings,
            numberOfNicsInVM=cards,
        )
    vm.customization = spec

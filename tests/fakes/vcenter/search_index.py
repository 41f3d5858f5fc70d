"""SearchIndex: finds objects by uuid, inventory path or name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.view_manager import contents

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter
    from tests.fakes.vcenter.virtual_machine_power import Guest


class SearchIndex(ManagedObject):
    """Searches `registry` at each call, so answers are never stale."""

    TYPE = vim.SearchIndex

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="SearchIndex")

    def FindAllByUuid(
        self,
        ctx: Context,
        datacenter: Any,
        uuid: str,
        vmSearch: bool,
        instanceUuid: bool | None = None,
    ) -> list[ManagedObject]:
        """Every VM with this bios (or instance) uuid, or every host; possibly none or several."""
        return list(self._by_uuid(datacenter, uuid, vmSearch, bool(instanceUuid)))

    def FindByUuid(
        self,
        ctx: Context,
        datacenter: Any,
        uuid: str,
        vmSearch: bool,
        instanceUuid: bool | None = None,
    ) -> ManagedObject | None:
        """The first of FindAllByUuid, or None."""
        return next(self._by_uuid(datacenter, uuid, vmSearch, bool(instanceUuid)), None)

    def _by_uuid(
        self, datacenter: Any, uuid: str, vm_search: bool, instance: bool
    ) -> Iterator[ManagedObject]:
        within = self.vcenter.registry.require(datacenter) if datacenter is not None else None
        wanted = uuid.lower()
        objects = self.vcenter.registry.of_type(vim.VirtualMachine if vm_search else vim.HostSystem)
        for obj in objects:
            found = obj.instance_uuid if vm_search and instance else obj.uuid
            if found and found.lower() == wanted and within in (None, obj.datacenter):
                yield obj

    def FindByInventoryPath(self, ctx: Context, inventoryPath: str) -> ManagedObject | None:
        """The object at "DC0/vm/folder/name" (relative to the root folder), or None."""
        current: ManagedObject | None = self.vcenter.root_folder
        for name in filter(None, inventoryPath.split("/")):
            current = self._child(current, name)
            if current is None:
                return None
        return current

    def FindChild(self, ctx: Context, entity: Any, name: str) -> ManagedObject | None:
        """The child with this name of a folder, datacenter, compute resource or pool, or None."""
        return self._child(self.vcenter.registry.require(entity), name)

    def _child(self, parent: Any, name: str) -> ManagedObject | None:
        by_name = getattr(parent, "child", None)
        if by_name is not None:
            return by_name(name)  # type: ignore[no-any-return]
        for obj in contents(parent):
            if obj.name == name:
                return obj  # type: ignore[no-any-return]
        return None

    def FindByDatastorePath(self, ctx: Context, datacenter: Any, path: str) -> Any:
        """The VM whose .vmx or .vmtx is "[ds] dir/name.vmx", or None."""
        within = self.vcenter.registry.require(datacenter)
        for vm in self.vcenter.registry.of_type(vim.VirtualMachine):
            config = vm.config
            if config is not None and config.files.vmPathName == path and vm.datacenter is within:
                return vm
        return None

    def FindByIp(
        self, ctx: Context, datacenter: Any, ip: str, vmSearch: bool
    ) -> ManagedObject | None:
        """The first of FindAllByIp, or None."""
        return next(iter(self.FindAllByIp(ctx, datacenter, ip, vmSearch)), None)

    def FindAllByIp(
        self, ctx: Context, datacenter: Any, ip: str, vmSearch: bool
    ) -> list[ManagedObject]:
        """VMs whose guest reports the address; no host has one."""
        if not vmSearch and not ip:
            raise vmodl.fault.InvalidArgument(invalidProperty="ip")
        return self._by_guest(datacenter, lambda guest: guest.ip_address == ip) if vmSearch else []

    def FindByDnsName(
        self, ctx: Context, datacenter: Any, dnsName: str, vmSearch: bool
    ) -> ManagedObject | None:
        """The first of FindAllByDnsName, or None."""
        return next(iter(self.FindAllByDnsName(ctx, datacenter, dnsName, vmSearch)), None)

    def FindAllByDnsName(
        self, ctx: Context, datacenter: Any, dnsName: str, vmSearch: bool
    ) -> list[ManagedObject]:
        """VMs whose guest reports the name, and hosts of that name."""
        if vmSearch:
            return self._by_guest(datacenter, lambda guest: guest.host_name == dnsName)
        hosts = self.vcenter.registry.of_type(vim.HostSystem)
        return [host for host in hosts if host.name == dnsName]

    def _by_guest(self, datacenter: Any, fits: Callable[[Guest], bool]) -> list[ManagedObject]:
        within = self.vcenter.registry.require(datacenter) if datacenter is not None else None
        return [
            vm
            for vm in self.vcenter.registry.of_type(vim.VirtualMachine)
            if vm.guest_system is not None
            and fits(vm.guest_system)
            and within in (None, vm.datacenter)
        ]

"""HostConfigManager: the parts of a host's configuration, each created at the first read.

Their morefs contain the host's number, as in a recording of 8.0.1: networkSystem-14 of host-14.
Changes affect only the part itself: a stopped service, say, affects no virtual machine or
datastore.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from pyVmomi import vim

from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem


class HostPart(ManagedObject):
    """One part of a host's configuration; `NAME` is the prefix of its moref."""

    NAME: ClassVar[str]

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host.vcenter, f"{self.NAME}-{host.moref.rpartition('-')[2]}")
        self.host = host


def parts_of(host: HostSystem) -> dict[str, ManagedObject]:
    """The parts by their names in HostConfigManager."""
    if not host.parts:
        host.parts = {name: make(host) for name, make in _makers().items()}
    return host.parts


def config_manager(host: HostSystem) -> Any:
    """The HostConfigManager."""
    return vim.host.ConfigManager(**{name: part.ref for name, part in parts_of(host).items()})


def forget_parts(host: HostSystem) -> None:
    """Remove the parts of a host that leaves the inventory."""
    for part in host.parts.values():
        part.destroy_object()
    host.parts = {}


def _makers() -> dict[str, Callable[[HostSystem], ManagedObject]]:
    from tests.fakes.vcenter.host_auto_start_manager import HostAutoStartManager
    from tests.fakes.vcenter.host_certificate_manager import HostCertificateManager
    from tests.fakes.vcenter.host_datastore_system import HostDatastoreSystem
    from tests.fakes.vcenter.host_date_time_system import HostDateTimeSystem
    from tests.fakes.vcenter.host_firewall_system import HostFirewallSystem
    from tests.fakes.vcenter.host_local_account_manager import HostLocalAccountManager
    from tests.fakes.vcenter.host_network_system import HostNetworkSystem
    from tests.fakes.vcenter.host_option_manager import HostOptionManager
    from tests.fakes.vcenter.host_service_system import HostServiceSystem
    from tests.fakes.vcenter.host_storage_system import HostStorageSystem
    from tests.fakes.vcenter.host_virtual_nic_manager import HostVirtualNicManager

    return {
        "datastoreSystem": HostDatastoreSystem,
        "storageSystem": HostStorageSystem,
        "networkSystem": HostNetworkSystem,
        "virtualNicManager": HostVirtualNicManager,
        "serviceSystem": HostServiceSystem,
        "firewallSystem": HostFirewallSystem,
        "advancedOption": HostOptionManager,
        "autoStartManager": HostAutoStartManager,
        "dateTimeSystem": HostDateTimeSystem,
        "accountManager": HostLocalAccountManager,
        "certificateManager": HostCertificateManager,
    }

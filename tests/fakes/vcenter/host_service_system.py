"""HostServiceSystem: a few of a host's services, running or stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem

_LABELS = {
    "TSM": "ESXi Shell",
    "TSM-SSH": "SSH",
    "ntpd": "NTP Daemon",
    "vpxa": "VMware vCenter Agent",
}
_POLICIES = ("on", "off", "automatic")


class HostServiceSystem(HostPart):
    """At first only vpxa runs."""

    TYPE = vim.host.ServiceSystem
    NAME = "serviceSystem"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.running = {"vpxa"}
        self.policies = dict.fromkeys(_LABELS, "off") | {"vpxa": "on"}

    @property
    def serviceInfo(self) -> Any:
        """All services."""
        return vim.host.ServiceInfo(
            service=[
                vim.host.Service(
                    key=key,
                    label=label,
                    required=False,
                    uninstallable=False,
                    running=key in self.running,
                    policy=self.policies[key],
                )
                for key, label in _LABELS.items()
            ]
        )

    def StartService(self, ctx: Context, id: str) -> None:
        """InvalidState if it runs."""
        self._require(id)
        if id in self.running:
            raise vim.fault.InvalidState(msg=f"The service {id} is running.")
        self.running.add(id)
        self.changed("serviceInfo")

    def StopService(self, ctx: Context, id: str) -> None:
        """InvalidState if it does not run."""
        self._require(id)
        if id not in self.running:
            raise vim.fault.InvalidState(msg=f"The service {id} is not running.")
        self.running.discard(id)
        self.changed("serviceInfo")

    def RestartService(self, ctx: Context, id: str) -> None:
        """InvalidState if it does not run."""
        self.StopService(ctx, id)
        self.StartService(ctx, id)

    def UpdateServicePolicy(self, ctx: Context, id: str, policy: str) -> None:
        """InvalidArgument for an unknown policy."""
        self._require(id)
        if policy not in _POLICIES:
            raise vmodl.fault.InvalidArgument(invalidProperty="policy")
        self.policies[id] = policy
        self.changed("serviceInfo")

    def RefreshServices(self, ctx: Context) -> None:
        """Does nothing, since nothing is cached."""

    def _require(self, key: str) -> None:
        if key not in _LABELS:
            raise vim.fault.NotFound(msg=f"The service {key} was not found.")

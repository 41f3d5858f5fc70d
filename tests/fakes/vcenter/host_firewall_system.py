"""HostFirewallSystem: a few rule sets, each enabled or disabled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem

#: key -> (label, port, direction, protocol)
_RULES = {
    "sshServer": ("SSH Server", 22, "inbound", "tcp"),
    "vSphereClient": ("vSphere Web Client", 443, "inbound", "tcp"),
    "NFC": ("NFC", 902, "inbound", "tcp"),
    "ntpClient": ("NTP Client", 123, "outbound", "udp"),
    "nfsClient": ("NFS Client", 2049, "outbound", "tcp"),
}


class HostFirewallSystem(HostPart):
    """The rule sets that vCenter and NFC need are enabled."""

    TYPE = vim.host.FirewallSystem
    NAME = "firewallSystem"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.enabled = {"vSphereClient", "NFC"}

    @property
    def firewallInfo(self) -> Any:
        """All rule sets."""
        return vim.host.FirewallInfo(
            defaultPolicy=vim.host.FirewallInfo.DefaultPolicy(
                incomingBlocked=True, outgoingBlocked=True
            ),
            ruleset=[
                vim.host.Ruleset(
                    key=key,
                    label=label,
                    required=False,
                    rule=[
                        vim.host.Ruleset.Rule(
                            port=port, direction=direction, portType="dst", protocol=protocol
                        )
                    ],
                    enabled=key in self.enabled,
                    allowedHosts=vim.host.Ruleset.IpList(allIp=True),
                )
                for key, (label, port, direction, protocol) in _RULES.items()
            ],
        )

    def EnableRuleset(self, ctx: Context, id: str) -> None:
        """NotFound for an unknown rule set."""
        self._require(id)
        self.enabled.add(id)
        self.changed("firewallInfo")

    def DisableRuleset(self, ctx: Context, id: str) -> None:
        """NotFound for an unknown rule set."""
        self._require(id)
        self.enabled.discard(id)
        self.changed("firewallInfo")

    def RefreshFirewall(self, ctx: Context) -> None:
        """Does nothing, since nothing is cached."""

    def _require(self, key: str) -> None:
        if key not in _RULES:
            raise vim.fault.NotFound(msg=f"The rule set {key} was not found.")

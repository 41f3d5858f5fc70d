"""HostAutoStartManager: which VMs start with their host. None ever does, because no host boots."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem


class HostAutoStartManager(HostPart):
    """Stores the configuration."""

    TYPE = vim.host.AutoStartManager
    NAME = "autoStartManager"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.defaults = vim.host.AutoStartManager.SystemDefaults(
            enabled=False,
            startDelay=120,
            stopDelay=120,
            waitForHeartbeat=False,
            stopAction="PowerOff",
        )
        self._power: dict[str, Any] = {}

    @property
    def config(self) -> Any:
        """The VMs that are to start, without those that no longer exist."""
        registry = self.vcenter.registry
        return vim.host.AutoStartManager.Config(
            defaults=self.defaults,
            powerInfo=[info for moref, info in self._power.items() if registry.get(moref)],
        )

    def ReconfigureAutostart(self, ctx: Context, spec: Any) -> None:
        """Fields that are unset stay; a VM whose start action is "none" is removed."""
        for info in spec.powerInfo or []:
            self.vcenter.registry.require(info.key)
            if info.startAction.lower() == "none":
                self._power.pop(info.key._moId, None)
            else:
                self._power[info.key._moId] = info
        if spec.defaults is not None:
            merged = copy.copy(self.defaults)
            for name in ("enabled", "startDelay", "stopDelay", "waitForHeartbeat", "stopAction"):
                value = getattr(spec.defaults, name)
                if value is not None:
                    setattr(merged, name, value)
            self.defaults = merged
        self.changed("config")

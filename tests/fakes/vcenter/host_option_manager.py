"""The advanced settings of a host, in an OptionManager of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import VmomiSupport, vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem

_LONG = VmomiSupport.GetVmodlType("long")


class HostOptionManager(HostPart):
    """A few of a host's settings; no other name can be set."""

    TYPE = vim.option.OptionManager
    NAME = "EsxHostAdvSettings"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.values: dict[str, Any] = {
            "Config.HostAgent.log.level": "info",
            "Disk.MaxLUN": _LONG(1024),
            "NFS.MaxVolumes": _LONG(256),
            "UserVars.ESXiShellTimeOut": _LONG(0),
        }

    @property
    def setting(self) -> list[Any]:
        """All settings."""
        return [vim.option.OptionValue(key=key, value=value) for key, value in self.values.items()]

    def QueryOptions(self, ctx: Context, name: str | None) -> list[Any]:
        """The setting of this name, or those below it; InvalidName if there is none."""
        found = [one for one in self.setting if one.key.startswith(name or "")]
        exact = [one for one in found if one.key == name]
        if not found or (name and not exact and not name.endswith(".")):
            raise vim.fault.InvalidName(name=name or "")
        return exact or found

    def UpdateOptions(self, ctx: Context, changedValue: Any) -> None:
        """Set values; InvalidName for an unknown name. A number stays a number."""
        for option in changedValue:
            if option.key not in self.values:
                raise vim.fault.InvalidName(name=option.key)
        for option in changedValue:
            kind = type(self.values[option.key])
            self.values[option.key] = kind(option.value)
        self.changed("setting")

"""OptionManager: vCenter's settings. Only the session timeout affects the fake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import VmomiSupport, vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

SESSION_TIMEOUT = "config.vmacore.soap.sessionTimeout"


class OptionManager(ManagedObject):
    """Key and value; `config.vmacore.soap.sessionTimeout` is the idle timeout in minutes."""

    TYPE = vim.option.OptionManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="VpxSettings")
        self._values: dict[str, Any] = {
            "VirtualCenter.InstanceName": "fake-vcenter",
            "VirtualCenter.FQDN": vcenter.host,
        }

    def _all(self) -> dict[str, Any]:
        minutes = int(self.vcenter.sessions.idle_timeout_s // 60)
        return {**self._values, SESSION_TIMEOUT: VmomiSupport.GetVmodlType("int")(minutes)}

    @property
    def setting(self) -> list[Any]:
        """All settings."""
        return [vim.option.OptionValue(key=key, value=value) for key, value in self._all().items()]

    def QueryOptions(self, ctx: Context, name: str | None) -> list[Any]:
        """The setting of this name, or all below it if it ends with a dot; InvalidName if there is
        none.
        """
        found = [
            option
            for option in self.setting
            if not name
            or option.key == name
            or (name.endswith(".") and option.key.startswith(name))
        ]
        if not found:
            raise vim.fault.InvalidName(name=name or "")
        return found

    def UpdateOptions(self, ctx: Context, changedValue: Any) -> None:
        """Change settings."""
        for option in changedValue:
            if option.key == SESSION_TIMEOUT:
                self.vcenter.sessions.idle_timeout_s = float(option.value) * 60
            else:
                self._values[option.key] = option.value
        self.changed("setting")

"""HostLocalAccountManager: local accounts of a host. The fake's hosts accept no log-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem


class HostLocalAccountManager(HostPart):
    """For tests: `descriptions`, by account."""

    TYPE = vim.host.LocalAccountManager
    NAME = "accountManager"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.descriptions = {"root": "Administrator"}

    def CreateUser(self, ctx: Context, user: Any) -> None:
        """AlreadyExists for a taken name; InvalidArgument without a name or password."""
        if not user.id or not user.password:
            raise vmodl.fault.InvalidArgument(invalidProperty="user")
        if user.id in self.descriptions:
            raise vim.fault.AlreadyExists(name=user.id)
        self.descriptions[user.id] = user.description or ""

    def UpdateUser(self, ctx: Context, user: Any) -> None:
        """UserNotFound for an unknown name."""
        self._require(user.id)
        if user.description is not None:
            self.descriptions[user.id] = user.description

    def RemoveUser(self, ctx: Context, userName: str) -> None:
        """UserNotFound for an unknown name."""
        self._require(userName)
        del self.descriptions[userName]

    def _require(self, name: str) -> None:
        if name not in self.descriptions:
            raise vim.fault.UserNotFound(principal=name, unresolved=True)

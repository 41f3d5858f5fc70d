"""HostDateTimeSystem: the clock of a host, which is the fake's unless a client sets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem


class HostDateTimeSystem(HostPart):
    """UTC; at first without NTP servers."""

    TYPE = vim.host.DateTimeSystem
    NAME = "dateTimeSystem"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.servers: list[str] = []
        self.offset = timedelta()

    @property
    def dateTimeInfo(self) -> Any:
        """Time zone and servers."""
        zone = vim.host.DateTimeSystem.TimeZone(
            key="UTC", name="UTC", description="UTC", gmtOffset=0
        )
        return vim.host.DateTimeInfo(
            timeZone=zone,
            systemClockProtocol="ntp",
            ntpConfig=vim.host.NtpConfig(server=list(self.servers)),
        )

    def QueryDateTime(self, ctx: Context) -> datetime:
        """The host's time."""
        return self.vcenter.clock.now() + self.offset

    def UpdateDateTime(self, ctx: Context, dateTime: datetime) -> None:
        """Set the host's clock."""
        wanted = dateTime if dateTime.tzinfo else dateTime.replace(tzinfo=UTC)
        self.offset = wanted - self.vcenter.clock.now()

    def UpdateDateTimeConfig(self, ctx: Context, config: Any) -> None:
        """Set the servers; the time zone stays UTC."""
        if config.ntpConfig is not None:
            self.servers = list(config.ntpConfig.server or [])
        self.changed("dateTimeInfo")

    def RefreshDateTimeSystem(self, ctx: Context) -> None:
        """Does nothing, since nothing is cached."""

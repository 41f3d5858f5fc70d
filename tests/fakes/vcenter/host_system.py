"""HostSystem: connection, maintenance, and what the host mounts and runs.

Datastores are mounted by ``datastore.mount(host)``; which VMs a host has is kept by the VMs (`vm`
members). Tests change a host's state by `set_maintenance` and `set_connected`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class HostSystem(ManagedEntity):
    """An ESXi host of a cluster."""

    TYPE = vim.HostSystem
    PREFIX = "host"
    CPU_CORES = 16
    CPU_MHZ = 2400
    MEMORY_BYTES = 256 << 30

    def __init__(self, vcenter: VCenter, name: str, version: str) -> None:
        super().__init__(vcenter, name)
        self.version = version
        self.uuid = str(uuid.uuid4())
        self.connection_state = "connected"
        self.in_maintenance = False
        self.boot_time = vcenter.clock.now()

    @property
    def usable(self) -> bool:
        """Whether operations can run on it: connected and not in maintenance mode."""
        return self.connection_state == "connected" and not self.in_maintenance

    def check_usable(self) -> None:
        """HostNotConnected or InvalidHostState when operations cannot run on it."""
        if self.connection_state != "connected":
            raise vmodl.fault.HostNotConnected(
                msg="Unable to communicate with the remote host, since it is disconnected."
            )
        if self.in_maintenance:
            raise vim.fault.InvalidHostState(
                host=self.ref,
                msg="The operation is not allowed in the current state of the host.",
            )

    def set_maintenance(self, in_maintenance: bool) -> None:
        """Put the host into maintenance mode or take it out; its VMs stay registered on it."""
        with self.vcenter.lock:
            self.in_maintenance = in_maintenance
            self.changed("runtime.inMaintenanceMode", "summary.runtime.inMaintenanceMode")

    def set_connected(self, connected: bool) -> None:
        """Connect or disconnect the host; its datastores' mounts stay as they are."""
        with self.vcenter.lock:
            self.connection_state = "connected" if connected else "disconnected"
            self.changed("runtime.connectionState", "summary.runtime.connectionState")

    @property
    def vm(self) -> list[ManagedObject]:
        """Virtual machines and templates registered on this host."""
        return self.members("vm")

    @property
    def datastore(self) -> list[ManagedObject]:
        """Datastores that it mounts."""
        return self.members("datastore")

    @property
    def network(self) -> list[ManagedObject]:
        """Networks that it has."""
        return self.members("network")

    @property
    def runtime(self) -> Any:
        """Connection, power and maintenance."""
        return vim.host.RuntimeInfo(
            connectionState=self.connection_state,
            powerState="poweredOn",
            inMaintenanceMode=self.in_maintenance,
            bootTime=self.boot_time,
        )

    @property
    def summary(self) -> Any:
        """Hardware, runtime and product in short."""
        return vim.host.Summary(
            host=self.ref,
            hardware=vim.host.Summary.HardwareSummary(
                vendor="Fake",
                model="Fake vCenter host",
                uuid=self.uuid,
                memorySize=self.MEMORY_BYTES,
                cpuModel="Fake CPU",
                cpuMhz=self.CPU_MHZ,
                numCpuPkgs=2,
                numCpuCores=self.CPU_CORES,
                numCpuThreads=self.CPU_CORES,
                numNics=2,
                numHBAs=1,
            ),
            runtime=self.runtime,
            config=vim.host.Summary.ConfigSummary(
                name=self.name,
                port=443,
                product=self._product(),
                vmotionEnabled=True,
                faultToleranceEnabled=False,
            ),
            quickStats=vim.host.Summary.QuickStats(overallCpuUsage=0, overallMemoryUsage=0),
            overallStatus=self.overallStatus,
            rebootRequired=False,
            maxEVCModeKey=None,
        )

    def _product(self) -> Any:
        return vim.AboutInfo(
            name="VMware ESXi",
            fullName=f"VMware ESXi {self.version} build-1",
            vendor="VMware, Inc.",
            version=self.version,
            build="1",
            osType="vmnix-x86",
            productLineId="embeddedEsx",
            apiType="HostAgent",
            apiVersion=f"{self.version}.0",
        )

    # -- the vSphere API

    def EnterMaintenanceMode_Task(
        self, ctx: Context, timeout: int, evacuatePoweredOffVms: bool | None, maintenanceSpec: Any
    ) -> Task:
        """Maintenance mode; nothing is evacuated, since DRS is off."""
        return self._state_task(
            ctx, "EnterMaintenanceMode_Task", "enterMaintenanceMode", self.set_maintenance, True
        )

    def ExitMaintenanceMode_Task(self, ctx: Context, timeout: int) -> Task:
        """Out of maintenance mode."""
        return self._state_task(
            ctx, "ExitMaintenanceMode_Task", "exitMaintenanceMode", self.set_maintenance, False
        )

    def DisconnectHost_Task(self, ctx: Context) -> Task:
        """Disconnect."""
        return self._state_task(ctx, "DisconnectHost_Task", "disconnect", self.set_connected, False)

    def ReconnectHost_Task(self, ctx: Context, cnxSpec: Any, reconnectSpec: Any) -> Task:
        """Connect again."""
        return self._state_task(ctx, "ReconnectHost_Task", "reconnect", self.set_connected, True)

    def _state_task(
        self, ctx: Context, method: str, description: str, change: Any, value: bool
    ) -> Task:
        return self.vcenter.tasks.start(
            self,
            method,
            f"HostSystem.{description}",
            lambda task: change(value),
            session=ctx.session,
        )

"""HostSystem: connection, maintenance mode, mounted datastores and registered VMs.

A host has the fake's port and thumbprint. (A recording of 8.0.3 has `summary.config.port` 443 and
`sslThumbprint` as SHA-1 with colons.) Its name is an address only if `Model.host_names` says so.

``datastore.mount(host)`` mounts datastores; the VMs keep the list of a host's VMs (`vm` members).
Tests change a host's state by `set_maintenance` and `set_connected`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import config_manager, forget_parts
from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class HostSystem(ManagedEntity):
    """An ESXi host."""

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
        #: The thumbprint that vCenter stores; None: that of its certificate.
        self.ssl_thumbprint: str | None = None
        self.boot_time = vcenter.clock.now()
        self.parts: dict[str, ManagedObject] = {}

    @property
    def usable(self) -> bool:
        """Whether operations can run on it: connected and not in maintenance mode."""
        return self.connection_state == "connected" and not self.in_maintenance

    def check_usable(self) -> None:
        """HostNotConnected or InvalidHostState if operations cannot run on it."""
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
        """Make the host enter or exit maintenance mode; its VMs stay registered on it."""
        with self.vcenter.lock:
            self.in_maintenance = in_maintenance
            self.changed("runtime.inMaintenanceMode", "summary.runtime.inMaintenanceMode")

    def set_connected(self, connected: bool) -> None:
        """Connect or disconnect the host; its datastores stay mounted."""
        with self.vcenter.lock:
            self.connection_state = "connected" if connected else "disconnected"
            self.changed("runtime.connectionState", "summary.runtime.connectionState")
            self.vcenter.alarms.host_changed(self)

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
    def configManager(self) -> Any:
        """The managers of its configuration; the first read creates them."""
        return config_manager(self)

    @property
    def runtime(self) -> Any:
        """Connection, power and maintenance mode."""
        return vim.host.RuntimeInfo(
            connectionState=self.connection_state,
            powerState="poweredOn",
            inMaintenanceMode=self.in_maintenance,
            bootTime=self.boot_time,
        )

    @property
    def summary(self) -> Any:
        """Hardware, runtime and product, summarized."""
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
                port=self.vcenter.port,
                sslThumbprint=self.ssl_thumbprint or self.vcenter.thumbprint,
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

    def leave(self) -> None:
        """Remove the host and its VMs from the inventory; their files stay."""
        for vm in list(self.vm):
            vm.remove()  # type: ignore[attr-defined]
        for datastore in list(self.datastore):
            datastore.unmount(self)  # type: ignore[attr-defined]
        for network in list(self.network):
            network.remove_member("host", self)
        if self.parent is not None:
            self.parent.remove_member("host", self)
        forget_parts(self)
        self.destroy_object()

    def remove(self) -> None:
        """As `leave`; a host of a cluster must be in maintenance mode, or disconnected."""
        if self.parent is None or self.parent.TYPE is not vim.ClusterComputeResource:
            raise vmodl.fault.NotSupported(
                msg="A standalone host is removed with its ComputeResource."
            )
        if self.connection_state == "connected" and not self.in_maintenance:
            raise vim.fault.InvalidState(
                msg="The host must be in maintenance mode or disconnected."
            )
        self.leave()

    # -- the vSphere API

    def Destroy_Task(self, ctx: Context) -> Task:
        """Remove the host from its cluster."""
        return self.vcenter.tasks.start(
            self,
            "Destroy_Task",
            "HostSystem.destroy",
            lambda task: self.remove(),
            session=ctx.session,
        )

    def RebootHost_Task(self, ctx: Context, force: bool) -> Task:
        """Reboot the host, in no time; outside of maintenance mode only if forced."""
        return self._power_task(ctx, "RebootHost_Task", "reboot", force, self._reboot)

    def ShutdownHost_Task(self, ctx: Context, force: bool) -> Task:
        """Switch the host off; vCenter loses the connection."""
        return self._power_task(ctx, "ShutdownHost_Task", "shutdown", force, self._shut_down)

    def _reboot(self) -> None:
        self.boot_time = self.vcenter.clock.now()
        self.changed("runtime.bootTime", "summary.runtime.bootTime")

    def _shut_down(self) -> None:
        self.connection_state = "notResponding"
        self.changed("runtime.connectionState", "summary.runtime.connectionState")
        self.vcenter.alarms.host_changed(self)

    def _power_task(
        self, ctx: Context, method: str, description: str, force: bool, effect: Callable[[], None]
    ) -> Task:
        def body(task: Task) -> None:
            if not force and not self.in_maintenance:
                raise vim.fault.InvalidState(msg="The host is not in maintenance mode.")
            effect()

        return self.vcenter.tasks.start(
            self, method, f"HostSystem.{description}", body, session=ctx.session
        )

    def EnterMaintenanceMode_Task(
        self, ctx: Context, timeout: int, evacuatePoweredOffVms: bool | None, maintenanceSpec: Any
    ) -> Task:
        """Enter maintenance mode; no VM is evacuated, since DRS is off."""
        return self._state_task(
            ctx, "EnterMaintenanceMode_Task", "enterMaintenanceMode", self.set_maintenance, True
        )

    def ExitMaintenanceMode_Task(self, ctx: Context, timeout: int) -> Task:
        """Exit maintenance mode."""
        return self._state_task(
            ctx, "ExitMaintenanceMode_Task", "exitMaintenanceMode", self.set_maintenance, False
        )

    def DisconnectHost_Task(self, ctx: Context) -> Task:
        """Disconnect the host."""
        return self._state_task(ctx, "DisconnectHost_Task", "disconnect", self.set_connected, False)

    def ReconnectHost_Task(self, ctx: Context, cnxSpec: Any, reconnectSpec: Any) -> Task:
        """Connect the host again."""
        return self._state_task(ctx, "ReconnectHost_Task", "reconnect", self.set_connected, True)

    def QueryTpmAttestationReport(self, ctx: Context) -> None:
        """None: the host has no TPM. (vSphere API reference, QueryTpmAttestationReport)"""

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

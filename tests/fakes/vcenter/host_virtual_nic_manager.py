"""HostVirtualNicManager: the uses of the host's own network adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart, parts_of

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem

_KINDS = ("vmotion", "faultToleranceLogging", "management", "vSphereProvisioning", "vsan")


class HostVirtualNicManager(HostPart):
    """vmk0 is selected for management."""

    TYPE = vim.host.VirtualNicManager
    NAME = "virtualNicManager"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self.selected: dict[str, set[str]] = {kind: set() for kind in _KINDS}
        self.selected["management"].add("vmk0")

    @property
    def _nics(self) -> dict[str, Any]:
        nics: dict[str, Any] = parts_of(self.host)["networkSystem"].nics  # type: ignore[attr-defined]
        return nics

    @property
    def info(self) -> Any:
        """Candidates and selected adapters of every use."""
        return vim.host.VirtualNicManagerInfo(netConfig=[self._config(kind) for kind in _KINDS])

    def _config(self, kind: str) -> Any:
        return vim.host.VirtualNicManager.NetConfig(
            nicType=kind,
            multiSelectAllowed=True,
            candidateVnic=[_candidate(kind, nic) for nic in self._nics.values()],
            selectedVnic=[
                f"{kind}.{nic.key}"
                for nic in self._nics.values()
                if nic.device in self.selected[kind]
            ],
        )

    def QueryNetConfig(self, ctx: Context, nicType: str) -> Any:
        """Candidates and selected adapters of one use."""
        self._require(nicType)
        return self._config(nicType)

    def SelectVnicForNicType(self, ctx: Context, nicType: str, device: str) -> None:
        """InvalidArgument for an unknown use or adapter."""
        self._require(nicType, device)
        self.selected[nicType].add(device)
        self.changed("info")

    def DeselectVnicForNicType(self, ctx: Context, nicType: str, device: str) -> None:
        """InvalidArgument for an unknown use or adapter."""
        self._require(nicType, device)
        self.selected[nicType].discard(device)
        self.changed("info")

    def _require(self, kind: str, device: str | None = None) -> None:
        if kind not in self.selected:
            raise vmodl.fault.InvalidArgument(invalidProperty="nicType")
        if device is not None and device not in self._nics:
            raise vmodl.fault.InvalidArgument(invalidProperty="device")


def _candidate(kind: str, nic: Any) -> Any:
    return vim.host.VirtualNic(
        device=nic.device, key=f"{kind}.{nic.key}", portgroup=nic.portgroup, spec=nic.spec
    )

"""The VM that an import creates, as vSphere's ConfigSpec: upstream's shadow VM with one disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from vmdk_cache.vim.entity_name import escape_name

if TYPE_CHECKING:
    from vmdk_cache.vim.lease import ImportRequest

_CONTROLLERS: dict[str, Any] = {
    "lsiLogic": vim.vm.device.VirtualLsiLogicController,
    "busLogic": vim.vm.device.VirtualBusLogicController,
    "lsiLogicsas": vim.vm.device.VirtualLsiLogicSASController,
    "paraVirtual": vim.vm.device.ParaVirtualSCSIController,
    "ide": vim.vm.device.VirtualIDEController,
}
_IDE_CONTROLLER_KEY = 200
_SCSI_CONTROLLER_KEY = 1000
#: Placeholder of a device that is being added; vCenter gives the real one.
_NEW_DISK_KEY = -101


def config_spec(request: ImportRequest) -> Any:
    """:raises ValueError: unknown disk type or adapter type"""
    managed_by = request.managed_by and vim.ext.ManagedByInfo(
        extensionKey=request.managed_by[0], type=request.managed_by[1]
    )
    return vim.vm.ConfigSpec(
        name=escape_name(request.name),
        guestId=request.guest_id,
        numCPUs=request.cpus,
        memoryMB=request.memory_mb,
        version=request.hardware_version,
        files=vim.vm.FileInfo(vmPathName=f"[{request.datastore}]"),
        instanceUuid=request.instance_uuid,
        annotation=request.annotation,
        managedBy=managed_by,
        vmProfile=_profiles(request),
        extraConfig=[
            vim.option.OptionValue(key=key, value=value)
            for key, value in request.extra_config.items()
        ],
        deviceChange=[_controller(request.adapter_type), _disk(request)],
    )


def disk_backing(disk_type: str) -> Any:
    """A flat file of type ``thin``, ``thick`` or ``eagerZeroedThick``, named by vCenter.

    :raises ValueError: another type
    """
    if disk_type not in ("thin", "thick", "eagerZeroedThick"):
        raise ValueError(f"disk type {disk_type!r}: must be thin, thick or eagerZeroedThick")
    return vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="",
        diskMode="persistent",
        thinProvisioned=disk_type == "thin",
        eagerlyScrub=disk_type == "eagerZeroedThick",
    )


def _profiles(request: ImportRequest) -> list[Any]:
    if request.profile_id is None:
        return []
    return [vim.vm.DefinedProfileSpec(profileId=request.profile_id)]


def _controller(adapter_type: str) -> Any:
    if adapter_type not in _CONTROLLERS:
        raise ValueError(f"adapter type {adapter_type!r}: must be one of {', '.join(_CONTROLLERS)}")
    controller = _CONTROLLERS[adapter_type](key=_controller_key(adapter_type), busNumber=0)
    if adapter_type != "ide":
        controller.sharedBus = "noSharing"
    return vim.vm.device.VirtualDeviceSpec(operation="add", device=controller)


def _controller_key(adapter_type: str) -> int:
    return _IDE_CONTROLLER_KEY if adapter_type == "ide" else _SCSI_CONTROLLER_KEY


def _disk(request: ImportRequest) -> Any:
    capacity_kib = -(-request.capacity_bytes // 1024)
    disk = vim.vm.device.VirtualDisk(
        key=_NEW_DISK_KEY,
        controllerKey=_controller_key(request.adapter_type),
        unitNumber=0,
        capacityInKB=capacity_kib,
        capacityInBytes=capacity_kib * 1024,
        backing=disk_backing(request.disk_type),
    )
    return vim.vm.device.VirtualDeviceSpec(
        operation="add", fileOperation="create", device=disk, profile=_profiles(request)
    )

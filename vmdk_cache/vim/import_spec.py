"""The ConfigSpec of the VM that an import creates: upstream's shadow VM with one disk.

As upstream (cinder, volumeops.py, ``_create_specs_for_disk_add``), an IDE disk is attached to the
first of the two IDE controllers that every VM has, and new devices have negative placeholder keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vmdk_cache.quoting import quoted
from vmdk_cache.vim.reference import escape_name
from vmdk_cache.vim.virtual_disk import disk_backing

_CONTROLLERS: dict[str, Any] = {
    "lsiLogic": vim.vm.device.VirtualLsiLogicController,
    "busLogic": vim.vm.device.VirtualBusLogicController,
    "lsiLogicsas": vim.vm.device.VirtualLsiLogicSASController,
    "paraVirtual": vim.vm.device.ParaVirtualSCSIController,
}
_IDE_CONTROLLER_KEY = 200
_NEW_CONTROLLER_KEY = -100
_NEW_DISK_KEY = -101


@dataclass(frozen=True)
class ImportRequest:
    """The VM that an import creates, with the same hardware as upstream's driver creates and a thin
    disk.

    :ivar datastores: the possible spellings of the datastore's name in a path (vmPathName is
        ``[name]``), see vim/datastore_path.py
    :ivar capacity_bytes: virtual size of the disk
    :ivar adapter_type: ``lsiLogic``, ``busLogic``, ``lsiLogicsas``, ``paraVirtual`` or ``ide``
    :ivar managed_by: (extension key, type) or None
    """

    name: str
    datastores: Sequence[str]
    capacity_bytes: int
    adapter_type: str = "lsiLogic"
    extra_config: Mapping[str, str] = field(default_factory=dict)
    annotation: str = ""
    managed_by: tuple[str, str] | None = None


def config_spec(request: ImportRequest, datastore: str) -> Any:
    """:param datastore: one of the request's ``datastores``
    :raises ValueError: unknown adapter type"""
    managed_by = request.managed_by and vim.ext.ManagedByInfo(
        extensionKey=request.managed_by[0], type=request.managed_by[1]
    )
    return vim.vm.ConfigSpec(
        name=escape_name(request.name),
        guestId="otherGuest",
        numCPUs=1,
        memoryMB=128,
        version="vmx-08",
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        annotation=request.annotation,
        managedBy=managed_by,
        extraConfig=[
            vim.option.OptionValue(key=key, value=value)
            for key, value in request.extra_config.items()
        ],
        deviceChange=_devices(request),
    )


def _devices(request: ImportRequest) -> list[Any]:
    if request.adapter_type == "ide":
        return [_disk(request, _IDE_CONTROLLER_KEY)]
    if request.adapter_type not in _CONTROLLERS:
        known = ", ".join((*_CONTROLLERS, "ide"))
        raise ValueError(f"adapter type {quoted(request.adapter_type)}: must be one of {known}")
    controller = _CONTROLLERS[request.adapter_type](
        key=_NEW_CONTROLLER_KEY, busNumber=0, sharedBus="noSharing"
    )
    added = vim.vm.device.VirtualDeviceSpec(operation="add", device=controller)
    return [added, _disk(request, _NEW_CONTROLLER_KEY)]


def _disk(request: ImportRequest, controller_key: int) -> Any:
    capacity_kib = -(-request.capacity_bytes // 1024)
    disk = vim.vm.device.VirtualDisk(
        key=_NEW_DISK_KEY,
        controllerKey=controller_key,
        unitNumber=0,
        capacityInKB=capacity_kib,
        capacityInBytes=capacity_kib * 1024,
        backing=disk_backing("thin"),
    )
    return vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk)

"""Virtual disks among the devices of a VM: read, specified, edited and extended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

#: The property with a VM's devices.
DEVICES = "config.hardware.device"


@dataclass(frozen=True)
class VirtualDisk:
    """A virtual disk of a VM.

    :ivar key: device key, e.g. 2000
    :ivar file_name: ``[datastore] dir/file.vmdk``
    :ivar uuid: ``backing.uuid`` as vCenter writes it, None if the backing has none
    :ivar thin: the backing is thin provisioned
    :ivar eagerly_zeroed: the backing was zeroed when it was made; False if vCenter does not say
    :ivar has_parent: the backing is a delta upon another disk
    :ivar content_id: changes with the disk's content while no VM writes to it; None if vCenter does
        not say (vSphere API reference, VirtualDiskFlatVer2BackingInfo.contentId)
    :ivar device: the disk as vCenter showed it; copy it before you change it
    """

    key: int
    capacity_bytes: int
    file_name: str
    uuid: str | None
    thin: bool = False
    has_parent: bool = False
    content_id: str | None = None
    eagerly_zeroed: bool = False
    device: Any = field(default=None, compare=False, repr=False)


def disks_of(devices: Sequence[Any]) -> tuple[VirtualDisk, ...]:
    """The virtual disks among a VM's devices (pyVmomi objects), in vCenter's order."""
    return tuple(
        _disk(device) for device in devices if isinstance(device, vim.vm.device.VirtualDisk)
    )


def _disk(device: Any) -> VirtualDisk:
    backing = device.backing
    return VirtualDisk(
        key=device.key,
        capacity_bytes=device.capacityInBytes or device.capacityInKB * 1024,
        file_name=getattr(backing, "fileName", None) or "",
        uuid=getattr(backing, "uuid", None),
        thin=bool(getattr(backing, "thinProvisioned", False)),
        has_parent=getattr(backing, "parent", None) is not None,
        content_id=getattr(backing, "contentId", None) or None,
        eagerly_zeroed=bool(getattr(backing, "eagerlyScrub", False)),
        device=device,
    )


def disk_backing(disk_type: str) -> Any:
    """The backing of a flat disk of type ``thin``, ``thick`` or ``eagerZeroedThick``; vCenter names
    the file.

    :raises ValueError: unknown disk type
    """
    if disk_type not in ("thin", "thick", "eagerZeroedThick"):
        raise ValueError(f"disk type {quoted(disk_type)}: must be thin, thick or eagerZeroedThick")
    return vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="",
        diskMode="persistent",
        thinProvisioned=disk_type == "thin",
        eagerlyScrub=disk_type == "eagerZeroedThick",
    )


def only_disk(clone: Row, moref: str) -> VirtualDisk:
    """The disk of a clone.

    :param clone: its properties, with :data:`DEVICES`
    :raises TaskFailed: the clone does not have exactly one
    """
    disks = disks_of(clone.get(DEVICES) or ())
    if len(disks) != 1:
        raise errors.TaskFailed(f"clone {moref} has {len(disks)} disks, not one", moref=moref)
    return disks[0]


def edit(device: Any, capacity_bytes: int, uuid: str | None) -> Any:
    """The VirtualDeviceSpec that sets a disk's capacity and uuid. Modifies ``device``.

    Both capacity fields are set consistently, because vCenter rejects a spec in which they differ.

    :param uuid: None keeps the disk's uuid
    """
    device.capacityInKB = -(-capacity_bytes // 1024)
    device.capacityInBytes = device.capacityInKB * 1024
    if uuid is not None:
        device.backing.uuid = uuid
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)


def is_same_uuid(one: str | None, other: str | None) -> bool:
    """Whether two strings are the same uuid; vCenter writes uuids in several ways."""
    return _digits(one) == _digits(other)


def _digits(uuid: str | None) -> str:
    return "".join(character for character in (uuid or "").lower() if character.isalnum())


def extend_eagerly(
    session: Session,
    waiter: TaskWaiter,
    moref: str,
    datacenter: str,
    capacity_bytes: int,
    *,
    timeout_s: float,
) -> None:
    """Extend a VM's only disk and zero the new part at once, as Cinder's own driver does.

    ReconfigVM_Task would leave the new part of an ``eagerZeroedThick`` disk lazily zeroed. The call
    may be repeated: a disk that is large enough is left alone. vCenter may show the old capacity of
    a disk extended by path until the VM is reloaded, so the VM is reloaded before and after.

    :param datacenter: moref of the datacenter of the disk's path
    :param capacity_bytes: at least the present capacity
    :raises FileLocked, InUse: the disk is being extended; retry
    """
    disk = _reloaded(session, moref)
    if disk.capacity_bytes >= capacity_bytes:
        return
    try:
        task = session.invoke(
            "VirtualDiskManager",
            session.content.virtualDiskManager._GetMoId(),
            "ExtendVirtualDisk_Task",
            name=disk.file_name,
            datacenter=vim.Datacenter(datacenter),
            newCapacityKb=-(-capacity_bytes // 1024),
            eagerZero=True,
        )
        waiter.wait(task, timeout_s=timeout_s)
    except errors.TaskFailed:
        # vCenter rejects a capacity that the disk already has. An earlier extension whose response
        # was lost may have finished since the disk was read.
        if _reloaded(session, moref).capacity_bytes < capacity_bytes:
            raise
        return
    session.invoke("VirtualMachine", moref, "Reload", safe=True)


def _reloaded(session: Session, moref: str) -> VirtualDisk:
    """The VM's only disk as it is now, and not as vCenter remembers it."""
    session.invoke("VirtualMachine", moref, "Reload", safe=True)
    return only_disk(properties.read_one(session, "VirtualMachine", moref, [DEVICES]), moref)

"""The only disk of a clone: found among its devices, edited, and extended by its path."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.vim import properties
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import Disk, disks_of

#: The property that holds a VM's devices.
DEVICES = "config.hardware.device"


def only_disk(devices: Any, moref: str) -> Any:
    """The VirtualDisk among a clone's devices.

    :raises TaskFailed: the clone has not exactly one
    """
    disks = [device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)]
    if len(disks) != 1:
        raise errors.TaskFailed(f"clone {moref} has {len(disks)} disks, not one", moref=moref)
    return disks[0]


def edit(device: Any, capacity_bytes: int, uuid: str | None) -> Any:
    """The VirtualDeviceSpec that gives a disk a capacity and a uuid. Changes ``device``.

    Both capacities are set, consistently: vCenter refuses a spec in which they differ.

    :param uuid: None leaves the disk its own
    """
    device.capacityInKB = -(-capacity_bytes // 1024)
    device.capacityInBytes = device.capacityInKB * 1024
    if uuid is not None:
        device.backing.uuid = uuid
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)


def is_same_uuid(one: str | None, other: str | None) -> bool:
    """Whether two spellings are the same uuid; vCenter writes them in several ways."""
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
    """Grow a VM's only disk and have its new part zeroed at once, as Cinder's own driver does.

    ReconfigVM_Task would leave the new part of an ``eagerZeroedThick`` disk lazily zeroed. May be
    repeated: a disk that is large enough is left alone. vCenter may show the old capacity of a disk
    that was extended by its path until the VM is reloaded, so that is done before and after.

    :param datacenter: moref of the one that the disk's path belongs to
    :param capacity_bytes: at least the present capacity
    :raises FileLocked, InUse: it is just being extended; retry
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
        # vCenter refuses a capacity that the disk has already. An earlier extension whose answer
        # was lost may have ended since the disk was read.
        if _reloaded(session, moref).capacity_bytes < capacity_bytes:
            raise
        return
    session.invoke("VirtualMachine", moref, "Reload", safe=True)


def _reloaded(session: Session, moref: str) -> Disk:
    """The VM's only disk as it is now, and not as vCenter remembers it."""
    session.invoke("VirtualMachine", moref, "Reload", safe=True)
    values = properties.read_one(session, "VirtualMachine", moref, [DEVICES])
    (disk,) = disks_of([only_disk(values.get(DEVICES) or (), moref)])
    return disk

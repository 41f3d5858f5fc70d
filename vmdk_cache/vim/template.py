"""Template VMs and the volumes cloned from them: clone, finish, mark, destroy.

A clone carries its whole identity in ONE CloneVM_Task; what only its disk can take (capacity and
uuid) follows in ONE ReconfigVM_Task. vCenter copies extraConfig, annotation and managedBy of a
source into the clone unless the request says otherwise, so it always says otherwise. A template
takes no change but of name and annotation (vSphere API reference, MarkAsTemplate).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vmdk_cache import errors, retry
from vmdk_cache.vim import properties
from vmdk_cache.vim.batch import Batch
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.entity_name import escape_name
from vmdk_cache.vim.import_spec import disk_backing
from vmdk_cache.vim.properties import Properties
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import (
    Disk,
    VmInfo,
    disks_of,
    find_vm,
    get_vm,
    get_vms,
    list_vms,
)

__all__ = [
    "CloneRequest",
    "Disk",
    "VmInfo",
    "clone",
    "clone_running",
    "destroy",
    "find_vm",
    "finish_clone",
    "get_vm",
    "get_vms",
    "import_running",
    "list_vms",
    "mark_as_template",
    "move_to_host",
    "refresh_storage",
]

#: Reconfiguring a new VM and deleting one are matters of seconds; hours are allowed.
_SHORT_TASK_S = 3600.0
#: vCenter holds a VM for moments after each operation on it.
_IN_USE_ATTEMPTS = 6
_LOST_ATTEMPTS = 3
#: ``descriptionId`` of the task that runs as long as an ImportVApp lease.
_IMPORT_TASK = "ResourcePool.ImportVAppLRO"
#: ``descriptionId`` of a clone's task; its entity is the source.
_CLONE_TASK = "VirtualMachine.clone"


@dataclass(frozen=True)
class CloneRequest:
    """Where a clone goes and who it is.

    :ivar folder: moref; so are ``datastore``, ``host`` and ``pool``
    :ivar disk_key: device key of the source's only disk (:class:`Disk`)
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar extra_config: keys to set; the value ``''`` removes a key that the source has
    :ivar managed_by: (extension key, type), or None: the clone is managed by nobody, even when
        its source is managed
    :ivar annotation: replaces the source's; '' removes it
    :ivar profile_id: storage profile for the VM's home and its disk
    :ivar as_template: the clone is a template at once
    """

    name: str
    folder: str
    datastore: str
    host: str | None
    pool: str
    disk_key: int
    disk_type: str = "thin"
    instance_uuid: str | None = None
    extra_config: Mapping[str, str] = field(default_factory=dict)
    managed_by: tuple[str, str] | None = None
    annotation: str = ""
    profile_id: str | None = None
    as_template: bool = False


def clone(
    session: Session,
    waiter: TaskWaiter,
    source: VmInfo | str,
    request: CloneRequest,
    *,
    timeout_s: float,
) -> str:
    """Moref of a full, powered-off copy; waits for it.

    :param source: template or VM, or its moref
    :param timeout_s: how long the task may run, not counting vCenter's queue
    :raises NameTaken: the folder has an object of that name
    :raises ObjectNotFound: source, folder, pool or datastore is gone; ``moref`` says which, if
        vCenter did
    :raises FileLocked: retry later (vSphere 8.0 U1 and newer, shortly after an import)
    :raises VCenterError: any other fault; after TaskTimedOut and Unreachable a clone may exist
    """
    task = session.invoke(
        "VirtualMachine",
        source if isinstance(source, str) else source.moref,
        "CloneVM_Task",
        folder=request.folder,
        name=escape_name(request.name),
        spec=_clone_spec(request),
    )
    made = waiter.wait(task, timeout_s=timeout_s)
    return str(made or _late_result(session, task))


def _late_result(session: Session, task: str) -> str:
    """Under load a task's state may be seen before its result."""
    values = properties.read(session, "Task", [task], ["info.result"])
    made = values.get(task, {}).get("info.result")
    if not made:
        raise errors.TaskFailed(f"task {task} has made a clone and does not say which", moref=task)
    return str(made)


def finish_clone(
    session: Session,
    waiter: TaskWaiter,
    moref: str,
    capacity_bytes: int | None = None,
    disk_uuid: str | None = None,
    *,
    forbidden_key: str | None = None,
    forbidden_attributes: Sequence[str] = (),
    timeout_s: float = _SHORT_TASK_S,
) -> None:
    """Grow a clone's only disk and give it its uuid: one read (shared with clones that are
    finished at the same time), at most one ReconfigVM_Task.

    :param capacity_bytes: at least the present capacity; None keeps that
    :param forbidden_key: extraConfig key that must not have come along from the source
    :param forbidden_attributes: custom attributes whose values are taken away if they came along
        from the source (whether they do is not documented): a request for each that did
    :raises TaskFailed: the key did, or the clone has not exactly one disk
    :raises NotSupported: ``capacity_bytes`` is less than the disk has
    """
    values = _read_clone(session, waiter, moref, forbidden_key, bool(forbidden_attributes))
    device = _only_disk(values.get("config.hardware.device") or (), moref)
    copied = values.get(_extra_config_path(forbidden_key)) if forbidden_key else None
    if copied is not None and copied.value:
        raise errors.TaskFailed(
            f"clone {moref} carries {forbidden_key!r} of its source", moref=moref
        )
    CustomAttributes.of(session).blank(moref, values.get("customValue") or (), forbidden_attributes)
    change = _disk_change(device, capacity_bytes, disk_uuid, moref)
    if change is None:
        return
    task = session.invoke(
        "VirtualMachine",
        moref,
        "ReconfigVM_Task",
        spec=vim.vm.ConfigSpec(deviceChange=[change]),
    )
    waiter.wait(task, timeout_s=timeout_s)


def mark_as_template(session: Session, moref: str) -> None:
    """Turn a powered-off VM into a template; one that is a template already stays one.

    :raises InUse: another operation holds the VM, and did not let go of it meanwhile
    """
    try:
        retry.call(
            lambda: session.invoke("VirtualMachine", moref, "MarkAsTemplate", safe=True),
            attempts=_IN_USE_ATTEMPTS,
            when=lambda failure: isinstance(failure, errors.InUse),
            first_wait_s=0.5,
            clock=session.clock,
        )
    except errors.NotSupported:
        values = properties.read_one(session, "VirtualMachine", moref, ["config.template"])
        if not values.get("config.template"):
            raise


def move_to_host(session: Session, waiter: TaskWaiter, moref: str, host: str) -> None:
    """Register a template on another host that has its datastore; its files stay (vSphere API
    reference, RelocateVM_Task: "should the current host become inactive").

    :param host: moref
    :raises InUse: another operation holds it; retry
    """
    spec = vim.vm.RelocateSpec(host=vim.HostSystem(host))
    _do(session, waiter, moref, "RelocateVM_Task", spec=spec)


def refresh_storage(session: Session, moref: str) -> None:
    """Have vCenter look at the VM's files now: what it says of their sizes is old for a while
    after an import (vSphere API reference, VirtualMachineStorageInfo.timestamp)."""
    session.invoke("VirtualMachine", moref, "RefreshStorageInfo", safe=True)


def destroy(session: Session, waiter: TaskWaiter, moref: str) -> None:
    """Delete a VM or template with its files. That it is gone already is success.

    :raises InUse: another operation holds it; retry
    """
    try:
        _do(session, waiter, moref, "Destroy_Task")
    except errors.VCenterError as error:
        if _is_gone(error):
            return
        if not _has_lost_files(error):
            raise
        _unregister(session, moref)


def import_running(session: Session, moref: str) -> bool:
    """Whether an importer is at work on the VM, in whatever process: its lease lives as long as
    vCenter's import task runs."""
    try:
        tasks = properties.read_through(
            session,
            "VirtualMachine",
            moref,
            [("VirtualMachine", "recentTask")],
            "Task",
            ["info.descriptionId", "info.state"],
        )
    except errors.ObjectNotFound:
        return False
    return any(
        task.get("info.descriptionId") == _IMPORT_TASK
        and task.get("info.state") in ("queued", "running")
        for task in tasks.values()
    )


def clone_running(session: Session, source: str, *, within_s: float) -> bool:
    """Whether a clone of ``source`` that was asked for within the last seconds is under way.

    vCenter tells a clone's source and not its target, so clones of others count as well.

    :param source: moref; one that is gone has no clones
    """
    try:
        tasks = properties.read_through(
            session,
            "VirtualMachine",
            source,
            [("VirtualMachine", "recentTask")],
            "Task",
            ["info.descriptionId", "info.state", "info.queueTime"],
        )
    except errors.ObjectNotFound:
        return False
    since = session.server_time() - datetime.timedelta(seconds=within_s)
    return any(
        task.get("info.descriptionId") == _CLONE_TASK
        and task.get("info.state") in ("queued", "running")
        and task.get("info.queueTime", since) >= since
        for task in tasks.values()
    )


def _do(session: Session, waiter: TaskWaiter, moref: str, method: str, **args: Any) -> None:
    """A task that may be done twice; it is, if vCenter was restarted and forgot it."""

    def once() -> None:
        task = session.invoke("VirtualMachine", moref, method, safe=True, **args)
        waiter.wait(task, timeout_s=_SHORT_TASK_S)

    retry.call(
        once,
        attempts=_LOST_ATTEMPTS,
        when=lambda failure: isinstance(failure, errors.TaskLost),
        clock=session.clock,
    )


def _clone_spec(request: CloneRequest) -> Any:
    profile_id = request.profile_id
    profiles = [vim.vm.DefinedProfileSpec(profileId=profile_id)] if profile_id is not None else []
    managed_by = request.managed_by or ("", "")  # an empty key unsets the source's
    locator = vim.vm.RelocateSpec.DiskLocator(
        diskId=request.disk_key,
        datastore=vim.Datastore(request.datastore),
        diskMoveType="moveAllDiskBackingsAndDisallowSharing",
        diskBackingInfo=disk_backing(request.disk_type),
        profile=profiles,
    )
    location = vim.vm.RelocateSpec(
        datastore=vim.Datastore(request.datastore),
        pool=vim.ResourcePool(request.pool),
        host=None if request.host is None else vim.HostSystem(request.host),
        diskMoveType="moveAllDiskBackingsAndDisallowSharing",
        disk=[locator],
        profile=profiles,
    )
    config = vim.vm.ConfigSpec(
        instanceUuid=request.instance_uuid,
        annotation=request.annotation,
        managedBy=vim.ext.ManagedByInfo(extensionKey=managed_by[0], type=managed_by[1]),
        extraConfig=[
            vim.option.OptionValue(key=key, value=value)
            for key, value in request.extra_config.items()
        ],
    )
    return vim.vm.CloneSpec(
        location=location, template=request.as_template, powerOn=False, config=config
    )


def _extra_config_path(key: str) -> str:
    return f'config.extraConfig["{key}"]'


def _read_clone(
    session: Session,
    waiter: TaskWaiter,
    moref: str,
    forbidden_key: str | None,
    attributes: bool,
) -> Properties:
    """What :func:`finish_clone` must know, in a request that concurrent clones share."""
    paths = ["config.hardware.device"]
    if attributes:
        paths.append("customValue")
    if forbidden_key is not None:
        paths.append(_extra_config_path(forbidden_key))

    def send(morefs: list[str]) -> dict[str, Properties]:
        return properties.read(session, "VirtualMachine", morefs, paths)

    batch: Batch[str, Properties] = session.shared(
        ("finish_clone", forbidden_key, attributes), lambda: Batch(send, waiter.regroup)
    )
    values = batch.ask(moref)
    if values is None:
        raise errors.ObjectNotFound(f"clone {moref} does not exist any more", moref=moref)
    return values


def _only_disk(devices: Any, moref: str) -> Any:
    disks = [device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)]
    if len(disks) != 1:
        raise errors.TaskFailed(f"clone {moref} has {len(disks)} disks, not one", moref=moref)
    return disks[0]


def _disk_change(
    device: Any, capacity_bytes: int | None, disk_uuid: str | None, moref: str
) -> Any | None:
    """The edit of the disk, None if nothing is to change.

    Both capacities are set, consistently: vCenter refuses a spec in which they differ.
    """
    present = disks_of([device])[0].capacity_bytes
    if capacity_bytes is not None and capacity_bytes < present:
        raise errors.NotSupported(
            f"disk of {moref} has {present} bytes and cannot shrink to {capacity_bytes}",
            moref=moref,
        )
    if capacity_bytes in (None, present) and disk_uuid is None:
        return None
    device.capacityInKB = -(-(capacity_bytes or present) // 1024)
    device.capacityInBytes = device.capacityInKB * 1024
    if disk_uuid is not None:
        device.backing.uuid = disk_uuid
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)


def _is_gone(error: errors.VCenterError) -> bool:
    gone = (None, "vmodl.fault.ManagedObjectNotFound")
    return isinstance(error, errors.ObjectNotFound) and error.fault in gone


def _has_lost_files(error: errors.VCenterError) -> bool:
    """What Destroy_Task says of a VM whose directory vanished (seen in production by SAP's nova
    fork): FileNotFound, or InvalidArgument on its vmPathName."""
    return error.fault == "vim.fault.FileNotFound" or (
        error.fault == "vmodl.fault.InvalidArgument" and "vmPathName" in str(error)
    )


def _unregister(session: Session, moref: str) -> None:
    try:
        session.invoke("VirtualMachine", moref, "UnregisterVM", safe=True)
    except errors.ObjectNotFound:
        pass  # somebody else was faster

"""Template VMs and the volumes cloned from them: clone, finish, mark, destroy.

ONE CloneVM_Task gives a clone its whole identity (vim/clone_spec.py). If the disk did not get its
capacity and uuid from it, ONE ReconfigVM_Task follows. Only the name and annotation of a template
can be changed (vSphere API reference, MarkAsTemplate).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyVmomi import vim

from vmdk_cache import errors, retry
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties
from vmdk_cache.vim.batch import Batch
from vmdk_cache.vim.clone_spec import CloneRequest, clone_spec
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.reference import escape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_disk import (
    DEVICES,
    VirtualDisk,
    edit,
    is_same_uuid,
    only_disk,
)
from vmdk_cache.vim.virtual_machine import extra_config_path

#: Reconfiguring a new VM or deleting one takes seconds. The task may run for an hour, after at most
#: another hour in vCenter's queue.
_SHORT_TASK_S = 3600.0
#: How long a deletion may run, and how long it may wait in vCenter's queue before. The locks of
#: imports, of room and of housekeeping are held meanwhile.
DESTROY_WITHIN_S = 900.0
#: vCenter keeps a VM in use for a moment after each operation.
_IN_USE_ATTEMPTS = 6
_LOST_ATTEMPTS = 3


def clone(
    session: Session,
    waiter: TaskWaiter,
    source: str,
    request: CloneRequest,
    *,
    timeout_s: float,
) -> str:
    """Clone a VM or template and wait; the moref of the full, powered-off clone.

    :param source: moref of the template or VM
    :param timeout_s: how long the task may run, not counting vCenter's queue
    :raises NameTaken: the folder has an object of that name
    :raises ObjectNotFound: source, folder, pool or datastore is gone; ``moref`` names it if vCenter
        did
    :raises FileLocked: retry later (vSphere 8.0 U1 and newer, shortly after an import)
    :raises VCenterError: any other fault; after TaskTimedOut or Unreachable a clone may exist
    """
    return await_clone(session, waiter, start_clone(session, source, request), timeout_s=timeout_s)


def start_clone(session: Session, source: str, request: CloneRequest) -> str:
    """Moref of the clone's task; same arguments and errors as :func:`clone`, except for errors of
    the task itself.

    :raises Unreachable: a task may exist nevertheless
    """
    task = session.invoke(
        "VirtualMachine",
        source,
        "CloneVM_Task",
        folder=request.folder,
        name=escape_name(request.name),
        spec=clone_spec(request),
    )
    return str(task)


def await_clone(session: Session, waiter: TaskWaiter, task: str, *, timeout_s: float) -> str:
    """Wait for a task of :func:`start_clone`; the moref of the clone. Same errors as
    :func:`clone`."""
    made = waiter.wait(task, timeout_s=timeout_s)
    if not made:  # under load, a task's state may be visible before its result
        values = properties.read(session, "Task", [task], ["info.result"])
        made = values.get(task, {}).get("info.result")
    if not made:
        raise errors.TaskFailed(f"task {task} succeeded without naming its clone", moref=task)
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
    look: Callable[[VirtualDisk], None] = lambda disk: None,
) -> None:
    """Grow the only disk of a clone and set its uuid: one read (shared with clones that are
    finished at the same time), at most one ReconfigVM_Task.

    :param capacity_bytes: at least the present capacity; None keeps the present one
    :param forbidden_key: extraConfig key that must not have been copied from the source
    :param forbidden_attributes: custom attributes to clear if they were copied from the source
        (whether vCenter copies them is not documented): one request for each copied one
    :param look: called with the disk as it was read; may raise
    :raises TaskFailed: the key was copied, or the clone does not have exactly one disk
    :raises NotSupported: ``capacity_bytes`` is less than the present capacity
    """
    values = _read_clone(session, waiter, moref, forbidden_key, bool(forbidden_attributes))
    disk = only_disk(values, moref)
    look(disk)
    copied = values.get(extra_config_path(forbidden_key)) if forbidden_key else None
    if copied is not None and copied.value:
        raise errors.TaskFailed(
            f"clone {moref} has a copy of its source's {quoted(forbidden_key)}", moref=moref
        )
    CustomAttributes.of(session).blank(moref, values.get("customValue") or (), forbidden_attributes)
    change = _disk_change(disk, capacity_bytes, disk_uuid, moref)
    if change is None:
        return
    task = session.invoke(
        "VirtualMachine",
        moref,
        "ReconfigVM_Task",
        spec=vim.vm.ConfigSpec(deviceChange=[change]),
    )
    waiter.wait(task, timeout_s=_SHORT_TASK_S, start_within_s=_SHORT_TASK_S)


def mark_as_template(session: Session, moref: str) -> None:
    """Turn a powered-off VM into a template; no effect on a template.

    :raises InUse: another operation still holds the VM after several attempts
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
    """Register a template on another host that has its datastore; its files stay in place (vSphere
    API reference, RelocateVM_Task: "should the current host become inactive").

    :param host: moref
    :raises InUse: another operation holds the template; retry
    """
    spec = vim.vm.RelocateSpec(host=vim.HostSystem(host))
    _do(session, waiter, moref, "RelocateVM_Task", spec=spec)


def destroy(session: Session, waiter: TaskWaiter, moref: str) -> None:
    """Delete a VM or template with its files; succeeds if it is already gone.

    :raises InUse: another operation holds it; retry
    """
    try:
        _do(session, waiter, moref, "Destroy_Task", within_s=DESTROY_WITHIN_S)
    except errors.VCenterError as error:
        if _is_gone(error):
            return
        if not _has_lost_files(error):
            raise
        unregister(session, moref)


def _do(
    session: Session,
    waiter: TaskWaiter,
    moref: str,
    method: str,
    *,
    within_s: float = _SHORT_TASK_S,
    **args: Any,
) -> None:
    """Run an idempotent task; repeat it if vCenter was restarted and lost it.

    :param within_s: how long it may wait in vCenter's queue, and how long it may run; all attempts
        together take at most twice this time
    """
    ends_at = session.clock.monotonic() + 2 * within_s

    def once() -> None:
        half_s = (ends_at - session.clock.monotonic()) / 2
        task = session.invoke("VirtualMachine", moref, method, safe=True, **args)
        waiter.wait(task, timeout_s=half_s, start_within_s=half_s)

    retry.call(
        once,
        attempts=_LOST_ATTEMPTS,
        when=lambda failure: (
            isinstance(failure, errors.TaskLost) and session.clock.monotonic() < ends_at
        ),
        clock=session.clock,
    )


def _read_clone(
    session: Session,
    waiter: TaskWaiter,
    moref: str,
    forbidden_key: str | None,
    attributes: bool,
) -> Row:
    """The properties that :func:`finish_clone` needs, in a request that concurrent clones share."""
    paths = [DEVICES]
    if attributes:
        paths.append("customValue")
    if forbidden_key is not None:
        paths.append(extra_config_path(forbidden_key))

    def send(morefs: list[str]) -> dict[str, Row]:
        return properties.read(session, "VirtualMachine", morefs, paths)

    batch: Batch[str, Row] = session.shared(
        ("finish_clone", forbidden_key, attributes), lambda: Batch(send, waiter.regroup)
    )
    values = batch.ask(moref)
    if values is None:
        raise errors.ObjectNotFound(f"clone {moref} no longer exists", moref=moref)
    return values


def _disk_change(
    disk: VirtualDisk, capacity_bytes: int | None, disk_uuid: str | None, moref: str
) -> Any | None:
    """The edit of the disk, None if the disk needs no change."""
    if capacity_bytes is None:
        capacity_bytes = disk.capacity_bytes
    if capacity_bytes < disk.capacity_bytes:
        raise errors.NotSupported(
            f"disk of {moref} has {disk.capacity_bytes} bytes and cannot shrink to "
            f"{capacity_bytes}",
            moref=moref,
        )
    has_uuid = disk_uuid is None or is_same_uuid(disk.uuid, disk_uuid)
    if has_uuid and capacity_bytes == disk.capacity_bytes:
        return None
    return edit(disk.device, capacity_bytes, disk_uuid)


def _is_gone(error: errors.VCenterError) -> bool:
    gone = (None, "vmodl.fault.ManagedObjectNotFound")
    return isinstance(error, errors.ObjectNotFound) and error.fault in gone


def _has_lost_files(error: errors.VCenterError) -> bool:
    """Whether it is the error of Destroy_Task on a VM whose directory has disappeared:
    FileNotFound, or InvalidArgument on its vmPathName (docs/assumptions.rst, A79), as seen in
    production by SAP's nova fork."""
    return error.fault == "vim.fault.FileNotFound" or (
        error.fault == "vmodl.fault.InvalidArgument" and "vmPathName" in str(error)
    )


def unregister(session: Session, moref: str) -> None:
    """Remove a VM from the inventory; its files stay. Succeeds if it is already gone."""
    try:
        session.invoke("VirtualMachine", moref, "UnregisterVM", safe=True)
    except errors.ObjectNotFound:
        pass  # another client was faster

"""The recent tasks of a VM, or of everything that this account can see.

A task names the object that it works on, but not what it is to create: the clone tasks of a source
include those of other callers. Finished tasks remain for about ten minutes (vSphere API reference,
ManagedEntity.recentTask).
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim import properties
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_machine import in_utc

#: ``descriptionId`` of CloneVM_Task, which works on the source.
CLONE = "VirtualMachine.clone"
#: ``descriptionId`` of the task that runs as long as an ImportVApp lease exists:
#: docs/assumptions.rst, A40.
IMPORT = "ResourcePool.ImportVAppLRO"
_IMPORT_PATHS = [
    "info.descriptionId",
    "info.state",
    "info.entity",
    "info.progress",
    "info.startTime",
    "info.queueTime",
]
_PATHS = ["info.descriptionId", "info.state", "info.queueTime", "info.result"]

_pc = vmodl.query.PropertyCollector


@dataclass(frozen=True)
class RecentTask:
    """A task as it was when read.

    :ivar operation: such as :data:`CLONE`
    :ivar is_under_way: queued or running
    :ivar queued_at: by vCenter's clock, aware, UTC; None if it was not read or not reported
    :ivar result: moref of what it created, None unless it was read and the task succeeded
    :ivar entity_name: name of the object that it works on, '' if it was not read
    """

    operation: str
    is_under_way: bool
    queued_at: datetime.datetime | None
    result: str | None
    entity_name: str


@dataclass(frozen=True)
class ImportProgress:
    """An import under way, as its importer last reported it: docs/assumptions.rst, A40 and A95.

    :ivar percent: of the image, 0 to 100; 0 until the first report
    :ivar began_at: by vCenter's clock, aware, UTC; None if vCenter does not say
    """

    percent: int
    began_at: datetime.datetime | None


def of_vm(session: Session, vm: str, operation: str) -> list[RecentTask]:
    """The recent tasks of that operation on a VM or template, in one request.

    :param vm: moref; if the object is gone, the result is empty
    """
    try:
        found = _through(session, "VirtualMachine", vm, _PATHS)
    except errors.ObjectNotFound:
        return []
    return [task for task in found if task.operation == operation]


def is_importing(session: Session, vm: str) -> bool:
    """Whether any process is importing into the VM: vCenter's import task runs as long as the
    lease exists."""
    return any(task.is_under_way for task in of_vm(session, vm, IMPORT))


def imports(session: Session, vms: Collection[str]) -> dict[str, ImportProgress]:
    """The imports under way into these VMs, by VM; any session may ask. One request, or none.

    :param vms: morefs; objects that are gone, and that nothing is imported into, are left out
    """
    if not vms:
        return {}
    to_tasks = _pc.TraversalSpec(type=vim.VirtualMachine, path="recentTask")
    spec = _pc.FilterSpec(
        objectSet=[
            _pc.ObjectSpec(obj=vim.VirtualMachine(vm), skip=True, selectSet=[to_tasks])
            for vm in vms
        ],
        propSet=properties.property_specs({"Task": _IMPORT_PATHS}),
        reportMissingObjectsInResults=True,
    )
    found = properties.retrieve(session, spec)
    return {
        str(row.get("info.entity")): ImportProgress(
            percent=int(row.get("info.progress") or 0),
            began_at=in_utc(row.get("info.startTime") or row.get("info.queueTime")),
        )
        for row in found.values()
        if _task(row).operation == IMPORT and _task(row).is_under_way
    }


def of_moref(session: Session, task: str) -> list[RecentTask]:
    """The task with that moref, empty if vCenter no longer knows it; one request."""
    return [_task(values) for values in properties.read(session, "Task", [task], _PATHS).values()]


def under_way(session: Session) -> list[RecentTask]:
    """The queued and running tasks that this account can see, in one request."""
    manager = session.content.taskManager._GetMoId()
    paths = ["info.descriptionId", "info.entityName", "info.state"]
    return [task for task in _through(session, "TaskManager", manager, paths) if task.is_under_way]


def _through(
    session: Session, type_name: str, moref: str, paths: Sequence[str]
) -> list[RecentTask]:
    steps = [(type_name, "recentTask")]
    found = properties.read_through(session, type_name, moref, steps, "Task", paths)
    return [_task(values) for values in found.values()]


def _task(values: Row) -> RecentTask:
    state = values.get("info.state")
    return RecentTask(
        operation=str(values.get("info.descriptionId", "")),
        is_under_way=state in ("queued", "running"),
        queued_at=in_utc(values.get("info.queueTime")),
        result=values.get("info.result") if state == "success" else None,
        entity_name=str(values.get("info.entityName") or ""),
    )

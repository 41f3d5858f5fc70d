"""Finds tasks of CloneVM_Task, for a caller that lost the response to its call.

A task names the source of a clone but not its target, so a source's tasks include clones of other
callers; ``queued_at`` and ``made`` distinguish them. Finished tasks remain for about ten minutes
(vSphere API reference, ManagedEntity.recentTask).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from vmdk_cache import errors
from vmdk_cache.vim import properties
from vmdk_cache.vim.properties import Properties
from vmdk_cache.vim.session import Session

#: ``descriptionId`` of a clone's task; its entity is the source.
_DESCRIPTION = "VirtualMachine.clone"
_PATHS = ["info.descriptionId", "info.state", "info.queueTime", "info.result"]


@dataclass(frozen=True)
class CloneTask:
    """The state of a clone's task when it was read.

    :ivar queued_at: by vCenter's clock, aware, UTC; None if vCenter does not report it
    :ivar is_under_way: queued or running
    :ivar made: moref of the clone, None unless the task succeeded
    """

    queued_at: datetime.datetime | None
    is_under_way: bool
    made: str | None


def of_source(session: Session, source: str) -> list[CloneTask]:
    """The recent clone tasks of a VM or template, running or finished, in one request.

    :param source: moref; if the object is gone, the result is empty
    """
    try:
        tasks = properties.read_through(
            session,
            "VirtualMachine",
            source,
            [("VirtualMachine", "recentTask")],
            "Task",
            _PATHS,
        )
    except errors.ObjectNotFound:
        return []
    return [
        _clone_task(values)
        for values in tasks.values()
        if values.get("info.descriptionId") == _DESCRIPTION
    ]


def known(session: Session, task: str) -> list[CloneTask]:
    """The task with that moref, empty if vCenter no longer knows it; one request."""
    tasks = properties.read(session, "Task", [task], _PATHS)
    return [_clone_task(values) for values in tasks.values()]


def _clone_task(values: Properties) -> CloneTask:
    queued_at = values.get("info.queueTime")
    if queued_at is not None and queued_at.tzinfo is None:
        queued_at = queued_at.replace(tzinfo=datetime.UTC)
    state = values.get("info.state")
    return CloneTask(
        queued_at,
        is_under_way=state in ("queued", "running"),
        made=values.get("info.result") if state == "success" else None,
    )

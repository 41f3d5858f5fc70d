"""The tasks that vCenter is running, as far as this account can see them."""

from __future__ import annotations

from dataclasses import dataclass

from vmdk_cache.vim import properties
from vmdk_cache.vim.session import Session


@dataclass(frozen=True)
class RunningTask:
    """A queued or running task.

    :ivar operation: such as ``VirtualMachine.clone``
    :ivar entity_name: name of the object that it works on
    """

    operation: str
    entity_name: str


def running(session: Session) -> list[RunningTask]:
    """The recent unfinished tasks, in one request."""
    manager = session.content.taskManager._GetMoId()
    found = properties.read_through(
        session,
        "TaskManager",
        manager,
        [("TaskManager", "recentTask")],
        "Task",
        ["info.descriptionId", "info.entityName", "info.state"],
    )
    return [
        RunningTask(
            str(values.get("info.descriptionId", "")), str(values.get("info.entityName") or "")
        )
        for values in found.values()
        if values.get("info.state") in ("queued", "running")
    ]

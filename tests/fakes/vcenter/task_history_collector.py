"""TaskHistoryCollector: tasks that match a filter, including those that are no longer recent.

(vSphere API reference, TaskFilterSpec. No task of the fake belongs to an alarm, a scheduled task or
another task.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event_filter import concerns, is_by, is_within
from tests.fakes.vcenter.history_collector import HistoryCollector, Item

if TYPE_CHECKING:
    from tests.fakes.vcenter.task import Task
    from tests.fakes.vcenter.vcenter import VCenter

_NEVER = ("activationId", "alarm", "scheduledTask", "tag", "parentTaskKey", "rootTaskKey")
_TIMES = {"queuedTime": "queueTime", "startedTime": "startTime", "completedTime": "completeTime"}


class TaskHistoryCollector(HistoryCollector):
    """Tasks, ordered by their TaskEvents."""

    TYPE = vim.TaskHistoryCollector

    def __init__(self, vcenter: VCenter, ctx: Context, spec: Any) -> None:
        super().__init__(vcenter, ctx, spec)
        if spec.entity is not None:
            vcenter.registry.require(spec.entity.entity)

    def items(self) -> Sequence[Item]:
        """The tasks, oldest first."""
        return [
            Item(task.event.key, lambda task=task: task.info)  # type: ignore[misc]
            for task in self.vcenter.tasks.history()
            if self.matches(task)
        ]

    def matches(self, task: Task) -> bool:
        """Whether the filter selects this task in its present state."""
        spec, info = self.filter, task.info
        if any(getattr(spec, name) for name in _NEVER):
            return False
        if spec.state and info.state not in spec.state:
            return False
        if spec.eventChainId and info.eventChainId not in spec.eventChainId:
            return False
        time = spec.time
        if time is not None and not is_within(
            time.beginTime, time.endTime, getattr(info, _TIMES[time.timeType])
        ):
            return False
        return is_by(spec.userName, task.user) and concerns(
            self.vcenter, spec.entity, task.event.place
        )

    def ReadNextTasks(self, ctx: Context, maxCount: int) -> list[Any]:
        """Read towards the newest task."""
        return self.read_next(maxCount)

    def ReadPreviousTasks(self, ctx: Context, maxCount: int) -> list[Any]:
        """Read towards the oldest task."""
        return self.read_previous(maxCount)

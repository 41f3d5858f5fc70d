"""Task: queued -> running -> success | error; the last two are final.

Every change of state goes through `changed`, so that clients see it on the very path they use on a
real vCenter (PropertyCollector, ListView). A cancelled task ends as `error` with RequestCanceled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import VmomiSupport, vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class Task(ManagedObject):
    """One task; `info` is the TaskInfo that clients read, kept up to date in place."""

    TYPE = vim.Task
    PREFIX = "task"

    def __init__(
        self,
        vcenter: VCenter,
        entity: ManagedObject | None,
        name: str,
        description_id: str,
        user: str,
        cancelable: bool = True,
    ) -> None:
        super().__init__(vcenter)
        self.entity = entity
        self.method = name
        self.cancel_requested = False
        self.abandoned = False
        is_entity = entity is not None and issubclass(entity.TYPE, vim.ManagedEntity)
        self.info: Any = vim.TaskInfo(
            key=self.moref,
            task=self.ref,
            name=VmomiSupport.GuessWsdlMethod(name),
            descriptionId=description_id,
            entity=entity.ref if entity is not None and is_entity else None,
            entityName=getattr(entity, "name", None) if is_entity else None,
            state="queued",
            cancelled=False,
            cancelable=cancelable,
            reason=vim.TaskReasonUser(userName=user),
            queueTime=vcenter.clock.now(),
            eventChainId=int(self.moref.rpartition("-")[2]),
        )

    @property
    def done(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.info.state in ("success", "error")

    def started(self) -> None:
        """queued -> running."""
        self.info.state = "running"
        self.info.startTime = self.vcenter.clock.now()
        self.changed("info.state", "info.startTime")

    def set_progress(self, percent: int) -> None:
        """Report progress (0-100) of a running task."""
        self.info.progress = percent
        self.changed("info.progress")

    def succeeded(self, result: Any) -> None:
        """running -> success; `result` is a pyVmomi value, a ManagedObject (or list of them) or
        None.
        """
        if isinstance(result, ManagedObject):
            result = result.ref
        self.info.result = result
        self._end("success", "info.result")

    def failed(self, fault: Exception) -> None:
        """-> error, with a pyVmomi fault."""
        if isinstance(fault, vmodl.fault.RequestCanceled):
            self.info.cancelled = True
        self.info.error = fault
        self._end("error", "info.error", "info.cancelled")

    def _end(self, state: str, *paths: str) -> None:
        self.info.state = state
        self.info.cancelable = False
        self.info.progress = None
        self.info.completeTime = self.vcenter.clock.now()
        self.changed(*paths, "info.completeTime", "info.cancelable", "info.progress", "info.state")

    def CancelTask(self, ctx: Context) -> None:
        """Ask the task to stop; asynchronous.

        InvalidState when it has ended, NotSupported when it cannot stop.
        """
        if self.done:
            raise vim.fault.InvalidState(msg="The task has already completed.")
        if not self.info.cancelable:
            raise vmodl.fault.NotSupported(msg="The task cannot be cancelled.")
        self.cancel_requested = True
        self.vcenter.tasks.cancel(self)

    def SetTaskDescription(self, ctx: Context, description: Any) -> None:
        """Replace the localisable description."""
        self.info.description = description
        self.changed("info.description")

    def UpdateProgress(self, ctx: Context, percentDone: int) -> None:
        """Progress as set by an extension."""
        self.set_progress(percentDone)

"""Task: queued -> running -> success | error; the last two are final.

The fields that a TaskInfo has in each state are those of recordings of 5.x and 6.5: no progress
after the end, and an `eventChainId` that is 0 until the task starts and then the key of its
TaskEvent, a number unrelated to the task's. Every change of state goes through `changed`, so that
clients see it by the same means as on a real vCenter (PropertyCollector, ListView). A cancelled
task ends as `error` with RequestCanceled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import VmomiSupport, vim, vmodl

from tests.fakes.vcenter import task_events
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
        self.user = user
        self.was_cancelable = cancelable
        self.cancel_requested = False
        self.abandoned = False
        self.entity_name = getattr(entity, "name", None)
        is_entity = entity is not None and issubclass(entity.TYPE, vim.ManagedEntity)
        self.info: Any = vim.TaskInfo(
            key=self.moref,
            task=self.ref,
            name=_public_method(name),
            descriptionId=description_id,
            entity=entity.ref if entity is not None and is_entity else None,
            entityName=self.entity_name if is_entity else None,
            state="queued",
            cancelled=False,
            cancelable=cancelable,
            reason=vim.TaskReasonUser(userName=user),
            queueTime=vcenter.clock.now(),
            eventChainId=0,
        )
        self.event = task_events.queued(self)

    @property
    def done(self) -> bool:
        """Whether the task has ended, in success or error."""
        return self.info.state in ("success", "error")

    def started(self) -> None:
        """queued -> running."""
        self.info.state = "running"
        self.info.startTime = self.vcenter.clock.now()
        self.info.eventChainId = self.event.chain_id
        self.changed("info.state", "info.startTime", "info.eventChainId")

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
        task_events.succeeded(self, result, self.event)

    def failed(self, fault: Exception) -> None:
        """-> error, with a pyVmomi fault, which may become visible later than the state
        (switch).
        """
        if isinstance(fault, vmodl.fault.RequestCanceled):
            self.info.cancelled = True
        late_s = self.vcenter.switches.task_error_late_s
        if late_s:
            self.vcenter.clock.call_later(late_s, lambda: self._tell_error(fault))
        else:
            self.info.error = fault
        self._end("error", "info.error", "info.cancelled")

    def _tell_error(self, fault: Exception) -> None:
        with self.vcenter.lock:
            self.info.error = fault
            self.changed("info.error")

    def _end(self, state: str, *paths: str) -> None:
        self.info.state = state
        self.info.cancelable = False
        self.info.progress = None
        self.info.completeTime = self.vcenter.clock.now()
        self.changed(*paths, "info.completeTime", "info.cancelable", "info.progress", "info.state")

    def CancelTask(self, ctx: Context) -> None:
        """Ask the task to stop; asynchronous.

        InvalidState if it has ended, NotSupported if it cannot be cancelled.
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
        """Set the progress, as an extension does."""
        self.set_progress(percentDone)


def _public_method(name: str) -> Any:
    """TaskInfo.name; unset for methods of the internal API (vSphere API reference: "null for
    other tasks").
    """
    try:
        return VmomiSupport.GuessWsdlMethod(name)
    except KeyError:
        return None

"""The CloneVM_Task calls for one volume, and the wait for those whose outcome is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from vmdk_cache import errors, retry
from vmdk_cache.vim import clone_spec, recent_task, template
from vmdk_cache.vim.recent_task import RecentTask
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

#: After these errors, the call got no answer, but its task may exist.
UNANSWERED = (errors.Unreachable, errors.SessionExpired)
#: After these errors the outcome of a call or of its task is unknown.
LOST = (*UNANSWERED, errors.TaskLost)
_POLL_S = 2.0
#: vCenter writes a task's queueTime by its own clock, read a moment later (docs/assumptions.rst,
#: A31).
_CLOCK_SLACK_S = 5.0


@dataclass(eq=False)
class _Call:
    """A CloneVM_Task whose outcome is unknown.

    :ivar began_at: monotonic time when it was sent
    :ivar ended_at: monotonic time when it was answered or lost
    :ivar task: moref of its task, None if no answer came
    :ivar queued: earliest and latest time, by vCenter's clock, at which it may have been queued
    """

    began_at: float
    ended_at: float
    task: str | None = None
    queued: tuple[datetime, datetime] | None = None


class CloneCalls:
    """Makes the calls, and keeps those that are *unsettled*: their tasks may still be running.

    A call is settled when vCenter refuses it, when the waiter reports its success, or when
    :meth:`settle` finds that no task that may be its own is running. It stays unsettled if the
    waiter raises an error, because that may not be the task's own: the waiter fails all tasks when
    it can no longer watch them.

    For one thread at a time.

    :param source: moref of the template
    :param timeout_s: how long a clone may run
    :ivar results: morefs of the VMs that tasks of settled calls report as their result. After a
        lost answer, this includes clones by others that were queued at the same time
    """

    def __init__(
        self, session: Session, waiter: TaskWaiter, source: str, *, timeout_s: float
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._clock = session.clock
        self._source = source
        self._timeout_s = timeout_s
        self._unsettled: list[_Call] = []
        self.results: set[str] = set()

    @property
    def are_settled(self) -> bool:
        """Whether none of the calls is unsettled."""
        return not self._unsettled

    def clone(self, request: clone_spec.CloneRequest) -> str:
        """Make one call and wait for its task; the moref of the VM.

        :raises VCenterError: same errors as :func:`vmdk_cache.vim.template.clone`
        """
        now = self._clock.monotonic()
        call = _Call(began_at=now, ended_at=now)
        self._unsettled.append(call)
        try:
            call.task = template.start_clone(self._session, self._source, request)
        except errors.VCenterError as failure:
            if not isinstance(failure, UNANSWERED):
                self._unsettled.remove(call)
            raise
        finally:
            call.ended_at = self._clock.monotonic()
        moref = template.await_clone(
            self._session, self._waiter, call.task, timeout_s=self._timeout_s
        )
        self._unsettled.remove(call)
        self.results.add(moref)
        return moref

    def settle(self, within_s: float) -> None:
        """Wait until all calls are settled, for at most ``within_s`` seconds.

        :raises VCenterError: the tasks could not be read; the calls stay unsettled
        """
        retry.poll(
            self._settle_ended,
            until=lambda _: self.are_settled,
            within_s=within_s,
            first_wait_s=_POLL_S,
            clock=self._clock,
        )

    def _settle_ended(self) -> None:
        for call in list(self._unsettled):
            tasks = self._tasks_of(call)
            self.results |= {task.result for task in tasks if task.result is not None}
            if not any(task.is_under_way for task in tasks):
                self._unsettled.remove(call)

    def _tasks_of(self, call: _Call) -> list[RecentTask]:
        """The tasks that are, or may be, the task of the call."""
        if call.task is not None:
            return recent_task.of_moref(self._session, call.task)
        if call.queued is None:
            call.queued = self._queued_between(call)
        earliest, latest = call.queued
        return [
            task
            for task in recent_task.of_vm(self._session, self._source, recent_task.CLONE)
            if task.queued_at is None or earliest <= task.queued_at <= latest
        ]

    def _queued_between(self, call: _Call) -> tuple[datetime, datetime]:
        server_now = self._session.server_time()
        now = self._clock.monotonic()
        return (
            server_now - timedelta(seconds=now - call.began_at + _CLOCK_SLACK_S),
            server_now - timedelta(seconds=now - call.ended_at - _CLOCK_SLACK_S),
        )

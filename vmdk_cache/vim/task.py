"""Waiting for tasks: one long poll for all threads, however many tasks are under way.

A task goes  queued -> running -> success | error ; the last two are final, whatever an update that
comes later says. vCenter queues tasks beyond its limits for as long as it takes (vSphere
API reference, TaskInfo.state), so only the time a task RUNS counts against a time-out.

One thread polls a :class:`~vmdk_cache.vim.task_watch.TaskWatch`. When the watch breaks (session
lost, vCenter restarted, answer lost), all waiting tasks are read directly, then watched anew;
tasks that vCenter no longer knows fail. No wait is left without an end.

Requests: 3 to begin with, then per task a share of a ModifyListView (threads that come together
share one, and finished tasks leave with the next) and a share of the polls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from vmdk_cache import errors
from vmdk_cache.vim import faults, properties
from vmdk_cache.vim.batch import Batch
from vmdk_cache.vim.properties import Properties
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task_watch import TASK_PATHS, TaskWatch

#: With many tasks under way, updates are let to gather for so long per task, so that one answer
#: carries many: tasks take seconds, a poll each would be dearer than the wait.
_GATHER_S_PER_TASK = 0.002
_GATHER_MAX_S = 0.1
_GATHER_FROM_TASKS = 5
_PROGRESS_EVERY_S = 2.0
_KEEP_ALIVE_CHECK_S = 60.0
_REPAIRS = 5
_REPAIR_PAUSE_S = 15.0


class _Pending:
    """A task that somebody waits for; guarded by the waiter's lock."""

    def __init__(self, moref: str, lock: threading.Lock) -> None:
        self.moref = moref
        self.changed = threading.Condition(lock)
        self.values: Properties = {}
        self.started_at: float | None = None
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    def end(self, *, result: Any = None, error: Exception | None = None) -> None:
        """The first end counts."""
        if not self.done:
            self.done, self.result, self.error = True, result, error
            self.changed.notify_all()


class TaskWaiter:
    """Thread-safe; does nothing before the first :meth:`wait`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)
        self._pending: dict[str, _Pending] = {}
        self._finished: set[str] = set()  # still in the view
        self._watch: TaskWatch | None = None
        self._broken_in_a_row = 0
        self._closed = False
        self._adds: Batch[str, None] = Batch(self._add)

    def wait(
        self,
        task: str,
        *,
        timeout_s: float,
        on_progress: Callable[[int], None] | None = None,
    ) -> Any:
        """The task's result once it succeeded: a moref for tasks that make an object, or None.

        :param task: moref; one thread waits for it
        :param timeout_s: how long it may run; the time in vCenter's queue does not count
        :param on_progress: told percents every 2 s, at the cost of a request each
        :raises TaskTimedOut: it ran longer; vCenter was asked to cancel it, and may not have yet
        :raises VCenterError: the task's error, or vCenter is out of reach
        """
        entry = _Pending(task, self._lock)
        with self._lock:
            if self._closed:
                raise errors.SessionExpired("the task waiter has been closed")
            self._pending[task] = entry
            self._wanted.notify_all()
        try:
            self._adds.ask(task)
            while not self._await(entry, timeout_s, _PROGRESS_EVERY_S if on_progress else None):
                if on_progress is None or self._left_s(entry, timeout_s) <= 0:
                    self._give_up(entry, timeout_s)
                    break
                on_progress(self._progress(task))
        finally:
            with self._lock:
                self._pending.pop(task, None)
                self._finished.add(task)
        if entry.error is not None:
            raise entry.error
        return entry.result

    def close(self) -> None:
        """Fail all waits and stop; safe to call twice."""
        with self._lock:
            self._closed = True
            watch, self._watch = self._watch, None
            self._wanted.notify_all()
        self._fail(errors.SessionExpired("the task waiter was closed"))
        if watch is not None:
            watch.close()

    def _await(self, entry: _Pending, timeout_s: float, at_most_s: float | None) -> bool:
        """Whether the task ended; False after ``at_most_s``, or when it ran out of time."""
        with self._lock:
            while not entry.done:
                left_s = self._left_s(entry, timeout_s)
                if left_s <= 0:
                    return False
                bounds = [s for s in (left_s, at_most_s) if s is not None and s != float("inf")]
                if not entry.changed.wait(min(bounds, default=None)) and at_most_s is not None:
                    return entry.done
            return True

    def _left_s(self, entry: _Pending, timeout_s: float) -> float:
        if entry.started_at is None:
            return float("inf")
        return entry.started_at + timeout_s - self._session.clock.monotonic()

    def _progress(self, task: str) -> int:
        try:
            values = properties.read(self._session, "Task", [task], ["info.progress"])
        except errors.VCenterError:
            return 0  # whoever watches the task finds out whether it matters
        return values.get(task, {}).get("info.progress") or 0

    def _give_up(self, entry: _Pending, timeout_s: float) -> None:
        """The task ran too long, unless the last look says that it has just ended.

        That a task cannot be cancelled, or vCenter not be asked, changes nothing for the caller:
        it cleans up by what it finds.
        """
        try:
            self._read_directly([entry.moref])
            if entry.done:
                return
            self._session.invoke("Task", entry.moref, "CancelTask", safe=True)
        except errors.VCenterError:
            pass
        raise errors.TaskTimedOut(
            f"task {entry.moref} ran for more than {timeout_s:g} s", moref=entry.moref
        )

    # -- watching --------------------------------------------------------------------------------

    def _add(self, tasks: list[str]) -> dict[str, None]:
        """Put tasks under watch; called by one thread at a time, for all that came together."""
        watch = self._watch
        if watch is not None and watch.is_current:
            with self._lock:
                leaving, self._finished = self._finished, set()
            try:
                self._read_directly(watch.modify(add=tasks, remove=leaving))
                return {}
            except (errors.ObjectNotFound, errors.SessionExpired):
                pass  # the log-in that the watch belongs to is over
        self._rewatch()
        return {}

    def _rewatch(self) -> None:
        """A new watch over all pending tasks, and a thread that polls it."""
        watch = TaskWatch(self._session)
        with self._lock:
            tasks = [entry.moref for entry in self._pending.values() if not entry.done]
            self._finished.clear()
        unknown = watch.modify(add=tasks, remove=())
        with self._lock:
            if self._closed:
                return
            self._watch = watch
        name = "vcenter-task-waiter"
        threading.Thread(target=self._poll, args=(watch,), name=name, daemon=True).start()
        self._read_directly(unknown)

    def _poll(self, watch: TaskWatch) -> None:
        """The thread: ends when its watch breaks or is no longer the one in use."""
        while self._is_needed(watch):
            try:
                changes = watch.next_changes()
                again = [
                    change.moref
                    for change in changes
                    if change.gone or not self._learn(change.moref, change.values)
                ]
                self._read_directly(again)
                self._broken_in_a_row = 0
            except Exception as error:
                self._repair(watch, error)
                return
            if changes:
                self._gather()

    def _is_needed(self, watch: TaskWatch) -> bool:
        """Sleep while nothing is pending, and keep the session alive meanwhile."""
        while True:
            with self._lock:
                if self._watch is not watch:
                    return False
                if self._pending:
                    return True
                self._wanted.wait(_KEEP_ALIVE_CHECK_S)
            try:
                self._session.keep_alive()
            except errors.VmdkCacheError:
                pass  # the next call finds out, and says so to somebody who can act

    def _gather(self) -> None:
        with self._lock:
            tasks = len(self._pending)
        if tasks >= _GATHER_FROM_TASKS:
            self._session.clock.sleep(min(_GATHER_MAX_S, _GATHER_S_PER_TASK * tasks))

    def _repair(self, broken: TaskWatch, failure: Exception) -> None:
        """The watch broke: read all tasks, then watch those that still run anew."""
        with self._lock:
            if self._watch is not broken:
                return
            self._watch = None
            self._broken_in_a_row += 1
        for attempt in range(self._broken_in_a_row - 1, self._broken_in_a_row - 1 + _REPAIRS):
            if attempt:
                self._session.clock.sleep(min(2.0 ** (attempt - 1), _REPAIR_PAUSE_S))
            with self._lock:
                waiting = list(self._pending)
                if not waiting or self._closed or self._watch is not None:
                    return
            try:
                self._read_directly(waiting)
                self._adds.ask(waiting[0])
                return
            except errors.LoginRefused as error:
                failure = error
                break
            except Exception as error:
                failure = error
        if not isinstance(failure, errors.VmdkCacheError):
            failure = errors.TaskFailed(f"tasks could not be watched: {failure!r}")
        self._fail(failure)

    # -- what is known of tasks ------------------------------------------------------------------

    def _learn(self, moref: str, values: Properties) -> bool:
        """Take in what changed of a task; False if it must be read again.

        Under load the state ``error`` may come before the error itself.
        """
        with self._lock:
            entry = self._pending.get(moref)
            if entry is None or entry.done:
                return True
            entry.values.update(values)
            state = entry.values.get("info.state")
            if state == "running" and entry.started_at is None:
                entry.started_at = self._session.clock.monotonic()
                entry.changed.notify_all()
            elif state == "success":
                entry.end(result=entry.values.get("info.result"))
            elif state == "error":
                fault = entry.values.get("info.error")
                if fault is None:
                    return False
                entry.end(error=_task_error(fault, moref))
            return True

    def _read_directly(self, tasks: Iterable[str]) -> None:
        """Learn from a read what the watch did not tell; tasks that are gone have failed."""
        asked = [task for task in tasks if task in self._pending]
        found = properties.read(self._session, "Task", asked, TASK_PATHS)
        for task in asked:
            if task not in found:
                text = f"vCenter no longer knows task {task}, nor how it ended"
                self._fail(errors.TaskFailed(text, moref=task), [task])
            elif not self._learn(task, found[task]):
                text = f"task {task} failed, and vCenter does not say why"
                self._fail(errors.TaskFailed(text, moref=task), [task])

    def _fail(self, error: Exception, tasks: Iterable[str] | None = None) -> None:
        """End the waits for these tasks, or for all."""
        with self._lock:
            for task in list(self._pending if tasks is None else tasks):
                if task in self._pending:
                    self._pending[task].end(error=error)


def _task_error(fault: Any, task: str) -> Exception:
    error = faults.translate(fault, moref=task)
    if isinstance(error, errors.SessionExpired):
        # The task met it, somewhere in vCenter; our session lives, as we have just read it.
        return errors.TaskFailed(str(error), moref=task, fault=error.fault)
    assert isinstance(error, errors.VCenterError), f"a task's error is a fault: {fault!r}"
    return error

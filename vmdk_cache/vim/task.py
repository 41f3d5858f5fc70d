"""Waiting for tasks: one long poll for all threads, regardless of the number of tasks.

A task goes  queued -> running -> success | error ; the last two are final, and later updates cannot
change them. vCenter queues the tasks that exceed its limits, for any length of time (vSphere API
reference, TaskInfo.state), so only the time a task RUNS counts against its timeout. The queue has a
separate deadline, START_WITHIN_S, which is far longer than any burst of volumes takes.

One thread polls a :class:`~vmdk_cache.vim.task_watch.TaskWatch`. When the watch breaks or cannot be
created (session lost, vCenter restarted, answer lost), the waiter reads all pending tasks directly
and creates a new watch; tasks that vCenter no longer knows fail. Every wait ends.

Requests: 3 at the start, then for each task a share of a ModifyListView (threads that arrive
together share one, and the next one removes finished tasks) and a share of the polls.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.quoting import sentence
from vmdk_cache.vim import faults, properties
from vmdk_cache.vim.batch import Batch
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task_watch import TASK_PATHS, TaskWatch

LOG = logging.getLogger(__name__)

#: While several tasks are pending, new tasks and updates are collected, so that one request carries
#: many: for a moment per task, or for a fraction of the recent duration of tasks if that is longer.
#: A task that is not watched yet runs meanwhile, but an update that waits delays a volume.
_GATHER_S_PER_TASK = 0.005
_GATHER_SHORT_S = 0.1
_GATHER_LONG_S = 1.0
_NEWS_PART = 0.08
_WATCH_PART = 0.25
_GATHER_FROM_TASKS = 3
#: Threads that the same update woke up share a request if they ask within this time.
_REGROUP_S = 0.05
#: Weight of the newest task in the mean duration.
_NEWEST_WEIGHT = 0.1
_KEEP_ALIVE_CHECK_S = 60.0
_REPAIRS = 5
_REPAIR_PAUSE_S = 15.0
#: How long a task may wait in vCenter's queue before it is cancelled.
START_WITHIN_S = 6 * 3600.0
_QUEUED_WARNING_EVERY_S = 600.0
#: How long a cancelled task may take to end.
CANCELLED_WITHIN_S = 120.0
#: How long to wait for a task's error: under load, its state may be visible earlier.
_LATE_ERROR_S = 1.0


class PendingTask:
    """A task that a thread waits for, and its outcome; guarded by the waiter's lock.

    :param run_within_s: how long it may run
    :param start_within_s: how long it may stay in vCenter's queue
    :ivar changed: notified when the task starts and when it ends
    :ivar started_at: monotonic time when it was first seen running
    """

    def __init__(
        self,
        moref: str,
        lock: threading.Lock,
        now: float,
        run_within_s: float,
        start_within_s: float,
    ) -> None:
        self.moref = moref
        self.run_within_s = run_within_s
        self.start_within_s = start_within_s
        self.began_at = self.warned_at = now
        self.changed = threading.Condition(lock)
        self.started_at: float | None = None
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def ends_at(self) -> float:
        """Monotonic time after which it has timed out."""
        if self.started_at is None:
            return self.began_at + self.start_within_s
        return self.started_at + self.run_within_s

    @property
    def overdue(self) -> str:
        """Why the task has timed out, as a phrase for messages."""
        if self.started_at is None:
            return f"waited in vCenter's queue for more than {self.start_within_s:g} s"
        return f"ran for more than {self.run_within_s:g} s"

    def end(self, *, result: Any = None, error: Exception | None = None) -> None:
        """Record the outcome; only the first one counts."""
        if not self.done:
            self.done, self.result, self.error = True, result, error
            self.changed.notify_all()


class TaskWaiter:
    """Thread-safe; does nothing before the first :meth:`wait`.

    :param cancelled_within_s: how long a cancelled task may take to end
    """

    def __init__(self, session: Session, *, cancelled_within_s: float = CANCELLED_WITHIN_S) -> None:
        self._session = session
        self._cancelled_within_s = cancelled_within_s
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)
        self._pending: dict[str, PendingTask] = {}
        self._finished: set[str] = set()  # still in the view
        self._watch: TaskWatch | None = None
        self._broken: list[TaskWatch] = []
        self._broken_in_a_row = 0
        self._closed = False
        self._typical_s = 0.0  # recent duration of tasks
        self._adds: Batch[str | None, None] = Batch(self._add, lambda: self._gather(_WATCH_PART))

    def wait(
        self,
        task: str,
        *,
        timeout_s: float,
        start_within_s: float = START_WITHIN_S,
    ) -> Any:
        """Wait for the task; its result is a moref if the task creates an object, else None.

        :param task: moref; only one thread may wait for it
        :param timeout_s: how long it may run, not counting vCenter's queue
        :param start_within_s: how long it may wait in vCenter's queue
        :raises TaskLost: vCenter no longer knows the task
        :raises TaskTimedOut: it waited or ran longer and was cancelled; the text says whether it
            still runs
        :raises VCenterError: the task's error, or vCenter is unreachable
        """
        now = self._session.clock.monotonic()
        entry = PendingTask(task, self._lock, now, timeout_s, start_within_s)
        with self._lock:
            if self._closed:
                raise errors.SessionExpired("the task waiter has been closed")
            self._pending[task] = entry
            self._wanted.notify_all()
        try:
            self._adds.ask(task)
            while not self._await(entry) and not self._give_up(entry):
                pass
        finally:
            with self._lock:
                self._pending.pop(task, None)
                self._finished.add(task)
                took_s = self._session.clock.monotonic() - entry.began_at
                self._typical_s += _NEWEST_WEIGHT * (took_s - self._typical_s)
        if entry.error is not None:
            raise entry.error
        return entry.result

    def regroup(self) -> None:
        """Pause if many tasks are pending, so that threads whose tasks ended together share
        requests."""
        self._gather(_NEWS_PART, _REGROUP_S)

    def close(self) -> None:
        """Fail all waits and stop; safe to call twice."""
        with self._lock:
            self._closed = True
            watch, self._watch = self._watch, None
            self._wanted.notify_all()
        self._fail(errors.SessionExpired("the task waiter was closed"))
        if watch is not None:
            watch.close()

    def _await(self, entry: PendingTask) -> bool:
        """Whether the task has ended; False if it has timed out."""
        with self._lock:
            while not entry.done:
                left_s = entry.ends_at - self._session.clock.monotonic()
                if left_s <= 0:
                    return False
                self._warn_if_queued(entry)
                entry.changed.wait(min(left_s, _QUEUED_WARNING_EVERY_S))
            return True

    def _warn_if_queued(self, entry: PendingTask) -> None:
        now = self._session.clock.monotonic()
        if entry.started_at is None and now - entry.warned_at >= _QUEUED_WARNING_EVERY_S:
            entry.warned_at = now
            LOG.warning(
                "Task %s has waited in vCenter's queue for %d s; it will be cancelled after %d s",
                entry.moref,
                now - entry.began_at,
                entry.start_within_s,
            )

    def _give_up(self, entry: PendingTask) -> bool:
        """Cancel a task that took too long and wait for its end, as it may still create its object.

        A task that has just ended, or that succeeds nevertheless, has not timed out. If the task
        cannot be cancelled, or vCenter cannot be reached, the caller does the same: it cleans up
        what it finds.

        :returns: whether the wait is over; False if the task has just left vCenter's queue
        :raises TaskTimedOut: it did not succeed
        """
        overdue, outcome = entry.overdue, "whether it still runs is unknown"
        try:
            self._read_directly([entry.moref])
            if entry.done:
                return True
            if self._session.clock.monotonic() < entry.ends_at:
                return False
            self._cancel(entry)
            self._read_directly([entry.moref])
            if not entry.done:
                outcome = "it was cancelled but still runs"
        except errors.VCenterError:
            pass
        if entry.done and entry.error is None:
            return True
        if entry.done and not isinstance(entry.error, errors.Unreachable | errors.SessionExpired):
            outcome = f"it was cancelled and ended: {entry.error}"
        raise errors.TaskTimedOut(
            f"task {entry.moref} {overdue}; {outcome}", moref=entry.moref
        ) from entry.error

    def _cancel(self, entry: PendingTask) -> None:
        """Cancel the task and wait for its end, for at most ``cancelled_within_s``."""
        try:
            self._session.invoke("Task", entry.moref, "CancelTask", safe=True)
        except errors.VCenterError:
            pass  # it cannot be cancelled, or has just ended; either way it may end soon
        with self._lock:
            entry.changed.wait_for(lambda: entry.done, self._cancelled_within_s)

    # -- watching --------------------------------------------------------------------------------

    def _add(self, tasks: list[str | None]) -> dict[str | None, None]:
        """Add tasks to the watch; the batch calls this in one thread at a time.

        :param tasks: morefs; None means all pending tasks, because their watch broke
        """
        watch = self._watch
        adding = [task for task in tasks if task is not None]
        if watch is not None and watch.is_current:
            with self._lock:
                leaving, self._finished = self._finished, set()
            try:
                self._read_directly(watch.modify(add=adding, remove=leaving))
                return {}
            except errors.VCenterError:
                pass  # the watch is gone, or vCenter is
        if watch is not None:
            self._drop(watch)
        self._repair()
        return {}

    def _drop(self, broken: TaskWatch) -> bool:
        """Stop using a watch; whether it was in use."""
        with self._lock:
            if self._watch is not broken:
                return False
            self._watch = None
            self._broken.append(broken)
            self._broken_in_a_row += 1
            return True

    def _repair(self) -> None:
        """Without a watch: read all pending tasks, then watch those that still run. For one thread
        at a time."""
        doublings = min(self._broken_in_a_row - 2, _REPAIRS)
        if doublings >= 0:  # watches break as soon as they are created
            self._session.clock.sleep(min(2.0**doublings, _REPAIR_PAUSE_S))
        try:
            retry.call(
                self._read_and_rewatch,
                attempts=_REPAIRS,
                when=lambda failure: (
                    isinstance(failure, Exception) and not isinstance(failure, errors.LoginRefused)
                ),
                first_wait_s=1.0,
                min_wait_s=0.5,
                max_wait_s=_REPAIR_PAUSE_S,
                clock=self._session.clock,
            )
        except errors.VmdkCacheError as failure:
            self._fail(failure)
        except Exception as failure:
            text = f"tasks could not be watched: {sentence(repr(failure))}"
            self._fail(errors.TaskFailed(text))

    def _read_and_rewatch(self) -> None:
        """Read all pending tasks if their watch broke, then create a watch of those that still run,
        and a thread that polls it."""
        with self._lock:
            waiting = [entry.moref for entry in self._pending.values() if not entry.done]
            if not waiting or self._closed:
                self._broken_in_a_row = 0
                return
        if self._broken_in_a_row:
            self._read_directly(waiting)
        watch = TaskWatch(self._session)
        try:
            with self._lock:
                tasks = [entry.moref for entry in self._pending.values() if not entry.done]
                self._finished.clear()
            self._read_directly(watch.modify(add=tasks, remove=()))
        except BaseException:
            self._broken.append(watch)
            raise
        with self._lock:
            if self._closed:
                return
            self._watch = watch
        name = "vcenter-task-waiter"
        poller = threading.Thread(target=self._poll, args=(watch,), name=name, daemon=True)
        try:
            poller.start()
        except RuntimeError:  # no thread can be started, so the watch would not be polled
            self._drop(watch)
            raise
        while self._broken:
            self._broken.pop().close()

    def _poll(self, watch: TaskWatch) -> None:
        """Poll the watch, in a separate thread, until it breaks or is no longer in use."""
        while self._is_needed(watch):
            try:
                changes = watch.next_changes()
                again = [
                    task
                    for task, values in changes.items()
                    if values is None or not self._learn(task, values)
                ]
                self._read_directly(again)
                self._broken_in_a_row = 0
            except Exception:
                if self._drop(watch):
                    self._adds.ask(None)
                return
            if changes:
                self._gather(_NEWS_PART)

    def _is_needed(self, watch: TaskWatch) -> bool:
        """Wait until a task is pending, and keep the session alive meanwhile; False if the watch is
        no longer in use."""
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
                pass  # the next call fails as well, and reports it to its caller

    def _gather(self, part: float, short_s: float = _GATHER_SHORT_S) -> None:
        with self._lock:
            tasks, long_s = len(self._pending), self._typical_s * part
        if tasks >= _GATHER_FROM_TASKS:
            short_s = min(short_s, _GATHER_S_PER_TASK * tasks)
            self._session.clock.sleep(max(short_s, min(_GATHER_LONG_S, long_s)))

    # -- what is known of tasks ------------------------------------------------------------------

    def _learn(self, moref: str, values: Row) -> bool:
        """Record the properties of a task; False if it must be read again.

        Under load, the state ``error`` may be visible before the error itself.
        """
        with self._lock:
            entry = self._pending.get(moref)
            if entry is None or entry.done:
                return True
            state = values.get("info.state")
            if state == "running" and entry.started_at is None:
                entry.started_at = self._session.clock.monotonic()
                entry.changed.notify_all()
            elif state == "success":
                entry.end(result=values.get("info.result"))
            elif state == "error":
                fault = values.get("info.error")
                if fault is None:
                    return False
                entry.end(error=_task_error(fault, moref))
            return True

    def _read_directly(self, tasks: Iterable[str]) -> None:
        """Read tasks that the watch did not report; tasks that are gone fail."""
        late = self._look_at([task for task in tasks if task in self._pending])
        if late:
            self._session.clock.sleep(_LATE_ERROR_S)
            late = self._look_at(late)
        for task in late:
            text = f"task {task} failed; vCenter gave no reason"
            self._fail(errors.TaskFailed(text, moref=task), [task])

    def _look_at(self, tasks: list[str]) -> list[str]:
        """Read the tasks; those that have failed without a reason so far."""
        found = properties.read(self._session, "Task", tasks, TASK_PATHS)
        for task in set(tasks) - set(found):
            text = f"vCenter no longer knows task {task}; its outcome is unknown"
            self._fail(errors.TaskLost(text, moref=task), [task])
        return [task for task, values in found.items() if not self._learn(task, values)]

    def _fail(self, error: Exception, tasks: Iterable[str] | None = None) -> None:
        """End the waits for these tasks, or for all tasks, with an error."""
        with self._lock:
            for task in list(self._pending if tasks is None else tasks):
                if task in self._pending:
                    self._pending[task].end(error=error)


def _task_error(fault: Any, task: str) -> Exception:
    error = faults.translate(fault, moref=task)
    if isinstance(error, errors.SessionExpired):
        # The task got the fault inside vCenter; our session works, as it has just read the task.
        return errors.TaskFailed(str(error), moref=task, fault=error.fault)
    assert isinstance(error, errors.VCenterError), f"a task's error is a fault: {fault!r}"
    return error

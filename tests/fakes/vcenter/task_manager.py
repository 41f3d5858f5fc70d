"""TaskManager: starts tasks and runs them to their end.

The body of a task is a function ``body(task)``. It runs on a worker thread with the vCenter's lock
held, so it is atomic for every other thread. A body that takes time is a generator: each ``yield
seconds`` releases the lock and the worker and resumes after that much of the fake's time, each
``yield transfer`` when the transfer has ended, and ``yield math.inf`` only when `cancel` wakes the
task. A cancelled task sees RequestCanceled raised at its yield, and `finally` blocks run. The
body's return value becomes info.result, a pyVmomi fault becomes info.error.
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, cast

from pyVmomi import vim, vmodl

from tests.fakes.vcenter import task_labels
from tests.fakes.vcenter.clock import Passing
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.history_collector import MOST_COLLECTORS
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.task_history_collector import TaskHistoryCollector
from tests.fakes.vcenter.transfers import Transfer

if TYPE_CHECKING:
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.vcenter import VCenter

KEPT_COMPLETED = 200
KEPT_SECONDS = 600.0
HISTORY = 1000
WORKERS = 8


class Admission(Protocol):
    """Decides when a queued task may run (the cost model's units)."""

    def request(self, admitted: Callable[[], None]) -> None:
        """Call `admitted` once, now or as soon as there is room."""

    def release(self) -> None:
        """Return the room, or withdraw the request; called once when the task has ended."""


Body = Callable[[Task], Any]
Wait = float | Transfer  # what a body may yield


class TaskManager(ManagedObject):
    """Starts tasks (`start`) and drops them ten minutes after their end."""

    TYPE = vim.TaskManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="TaskManager")
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="vcenter-task")
        self._running: dict[str, _Run] = {}
        self._completed: deque[tuple[float, Task]] = deque()
        self._history: deque[Task] = deque(maxlen=HISTORY)

    def start(
        self,
        entity: ManagedObject | None,
        name: str,
        description_id: str,
        body: Body,
        *,
        session: Session | None = None,
        result_entity: ManagedObject | None = None,
        delay_s: float | None = None,
        admission: Admission | None = None,
        cancelable: bool = True,
    ) -> Task:
        """Queue a task and return it at once.

        :param name: WSDL name of the method, such as "CloneVM_Task"; task fault rules match it
        :param result_entity: becomes info.result if the body returns None
        :param delay_s: running time before the body acts, in the fake's seconds; by default, the
            plain cost of a task. Pass 0 for a body that waits for this cost itself, under its locks
        :param admission: keeps the task `queued` until there is room for it
        """
        if admission is None:
            admission = self.vcenter.cost_model.admission()
        if delay_s is None:
            delay_s = Passing(self.vcenter.cost_model.task_s)
        with self.vcenter.lock:
            self._forget_old()
            user = session.user if session else "com.vmware.vc"
            task = Task(self.vcenter, entity, name, description_id, user, cancelable)
            run = _Run(self, task, body, result_entity, delay_s, admission)
            self._running[task.moref] = run
            self._history.append(task)
        if admission is None:
            self.submit(run.begin)
        else:
            admission.request(lambda: self.submit(run.begin))
        return task

    def submit(self, step: Callable[[], None]) -> None:
        """Run one step of a task on a worker thread; after `stop`, drop it."""
        activity = self.vcenter.clock.activity

        def work() -> None:
            try:
                step()
            finally:
                activity.end()

        activity.begin(told=False)
        try:
            self._workers.submit(work)
        except (
            RuntimeError
        ):  # the pool is shut down because the vCenter is stopping; no client waits for this task
            activity.end()

    def cancel(self, task: Task) -> None:
        """Cancel a task: a queued one at once, a running one at its next yield."""
        run = self._running.get(task.moref)
        if run is not None:
            run.cancelled()

    def finished(self, run: _Run) -> None:
        """A task has ended: return its room and let it age."""
        self._running.pop(run.task.moref, None)
        self._completed.append((self.vcenter.clock.monotonic(), run.task))
        if run.admission is not None:
            run.admission.release()

    def running(self, entity: ManagedObject | None = None) -> list[Task]:
        """Tasks that have not ended, of one entity or of all."""
        return [
            run.task
            for run in self._running.values()
            if entity is None or run.task.entity is entity
        ]

    def recent(self, entity: ManagedObject) -> list[Task]:
        """Tasks of one entity that are running or ended within the last ten minutes."""
        ended = [task for _, task in self._completed if task.entity is entity]
        return [task for task in ended if task.exists] + self.running(entity)

    def history(self) -> list[Task]:
        """All tasks, oldest first, including those that are no longer recent."""
        return list(self._history)

    @property
    def recentTask(self) -> list[Task]:
        """All running and recently ended tasks, newest last."""
        return [task for _, task in self._completed if task.exists] + self.running()

    @property
    def description(self) -> Any:
        """Labels of tasks."""
        return task_labels.description()

    @property
    def maxCollector(self) -> int:
        """Most task history collectors that a session may have."""
        return MOST_COLLECTORS

    def CreateCollectorForTasks(self, ctx: Context, filter: Any) -> TaskHistoryCollector:
        """Create a collector in the caller's session."""
        return TaskHistoryCollector(self.vcenter, ctx, filter)

    def _forget_old(self) -> None:
        oldest_kept = self.vcenter.clock.monotonic() - KEPT_SECONDS
        while self._completed and (
            self._completed[0][0] < oldest_kept and len(self._completed) > KEPT_COMPLETED
        ):
            _, task = self._completed.popleft()
            task.destroy_object()
            task.entity = None  # keep no removed VM, nor its disks, in the history

    def forget_all(self) -> None:
        """Drop every task, as a restart of vCenter does. Running tasks never end, and their effects
        stay.
        """
        with self.vcenter.lock:
            for run in list(self._running.values()):
                run.abandon()
            self._running.clear()
            self._completed.clear()
            for task in self.vcenter.registry.of_class(Task):
                task.destroy_object()

    def stop(self) -> None:
        """Start no more steps; running steps end by themselves."""
        self.forget_all()
        self._workers.shutdown(wait=False, cancel_futures=True)


class _Run:
    """One run of a task: begin -> (wait -> step)* -> finished."""

    def __init__(
        self,
        manager: TaskManager,
        task: Task,
        body: Body,
        result_entity: ManagedObject | None,
        delay_s: float,
        admission: Admission | None,
    ) -> None:
        self.manager = manager
        self.vcenter = manager.vcenter
        self.task = task
        self.body = body
        self.result_entity = result_entity
        self.delay_s = delay_s
        self.admission = admission
        self._generator: Any = None

    def begin(self) -> None:
        """queued -> running; fault rules for tasks act here."""
        entity = self.task.entity
        names = (getattr(entity, "name", ""), entity.moref) if entity is not None else ()
        rule = self.vcenter.fault_rules.match(self.task.method, *names, on="task")
        if rule is not None:
            if rule.action is not None:
                rule.action()
            if rule.delay_s:
                # no longer Passing: the test moves the clock through it
                self.delay_s += rule.delay_s
            if rule.fault is not None:
                self.body = _raiser(rule.fault)
                self.delay_s = self.delay_s or Passing(self.vcenter.cost_model.task_s)
        # Hold the lock once for both: a client that sees `running` (under the lock) then also finds
        # the timer set, so that it never advances the clock too early.
        with self.vcenter.lock:
            if self.task.done or self.task.abandoned:
                return
            self.task.started()
            if self.delay_s > 0:
                self._continue_after(self.delay_s)
            else:
                self.step()

    def step(self) -> None:
        """Run the body up to its next yield or its end."""
        with self.vcenter.lock:
            if self.task.done or self.task.abandoned:
                return
            try:
                self._continue_after(self._advance())
            except StopIteration as stop:
                self._succeed(stop.value)
            except vmodl.MethodFault as fault:
                self._fail(fault)
            except Exception as error:  # a bug of the fake: report it to the client and record it
                self._fail(self.vcenter.record_error(f"task {self.task.method}", error))

    def _advance(self) -> Wait:
        if self._generator is None:
            if self.task.cancel_requested:
                raise vmodl.fault.RequestCanceled(msg="The task was canceled by a user.")
            outcome = self.body(self.task)
            if not inspect.isgenerator(outcome):
                raise StopIteration(outcome)
            self._generator = outcome
        elif self.task.cancel_requested:
            fault = vmodl.fault.RequestCanceled(msg="The task was canceled by a user.")
            return cast("Wait", self._generator.throw(fault))
        return cast("Wait", next(self._generator))

    def _continue_after(self, wait: Wait) -> None:
        # Resumes in the timer's thread or inside `advance`, after whatever was due has happened.
        if isinstance(wait, Transfer):
            wait.begin(self.step)
        elif wait == math.inf:
            return
        elif wait > 0:
            self.vcenter.clock.call_later(wait, self.step)
        else:
            self.manager.submit(self.step)

    def _succeed(self, result: Any) -> None:
        self.manager.finished(self)
        self.task.succeeded(self.result_entity if result is None else result)

    def _fail(self, fault: Exception) -> None:
        self.manager.finished(self)
        self.task.failed(fault)

    def cancelled(self) -> None:
        """A client cancelled: a queued task ends now, a waiting one resumes at once."""
        if self.task.info.state == "queued":
            self._fail(vmodl.fault.RequestCanceled(msg="The task was canceled by a user."))
        else:
            self.manager.submit(self.step)

    def abandon(self) -> None:
        """Never touch the model again, because the vCenter has stopped."""
        self.task.abandoned = True
        if self._generator is not None and not self._generator.gi_running:
            self._generator.close()
        if self.admission is not None:
            self.admission.release()


def _raiser(fault: Exception) -> Body:
    def body(task: Task) -> Any:
        raise fault

    return body

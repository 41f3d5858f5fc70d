"""Waiting for tasks when things go wrong."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import MIB, RECORD_KEY, Place, clone_request
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background, ClientClock, pending
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import template
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import START_WITHIN_S, TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo


class Cloning:
    """Clones of one template, in the background."""

    def __init__(self, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo) -> None:
        self._parts = (session, waiter, place, source)

    def __call__(self, name: str, timeout_s: float = 1000.0) -> Background:
        session, waiter, place, source = self._parts
        request = clone_request(place, source, name)
        return Background(
            lambda: template.clone(session, waiter, source.moref, request, timeout_s=timeout_s)
        )


@pytest.fixture
def clone(session: Session, waiter: TaskWaiter, place: Place, source: VmInfo) -> Cloning:
    return Cloning(session, waiter, place, source)


def states(vc: VCenter) -> list[str]:
    """States of all clone tasks in the fake. The timer of a running one is set."""
    with vc.lock:
        return [
            str(task.info.state)
            for task in vc.registry.of_type(vim.Task)
            if task.info.descriptionId == "VirtualMachine.clone"
        ]


def seen_running(waiter: TaskWaiter, count: int) -> bool:
    """Whether the waiter knows of this many running tasks."""
    return sum(entry.started_at is not None for entry in pending(waiter)) == count


def test_the_error_of_a_task_is_translated(vc: VCenter, clone: Cloning) -> None:
    fault = vim.fault.FileLocked(msg="Unable to access file since it is locked")
    vc.fault_rules.add("CloneVM_Task", fault, on="task")

    with pytest.raises(errors.FileLocked, match="since it is locked"):
        clone("volume-1").join()


def test_a_task_that_met_a_lost_session_inside_vcenter_has_failed(
    vc: VCenter, session: Session, clone: Cloning
) -> None:
    """The task's own session was lost, not ours, which read the task."""
    fault = vim.fault.NotAuthenticated(msg="The session is not authenticated")
    vc.fault_rules.add("CloneVM_Task", fault, on="task")

    with pytest.raises(errors.TaskFailed, match="session is not authenticated") as caught:
        clone("volume-1").join()

    assert caught.value.fault == "vim.fault.NotAuthenticated"
    assert caught.value.moref is not None
    assert session.generation == 1
    assert vc.request_log.count("CloneVM_Task") == 1


def test_a_task_that_vcenter_forgets_on_a_living_connection_is_lost(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))

    vc.tasks.forget_all()

    with pytest.raises(errors.TaskLost, match="no longer knows"):
        running.join()


def test_a_refused_log_in_ends_the_attempts_to_watch_tasks(
    vc: VCenter, session: Session, waiter: TaskWaiter, clone: Cloning
) -> None:
    """Each further attempt would bring the account closer to a lock."""
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))
    refusals = vc.fault_rules.add("Login", vim.fault.InvalidLogin(), times=None)
    clock = session.clock
    assert isinstance(clock, ClientClock)
    clock.slept_s = 0.0

    vc.sessions.expire_all()

    with pytest.raises(errors.LoginRefused):
        running.join()
    assert refusals.hits == 1
    assert clock.slept_s < 1


def overdue(vc: VCenter, waiter: TaskWaiter, clone: Cloning) -> Background:
    """A clone that has exceeded its time and does not end by itself."""
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1", timeout_s=0.05)
    wait_until(lambda: seen_running(waiter, 1))
    vc.clock.advance(1)
    return running


def test_a_task_that_runs_too_long_is_cancelled(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    running = overdue(vc, waiter, clone)

    with pytest.raises(errors.TaskTimedOut, match=r"was cancelled and ended: .*RequestCanceled"):
        running.join()
    assert vc.request_log.count("CancelTask") == 1
    assert vc.tasks.running() == []


def test_a_task_that_succeeds_in_spite_of_being_cancelled_has_succeeded(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    rule = vc.fault_rules.add("CancelTask", vmodl.fault.NotSupported())
    running = overdue(vc, waiter, clone)
    wait_until(lambda: rule.hits)
    vc.clock.advance(10_000)

    assert running.join() in [vm.moref for vm in vc.vms()]


def test_a_task_that_cannot_be_cancelled_is_not_waited_for_forever(
    vc: VCenter, session: Session, place: Place, source: VmInfo
) -> None:
    waiter = TaskWaiter(session, cancelled_within_s=0.05)
    vc.fault_rules.add("CancelTask", vmodl.fault.NotSupported())
    running = overdue(vc, waiter, Cloning(session, waiter, place, source))

    with pytest.raises(errors.TaskTimedOut, match="still runs"):
        running.join()
    waiter.close()


def test_the_end_of_a_cancelled_task_is_unknown_when_vcenter_goes_away(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add(
        "CancelTask",
        vmodl.fault.NotSupported(),
        action=lambda: waiter._fail(errors.Unreachable("vCenter is away")),
    )

    with pytest.raises(errors.TaskTimedOut, match="whether it still runs is unknown"):
        overdue(vc, waiter, clone).join()


def full_queue(vc: VCenter, waiter: TaskWaiter, clone: Cloning) -> list[Background]:
    """Five clones that take 10,000 s, of which four run and the last is queued."""
    vc.cost_model.enabled = True
    vc.cost_model.fixed_clone_s = 10_000.0
    vc.cost_model.datastore_bandwidth = vc.cost_model.host_bandwidth = 0
    clones = [clone(f"volume-{number}", timeout_s=1e6) for number in range(4)]
    wait_until(lambda: seen_running(waiter, 4))
    clones.append(clone("volume-4", timeout_s=1e6))
    wait_until(lambda: states(vc).count("queued") == 1 and len(pending(waiter)) == 5)
    return clones


def test_a_task_that_waits_in_the_queue_is_logged(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning, caplog: pytest.LogCaptureFixture
) -> None:
    clones = full_queue(vc, waiter, clone)
    (queued,) = [entry for entry in pending(waiter) if entry.started_at is None]

    vc.clock.advance(600)
    with waiter._lock:
        queued.changed.notify_all()

    wait_until(
        lambda: f"Task {queued.moref} has waited in vCenter's queue for 600 s" in caplog.text
    )
    with waiter._lock:
        waiter._warn_if_queued(queued)  # nothing has changed: it is not logged again
    vc.clock.advance(10_000)
    wait_until(lambda: states(vc).count("running") == 1 and seen_running(waiter, 1))
    vc.clock.advance(10_000)
    assert all(done.join() for done in clones)
    assert caplog.text.count("has waited in vCenter's queue") == 1


def look_again(waiter: TaskWaiter) -> None:
    """Make waiting threads read the time again."""
    with waiter._lock:
        for entry in waiter._pending.values():
            entry.changed.notify_all()


def test_a_task_that_never_leaves_the_queue_is_cancelled(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    clones = full_queue(vc, waiter, clone)
    for entry in pending(waiter):
        entry.start_within_s = 5_000.0

    vc.clock.advance(4_999)
    look_again(waiter)
    assert not clones[-1].ended_within(0.2)
    vc.clock.advance(1)
    look_again(waiter)

    with pytest.raises(
        errors.TaskTimedOut,
        match=r"waited in vCenter's queue for more than 5000 s; it was cancelled and ended: ",
    ):
        clones[-1].join()
    assert vc.request_log.count("CancelTask") == 1
    vc.clock.advance(5_001)
    assert all(done.join() for done in clones[:4])
    assert vc.find_vm("volume-4") is None


def test_a_task_that_has_just_left_the_queue_is_not_cancelled(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo, place: Place
) -> None:
    """Its time in the queue is over before the waiter learns that it runs."""
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    task = template.start_clone(session, source.moref, clone_request(place, source, "volume-1"))
    wait_until(lambda: states(vc) == ["running"])

    running = Background(lambda: waiter.wait(task, timeout_s=1000, start_within_s=0))
    wait_until(lambda: seen_running(waiter, 1))
    vc.clock.advance(100)

    assert running.join() in [vm.moref for vm in vc.vms()]
    assert vc.request_log.count("CancelTask") == 0


def test_the_queue_has_a_deadline_by_default() -> None:
    """A day's burst of volumes passes through vCenter's queue; a stuck task does not stay in it."""
    assert 3600 < START_WITHIN_S <= 24 * 3600


def test_time_in_the_queue_is_no_timeout(vc: VCenter, waiter: TaskWaiter, clone: Cloning) -> None:
    vc.cost_model.enabled = True
    vc.cost_model.fixed_clone_s = 100.0
    vc.cost_model.datastore_bandwidth = vc.cost_model.host_bandwidth = 0
    clones = [clone(f"volume-{number}", timeout_s=150.0) for number in range(8)]
    wait_until(lambda: states(vc).count("queued") == 4 and seen_running(waiter, 4))

    vc.clock.advance(100)
    # Not before the first four have been reported: they would still count as running.
    wait_until(lambda: len(waiter._pending) == 4 and seen_running(waiter, 4))
    vc.clock.advance(100)

    assert all(done.join() for done in clones)


def test_a_host_without_threads_left_sees_its_tasks_end_anyway(
    waiter: TaskWaiter, clone: Cloning, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "vcenter-task-waiter":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert clone("volume-1").join()
    assert clone("volume-2").join()


def test_a_restart_fails_the_tasks_that_vcenter_forgot(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000, times=None)
    clones = [clone(f"volume-{number}") for number in range(3)]
    wait_until(lambda: seen_running(waiter, 3))

    vc.restart()

    for running in clones:
        with pytest.raises(errors.TaskLost, match="no longer knows"):
            running.join()


def test_a_lost_session_ends_no_wait(
    vc: VCenter, session: Session, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100, times=None)
    clones = [clone(f"volume-{number}") for number in range(3)]
    wait_until(lambda: seen_running(waiter, 3))
    polls = vc.request_log.count("WaitForUpdatesEx")

    vc.sessions.expire_all()
    wait_until(lambda: vc.request_log.count("WaitForUpdatesEx") > polls)
    vc.clock.advance(100)

    assert all(running.join() for running in clones)
    assert session.generation == 2


@pytest.mark.parametrize(("keeps", "log_ins"), [(True, 1), (False, 2)])
def test_a_wait_outlasts_the_idle_time_whether_or_not_its_poll_keeps_the_session(
    vc: VCenter, session: Session, waiter: TaskWaiter, clone: Cloning, keeps: bool, log_ins: int
) -> None:
    vc.switches.long_poll_keeps_session = keeps
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=2000)
    running = clone("volume-1", timeout_s=10_000)
    wait_until(lambda: seen_running(waiter, 1))
    wait_until(lambda: not keeps or any(each.outstanding for each in vc.sessions.active()))

    vc.clock.advance(1900)
    vc.sessions.active()  # a look at the sessions ends those that were idle for too long
    vc.clock.advance(100)

    assert running.join()
    assert session.generation == log_ins


def test_a_poll_that_breaks_is_taken_up_again(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100, times=2)
    rule = vc.fault_rules.add("WaitForUpdatesEx", vmodl.fault.SystemError(), skip=1, times=2)
    running = clone("volume-1")
    wait_until(lambda: rule.hits == 2)
    wait_until(lambda: waiter._watch is not None)
    another = clone("volume-2")
    # A successful poll ends the series of failures: the next repair begins without a pause.
    wait_until(lambda: seen_running(waiter, 2) and waiter._broken_in_a_row == 0)

    vc.clock.advance(100)

    assert running.join()
    assert another.join()


def test_a_task_ends_after_any_number_of_polls_that_broke(
    waiter: TaskWaiter, clone: Cloning
) -> None:
    waiter._broken_in_a_row = 2000
    assert clone("volume-1").join()


@pytest.mark.parametrize(
    "method",
    ["CreatePropertyCollector", "CreateListView", "CreateFilter", "ModifyListView"],
)
def test_answers_lost_while_the_first_watch_is_made_abandon_no_task(
    vc: VCenter, session: Session, place: Place, source: VmInfo, method: str
) -> None:
    """More often than a call is repeated, so the repair must handle it, for all tasks at once."""
    waiter = TaskWaiter(session)
    clone = Cloning(session, waiter, place, source)
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100, times=None)
    rule = vc.fault_rules.add(method, drop="after", times=session.endpoint.api_retry_count + 1)
    clones = [clone(f"volume-{number}") for number in range(4)]
    wait_until(lambda: seen_running(waiter, 4))

    vc.clock.advance(100)

    assert all(running.join() for running in clones)
    assert rule.hits == session.endpoint.api_retry_count + 1
    assert vc.request_log.count("CloneVM_Task") == 4
    waiter.close()


def test_answers_lost_while_a_task_joins_the_watch_abandon_no_task(
    vc: VCenter, session: Session, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100, times=None)
    first = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))
    vc.fault_rules.add("ModifyListView", drop="before", times=session.endpoint.api_retry_count)

    second = clone("volume-2")
    wait_until(lambda: seen_running(waiter, 2))
    vc.clock.advance(100)

    assert first.join()
    assert second.join()


ONE_WATCH = {"PropertyCollector": 1, "PropertyFilter": 1, "ListView": 1}


def watching(vc: VCenter) -> Counter[str]:
    """What the session has created to watch tasks: type -> count, without the shared collector."""
    (owner,) = vc.sessions.active()
    kinds = Counter(
        type(obj).__name__ for obj in owner.objects.values() if obj is not owner.property_collector
    )
    return Counter({kind: count for kind, count in kinds.items() if kind in ONE_WATCH})


def test_polls_that_break_leave_nothing_behind(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    rule = vc.fault_rules.add("WaitForUpdatesEx", drop="after", times=5)
    running = clone("volume-1")
    wait_until(lambda: rule.hits == 5 and seen_running(waiter, 1))

    wait_until(lambda: watching(vc) == ONE_WATCH)
    vc.clock.advance(100)
    assert running.join()


def test_a_task_that_has_ended_meanwhile_needs_no_new_watch(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    running = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))
    vc.fault_rules.add("CreateListView", vmodl.fault.SystemError(), times=None)
    vc.fault_rules.add("RetrievePropertiesEx", action=lambda: vc.clock.advance(100))

    vc.sessions.expire_all()

    assert running.join()


@pytest.mark.parametrize("method", ["CreateFilter", "ModifyListView"])
def test_a_watch_that_is_only_half_made_leaves_nothing_behind(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning, method: str
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    rule = vc.fault_rules.add(method, vmodl.fault.SystemError())

    running = clone("volume-1")

    wait_until(lambda: rule.hits and seen_running(waiter, 1))
    wait_until(lambda: watching(vc) == ONE_WATCH)
    vc.clock.advance(100)
    assert running.join()


def test_an_account_that_may_not_watch_tasks_fails_the_wait(vc: VCenter, clone: Cloning) -> None:
    vc.fault_rules.add("CreateListView", vim.fault.NoPermission(), times=None)

    with pytest.raises(errors.NoPermission):
        clone("volume-1").join()


def test_a_vcenter_that_stays_away_fails_all_waits(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))

    vc.stop()

    with pytest.raises(errors.Unreachable):
        running.join()


def test_an_error_that_comes_later_than_its_state_is_read_again(
    session: Session, waiter: TaskWaiter
) -> None:
    """Seen under load; here the state arrives alone."""
    from vmdk_cache.vim.task import PendingTask

    entry = PendingTask("task-1", waiter._lock, 0.0, 1000, 1000)
    waiter._pending["task-1"] = entry

    assert not waiter._learn("task-1", {"info.state": "error"})
    assert not entry.done
    failed = {"info.state": "error", "info.error": vim.fault.TaskInProgress()}
    assert waiter._learn("task-1", failed)
    assert isinstance(entry.error, errors.InUse)


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_an_error_that_comes_much_later_than_its_state_is_waited_for_once(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning, reads: int
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))
    (task,) = vc.tasks.running()

    def tell() -> None:
        task.info.error = vim.fault.FileLocked(msg="locked")

    vc.fault_rules.add("RetrievePropertiesEx", skip=reads - 1, action=tell)
    with vc.lock:
        task.info.state = "error"
        task.changed("info.state")

    with pytest.raises(errors.TaskFailed if reads == 3 else errors.FileLocked):
        running.join()


def test_updates_after_success_change_nothing(waiter: TaskWaiter) -> None:
    from vmdk_cache.vim.task import PendingTask

    entry = PendingTask("task-1", waiter._lock, 0.0, 1000, 1000)
    waiter._pending["task-1"] = entry
    waiter._learn("task-1", {"info.state": "success", "info.result": "vm-1"})

    waiter._learn("task-1", {"info.state": "running"})

    assert entry.done
    assert entry.result == "vm-1"


def test_a_lost_task_affects_no_other(waiter: TaskWaiter) -> None:
    from vmdk_cache.vim.task import PendingTask

    lost, other = (PendingTask(f"task-{n}", waiter._lock, 0.0, 1000, 1000) for n in (1, 2))
    waiter._pending = {"task-1": lost, "task-2": other}

    waiter._fail(errors.TaskLost("vCenter no longer knows it"), ["task-1"])

    assert (lost.done, other.done) == (True, False)


def test_closing_ends_all_waits(vc: VCenter, waiter: TaskWaiter, clone: Cloning) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    wait_until(lambda: seen_running(waiter, 1))

    waiter.close()
    waiter.close()

    with pytest.raises(errors.SessionExpired):
        running.join()


def test_a_closed_waiter_takes_no_more_tasks(waiter: TaskWaiter) -> None:
    waiter.close()

    with pytest.raises(errors.SessionExpired, match="has been closed"):
        Background(lambda: waiter.wait("task-1", timeout_s=10)).join()


def test_how_long_tasks_take_is_learned_from_tasks(waiter: TaskWaiter, clone: Cloning) -> None:
    clone("volume-1").join()

    assert 0 <= waiter._typical_s < 1


def test_a_task_waited_for_alone_costs_few_requests(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    template.clone(
        session, waiter, source.moref, clone_request(place, source, "first"), timeout_s=100
    )
    vc.request_log.reset()

    moref = template.clone(
        session, waiter, source.moref, clone_request(place, source, "second"), timeout_s=100
    )
    template.finish_clone(session, waiter, moref, 2 * MIB, forbidden_key=RECORD_KEY)

    counts = vc.request_log.by_method()
    assert counts.pop("WaitForUpdatesEx") <= 6
    assert counts == {
        "CloneVM_Task": 1,
        "ReconfigVM_Task": 1,
        "ModifyListView": 2,
        "RetrievePropertiesEx": 1,
    }

"""Waiting for tasks when things go wrong."""

from __future__ import annotations

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import MIB, RECORD_KEY, Place, clone_request
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background, eventually
from vmdk_cache import errors
from vmdk_cache.vim import template
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.template import VmInfo


class Cloning:
    """Clones of one template, in the background."""

    def __init__(self, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo) -> None:
        self._parts = (session, waiter, place, source)

    def __call__(self, name: str, timeout_s: float = 1000.0) -> Background:
        session, waiter, place, source = self._parts
        request = clone_request(place, source, name)
        return Background(
            lambda: template.clone(session, waiter, source, request, timeout_s=timeout_s)
        )


@pytest.fixture
def clone(session: Session, waiter: TaskWaiter, place: Place, source: VmInfo) -> Cloning:
    return Cloning(session, waiter, place, source)


def states(vc: VCenter) -> list[str]:
    """States of all clone tasks, as the fake has them."""
    return [
        str(task.info.state)
        for task in vc.registry.of_type(vim.Task)
        if task.info.descriptionId == "VirtualMachine.clone"
    ]


def seen_running(waiter: TaskWaiter, count: int) -> bool:
    """Whether the waiter has learned of so many running tasks."""
    return sum(entry.started_at is not None for entry in waiter._pending.values()) == count


def test_the_error_of_a_task_is_translated(vc: VCenter, clone: Cloning) -> None:
    fault = vim.fault.FileLocked(msg="Unable to access file since it is locked")
    vc.fault_rules.add("CloneVM_Task", fault, on="task")

    with pytest.raises(errors.FileLocked, match="since it is locked"):
        clone("volume-1").join()


def test_a_task_that_runs_too_long_is_cancelled(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1", timeout_s=0.05)
    eventually(lambda: seen_running(waiter, 1))
    vc.clock.advance(1)

    with pytest.raises(errors.TaskTimedOut):
        running.join()
    assert vc.request_log.count("CancelTask") == 1


def test_time_in_the_queue_is_no_time_out(vc: VCenter, waiter: TaskWaiter, clone: Cloning) -> None:
    vc.cost_model.enabled = True
    vc.cost_model.fixed_clone_s = 100.0
    vc.cost_model.datastore_bandwidth = vc.cost_model.host_bandwidth = 0
    clones = [clone(f"volume-{number}", timeout_s=150.0) for number in range(8)]
    eventually(lambda: states(vc).count("queued") == 4 and seen_running(waiter, 4))

    vc.clock.advance(100)
    eventually(lambda: states(vc).count("running") == 4 and seen_running(waiter, 4))
    vc.clock.advance(100)

    assert all(done.join() for done in clones)


def test_a_restart_fails_the_tasks_that_vcenter_forgot(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000, times=None)
    clones = [clone(f"volume-{number}") for number in range(3)]
    eventually(lambda: seen_running(waiter, 3))

    vc.restart()

    for running in clones:
        with pytest.raises(errors.TaskFailed, match="no longer knows"):
            running.join()


def test_a_lost_session_ends_no_wait(
    vc: VCenter, session: Session, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100, times=None)
    clones = [clone(f"volume-{number}") for number in range(3)]
    eventually(lambda: seen_running(waiter, 3))
    polls = vc.request_log.count("WaitForUpdatesEx")

    vc.sessions.expire_all()
    eventually(lambda: vc.request_log.count("WaitForUpdatesEx") > polls)
    vc.clock.advance(100)

    assert all(running.join() for running in clones)
    assert session.generation == 2


def test_a_poll_that_breaks_is_taken_up_again(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    rule = vc.fault_rules.add("WaitForUpdatesEx", vmodl.fault.SystemError(), skip=1, times=2)
    running = clone("volume-1")
    eventually(lambda: rule.hits == 2)
    eventually(lambda: waiter._watch is not None)

    vc.clock.advance(100)

    assert running.join()


def test_a_vcenter_that_stays_away_fails_all_waits(
    vc: VCenter, waiter: TaskWaiter, clone: Cloning
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    eventually(lambda: seen_running(waiter, 1))

    vc.stop()

    with pytest.raises(errors.Unreachable):
        running.join()


def test_an_error_that_comes_later_than_its_state_is_read_again(
    session: Session, waiter: TaskWaiter
) -> None:
    """Seen under load; here the state comes alone."""
    from vmdk_cache.vim.task import _Pending

    entry = _Pending("task-1", waiter._lock)
    waiter._pending["task-1"] = entry

    assert not waiter._learn("task-1", {"info.state": "error"})
    assert not entry.done
    assert waiter._learn("task-1", {"info.error": vim.fault.TaskInProgress()})
    assert isinstance(entry.error, errors.InUse)


def test_what_comes_after_success_changes_nothing(waiter: TaskWaiter) -> None:
    from vmdk_cache.vim.task import _Pending

    entry = _Pending("task-1", waiter._lock)
    waiter._pending["task-1"] = entry
    waiter._learn("task-1", {"info.state": "success", "info.result": "vm-1"})

    waiter._learn("task-1", {"info.state": "running"})

    assert entry.done
    assert entry.result == "vm-1"


def test_closing_ends_all_waits(vc: VCenter, waiter: TaskWaiter, clone: Cloning) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=10_000)
    running = clone("volume-1")
    eventually(lambda: seen_running(waiter, 1))

    waiter.close()
    waiter.close()

    with pytest.raises(errors.SessionExpired):
        running.join()


def test_a_task_waited_for_alone_costs_few_requests(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    template.clone(session, waiter, source, clone_request(place, source, "first"), timeout_s=100)
    vc.request_log.reset()

    moref = template.clone(
        session, waiter, source, clone_request(place, source, "second"), timeout_s=100
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


def test_progress_is_told(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo, place: Place
) -> None:
    vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    spec = template._clone_spec(clone_request(place, source, "volume-1"))
    task = session.invoke(
        "VirtualMachine", source.moref, "CloneVM_Task", folder=place.folder, name="v", spec=spec
    )
    told: list[int] = []
    running = Background(lambda: waiter.wait(task, timeout_s=1000, on_progress=told.append))
    eventually(lambda: told)

    vc.clock.advance(100)

    assert running.join()
    assert all(0 <= percent <= 100 for percent in told)

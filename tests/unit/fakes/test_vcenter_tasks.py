"""A task ends exactly once, in the right way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.cost_model import CostModel
from tests.fakes.vcenter.operation_queue import Admission
from tests.fakes.vcenter.task import Task
from tests.unit.fakes.vcenter_client import Client


def start(vcenter: VCenter, body: Any, **options: Any) -> Task:
    folder = vcenter.root_folder
    return vcenter.tasks.start(folder, "Rename_Task", "Folder.rename", body, **options)


def on_wire(client: Client, task: Task) -> Any:
    return vim.Task(task.moref, client.instance._stub)


def state_becomes(task: Task, state: str) -> None:
    waited = threading.Event()
    for _ in range(3000):
        with task.vcenter.lock:
            if task.info.state == state:
                return
        waited.wait(0.01)
    raise AssertionError(f"the task is {task.info.state}, not {state}")


def test_task_is_described_as_by_vcenter(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    task = folder.Rename_Task("b")
    WaitForTask(task)
    info = task.info
    assert (info.state, info.descriptionId, info.entityName) == ("success", "Folder.rename", "a")
    assert info.name.info.wsdlName == "Rename_Task"
    assert info.entity == folder
    assert info.reason.userName == client.vcenter.user
    assert info.queueTime <= info.startTime <= info.completeTime
    assert [each._moId for each in folder.recentTask] == [task._moId]


def test_result_of_a_body_is_the_tasks_result(client: Client) -> None:
    task = start(client.vcenter, lambda task: client.vcenter.root_folder)
    assert WaitForTask(on_wire(client, task)) == "success"
    assert on_wire(client, task).info.result == client.content.rootFolder


def test_fault_of_a_body_is_the_tasks_error(client: Client) -> None:
    def body(task: Task) -> None:
        raise vim.fault.FileNotFound(file="[ds] x", msg="File [ds] x was not found")

    with pytest.raises(vim.fault.FileNotFound) as caught:
        WaitForTask(on_wire(client, start(client.vcenter, body)))
    assert caught.value.file == "[ds] x"
    assert caught.value.msg == "File [ds] x was not found"


def test_late_error_is_seen_after_its_state(client: Client) -> None:
    def body(task: Task) -> None:
        raise vim.fault.FileNotFound(file="[ds] x")

    client.vcenter.switches.task_error_late_s = 100.0
    task = start(client.vcenter, body)
    state_becomes(task, "error")
    assert on_wire(client, task).info.error is None
    client.vcenter.clock.advance(101)
    assert isinstance(on_wire(client, task).info.error, vim.fault.FileNotFound)


def test_info_of_a_task_has_the_recorded_fields(client: Client) -> None:
    def body(task: Task) -> Iterator[float]:
        task.set_progress(50)
        yield 1000.0

    task = start(client.vcenter, body)
    state_becomes(task, "running")
    client.vcenter.clock.advance(1001)
    state_becomes(task, "success")
    info = on_wire(client, task).info
    assert info.progress is None and info.description is None
    assert info.eventChainId > 0 and str(info.eventChainId) not in info.key


def test_bug_in_a_body_is_recorded(client: Client) -> None:
    def body(task: Task) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(vmodl.fault.SystemError):
        WaitForTask(on_wire(client, start(client.vcenter, body)))
    (error,) = client.vcenter.errors
    assert "ZeroDivisionError: a bug" in error.traceback
    client.vcenter.errors.clear()


def test_delayed_body_acts_on_time(vcenter: VCenter) -> None:
    acted: list[int] = []
    task = start(vcenter, lambda task: acted.append(1), delay_s=100)
    state_becomes(task, "running")
    assert acted == []
    vcenter.clock.advance(101)
    state_becomes(task, "success")
    assert acted == [1]


def test_waiting_body_releases_the_lock(client: Client) -> None:
    def body(task: Task) -> Iterator[float]:
        yield 1000.0
        task.set_progress(50)
        yield 1000.0

    task = start(client.vcenter, body)
    state_becomes(task, "running")
    assert client.datacenter.name == "DC0"
    client.vcenter.clock.advance(1001)
    client.vcenter.clock.advance(1001)
    state_becomes(task, "success")


def test_cancelled_task_stops_and_cleans_up(client: Client) -> None:
    cleaned: list[str] = []

    def body(task: Task) -> Iterator[float]:
        try:
            yield 1000.0
            cleaned.append("ran on")
        finally:
            cleaned.append("cleaned")

    task = start(client.vcenter, body)
    state_becomes(task, "running")
    on_wire(client, task).CancelTask()
    state_becomes(task, "error")
    assert cleaned == ["cleaned"]
    info = on_wire(client, task).info
    assert info.cancelled and isinstance(info.error, vmodl.fault.RequestCanceled)
    with pytest.raises(vim.fault.InvalidState):
        on_wire(client, task).CancelTask()
    client.vcenter.clock.advance(2000)
    assert cleaned == ["cleaned"]


def test_task_that_cannot_be_cancelled_refuses(client: Client) -> None:
    task = start(client.vcenter, lambda task: None, delay_s=1000, cancelable=False)
    with pytest.raises(vmodl.fault.NotSupported):
        on_wire(client, task).CancelTask()


def test_old_tasks_are_dropped(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    first = folder.Rename_Task("n")
    WaitForTask(first)
    later = [start(client.vcenter, lambda task: None) for _ in range(200)]
    for task in later:
        state_becomes(task, "success")
    client.vcenter.clock.advance(700)
    start(client.vcenter, lambda task: None)
    client.content.sessionManager.currentSession  # noqa: B018 - keeps the session
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        first.info  # noqa: B018 - the read itself is tested


def hosts(vcenter: VCenter) -> list[Any]:
    return list(vcenter.registry.of_type(vim.HostSystem))


def running(tasks: list[Task]) -> int:
    return sum(task.info.state == "running" for task in tasks)


@pytest.mark.parametrize(("same_host", "at_a_time"), [(True, 4), (False, 8)])
def test_clones_beyond_the_limit_wait(vcenter: VCenter, same_host: bool, at_a_time: int) -> None:
    costs = CostModel(enabled=True)
    source, other = hosts(vcenter)
    target = source if same_host else other

    def admission() -> Admission:
        place = costs.clone_admission(source, target)
        assert place is not None
        return place

    def body(task: Task) -> Iterator[float]:
        yield 10.0

    tasks = [start(vcenter, body, admission=admission()) for _ in range(10)]
    for task in tasks[:at_a_time]:
        state_becomes(task, "running")
    assert [task.info.state for task in tasks[at_a_time:]] == ["queued"] * (10 - at_a_time)
    vcenter.clock.advance(11)
    for task in tasks[:at_a_time]:
        state_becomes(task, "success")
    state_becomes(tasks[at_a_time], "running")


def test_cancelled_clone_leaves_the_queue(client: Client) -> None:
    costs = CostModel(enabled=True)
    source = hosts(client.vcenter)[0]
    tasks = [
        start(
            client.vcenter,
            lambda task: None,
            delay_s=10,
            admission=costs.clone_admission(source, source),
        )
        for _ in range(6)
    ]
    state_becomes(tasks[3], "running")
    on_wire(client, tasks[4]).CancelTask()
    state_becomes(tasks[4], "error")
    client.vcenter.clock.advance(11)
    state_becomes(tasks[5], "running")

"""Events, tasks and sessions."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.task import Task
from tests.unit.fakes.vcenter_client import connect
from tests.waiting import wait_until

MODEL = Model()


def keys(govc: Govc) -> set[str]:
    return {line.split()[0] for line in govc("session.ls").splitlines()[1:]}


@holds("events")
def test_what_happened_to_a_folder_is_told(govc: Govc) -> None:
    govc("folder.create", "/DC0/vm/told")
    govc("object.rename", "/DC0/vm/told", "retold")
    lines = govc("events", "/DC0/vm/retold").splitlines()
    assert [line.partition("] [info] ")[2].strip() for line in lines] == [
        "Task: Rename folder (target=Folder told)"
    ]
    lines = govc("events", "-n", "1000").splitlines()
    log_ins = [line for line in lines if "administrator@127.0.0.1 logged in as govc/" in line]
    assert log_ins
    typed = govc("events", "-type", "UserLoginSessionEvent", "-l").splitlines()
    assert typed and all("[UserLoginSessionEvent]" in line for line in typed)


@holds("tasks")
def test_tasks_are_listed(govc: Govc) -> None:
    govc("folder.create", "/DC0/vm/tasks")
    govc("object.rename", "/DC0/vm/tasks", "renamed")
    for arguments in ((), ("/DC0/vm/renamed",), ("-b", "1h"), ("-s", "success", "-r", "/DC0")):
        shown = [line.split() for line in govc("tasks", *arguments).splitlines()]
        assert ["Folder.Rename", "tasks"] in [line[:2] for line in shown]
        (row,) = (line for line in shown if line[:2] == ["Folder.Rename", "tasks"])
        assert row[6] == "success"
    assert "Folder.Rename" not in govc("tasks", "-s", "error", "-r", "/DC0")


@holds("task.cancel")
def test_a_running_task_is_cancelled(govc: Govc, vcenter: VCenter) -> None:
    def body(task: Task) -> Iterator[float]:
        yield math.inf

    datacenter = vcenter.root_folder.child("DC0")
    running = vcenter.tasks.start(datacenter, "Rename_Task", "Datacenter.rename", body)
    wait_until(lambda: running.info.state == "running")
    govc("task.cancel", running.moref)
    wait_until(lambda: running.done)
    assert "Datacenter.Rename" in govc("tasks", "-s", "error", "-r", "/DC0")
    assert running.info.cancelled
    assert govc.refused("task.cancel", running.moref)


@holds("session.ls", "session.login", "session.logout", "session.rm")
def test_sessions_are_listed_and_ended(govc: Govc, vcenter: VCenter) -> None:
    ticket = govc("session.login", "-l").strip()
    assert len(ticket) == 40
    other = connect(vcenter).content.sessionManager.currentSession.key
    (mine,) = (line for line in govc("session.ls", "-S").splitlines()[1:])
    assert "govc/" in mine
    assert {mine.split()[0], other} <= keys(govc)
    govc("session.rm", other)
    assert mine.split()[0] in keys(govc)
    assert other not in keys(govc)
    assert govc.refused("session.rm", "no-such-key")
    govc("session.logout")
    assert vcenter.sessions.active() == []

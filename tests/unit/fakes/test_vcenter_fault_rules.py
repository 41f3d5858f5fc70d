"""A fault rule hits exactly the requests that it should."""

from __future__ import annotations

import http.client

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.unit.fakes.vcenter_client import Client


def test_rule_hits_as_often_as_it_should(client: Client) -> None:
    rule = client.vcenter.fault_rules.add(
        "CreateFolder", vim.fault.NoPermission(privilegeId="Folder.Create"), skip=1, times=2
    )
    client.vm_folder.CreateFolder("passes")
    for _ in range(2):
        with pytest.raises(vim.fault.NoPermission):
            client.vm_folder.CreateFolder("fails")
    client.vm_folder.CreateFolder("fails")
    assert (rule.seen, rule.hits) == (3, 2)


def test_rule_hits_only_its_object(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("chosen")
    client.vcenter.fault_rules.add("CreateFolder", vim.fault.InvalidState(), object_name="chosen")
    client.vm_folder.CreateFolder("other")
    with pytest.raises(vim.fault.InvalidState):
        folder.CreateFolder("x")


def test_task_rule_fails_the_task_and_not_the_call(client: Client) -> None:
    client.vcenter.fault_rules.add("Rename_Task", vim.fault.FileLocked(), on="task")
    folder = client.vm_folder.CreateFolder("a")
    with pytest.raises(vim.fault.FileLocked):
        WaitForTask(folder.Rename_Task("b"))
    assert folder.name == "a"
    WaitForTask(folder.Rename_Task("b"))
    assert folder.name == "b"


@pytest.mark.parametrize(("when", "acted"), [("before", False), ("after", True)])
def test_dropped_connection_acts_before_or_after_the_drop(
    client: Client, when: str, acted: bool
) -> None:
    client.vcenter.fault_rules.add("CreateFolder", drop=when)  # type: ignore[arg-type]
    folder = client.vm_folder
    with pytest.raises((OSError, http.client.HTTPException)):
        folder.CreateFolder("a")
    names = [child.name for child in folder.childEntity]
    assert names == (["a"] if acted else [])


def test_http_status_is_not_a_soap_answer(client: Client) -> None:
    client.vcenter.fault_rules.add("CurrentTime", http_status=503)
    with pytest.raises(http.client.HTTPException, match="503"):
        client.instance.CurrentTime()
    client.instance.CurrentTime()


def test_action_runs_at_its_call(client: Client) -> None:
    client.vcenter.fault_rules.add("CurrentTime", action=client.vcenter.sessions.expire_all)
    client.vm_folder.CreateFolder("a")
    assert len(client.vcenter.sessions.active()) == 1
    with pytest.raises(vim.fault.NotAuthenticated):
        client.instance.CurrentTime()
    assert client.vcenter.sessions.active() == []


def test_cleared_rules_no_longer_hit(client: Client) -> None:
    client.vcenter.fault_rules.add("CurrentTime", vim.fault.InvalidState(), times=None)
    with pytest.raises(vim.fault.InvalidState):
        client.instance.CurrentTime()
    client.vcenter.fault_rules.clear()
    client.instance.CurrentTime()


@pytest.mark.parametrize("wrong", [{"on": "never"}, {"drop": "sometimes"}])
def test_rule_that_can_never_hit_is_refused(client: Client, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        client.vcenter.fault_rules.add("CurrentTime", **wrong)  # type: ignore[arg-type]


def test_requests_are_counted_by_method(client: Client) -> None:
    log = client.vcenter.request_log
    log.reset()
    folder = client.vm_folder
    before = log.total()
    folder.CreateFolder("a")
    folder.CreateFolder("b")
    assert log.count("CreateFolder") == 2
    assert log.total() - before == 2
    assert log.by_method()["CreateFolder"] == 2
    assert log.recent()[-1].target == folder._moId
    log.reset()
    assert log.by_method() == {}


def test_rule_for_any_method_hits_every_method(client: Client) -> None:
    rule = client.vcenter.fault_rules.add("*", vim.fault.InvalidState(), times=None)
    with pytest.raises(vim.fault.InvalidState):
        client.vm_folder.CreateFolder("a")
    with pytest.raises(vim.fault.InvalidState):
        client.vm_folder.Rename_Task("b")
    assert rule.hits == 2

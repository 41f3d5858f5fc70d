"""Requests and tasks cost time where a test pays for them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Clock, CostModel, VCenter
from tests.unit.fakes.vm_client import Client, MiB, connected, create_spec

PC = vmodl.query.PropertyCollector
REQUEST_S = 2.0
TASK_S = 50.0


@pytest.fixture
def vc() -> Iterator[VCenter]:
    """No test moves this clock; only the costs do."""
    costs = CostModel(request_s=REQUEST_S, task_s=TASK_S)
    with VCenter(clock=Clock(scale=0), cost_model=costs) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


def test_requests_cost_time(vc: VCenter, client: Client) -> None:
    began = vc.clock.elapsed_s
    first, second = client.si.CurrentTime(), client.si.CurrentTime()
    assert vc.clock.elapsed_s - began == pytest.approx(2 * REQUEST_S)
    assert second - first == datetime.timedelta(seconds=REQUEST_S)


def test_an_http_request_other_than_soap_costs_time(vc: VCenter, client: Client) -> None:
    began = vc.clock.elapsed_s
    url = client.folder_url("DC0_DS0", "no/file")
    assert client.request("GET", url, headers=client.cookie)[0] == 404
    assert vc.clock.elapsed_s - began == pytest.approx(REQUEST_S)


def test_a_long_poll_costs_one_request(vc: VCenter, client: Client) -> None:
    collector = client.content.propertyCollector
    began = vc.clock.elapsed_s
    collector.WaitForUpdatesEx("", PC.WaitOptions(maxWaitSeconds=1))
    assert vc.clock.elapsed_s - began == pytest.approx(REQUEST_S)


def test_a_task_takes_time(vc: VCenter, client: Client) -> None:
    task = client.folder.CreateFolder("a").Rename_Task("b")
    WaitForTask(task)
    info = task.info
    assert info.completeTime - info.startTime >= datetime.timedelta(seconds=TASK_S)


def test_a_failed_task_takes_time(vc: VCenter, client: Client) -> None:
    vc.fault_rules.add("Rename_Task", vim.fault.FileLocked(), on="task")
    task = client.folder.CreateFolder("a").Rename_Task("b")
    with pytest.raises(vim.fault.FileLocked):
        WaitForTask(task)
    info = task.info
    assert info.completeTime - info.startTime >= datetime.timedelta(seconds=TASK_S)


def test_an_injected_delay_passes_only_when_the_test_moves_the_clock(
    vc: VCenter, client: Client
) -> None:
    vc.fault_rules.add("Rename_Task", on="task", delay_s=1000)
    task = client.folder.CreateFolder("a").Rename_Task("b")
    while task.info.state == "queued":
        pass
    vc.clock.advance(500)
    assert task.info.state == "running"
    vc.clock.advance(600)
    WaitForTask(task)


def test_a_lease_takes_time_to_become_ready(vc: VCenter, client: Client) -> None:
    began = vc.clock.elapsed_s
    spec = vim.vm.VmImportSpec(configSpec=create_spec("a", MiB))
    lease = client.pool.ImportVApp(spec, client.folder)
    while lease.state == "initializing":
        pass
    assert lease.state == "ready"
    assert vc.clock.elapsed_s - began >= TASK_S

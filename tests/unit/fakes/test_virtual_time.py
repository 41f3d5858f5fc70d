"""Virtual time stands still while any thread works, and passes while all wait."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.clock import WaitingClock
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter, VirtualTime, vmdk
from tests.fakes.vcenter.disk import DiskContent
from tests.unit.fakes.test_http_nfc_lease import STREAM
from tests.unit.fakes.vm_client import Client, GiB, MiB, connected, create_spec
from tests.waiting import wait_until

PC = vmodl.query.PropertyCollector


@pytest.fixture
def vc() -> Iterator[VCenter]:
    model = Model(hosts_per_cluster=8, datastores=4)
    costs = CostModel(fixed_clone_s=1.0, fixed_task_s=0.2)
    with VCenter(model, clock=Clock(scale=0), cost_model=costs) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


@contextlib.contextmanager
def template_of(vc: VCenter, client: Client, size_bytes: int) -> Iterator[Any]:
    """A template that counts as one of size_bytes; costs are on, and time is virtual."""
    template = client.template("image", 8 * MiB, backing={"thinProvisioned": False})
    vc.cost_model.bytes_scale = size_bytes / vc.find_vm("image").disks[0].occupied_bytes
    vc.cost_model.enabled = True
    with VirtualTime(vc.clock):
        yield template


def long_poll(client: Client, task: Any) -> Any:
    """Wait for the task with its own collector; returns its result."""
    collector = client.content.propertyCollector.CreatePropertyCollector()
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=task)],
        propSet=[PC.PropertySpec(type=vim.Task, pathSet=["info.state"])],
    )
    collector.CreateFilter(spec, True)
    version, state = "", "queued"
    while state not in ("success", "error"):
        update = collector.WaitForUpdatesEx(version, PC.WaitOptions(maxWaitSeconds=60))
        if update is not None:
            version = update.version
            state = update.filterSet[0].objectSet[0].changeSet[0].val
    collector.DestroyPropertyCollector()
    if state == "error":
        raise task.info.error
    return task.info.result


def volume(client: Client, template: Any, number: int) -> None:
    """Two tasks, as for each of the cache's hits."""
    spec = client.clone_spec(datastore=client.datastores[number % 4], host=client.hosts[number % 8])
    made = long_poll(client, template.CloneVM_Task(client.folder, f"v{number}", spec))
    long_poll(client, made.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="grown")))


def test_hundreds_of_gibibytes_pass_in_virtual_time(vc: VCenter, client: Client) -> None:
    with template_of(vc, client, 20 * GiB) as template, ThreadPoolExecutor(40) as pool:
        began = vc.clock.monotonic()
        list(pool.map(lambda number: volume(client, template, number), range(40)))
        took_s = vc.clock.monotonic() - began
    # The template's host moves all of it: nothing can be faster, and little is slower.
    at_least_s = 40 * 20 * GiB / vc.cost_model.host_bandwidth
    assert at_least_s <= took_s <= at_least_s * 1.1
    assert len(vc.vms()) == 41


def test_time_stands_still_while_a_client_computes(vc: VCenter) -> None:
    woken: list[float] = []
    clock = WaitingClock(vc.clock)

    def sleeper() -> None:
        clock.sleep(10)
        woken.append(vc.clock.elapsed_s)

    thread = threading.Thread(target=sleeper)
    with VirtualTime(vc.clock, quiet_s=0.05) as virtual:
        with virtual.held():
            thread.start()
            until = time.process_time() + 0.2
            while time.process_time() < until:
                pass
            assert woken == []
        busy_until = time.process_time() + 0.5
        while time.process_time() < busy_until:
            assert vc.clock.elapsed_s == 0
        thread.join(60)
    assert woken == [pytest.approx(10, abs=0.01)]


def _compute(begun: Any, done: Any) -> None:
    begun.set()
    while not done.is_set():
        pass


def test_time_stands_still_while_a_watched_process_computes(vc: VCenter) -> None:
    context = multiprocessing.get_context("spawn")
    begun, done = context.Event(), context.Event()
    process = context.Process(target=_compute, args=(begun, done), daemon=True)
    process.start()
    assert begun.wait(60)
    assert process.pid is not None
    passed = threading.Event()
    vc.clock.call_later(10, passed.set)
    with VirtualTime(vc.clock, quiet_s=0.05, processes=[process.pid]):
        assert not passed.wait(0.3)
        done.set()
        assert passed.wait(60)
    process.join()


def test_sleepers_wake_in_order_and_on_time(vc: VCenter) -> None:
    clock = WaitingClock(vc.clock)
    seen: list[tuple[int, float]] = []

    def sleeper(delay_s: int) -> None:
        for _ in range(3):
            clock.sleep(delay_s)
            seen.append((delay_s, vc.clock.elapsed_s))

    with VirtualTime(vc.clock) as virtual, ThreadPoolExecutor(3) as pool:
        with virtual.held():
            waiting = [pool.submit(sleeper, delay_s) for delay_s in (700, 500, 900)]
        for each in waiting:
            each.result(20)
    assert [delay_s for delay_s, _ in seen] == [500, 700, 900, 500, 700, 500, 900, 700, 900]
    assert seen[-1][1] == pytest.approx(2700, abs=0.1)


def test_time_passes_while_a_delayed_request_waits_for_it(vc: VCenter, client: Client) -> None:
    vc.fault_rules.add("CurrentTime", delay_s=3600)
    with VirtualTime(vc.clock):
        client.si.CurrentTime()
    assert vc.clock.elapsed_s >= 3600


def test_time_stands_still_without_an_awaited_timer(vc: VCenter, client: Client) -> None:
    spec = vim.vm.VmImportSpec(configSpec=create_spec("image", MiB))
    lease = client.pool.ImportVApp(spec, client.folder)
    while lease.state == "initializing":
        time.sleep(0.005)
    assert vc.clock.next_awaited() is None
    vc.clock.advance(301)
    assert lease.state == "error"


class TestImports:
    """An upload whose bytes count as 20 GiB takes longer than its lease and session would last."""

    SECONDS = 20 * GiB / 10e6

    @pytest.fixture
    def data(self, vc: VCenter) -> bytes:
        disk = DiskContent(64 * MiB)
        disk.write(0, os.urandom(MiB))
        data = b"".join(vmdk.stream_optimized(disk))
        vc.cost_model.nfc_stream_bandwidth = 10e6
        vc.cost_model.bytes_scale = 20 * GiB / len(data)
        vc.cost_model.enabled = True
        return data

    def lease(self, client: Client) -> Any:
        spec = vim.vm.VmImportSpec(configSpec=create_spec("image", MiB))
        lease = client.pool.ImportVApp(spec, client.folder)
        while lease.state == "initializing":
            time.sleep(0.005)
        return lease

    def test_lease_and_session_last_during_an_upload(
        self, vc: VCenter, client: Client, data: bytes
    ) -> None:
        lease = self.lease(client)
        with VirtualTime(vc.clock):
            answer = client.request("POST", lease.info.deviceUrl[0].url, data, STREAM)
        assert answer[0] == 200
        assert vc.clock.elapsed_s == pytest.approx(self.SECONDS, rel=0.01)
        vm = lease.info.entity
        lease.HttpNfcLeaseComplete()
        assert vm.config.hardware.numCPU == 1
        assert vc.read_disk("image").size_bytes == 64 * MiB

    def test_a_client_that_completes_before_the_answer_gets_a_broken_disk(
        self, vc: VCenter, client: Client, data: bytes
    ) -> None:
        """oslo.vmware does this; it never reads the answer."""
        lease = self.lease(client)
        with VirtualTime(vc.clock) as virtual, ThreadPoolExecutor(1) as pool:
            url = lease.info.deviceUrl[0].url
            with virtual.held():
                upload = pool.submit(client.request, "POST", url, data, STREAM)
                wait_until(lambda: vc.transfers.rates() != {})
                complete = started(lease.HttpNfcLeaseComplete)
                wait_until(lambda: vc.request_log.count("HttpNfcLeaseComplete") == 1)
            complete.join(60)
            assert upload.result(30)[0] == 200
        assert vc.read_disk("image").size_bytes == 64 * MiB

    def test_an_aborted_upload_ends_at_once(self, vc: VCenter, client: Client, data: bytes) -> None:
        lease = self.lease(client)
        url = lease.info.deviceUrl[0].url
        with ThreadPoolExecutor(1) as pool:
            upload = pool.submit(client.request, "POST", url, data, STREAM)
            wait_until(lambda: vc.transfers.rates() != {})
            lease.HttpNfcLeaseAbort()
            with pytest.raises(OSError, match=r"closed|reset|EOF"):
                upload.result(30)
        assert vc.transfers.rates() == {}
        assert vc.vms() == []

    def test_a_download_costs_time(self, vc: VCenter, client: Client, data: bytes) -> None:
        lease = self.lease(client)
        with VirtualTime(vc.clock):
            client.request("POST", lease.info.deviceUrl[0].url, data, STREAM)
            lease.HttpNfcLeaseComplete()
            began = vc.clock.monotonic()
            image = client.content.searchIndex.FindByInventoryPath("DC0/vm/image")
            export = image.ExportVm()
            while export.state == "initializing":
                time.sleep(0.005)
            status, body = client.request("GET", export.info.deviceUrl[0].url)
            export.HttpNfcLeaseComplete()
        assert (status, len(body)) == (200, pytest.approx(len(data), rel=0.01))
        assert vc.clock.monotonic() - began == pytest.approx(self.SECONDS, rel=0.02)

    def test_an_upload_to_a_datastore_costs_time(
        self, vc: VCenter, client: Client, data: bytes
    ) -> None:
        with VirtualTime(vc.clock):
            url = client.folder_url("DC0_DS0", "x/flat.vmdk")
            assert client.request("PUT", url, data, client.cookie)[0] == 201
        assert vc.clock.elapsed_s == pytest.approx(self.SECONDS, rel=0.01)


def started(call: Callable[[], object]) -> threading.Thread:
    """Start the call in its own thread."""
    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_a_clock_that_runs_by_itself_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"scale=0"):
        VirtualTime(Clock(scale))


def test_the_end_of_virtual_time_stops_the_clock() -> None:
    clock = Clock(scale=0)
    with VirtualTime(clock):
        clock.sleep(5)
    assert "virtual-time" not in {thread.name for thread in threading.enumerate()}
    assert clock.elapsed_s == pytest.approx(5, abs=0.01)

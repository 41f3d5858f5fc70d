"""The fake's costs neither flatter nor penalize what is measured with them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.fakes.vcenter import Clock, CostModel, Model, VCenter
from tests.fakes.vcenter.cost_model import OPERATIONS_AT_A_TIME
from tests.fakes.vcenter.operation_queue import Admission, OperationQueue
from tests.fakes.vcenter.transfers import fair_rates
from tests.unit.fakes.vm_client import Client, MiB, connected, wait
from tests.waiting import wait_until


class Queue:
    """Operations by name, and which of them were admitted."""

    def __init__(self, units: int = 8, operations: int = 640) -> None:
        self.queue = OperationQueue(units, lambda: operations)
        self.admitted: list[str] = []
        self.places: dict[str, Admission] = {}

    def ask(self, name: str, **units: int) -> None:
        place = self.places[name] = self.queue.new(units)
        place.request(lambda: self.admitted.append(name))

    def end(self, name: str) -> None:
        self.places[name].release()


def test_a_ninth_clone_between_two_hosts_waits() -> None:
    queue = Queue()
    for number in range(9):
        queue.ask(f"c{number}", source=1, target=1)
    assert queue.admitted == [f"c{number}" for number in range(8)]
    queue.end("c3")
    assert queue.admitted[-1] == "c8"


def test_a_fifth_clone_on_one_host_waits() -> None:
    queue = Queue()
    for number in range(5):
        queue.ask(f"c{number}", host=2)
    assert len(queue.admitted) == 4
    queue.end("c0")
    assert queue.admitted[-1] == "c4"


def test_an_operation_that_waits_for_a_full_host_does_not_block_other_hosts() -> None:
    queue = Queue()
    for number in range(4):
        queue.ask(f"a{number}", a=2)
    queue.ask("a to b", a=1, b=1)
    queue.ask("c to b", c=1, b=1)
    assert queue.admitted[-1] == "c to b"
    queue.end("a0")
    assert queue.admitted[-1] == "a to b"


def test_an_operation_that_needs_few_units_does_not_overtake() -> None:
    queue = Queue()
    for number in range(7):
        queue.ask(f"half {number}", a=1)
    queue.ask("whole", a=2)
    queue.ask("late half", a=1)
    assert "late half" not in queue.admitted
    queue.end("half 0")
    assert queue.admitted[-1] == "whole"
    queue.end("half 1")
    assert queue.admitted[-1] == "late half"


def test_vcenter_never_runs_more_than_its_limit_at_a_time() -> None:
    queue = Queue(operations=3)
    for number in range(5):
        queue.ask(str(number))
    assert (queue.admitted, queue.queue.running, queue.queue.waiting) == (["0", "1", "2"], 3, 2)
    queue.end("4")
    queue.end("1")
    queue.end("1")
    assert (queue.admitted, queue.queue.running) == (["0", "1", "2", "3"], 3)
    assert CostModel().operations_at_a_time == OPERATIONS_AT_A_TIME == 640


class Place:
    """Something with a moref."""

    def __init__(self, moref: str) -> None:
        self.moref = moref


HOST, FAST, SLOW = Place("host-1"), Place("datastore-1"), Place("datastore-2")


def test_a_copy_within_an_array_with_vaai_bypasses_the_host() -> None:
    costs = CostModel(vaai=True, vaai_bandwidth=5.0)
    assert dict(costs.copy_route(FAST, FAST, HOST, offloadable=True).resources) == {
        "datastore-1 copy": 5.0
    }
    for route in (
        costs.copy_route(FAST, SLOW, HOST, offloadable=True),
        costs.copy_route(FAST, FAST, HOST, offloadable=False),
        CostModel().copy_route(FAST, FAST, HOST, offloadable=True),
    ):
        assert "host-1" in route.resources


def test_imports_of_two_processes_share_glances_link() -> None:
    costs = CostModel(glance_bandwidth=100.0, importer_bandwidth=80.0, nfc_stream_bandwidth=70.0)
    one = costs.import_route("p1", HOST, FAST)
    two = costs.import_route("p2", Place("host-2"), SLOW)
    assert fair_rates([one]) == [70.0]
    assert fair_rates([one, one]) == [40.0, 40.0]
    assert fair_rates([one, one, two]) == pytest.approx([100 / 3] * 3)
    assert fair_rates([one, one, one, one, two, two]) == pytest.approx([100 / 6] * 6)


def test_reads_and_writes_of_one_datastore_slow_each_other_as_modelled() -> None:
    costs = CostModel(datastore_bandwidth=100.0, write_share=0.5, host_bandwidth=0)
    inside = costs.copy_route(FAST, FAST, HOST, offloadable=False)
    away = costs.copy_route(FAST, SLOW, HOST, offloadable=False)
    back = costs.copy_route(SLOW, FAST, HOST, offloadable=False)
    assert fair_rates([inside]) == [50.0]
    assert fair_rates([inside, away]) == [50.0, 50.0]
    assert fair_rates([inside, back]) == [25.0, 25.0]


class TestOnTheServer:
    """A disk of 100 MiB at 10 MiB a second; time passes only by `seconds`."""

    @pytest.fixture
    def vc(self) -> Iterator[VCenter]:
        costs = CostModel(
            datastore_bandwidth=10 * MiB,
            write_share=1.0,
            host_bandwidth=15 * MiB,
            vaai_bandwidth=100 * MiB,
            fixed_clone_s=0.0,
            fixed_task_s=0.0,
        )
        model = Model(hosts_per_cluster=4, datastores=3)
        with VCenter(model, clock=Clock(scale=0.0), cost_model=costs) as vcenter:
            yield vcenter
            assert vcenter.errors == []

    @pytest.fixture
    def client(self, vc: VCenter) -> Iterator[Client]:
        with connected(vc) as session:
            yield session

    @pytest.fixture
    def image(self, vc: VCenter, client: Client) -> Any:
        """A template whose disk takes exactly 100 MiB."""
        made = client.template("image", 100 * MiB, backing={"thinProvisioned": False})
        disk = vc.find_vm("image").disks[0]
        vc.cost_model.bytes_scale = 100 * MiB / disk.occupied_bytes
        vc.cost_model.enabled = True
        return made

    def seconds(self, vc: VCenter, tasks: list[Any], tick_s: float = 0.5) -> float:
        """Wait until all tasks have succeeded, advancing in steps; returns the seconds."""
        began = vc.clock.monotonic()
        self.settle(vc)
        while any(task.info.state in ("queued", "running") for task in tasks):
            vc.clock.advance(tick_s)
            self.settle(vc)
        for task in tasks:
            wait(task)
        return vc.clock.monotonic() - began

    def settle(self, vc: VCenter) -> None:
        """Wait until the requested operations run."""
        wait_until(lambda: vc.clock.activity.wait_until_idle(0.1))

    def clone(self, client: Client, image: Any, name: str, datastore: int, host: int = 1) -> Any:
        spec = client.clone_spec(datastore=client.datastores[datastore], host=client.hosts[host])
        return image.CloneVM_Task(client.folder, name, spec)

    def test_clones_share_the_datastores_bandwidth(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        assert self.seconds(vc, [self.clone(client, image, "a", 1)]) == pytest.approx(10, abs=0.6)
        two = [self.clone(client, image, f"b{number}", number) for number in (1, 2)]
        # Both are read from the image's datastore.
        assert self.seconds(vc, two) == pytest.approx(20, abs=0.6)

    def test_a_clone_by_the_array_does_not_wait_for_the_host(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        vc.cost_model.vaai = True
        far = self.clone(client, image, "far", 1)
        near = self.clone(client, image, "near", 0)
        assert self.seconds(vc, [near]) == pytest.approx(1, abs=0.6)
        assert self.seconds(vc, [far]) == pytest.approx(9, abs=0.6)

    def test_an_array_leaves_unsupported_copies_to_the_host(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        vc.cost_model.vaai = True
        image.MarkAsVirtualMachine(client.pool)
        wait(image.PowerOnVM_Task())
        vc.cost_model.snapshot_s = 0.0
        assert self.seconds(vc, [self.clone(client, image, "a", 0)]) == pytest.approx(10, abs=0.6)

    def test_clones_of_a_running_vm_run_one_at_a_time(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        vc.cost_model.datastore_bandwidth = vc.cost_model.host_bandwidth = 0
        vc.cost_model.snapshot_s = 10.0
        image.MarkAsVirtualMachine(client.pool)
        off = [self.clone(client, image, f"off{number}", 1) for number in range(3)]
        assert self.seconds(vc, off) <= 1
        wait(image.PowerOnVM_Task())
        on = [self.clone(client, image, f"on{number}", 1) for number in range(3)]
        assert self.seconds(vc, on) == pytest.approx(30, abs=3.5)

    def test_a_cancelled_clone_frees_its_bandwidth(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        kept, given_up = (self.clone(client, image, name, 1) for name in ("kept", "given up"))
        self.settle(vc)
        vc.clock.advance(4)
        given_up.CancelTask()
        self.settle(vc)
        assert self.seconds(vc, [kept]) == pytest.approx(8, abs=0.6)
        assert vc.transfers.rates() == {}
        assert {vm.name for vm in vc.vms()} == {"image", "kept"}

    def test_a_copy_by_path_costs_time(self, vc: VCenter, client: Client, image: Any) -> None:
        browser = client.content.fileManager
        browser.MakeDirectory("[DC0_DS1] copy", client.datacenter)
        copy = client.content.virtualDiskManager.CopyVirtualDisk_Task(
            "[DC0_DS0] image/image.vmdk",
            client.datacenter,
            "[DC0_DS1] copy/copy.vmdk",
            client.datacenter,
        )
        assert self.seconds(vc, [copy]) == pytest.approx(10, abs=0.6)

    def test_a_move_to_another_datastore_costs_time(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        image.MarkAsVirtualMachine(client.pool)
        move = image.RelocateVM_Task(vim.vm.RelocateSpec(datastore=client.datastores[1]))
        assert self.seconds(vc, [move]) == pytest.approx(10, abs=0.6)

    def test_other_tasks_count_against_vcenters_limit(
        self, vc: VCenter, client: Client, image: Any
    ) -> None:
        vc.cost_model.operations_at_a_time = 1
        clone = self.clone(client, image, "a", 1)
        rename = image.Rename_Task("other")
        self.settle(vc)
        assert (clone.info.state, rename.info.state) == ("running", "queued")
        self.seconds(vc, [clone, rename])


def test_costs_can_be_sent_to_a_fake_in_another_process() -> None:
    costs = CostModel(enabled=True, vaai=True, operations_at_a_time=1)
    sent = pickle.loads(pickle.dumps(costs))
    assert sent == costs
    assert sent.queue is not costs.queue
    place = sent.admission()
    place.request(lambda: None)
    assert (place.admitted, costs.queue.running) == (True, 0)

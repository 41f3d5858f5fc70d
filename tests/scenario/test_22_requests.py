"""What a hit costs vCenter, and what it costs to know all templates: requests, counted there."""

from __future__ import annotations

import concurrent.futures
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.fakes.images import FakeImage
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.fakes.vcenter.folder import Folder
from tests.fakes.vcenter.switches import InClone
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.scenario.conftest import GIB, Lab, volume
from tests.scenario.test_50_reconcile import put_templates
from vmdk_cache import wiring
from vmdk_cache.cache.events import Hit, Miss
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.clock import SystemClock
from vmdk_cache.conf import Settings

VOLUMES = 100
BURSTS = 5
BURST = 20
REQUESTS_PER_VOLUME = 4.0
#: Requests that volumes which are made at the same time have in common.
SHARED = {"RetrievePropertiesEx", "ModifyListView", "WaitForUpdatesEx", "CurrentTime"}
TEMPLATES = 1_000
VMS = 20_000


@pytest.fixture
def wide(disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    """A lab with room for replicas, so that no volume waits long for its turn to be cloned."""
    with VCenter(
        Model(hosts_per_cluster=8, datastores=4), cost_model=CostModel(request_s=0.002, task_s=0.02)
    ) as vcenter:
        lab = Lab(vcenter, disk_image, tmp_path)
        lab.clock = SystemClock()  # tasks and their news gather for as long as in production
        with lab.stack:
            yield lab


def test_a_hundred_hits_at_once_cost_four_requests_each(wide: Lab) -> None:
    """What is a volume's own is exact. How many share a place in the task waiter's watch, a poll of
    it or a look at a new VM depends on the machine's speed, so the best of some bursts counts;
    ``make bench ARGS=requests`` shows more of them.
    """
    cache = wide.process(Settings(enabled=True))  # with replicas
    log = wide.vcenter.request_log
    assert not cache.images.create_volume(wide.image, volume(0), wide.source).hit
    create_at_once(wide, cache, range(1, VOLUMES))
    wide.eventually(lambda: every_datastore_has_a_template(wide))
    log.reset()
    cache.store.entries()
    (index,) = {request.target for request in log.recent()}

    totals = []
    for burst in range(1, BURSTS + 1):
        log.reset()
        create_at_once(wide, cache, range(burst * VOLUMES, (burst + 1) * VOLUMES))
        assert len([r for r in log.recent() if r.target == index]) <= 5
        counts = log.by_method()
        totals.append(sum(counts.values()) / VOLUMES)
        assert counts.pop("CloneVM_Task") == counts.pop("ReconfigVM_Task") == VOLUMES
        assert counts.pop("SetField") <= VOLUMES + 1  # takes away what came along from the template
        assert counts.keys() <= SHARED, counts
        if totals[-1] <= REQUESTS_PER_VOLUME:
            return
    raise AssertionError(f"requests a volume in {BURSTS} bursts: {totals}")


@pytest.mark.parametrize("answer", ["kept", "ignored", "refused"])
def test_of_a_burst_one_volume_finds_out_whether_one_task_makes_it(
    wide: Lab, answer: InClone
) -> None:
    """The others do not wait for it; the volumes of the next burst know."""
    wide.vcenter.switches.disk_uuid_in_clone = answer
    cache = wide.process()
    cache.images.warm(wide.image, "lsiLogic", wide.source)
    log = wide.vcenter.request_log
    log.reset()
    create_at_once(wide, cache, range(BURST))
    first = log.by_method()
    assert first["CloneVM_Task"] == BURST + (answer == "refused")
    assert (first["ReconfigVM_Task"] < BURST) == (answer == "kept")

    log.reset()
    wide.events.clear()
    create_at_once(wide, cache, range(BURST, 2 * BURST))
    then = log.by_method()
    assert then["CloneVM_Task"] == BURST
    assert then.get("ReconfigVM_Task", 0) == (0 if answer == "kept" else BURST)
    assert {event.in_one_task for event in wide.events if isinstance(event, Hit)} == {
        answer == "kept"
    }
    for number in range(2 * BURST):
        (disk,) = wide.vcenter.find_vm(volume(number).name).disks
        assert (disk.capacity_bytes, disk.uuid) == (GIB, volume(number).instance_uuid)


def test_a_miss_is_one_task_as_well(lab: Lab) -> None:
    lab.vcenter.switches.disk_uuid_in_clone = "kept"
    assert not lab.create(1)
    assert [event.in_one_task for event in lab.events if isinstance(event, Miss)] == [True]


def every_datastore_has_a_template(lab: Lab) -> None:
    assert len(lab.templates()) == 4


def create_at_once(lab: Lab, cache: wiring.RunningCache, numbers: Sequence[int]) -> None:
    barrier = threading.Barrier(len(numbers))

    def create(number: int) -> bool:
        barrier.wait(60)
        return cache.images.create_volume(lab.image, volume(number), lab.source).hit

    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        assert all(pool.map(create, numbers))


def test_hits_one_after_the_other_look_nothing_up_in_folders(lab: Lab) -> None:
    lab.create(0)
    lab.create(1)
    lab.vcenter.request_log.reset()
    for number in range(2, 7):
        assert lab.create(number)
    counts = lab.vcenter.request_log.by_method()
    assert "FindChild" not in counts, counts
    assert "CreateFilter" not in counts, counts


def put_vms(vcenter: VCenter, beside: Any, count: int) -> Any:
    """VMs of somebody else in a folder beside the cache's project folder; one of them."""
    with vcenter.lock:
        folder = Folder(vcenter, "somebody else's", beside.kind)
        beside.parent.parent.add_child(folder)
        for number in range(count):
            vm = VirtualMachine(vcenter, f"vm-{number}", beside.childEntity[0].host, pool=None)
            folder.add_child(vm)
            vm.complete = True
    return vm


def test_a_thousand_templates_among_twenty_thousand_vms_are_known_by_one_request(lab: Lab) -> None:
    lab.create(0)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    put_templates(lab, TEMPLATES - 1, age_s=0, first=1)
    other = put_vms(lab.vcenter, template.parent, VMS - TEMPLATES - 1)
    entries = lab.cache.store.entries()
    assert len(entries) == TEMPLATES

    lab.vcenter.request_log.reset()
    again = lab.cache.store.entries()
    (request,) = lab.vcenter.request_log.recent()
    assert request.method == "WaitForUpdatesEx"
    index = request.target
    assert all(one is same for one, same in zip(entries, again, strict=True))

    with lab.vcenter.lock:
        other.rename("what others do is nothing to the cache")
    lab.vcenter.request_log.reset()
    assert lab.cache.store.entries() == entries
    assert lab.cache.store.find(CacheKey.of(lab.image, volume().adapter_type)) in entries
    assert lab.vcenter.request_log.by_method() == {"WaitForUpdatesEx": 2}

    lab.cache.store.destroy(entries[7])
    lab.vcenter.request_log.reset()
    assert lab.cache.store.entries() == entries[:7] + entries[8:]
    assert [r.method for r in lab.vcenter.request_log.recent() if r.target == index] == [
        "WaitForUpdatesEx"
    ]

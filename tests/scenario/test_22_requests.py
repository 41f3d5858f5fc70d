"""What a hit costs vCenter, and what it costs to know all templates: requests, counted there."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.folder import Folder
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.scenario.conftest import Lab, volume
from tests.scenario.test_50_reconcile import put_templates
from vmdk_cache.cache.key import CacheKey

VOLUMES = 100
TEMPLATES = 1_000
VMS = 20_000


def test_a_hundred_hits_at_once_share_what_they_look_up(lab: Lab) -> None:
    """What is a volume's own is exact. How many share a place in the task waiter's watch, a poll of
    it or a look at a new VM depends on the machine's speed: ``make bench ARGS=requests`` counts it.
    """
    lab.create(0)
    lab.vcenter.request_log.reset()
    lab.cache.store.entries()
    (index,) = (request.target for request in lab.vcenter.request_log.recent())
    barrier = threading.Barrier(VOLUMES)
    lab.vcenter.request_log.reset()

    def create(number: int) -> bool:
        barrier.wait(60)
        return lab.create(number)

    with concurrent.futures.ThreadPoolExecutor(VOLUMES) as pool:
        assert all(pool.map(create, range(1, VOLUMES + 1)))

    refreshes = [r for r in lab.vcenter.request_log.recent() if r.target == index]
    assert len(refreshes) <= 5
    counts = lab.vcenter.request_log.by_method()
    assert counts.pop("CloneVM_Task") == counts.pop("ReconfigVM_Task") == VOLUMES
    assert counts.pop("SetField") <= VOLUMES + 1  # takes away what came along from the template
    assert counts.pop("RetrievePropertiesEx") <= VOLUMES
    assert counts.keys() <= {"ModifyListView", "WaitForUpdatesEx", "CurrentTime"}, counts


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
    """VMs of somebody else in a folder beside the cache's; one of them."""
    with vcenter.lock:
        folder = Folder(vcenter, "somebody else's", beside.kind)
        beside.parent.add_child(folder)
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

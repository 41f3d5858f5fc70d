"""``vmware_volume_folder`` is changed: the templates in the former folder go on serving."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImageSource
from tests.scenario.conftest import FOLDER, SETTINGS, Lab, volume
from vmdk_cache import wiring
from vmdk_cache.cache.entry import Phase
from vmdk_cache.vim import folder, inventory

FORMER = (*FOLDER[:-1], "Former")
HERS = "00000000-0000-4000-8000-00000000000a"


@pytest.fixture
def former(lab: Lab) -> wiring.RunningCache:
    """A process from before the change, with one template."""
    cache = lab.process(folder=FORMER)
    assert not cache.images.create_volume(lab.image, volume(1), lab.source).hit
    return cache


def folder_of(lab: Lab, name: str) -> str:
    vm = lab.vcenter.find_vm(name)
    return str(vm.parent.name)


def create(lab: Lab, cache: wiring.RunningCache, number: int, image_id: str) -> bool:
    image, source = lab.disk_image.image(image_id), FakeImageSource(lab.disk_image)
    return cache.images.create_volume(image, volume(number), source).hit


def test_a_template_in_the_former_folder_serves_counts_and_is_purged(
    lab: Lab, former: wiring.RunningCache
) -> None:
    (name,) = lab.templates()
    assert folder_of(lab, name) == "Former"
    assert [each.templates for each in lab.cache.capacity()] == [1]
    assert lab.cache.reconcile.check(fix=True).findings == ()
    assert lab.create(2)

    assert not create(lab, lab.cache, 3, HERS)
    new = next(each for each in lab.templates() if each != name)
    assert folder_of(lab, new) == "Volumes"
    assert sum(each.templates for each in lab.cache.capacity()) == 2
    assert create(lab, former, 4, HERS), "a host that has not been restarted yet finds it as well"

    lab.vcenter.clock.advance(SETTINGS.age_s + 1)
    assert len(lab.cache.purge.run()) == 2
    assert lab.templates() == []


def test_an_import_that_began_in_the_former_folder_is_waited_for(lab: Lab) -> None:
    """One host has the new setting, another one not yet."""
    before = lab.process(folder=FORMER)
    after = lab.process()
    seen: list[Phase] = []

    def look() -> None:
        seen.extend(entry.phase for entry in after.store.entries())

    lab.vcenter.fault_rules.add("nfc:POST", action=look)
    assert not before.images.create_volume(lab.image, volume(1), lab.source).hit
    assert seen == [Phase.IMPORTING]
    assert after.images.create_volume(lab.image, volume(2), lab.source).hit


def test_what_bears_a_templates_name_in_the_former_folder_keeps_no_image_out(
    lab: Lab, former: wiring.RunningCache
) -> None:
    """Names are unique within a folder only."""
    (entry,) = former.store.entries()
    session = former.session
    host = inventory.snapshot(session).hosts[0]
    pool = vim.ResourcePool(host.pool)
    where = vim.HostSystem(host.moref)
    session.invoke("VirtualMachine", entry.moref, "MarkAsVirtualMachine", pool=pool, host=where)
    cache = lab.process()
    assert [each.phase for each in cache.store.entries()] == [Phase.FOREIGN]
    assert not cache.images.create_volume(lab.image, volume(2), lab.source).hit
    assert cache.images.create_volume(lab.image, volume(3), lab.source).hit


def test_a_folder_that_is_deleted_under_the_cache_is_made_again(lab: Lab) -> None:
    lab.create(1)
    assert len(lab.cache.purge.carry_out(lambda: lab.cache.purge.plan_requested(None)).removed)
    (datacenter,) = inventory.snapshot(lab.cache.session).datacenters
    moref = folder.find_folder(lab.cache.session, datacenter, FOLDER)
    task = lab.cache.session.invoke("Folder", moref, "Destroy_Task")
    lab.cache.waiter.wait(task, timeout_s=60)
    assert not lab.create(2)
    (name,) = lab.templates()
    assert folder_of(lab, name) == "Volumes"


def test_a_folder_that_is_renamed_keeps_serving_and_is_made_again(lab: Lab) -> None:
    lab.create(1)
    (name,) = lab.templates()
    vm = lab.vcenter.find_vm(name)
    with lab.vcenter.lock:
        vm.parent.rename("Renamed")
    assert lab.create(2)
    assert not create(lab, lab.cache, 3, HERS)
    new = next(each for each in lab.templates() if each != name)
    assert (folder_of(lab, name), folder_of(lab, new)) == ("Renamed", "Volumes")

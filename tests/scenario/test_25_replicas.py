"""Replicas on the fake vCenter: whole or not at all, and gone with their template."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.images import FakeImage
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from tests.scenario.conftest import Lab, running_cache, volume
from vmdk_cache import wiring
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Replicated
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.key import CacheKey, replica_name
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.replication import THREAD_NAME
from vmdk_cache.conf import EXPIRY_IDLE, Settings
from vmdk_cache.vim import inventory, template

AGE_S = 86400
DATASTORES = ("DC0_DS0", "DC0_DS1", "DC0_DS2")
CLONE_S = 3600.0


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """A clone takes an hour once costs are on."""
    model = Model(hosts_per_cluster=2, datastores=3)
    with busy_vcenter(model, costs=CostModel.plain(fixed_clone_s=CLONE_S)) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    made = Lab(vcenter, disk_image, tmp_path)
    with made.stack:
        made.cache = made.process(Settings(enabled=True, age_s=AGE_S))
        yield made
        settle()


def settle() -> None:
    """Let all replicas that were begun in this process come to their ends."""
    while threads := [t for t in threading.enumerate() if t.name == THREAD_NAME]:
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def key_of(lab: Lab) -> CacheKey:
    return CacheKey.of(lab.image, volume().adapter_type)


def copies(lab: Lab) -> dict[str, CacheEntry]:
    """By the names of their datastores."""
    names = {lab.vcenter.datastore(name).moref: name for name in DATASTORES}
    found = lab.cache.store.copies(key_of(lab), fresh=True)
    by_datastore = {names[entry.datastore or ""]: entry for entry in found}
    assert len(by_datastore) == len(found), "two copies on a datastore"
    return by_datastore


def elsewhere(lab: Lab) -> list[Place]:
    """Places on the datastores without a copy."""
    there = copies(lab)
    return [
        Place(lab.vcenter.datastore(name).moref, name, "", "", "")
        for name in DATASTORES
        if name not in there
    ]


def ask(lab: Lab, place: Place, cache: wiring.RunningCache | None = None) -> None:
    """As many volumes go there as it takes."""
    found = tuple(copies(lab).values())
    for _ in range(Settings().replicate_after + 1):
        (cache or lab.cache).replication.asked(key_of(lab), found, place)


def vm_of(lab: Lab, name: str) -> Any:
    return lab.vcenter.find_vm(name)


def test_a_replica_is_another_template_of_the_image_and_serves_volumes(lab: Lab) -> None:
    lab.create(1)
    (template,) = copies(lab).values()
    place = elsewhere(lab)[0]
    ask(lab, place)
    settle()
    replica = copies(lab)[place.datastore_name]
    assert replica.name == replica_name("b1", key_of(lab), place.datastore)
    assert replica.created_at == template.created_at
    assert (replica.size_bytes, replica.used_at is None) == (template.size_bytes, False)
    vm = vm_of(lab, replica.name)
    assert vm.config.template
    disk = lab.vcenter.read_disk(vm)
    assert disk.read(0, len(lab.disk_image.disk)) == lab.disk_image.disk
    told = [event for event in lab.events if isinstance(event, Replicated)]
    assert [(event.template, event.datastore) for event in told] == [
        (replica.name, place.datastore_name)
    ]
    # Served from the replica alone, without another import.
    lab.vcenter.find_vm(template.name).destroy()
    assert lab.create(2)
    assert lab.source.opened == 1
    with lab.vcenter.lock:
        made = lab.vcenter.read_disk(vm_of(lab, volume(2).name))
        assert made.read(0, len(lab.disk_image.disk)) == lab.disk_image.disk


def test_an_image_whose_id_has_capital_letters_gets_replicas_and_leaves_nothing(lab: Lab) -> None:
    """Next to an image of the same content, whose id differs in case only."""
    for image_id in (lab.image.id.upper(), lab.image.id.lower()):
        lab.image = dataclasses.replace(lab.image, id=image_id)
        lab.create(len(lab.templates()) + 1)
        for place in elsewhere(lab):
            ask(lab, place)
        settle()
        found = copies(lab)
        assert sorted(found) == sorted(DATASTORES)
        assert {entry.image_id for entry in found.values()} == {image_id}
    assert lab.source.opened == 2
    assert len({name.lower() for name in lab.templates()}) == 2 * len(DATASTORES)
    assert lab.cache.reconcile.check(fix=False, directories=True).findings == ()
    lab.vcenter.clock.advance(AGE_S + 1)
    lab.cache.purge.run()
    assert lab.templates() == []


def move(lab: Lab, entry: CacheEntry, datastore: str) -> None:
    """As an administrator does: a template itself cannot be moved to another datastore."""
    session = lab.cache.session
    (host,) = (h for h in inventory.snapshot(session).hosts if h.moref == entry.host)
    where = {"pool": vim.ResourcePool(host.pool), "host": vim.HostSystem(host.moref)}
    session.invoke("VirtualMachine", entry.moref, "MarkAsVirtualMachine", **where)
    spec = vim.vm.RelocateSpec(datastore=vim.Datastore(lab.vcenter.datastore(datastore).moref))
    task = session.invoke("VirtualMachine", entry.moref, "RelocateVM_Task", spec=spec)
    lab.cache.waiter.wait(task, timeout_s=60)
    template.mark_as_template(session, entry.moref)


def test_a_replica_that_has_another_content_id_since_it_was_moved_is_made_again(lab: Lab) -> None:
    """Whether a move keeps the id is not documented, and somebody may have booted it meanwhile."""
    lab.vcenter.switches.copies_keep_content_ids = False
    lab.create(1)
    left, right = elsewhere(lab)
    for _ in range(2):
        ask(lab, left)
        settle()
        moved = copies(lab)[left.datastore_name]
        move(lab, moved, right.datastore_name)
        assert len(copies(lab)) == 1
        assert [entry.moref for entry in lab.cache.purge.run()] == [moved.moref]
    assert lab.create(2)


def test_a_moved_replica_and_its_successor_serve_side_by_side(lab: Lab) -> None:
    lab.create(1)
    left, right = elsewhere(lab)
    ask(lab, left)
    settle()
    moved = copies(lab)[left.datastore_name]
    move(lab, moved, right.datastore_name)
    ask(lab, left)
    settle()
    assert sorted(copies(lab)) == sorted(DATASTORES)
    assert copies(lab)[right.datastore_name].moref == moved.moref
    assert copies(lab)[left.datastore_name].name != moved.name
    assert lab.cache.reconcile.check(fix=True, remove_directories=True).findings == ()
    assert lab.create(2)
    lab.vcenter.clock.advance(AGE_S + 1)
    assert len(lab.cache.purge.run()) == 3


def test_a_replica_has_an_identity_of_its_own(lab: Lab) -> None:
    lab.create(1)
    ask(lab, elsewhere(lab)[0])
    settle()
    names = [entry.name for entry in copies(lab).values()]
    with lab.vcenter.lock:
        vms = [vm_of(lab, name) for name in names]
        assert len({vm.instance_uuid for vm in vms}) == 2
        assert len({disk.uuid for vm in vms for disk in vm.disks}) == 2


def test_replicas_on_several_datastores_are_all_made(lab: Lab) -> None:
    lab.create(1)
    for place in elsewhere(lab):
        ask(lab, place)
    settle()
    assert sorted(copies(lab)) == sorted(DATASTORES)


@pytest.mark.parametrize("settings", [{}, {"expiry": EXPIRY_IDLE}], ids=["age", "idle"])
def test_all_copies_expire_and_leave_nothing(lab: Lab, settings: dict[str, Any]) -> None:
    lab.cache = lab.process(Settings(enabled=True, age_s=AGE_S, **settings))
    lab.create(1)
    ask(lab, elsewhere(lab)[0])
    settle()
    assert lab.cache.purge.run() == []
    lab.vcenter.clock.advance(AGE_S + 1)
    assert len(lab.cache.purge.run()) == 2
    vm_of(lab, volume(1).name).destroy()
    lab.assert_nothing_left()


def test_replicas_count_for_a_limit_and_none_is_made_beyond_it(lab: Lab) -> None:
    lab.cache = lab.process(Settings(enabled=True, max_count=2))
    lab.create(1)
    for place in elsewhere(lab):
        ask(lab, place)
    settle()
    assert len(copies(lab)) == 2
    assert len(lab.cache.capacity()) == 2


FAULTS = [
    {"method": "CloneVM_Task", "fault": vim.fault.NoPermission(privilegeId="made.up")},
    {"method": "CloneVM_Task", "fault": vmodl.fault.SystemError(reason="made up"), "on": "task"},
    {"method": "CloneVM_Task", "drop": "before", "times": 9},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["method"])
def test_a_replica_that_fails_leaves_nothing_and_users_unaffected(
    lab: Lab, fault: dict[str, Any]
) -> None:
    lab.create(1)
    before = {vm.name for vm in lab.vcenter.vms()}
    place = elsewhere(lab)[0]
    found = tuple(copies(lab).values())
    rule = lab.vcenter.fault_rules.add(**fault)
    for _ in range(Settings().replicate_after + 1):
        lab.cache.replication.asked(key_of(lab), found, place)
    settle()
    assert rule.hits
    lab.vcenter.fault_rules.clear()
    assert {vm.name for vm in lab.vcenter.vms()} == before
    assert not lab.vcenter.datastore(place.datastore_name).directories()
    assert [type(e) for e in lab.events if isinstance(e, Replicated)] == []
    assert lab.create(2)


@pytest.mark.parametrize("method", ["CloneVM_Task", "SetField"])
def test_a_replica_of_whose_making_not_all_is_known_is_one(lab: Lab, method: str) -> None:
    lab.create(1)
    place = elsewhere(lab)[0]
    rule = lab.vcenter.fault_rules.add(method, drop="after", times=9)
    ask(lab, place)
    settle()
    assert rule.hits
    lab.vcenter.fault_rules.clear()
    lab.eventually(lambda: has_copies(lab, 2))
    assert check(lab.cache) == []


def has_copies(lab: Lab, count: int) -> None:
    assert len(copies(lab)) == count


def test_one_whole_template_of_a_datastore_comes_of_processes_that_share_no_locks(
    lab: Lab, tmp_path: pathlib.Path
) -> None:
    lab.create(1)
    place = elsewhere(lab)[0]
    with contextlib.ExitStack() as stack:
        others = [
            stack.enter_context(
                running_cache(
                    lab.endpoint,
                    f"file://{tmp_path}-{number}",
                    lab.events.append,
                    Settings(enabled=True),
                )
            )
            for number in range(3)
        ]
        for cache in others:
            ask(lab, place, cache)
        settle()
    assert len(copies(lab)) == 2
    assert len(lab.vcenter.datastore(place.datastore_name).directories()) == 1


# -- in the making


def begin(lab: Lab, place: Place) -> str:
    """Have a replica begun that needs an hour; its name."""
    lab.vcenter.cost_model.enabled = True
    ask(lab, place)
    name = replica_name("b1", key_of(lab), place.datastore)
    lab.eventually(lambda: is_in_the_making(lab, name))
    return name


def is_in_the_making(lab: Lab, name: str) -> None:
    assert [(e.name, e.has_config) for e in lab.cache.store.entries() if not e.has_config] == [
        (name, False)
    ]


def finish(lab: Lab) -> None:
    lab.vcenter.clock.advance(CLONE_S)
    settle()
    lab.vcenter.cost_model.enabled = False


def check(cache: wiring.RunningCache) -> list[tuple[Kind, bool]]:
    report = cache.reconcile.check(fix=True, remove_directories=True)
    return [(finding.kind, finding.fixed) for finding in report.findings]


def test_nobody_takes_a_replica_in_the_making_for_a_broken_one(
    lab: Lab, tmp_path: pathlib.Path
) -> None:
    """The lock of its name says so, and to those who do not share it vCenter does."""
    lab.create(1)
    same = lab.process()
    with running_cache(lab.endpoint, f"file://{tmp_path}-other", lab.events.append) as other:
        begin(lab, elsewhere(lab)[0])
        for _ in range(2):
            assert check(same) == []
            refused = check(other)
            lab.vcenter.clock.advance(61)
        assert refused == [(Kind.WITHOUT_CONFIG, False)]
        finish(lab)
        assert len(copies(lab)) == 2
        assert (check(same), check(other)) == ([], [])


def test_volumes_are_made_while_a_replica_is(lab: Lab) -> None:
    lab.create(1)
    begin(lab, elsewhere(lab)[0])
    lab.vcenter.cost_model.enabled = False
    assert lab.create(2)
    finish(lab)
    assert len(copies(lab)) == 2


def test_the_source_is_not_deleted_while_its_replica_is_made(lab: Lab) -> None:
    lab.create(1)
    begin(lab, elsewhere(lab)[0])
    lab.vcenter.clock.advance(CLONE_S / 2)
    other = lab.process(Settings(enabled=True, age_s=1))
    assert other.purge.run() == []
    finish(lab)
    assert len(copies(lab)) == 2
    assert len(other.purge.run()) == 2


def test_what_a_crash_of_vcenter_leaves_of_a_replica_is_removed(lab: Lab) -> None:
    lab.create(1)
    place = elsewhere(lab)[0]
    name = begin(lab, place)
    lab.vcenter.restart()
    settle()
    lab.vcenter.cost_model.enabled = False
    is_in_the_making(lab, name)
    assert check(lab.cache) == []
    lab.vcenter.clock.advance(61)
    assert check(lab.cache) == [(Kind.WITHOUT_CONFIG, True)]
    assert not lab.vcenter.datastore(place.datastore_name).directories()
    assert lab.create(2)


def test_a_service_that_ends_leaves_its_replica_to_vcenter(lab: Lab) -> None:
    lab.create(1)
    settings = Settings(enabled=True)
    with running_cache(lab.endpoint, lab.locks_url, lab.events.append, settings) as ending:
        lab.vcenter.cost_model.enabled = True
        place = elsewhere(lab)[0]
        ask(lab, place, ending)
        name = replica_name("b1", key_of(lab), place.datastore)
        lab.eventually(lambda: is_in_the_making(lab, name))
    settle()
    finish(lab)
    lab.eventually(lambda: has_copies(lab, 2))
    assert check(lab.cache) == []

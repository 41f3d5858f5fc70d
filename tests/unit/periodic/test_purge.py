from __future__ import annotations

import pytest

from tests.fakes.memory import MemoryLocks
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Evicted
from vmdk_cache.cache.eviction import Policy
from vmdk_cache.cache.key import CacheKey, lock_name
from vmdk_cache.periodic.purge import LOCK, Purge

KEY = CacheKey.of(IMAGE, "lsiLogic")


@pytest.fixture
def world() -> World:
    made = World()
    made.engine.create_volume(IMAGE, volume(), made.source)
    made.events.clear()
    return made


def purge(world: World, age_s: int = 100, locks: MemoryLocks | None = None) -> Purge:
    return Purge(
        "b1",
        Policy(age_s),
        store=world.store,
        locks=locks or MemoryLocks(),
        leases=world.leases,
        now=world.clock.now,
        events=world.events.append,
    )


def test_an_expired_template_goes_and_a_young_one_stays(world: World) -> None:
    world.clock.advance(101)
    world.engine.create_volume(IMAGE, volume(2, adapter_type="ide"), world.source)
    world.events.clear()
    (gone,) = purge(world).run()
    assert [e.record.key.adapter_type for e in world.store.vms.values() if e.record] == ["ide"]
    (event,) = world.events
    assert isinstance(event, Evicted)
    assert (event.template, event.size_bytes) == (gone.name, GIB)
    assert "more than 100 s" in event.reason


def test_a_plan_changes_nothing_and_gives_a_reason_for_each(world: World) -> None:
    world.clock.advance(101)
    plan = purge(world).plan()
    assert len(plan.remove) == 1
    assert plan.remove[0].reason
    assert len(world.store.vms) == 1


def test_age_zero_means_never(world: World) -> None:
    world.clock.advance(10**9)
    assert purge(world, age_s=0).run() == []
    assert len(world.store.vms) == 1


def test_a_template_that_is_being_cloned_stays_until_the_next_run(world: World) -> None:
    world.clock.advance(101)
    (moref,) = world.store.vms
    with world.leases.hold(moref):
        assert purge(world).run() == []
    assert len(purge(world).run()) == 1


def test_a_template_that_another_process_clones_stays(world: World) -> None:
    world.clock.advance(101)
    world.store.in_use = set(world.store.vms)
    assert purge(world).run() == []
    with world.leases.hold(*world.store.vms):  # not condemned for ever
        pass


def test_an_import_under_way_is_never_purged(world: World) -> None:
    world.store.vms.clear()
    world.store.begin_import(KEY, GIB)
    world.clock.advance(10**9)
    assert purge(world).run() == []
    assert len(world.store.vms) == 1


def test_what_is_not_ours_is_never_purged(world: World) -> None:
    theirs = CacheEntry("vm-9", "golden image", Phase.FOREIGN, None, None, None, 0)
    world.store.vms = {"vm-9": theirs}
    world.clock.advance(10**9)
    assert purge(world).run() == []
    assert world.store.vms == {"vm-9": theirs}


def test_a_template_made_anew_since_the_plan_is_not_deleted(world: World) -> None:
    world.clock.advance(101)
    (old,) = world.store.vms.values()

    def renew() -> None:
        world.store.during.clear()
        world.store.vms.clear()
        world.store.finish_import(world.store.begin_import(KEY, GIB))

    world.store.during["look_again"] = renew
    assert purge(world).run() == []
    assert old.moref not in world.store.vms
    assert len(world.store.vms) == 1


def test_one_template_that_cannot_be_deleted_does_not_keep_the_others(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(2, adapter_type="ide"), world.source)
    world.clock.advance(101)
    world.store.faults["destroy"] = [errors.NoPermission("no right to delete")]
    assert len(purge(world).run()) == 1
    assert len(world.store.vms) == 1


def test_two_processes_do_not_purge_at_once(world: World) -> None:
    world.clock.advance(101)
    locks = MemoryLocks()
    with locks.hold(LOCK, 1):
        assert purge(world, locks=locks).run() == []
    assert len(purge(world, locks=locks).run()) == 1


def test_a_template_whose_import_lock_is_held_stays(world: World) -> None:
    world.clock.advance(101)
    locks = MemoryLocks()
    with locks.hold(lock_name(KEY), 1):
        assert purge(world, locks=locks).run() == []

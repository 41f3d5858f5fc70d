"""An import whose importer has lost its lock is overtaken, and one copy of the image stays."""

from __future__ import annotations

import dataclasses

import pytest

from tests.fakes.memory import MemoryLocks, MemoryStore
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Evicted, ImportFailed, ImportStarted
from vmdk_cache.cache.eviction_plan import Supersession
from vmdk_cache.cache.key import CacheKey, is_copy_name, lock_name, template_name
from vmdk_cache.conf import Settings

KEY = CacheKey.of(IMAGE, "lsiLogic")
NAME = template_name("b1", KEY)
SHORT = Settings(enabled=True, lock_timeout_s=60)


def lost(world: World, lock_domain: str = MemoryLocks.domain) -> CacheEntry:
    """An import that a lease holds, and whose importer does not hold the lock."""
    return world.store.put_import(KEY, GIB, lock_domain=lock_domain)


def ready(world: World) -> list[str]:
    return [entry.name for entry in world.store.vms.values() if entry.phase is Phase.READY]


def test_an_overtaken_image_is_imported_under_another_name_without_waiting(world: World) -> None:
    dead = lost(world)
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert not made.hit
    assert made.entry.name != NAME and is_copy_name(made.entry.name, "b1", KEY)
    assert world.clock.slept == []
    assert world.store.vms[dead.moref].phase is Phase.IMPORTING, "it is vCenter's to remove"
    (started,) = (event for event in world.events if isinstance(event, ImportStarted))
    assert started.template == made.entry.name
    assert world.engine.create_volume(IMAGE, volume(2), world.source).hit


@pytest.mark.parametrize("domain", ["", "another"])
def test_an_import_with_other_locks_is_waited_for(world: World, domain: str) -> None:
    dead = lost(world, domain)
    engine = world.process(SHORT)
    with pytest.raises(errors.LockTimeout):
        engine.create_volume(IMAGE, volume(), world.source)
    assert list(world.store.vms) == [dead.moref]


def test_a_waiter_with_other_locks_goes_on_once_another_copy_is_ready(world: World) -> None:
    """A process that shares the dead importer's locks has overtaken it."""
    dead = lost(world, "another")
    rival = world.store.put_import(KEY, GIB, f"{NAME}-aaaa", "another")

    def finish() -> None:
        if len(world.clock.slept) == 2:
            world.store.finish_import(rival)

    world.store.during["find"] = finish
    made = world.process(SHORT).create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.moref) == (True, rival.moref)
    assert world.store.vms[dead.moref].phase is Phase.IMPORTING


def test_locks_that_do_not_know_their_domain_prove_nothing(world: World) -> None:
    lost(world, "")
    locks = MemoryLocks()
    locks.domain = ""
    with pytest.raises(errors.LockTimeout):
        world.process(SHORT, locks).create_volume(IMAGE, volume(), world.source)


def test_an_import_without_a_lease_is_removed_after_a_minute(world: World) -> None:
    dead = lost(world)
    world.store.importing.clear()
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert made.entry.name == NAME
    assert dead.moref not in world.store.vms


def test_each_further_import_gets_a_name_of_its_own(world: World) -> None:
    lost(world)
    first = world.engine.create_volume(IMAGE, volume(), world.source).entry
    world.store.vms[first.moref] = dataclasses.replace(first, phase=Phase.IMPORTING)
    second = world.engine.create_volume(IMAGE, volume(2), world.source).entry
    assert len({NAME, first.name, second.name}) == 3


def test_the_name_of_an_overtaking_import_is_locked(world: World) -> None:
    """So no reconcile mistakes it for an abandoned import."""
    lost(world)
    locks = MemoryLocks()
    held = []

    def look() -> None:
        (name,) = (e.name for e in world.store.vms.values() if e.name != NAME)
        with pytest.raises(errors.LockTimeout), locks.hold(lock_name(name), 0):
            pass
        held.append(name)

    world.store.during["upload"] = look
    world.process(locks=locks).create_volume(IMAGE, volume(), world.source)
    assert len(held) == 1


def test_without_room_for_both_the_first_import_is_waited_for(world: World) -> None:
    lost(world)
    engine = world.process(dataclasses.replace(SHORT, max_count=1))
    with pytest.raises(errors.LockTimeout):
        engine.create_volume(IMAGE, volume(), world.source)
    assert ready(world) == []


def test_an_importer_gives_way_to_a_copy_that_became_ready_before_its_own(world: World) -> None:
    rival = world.store.put_import(KEY, GIB, f"{NAME}-aaaa")
    world.store.during["upload"] = lambda: world.store.finish_import(rival) and None
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.moref) == (True, rival.moref)
    assert ready(world) == [rival.name]
    assert [e.name for e in world.store.vms.values()] == [rival.name], "its own is gone"
    (failed,) = (event for event in world.events if isinstance(event, ImportFailed))
    assert failed.error == "NameTaken"


class RivalAtCommit(MemoryStore):
    """A rival becomes READY between an importer's last look and its own commit."""

    rival: CacheEntry

    def finish_import(self, entry: CacheEntry) -> CacheEntry:
        if entry.moref != self.rival.moref:
            super().finish_import(self.rival)
        return super().finish_import(entry)


def with_rival(world: World, rival_name: str, lock_domain: str = "elsewhere") -> CacheEntry:
    world.store = store = RivalAtCommit(world.clock)
    world.engine = world.process()
    store.rival = store.put_import(KEY, GIB, rival_name, lock_domain)
    return store.rival


def test_of_two_that_became_ready_at_once_the_rival_goes_if_its_name_is_a_replicas(
    world: World,
) -> None:
    rival = with_rival(world, f"{NAME}-aaaa")
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.name) == (False, NAME)
    assert ready(world) == [NAME]
    assert rival.moref not in world.store.vms


def test_of_two_that_became_ready_at_once_an_importers_own_goes_if_its_name_is_a_replicas(
    world: World,
) -> None:
    rival = with_rival(world, NAME, MemoryLocks.domain)
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert made.entry.moref == rival.moref
    assert ready(world) == [NAME]
    (evicted,) = (event for event in world.events if isinstance(event, Evicted))
    assert is_copy_name(evicted.template, "b1", KEY) and evicted.template != NAME


def test_a_failed_search_for_a_twin_fails_no_volume(world: World) -> None:
    before = 3  # for the request, under its lock, and before the copy is made ready
    world.store.faults["copies"] = [*before * [None], errors.Unreachable("vCenter is away")]
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert made.entry.name == NAME
    assert world.store.faults["copies"] == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_every_process_keeps_the_same_one_of_several_copies(
    world: World, order: tuple[int, ...]
) -> None:
    names = [NAME, f"{NAME}-aaaa", f"{NAME}-bbbb"]
    made = [world.store.finish_import(world.store.put_import(KEY, GIB, name)) for name in names]
    found = Supersession([made[index] for index in order])
    assert [found.duplicate_of(copy) for copy in made] == [None, made[0], made[0]]


def test_a_copy_whose_files_are_lost_replaces_no_other(world: World) -> None:
    names = [NAME, f"{NAME}-aaaa"]
    one, other = (
        world.store.finish_import(world.store.put_import(KEY, GIB, name)) for name in names
    )
    one = dataclasses.replace(one, accessible=False)
    found = Supersession([one, other])
    assert [found.duplicate_of(copy) for copy in (one, other)] == [other, None]


def test_copies_on_other_datastores_or_of_another_content_are_no_twins(world: World) -> None:
    one = world.store.finish_import(world.store.put_import(KEY, GIB))
    elsewhere = dataclasses.replace(one, moref="vm-8", name=f"{NAME}-aaaa", datastore="datastore-2")
    other = dataclasses.replace(KEY, fingerprint="other")
    assert one.record is not None
    changed = dataclasses.replace(
        one, moref="vm-9", name="x" * 99, record=dataclasses.replace(one.record, key=other)
    )
    unknown = dataclasses.replace(one, moref="vm-7", name="y" * 99, datastore=None)
    found = Supersession([one, elsewhere, changed, unknown])
    assert [found.duplicate_of(copy) for copy in (one, elsewhere, changed, unknown)] == 4 * [None]

"""Limits before an import: what is evicted, what is refused, and that nothing is evicted in
vain.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses

import pytest

from tests.fakes.memory import PLACE, MemoryLocks
from tests.unit.cache.conftest import GIB, World, image, volume
from vmdk_cache import errors
from vmdk_cache.cache.engine import ImageCache
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.key import replica_name
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings


def fill(world: World, engine: ImageCache, count: int) -> None:
    for number in range(1, count + 1):
        engine.create_volume(image(number), volume(number), world.source)
        world.clock.advance(1000)


def cached(world: World) -> list[str]:
    return sorted(entry.image_id or "" for entry in world.store.vms.values())


@pytest.mark.parametrize(
    "limit",
    [{"max_count": 2}, {"max_total_bytes": 2 * GIB + 1}, {"max_percent": 25}],
    ids=lambda limit: next(iter(limit)),
)
def test_the_template_used_longest_ago_makes_room(world: World, limit: dict[str, int]) -> None:
    world.placement.sizes = {PLACE.datastore: Space(10 * GIB, 10 * GIB)}
    engine = world.process(Settings(enabled=True, **limit))  # type: ignore[arg-type]
    fill(world, engine, 2)
    engine.create_volume(image(1), volume(11), world.source)  # used again, so 2 is now the oldest
    world.clock.advance(1000)
    engine.create_volume(image(3), volume(3), world.source)
    assert cached(world) == [image(1).id, image(3).id]


def test_a_datastore_keeps_its_free_space(world: World) -> None:
    world.placement.sizes = {PLACE.datastore: Space(10 * GIB, 3 * GIB)}
    engine = world.process(Settings(enabled=True, min_free_percent=25))
    with pytest.raises(errors.NotCacheable) as refusal:
        engine.create_volume(image(1), volume(1), world.source)
    assert refusal.value.reason == Reason.NO_ROOM
    assert "image_cache_min_free_percent" in str(refusal.value)


def test_an_image_beyond_the_whole_budget_removes_nothing(world: World) -> None:
    engine = world.process(Settings(enabled=True, max_total_bytes=2 * GIB))
    fill(world, engine, 2)
    world.transfer.capacity_bytes = 3 * GIB
    with pytest.raises(errors.NotCacheable) as refusal:
        engine.create_volume(image(3), volume(3, size_bytes=4 * GIB), world.source)
    assert refusal.value.reason == Reason.IMAGE_TOO_LARGE
    assert cached(world) == [image(1).id, image(2).id]


def test_a_template_in_use_is_not_removed_for_another(world: World) -> None:
    engine = world.process(Settings(enabled=True, max_count=1))
    fill(world, engine, 1)
    (moref,) = world.store.vms
    with world.templates_in_use.use(moref), pytest.raises(errors.NotCacheable) as refusal:
        engine.create_volume(image(2), volume(2), world.source)
    assert refusal.value.reason == Reason.NO_ROOM
    assert cached(world) == [image(1).id]


def test_a_burst_of_imports_over_processes_never_exceeds_the_limit(world: World) -> None:
    locks = MemoryLocks()
    settings = Settings(enabled=True, max_count=3)
    engines = [world.process(settings, locks) for _ in range(3)]
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, len(world.store.vms))

    world.store.during["upload"] = watch

    def create(number: int) -> None:
        try:
            engines[number % 3].create_volume(image(number), volume(number), world.source)
        except errors.NotCacheable as refusal:
            assert refusal.reason == Reason.NO_ROOM

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        list(pool.map(create, range(1, 10)))
    assert 0 < most <= 3
    assert len(world.store.vms) <= 3


def test_space_reserved_for_a_replica_is_not_given_to_an_import(world: World) -> None:
    settings = Settings(enabled=True, max_count=2)
    engine, room = world.process(settings), world.room
    fill(world, engine, 1)
    (only,) = world.store.vms.values()
    with room.free_for("replica", GIB, PLACE):
        with world.templates_in_use.use(only.moref), pytest.raises(errors.NotCacheable) as refusal:
            engine.create_volume(image(2), volume(2), world.source)
        assert refusal.value.reason == Reason.NO_ROOM
    engine.create_volume(image(2), volume(2), world.source)
    assert cached(world) == [image(1).id, image(2).id]


def test_a_replica_that_is_made_is_not_counted_twice(world: World) -> None:
    settings = Settings(enabled=True, max_count=3)
    engine, room = world.process(settings), world.room
    fill(world, engine, 1)
    (only,) = world.store.vms.values()
    assert only.record is not None
    elsewhere = dataclasses.replace(PLACE, datastore="datastore-2")
    with room.free_for(replica_name("b1", only.record.key, "datastore-2"), GIB, elsewhere):
        world.store.replicate(only, elsewhere)
        engine.create_volume(image(2), volume(2), world.source)
    assert len(world.store.vms) == 3


def test_a_replica_takes_no_room_that_another_template_has_to_make(world: World) -> None:
    engine = world.process(Settings(enabled=True, max_count=1))
    fill(world, engine, 1)
    with (
        pytest.raises(errors.NotCacheable, match="would have to make room") as refusal,
        world.room.free_for("replica", GIB, PLACE),
    ):
        pytest.fail("there was no room")
    assert refusal.value.reason == Reason.NO_ROOM
    assert cached(world) == [image(1).id]
    engine.create_volume(image(2), volume(2), world.source)  # no reservation is left


def test_without_limits_nothing_is_counted(world: World) -> None:
    world.engine.create_volume(image(1), volume(1), world.source)
    assert world.store.calls["entries"] == 0

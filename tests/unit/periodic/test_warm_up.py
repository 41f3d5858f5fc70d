"""Marked images stay in the cache, without a write per round and without a competition for
space.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import pytest

from tests.fakes.memory import MemoryLocks
from tests.unit.cache.conftest import GIB, World, image, volume
from vmdk_cache import conf, errors
from vmdk_cache.cache.events import NotKeptWarm
from vmdk_cache.cache.eviction_plan import plan_eviction
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image
from vmdk_cache.periodic.warm_up import LOCK, WarmUp, WarmUpPlan, plan_warm_up

AGE_S = 10_000
SETTINGS = Settings(enabled=True, auto_warm=True, age_s=AGE_S, purge_interval_s=100)


class Glance:
    """MarkedImages.

    :ivar images: the marked ones
    :ivar opened: ids of the images whose bytes were requested
    :ivar fault: raised instead of an answer, if set
    """

    def __init__(self, *images: Image) -> None:
        self.images = list(images)
        self.opened: list[str] = []
        self.fault: Exception | None = None
        self.broken: dict[str, Exception] = {}

    def marked(self) -> list[Image]:
        if self.fault is not None:
            raise self.fault
        return list(self.images)

    def open(self, image: Image) -> Iterator[bytes]:
        self.opened.append(image.id)
        if image.id in self.broken:
            raise self.broken[image.id]
        return iter([b"disk"])


@pytest.fixture
def world() -> World:
    return World()


def warm_up(
    world: World, glance: Glance, settings: Settings = SETTINGS, locks: MemoryLocks | None = None
) -> WarmUp:
    locks = locks or MemoryLocks()
    images = world.process(settings, locks)
    return WarmUp(world.context(settings, locks=locks), images, glance, "lsiLogic")


def cached(world: World) -> set[str | None]:
    return {entry.image_id for entry in world.store.vms.values()}


def plan(world: World, *images: Image, settings: Settings = SETTINGS) -> WarmUpPlan:
    return plan_warm_up(images, world.store.entries(), world.clock.now(), settings, "lsiLogic")


# -- when


def test_missing_images_are_imported_and_existing_ones_left_alone(world: World) -> None:
    glance = Glance(image(1), image(2))
    rounds = warm_up(world, glance)
    rounds.run()
    assert cached(world) == {image(1).id, image(2).id}
    touched = world.store.calls["touch"]
    for _ in range(10):
        world.clock.advance(100)
        rounds.run()
    assert (glance.opened, world.store.calls["touch"]) == ([image(1).id, image(2).id], touched)


def test_a_marked_image_outlives_its_age_with_two_writes_per_age(world: World) -> None:
    glance = Glance(image(1))
    rounds = warm_up(world, glance)
    for _ in range(10 * AGE_S // 100):
        rounds.run()
        entries, now = world.store.entries(), world.clock.now()
        assert plan_eviction(entries, now, SETTINGS).remove == ()
        world.clock.advance(100)
    assert glance.opened == [image(1).id]
    assert world.store.calls["touch"] <= 2 * 10 + 1


def test_a_short_age_is_reset_two_rounds_before_its_end(world: World) -> None:
    hasty = dataclasses.replace(SETTINGS, age_s=300)
    warm_up(world, Glance(image(1)), hasty).run()
    assert plan(world, image(1), settings=hasty).due == ()
    world.clock.advance(100)
    assert plan(world, image(1), settings=hasty).due == (image(1),)


def test_without_an_end_no_timer_is_reset(world: World) -> None:
    endless = dataclasses.replace(SETTINGS, age_s=0)
    warm_up(world, Glance(image(1)), endless).run()
    world.clock.advance(10**9)
    assert plan(world, image(1), settings=endless) == WarmUpPlan((), ())


def test_a_use_spares_the_write_where_uses_count(world: World) -> None:
    idle = dataclasses.replace(SETTINGS, expiry=conf.EXPIRY_IDLE)
    engine = world.process(idle)
    engine.warm(image(1), "lsiLogic", world.source)
    world.clock.advance(AGE_S * 0.6)
    assert plan(world, image(1), settings=idle).due == (image(1),)
    engine.create_volume(image(1), volume(), world.source)
    assert plan(world, image(1), settings=idle).due == ()


def test_timers_come_before_imports_which_take_longer(world: World) -> None:
    warm_up(world, Glance(image(2))).run()
    world.clock.advance(AGE_S * 0.6)
    assert plan(world, image(1), image(2)) == WarmUpPlan((image(2),), (image(1),))


def test_an_image_with_other_bytes_is_absent(world: World) -> None:
    warm_up(world, Glance(image(1))).run()
    changed = image(1, os_hash_value="cd" * 64)
    assert plan(world, changed).absent == (changed,)


def test_the_images_own_adapter_counts(world: World) -> None:
    warm_up(world, Glance(image(1, adapter_type="ide"))).run()
    assert plan(world, image(1)).absent == (image(1),)
    assert plan(world, image(1, adapter_type="ide")).absent == ()


# -- which process


def test_one_process_works_and_all_know_what_is_kept(world: World) -> None:
    locks, glance = MemoryLocks(), Glance(image(1))
    with locks.hold(LOCK, 0):
        warm_up(world, glance, locks=locks).run()
    assert (cached(world), world.kept()) == (set(), {image(1).id})


def test_after_the_end_no_image_is_begun(world: World) -> None:
    rounds = warm_up(world, Glance(image(1)))
    rounds.close()
    rounds.run()
    assert cached(world) == set()


# -- room


def test_too_many_marked_images_do_not_evict_each_other(world: World) -> None:
    glance = Glance(*map(image, range(1, 6)))
    full = dataclasses.replace(SETTINGS, max_count=3)
    rounds = warm_up(world, glance, full)
    for _ in range(5):
        rounds.run()
        world.clock.advance(100)
    assert cached(world) == {image(1).id, image(2).id, image(3).id}
    assert "Evicted" not in world.kinds()
    assert glance.opened == [image(1).id, image(2).id, image(3).id]


def test_marked_images_and_users_images_do_not_evict_each_other(world: World) -> None:
    full = dataclasses.replace(SETTINGS, max_count=2)
    locks = MemoryLocks()
    rounds, engine = warm_up(world, Glance(image(1)), full, locks), world.process(full, locks)
    for number in range(2, 12):
        rounds.run()
        world.clock.advance(100)
        engine.create_volume(image(number), volume(number), world.source)
        world.clock.advance(100)
    assert image(1).id in cached(world)
    assert world.kinds().count("Imported") == 11


def test_an_image_that_is_marked_no_more_makes_room_again(world: World) -> None:
    glance = Glance(image(1))
    full = dataclasses.replace(SETTINGS, max_count=1)
    locks = MemoryLocks()
    rounds, engine = warm_up(world, glance, full, locks), world.process(full, locks)
    rounds.run()
    with pytest.raises(errors.NotCacheable):
        engine.create_volume(image(2), volume(2), world.source)
    glance.images.clear()
    rounds.run()
    engine.create_volume(image(2), volume(2), world.source)
    assert cached(world) == {image(2).id}


# -- trouble


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_an_image_that_cannot_be_cached_is_reported_once_and_blocks_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    huge = image(1, virtual_size_bytes=101 * GIB)
    rounds = warm_up(world, Glance(huge, image(2)))
    for _ in range(3):
        rounds.run()
    (told,) = warnings(caplog)
    assert huge.id in told
    assert "image_cache_max_size_gb" in told
    assert cached(world) == {image(2).id}


def test_corrupt_bytes_are_not_downloaded_again_until_there_are_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    glance = Glance(image(1))
    glance.broken[image(1).id] = errors.ImageCorrupt("other bytes than promised")
    rounds = warm_up(world, glance)
    for _ in range(3):
        rounds.run()
    assert len(glance.opened) == len(warnings(caplog)) == 1
    glance.broken.clear()
    glance.images = [image(1, os_hash_value="cd" * 64)]
    rounds.run()
    assert cached(world) == {image(1).id}


def test_a_temporary_fault_is_retried_and_reported_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    glance = Glance(image(1))
    rounds = warm_up(world, glance)
    world.store.faults["upload"] = [errors.Unreachable("reset")] * 2
    for _ in range(3):
        rounds.run()
    assert cached(world) == {image(1).id}
    assert len(warnings(caplog)) == 1


def counted(world: World) -> list[tuple[str, str]]:
    return [(e.image_id, e.error) for e in world.events if isinstance(e, NotKeptWarm)]


def test_each_round_counts_the_marked_images_that_have_no_template(world: World) -> None:
    glance = Glance(*map(image, range(1, 5)))
    glance.broken[image(1).id] = errors.ImageCorrupt("other bytes than promised")
    glance.broken[image(2).id] = errors.SourceUnavailable("reset")
    rounds = warm_up(world, glance, dataclasses.replace(SETTINGS, max_count=1))
    absent = [(image(1).id, "ImageCorrupt"), (image(2).id, "SourceUnavailable")]
    room = [(image(4).id, "no-room")]
    rounds.run()
    assert counted(world) == [*absent, *room]
    glance.broken.clear()
    rounds.run()
    full = [(image(2).id, "no-room"), *room]
    assert counted(world) == [*absent, *room, absent[0], *full]
    glance.images = [image(3)]
    rounds.run()
    assert len(counted(world)) == 6


def test_a_template_whose_timer_cannot_be_reset_is_a_template(world: World) -> None:
    rounds = warm_up(world, Glance(image(1)))
    rounds.run()
    world.clock.advance(AGE_S * 0.6)
    world.store.faults["touch"] = [errors.Unreachable("reset")]
    rounds.run()
    assert world.store.faults["touch"] == [], "no timer was reset"
    assert counted(world) == []


def test_a_round_that_cannot_ask_glance_counts_one(world: World) -> None:
    glance = Glance(image(1))
    glance.fault = errors.SourceUnavailable("down")
    warm_up(world, glance).run()
    assert counted(world) == [("", "SourceUnavailable")]


def test_while_glance_is_away_nothing_that_was_marked_makes_room(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    glance = Glance(image(1))
    rounds = warm_up(world, glance)
    rounds.run()
    glance.fault = errors.SourceUnavailable("down")
    for _ in range(3):
        rounds.run()
    assert world.kept() == {image(1).id}
    assert len(warnings(caplog)) == 1


def test_a_defect_ends_no_loop(world: World, caplog: pytest.LogCaptureFixture) -> None:
    glance = Glance(image(1), image(2))
    glance.broken[image(1).id] = ZeroDivisionError("defect")
    warm_up(world, glance).run()
    assert cached(world) == {image(2).id}
    assert "ZeroDivisionError" in warnings(caplog)[0]

from __future__ import annotations

import dataclasses
import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.memory import PLACE, MemoryLocks
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.events import Evicted, PurgeEnded
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.key import CacheKey, lock_name, template_name
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image
from vmdk_cache.periodic.purge import GLANCE_ATTEMPTS, LOCK, RUN_WITHIN_S, Purge

KEY = CacheKey.of(IMAGE, "lsiLogic")


@pytest.fixture
def world() -> World:
    made = World()
    made.engine.create_volume(IMAGE, volume(), made.source)
    made.events.clear()
    return made


class Glance:
    """A Catalog: images by id, None for a deleted one, an error for one that cannot be read.

    :ivar asked: ids, in the order of the requests
    """

    def __init__(self, *images: Image) -> None:
        self.images: dict[str, Image | Exception | None] = {image.id: image for image in images}
        self.asked: list[str] = []

    def describe(self, image_id: str) -> Image | None:
        self.asked.append(image_id)
        found = self.images[image_id]
        if isinstance(found, Exception):
            raise found
        return found


def purge(
    world: World,
    age_s: int = 100,
    locks: MemoryLocks | None = None,
    catalog: Glance | None = None,
    now: Callable[[], datetime.datetime] | None = None,
    **limits: Any,
) -> Purge:
    context = world.context(
        Settings(age_s=age_s, **limits),
        locks=locks or MemoryLocks(),
        server_time=now or world.clock.now,
    )
    return Purge(context, Evictor(context), catalog)


def test_an_expired_template_goes_and_a_young_one_stays(world: World) -> None:
    world.clock.advance(101)
    world.engine.create_volume(IMAGE, volume(2, adapter_type="ide"), world.source)
    world.events.clear()
    (gone,) = purge(world).run()
    assert [e.record.key.adapter_type for e in world.store.vms.values() if e.record] == ["ide"]
    (event,) = (each for each in world.events if isinstance(each, Evicted))
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
    with world.templates_in_use.use(moref):
        assert purge(world).run() == []
    assert len(purge(world).run()) == 1


def test_a_template_that_another_process_clones_stays(world: World) -> None:
    world.clock.advance(101)
    world.store.in_use = set(world.store.vms)
    assert purge(world).run() == []
    with world.templates_in_use.use(*world.store.vms):  # not reserved forever
        pass


def test_an_import_under_way_is_never_purged(world: World) -> None:
    world.store.vms.clear()
    world.store.put_import(KEY, GIB)
    world.clock.advance(10**9)
    assert purge(world).run() == []
    assert len(world.store.vms) == 1


def test_foreign_vms_are_never_purged(world: World) -> None:
    theirs = CacheEntry("vm-9", "golden image", Phase.FOREIGN, None, None, None, 0)
    world.store.vms = {"vm-9": theirs}
    world.clock.advance(10**9)
    assert purge(world).run() == []
    assert world.store.vms == {"vm-9": theirs}


def test_a_template_made_again_since_the_plan_is_not_deleted(world: World) -> None:
    world.clock.advance(101)
    (old,) = world.store.vms.values()

    def renew() -> None:
        world.store.during.clear()
        world.store.vms.clear()
        world.store.finish_import(world.store.put_import(KEY, GIB))

    world.store.during["look_again"] = renew
    assert purge(world).run() == []
    assert old.moref not in world.store.vms
    assert len(world.store.vms) == 1


def test_one_template_that_cannot_be_deleted_does_not_block_the_others(world: World) -> None:
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
    purges = [event for event in world.events if isinstance(event, PurgeEnded)]
    assert [(event.deleted, event.error) for event in purges] == [(0, "LockTimeout"), (1, "")]


def test_a_purge_that_fails_is_reported(world: World) -> None:
    world.store.faults["entries"] = [errors.Unreachable("down")]
    with pytest.raises(errors.Unreachable):
        purge(world).run()
    assert world.events == [PurgeEnded("b1", "", 0.0, 0, "Unreachable")]


def test_a_template_whose_import_lock_is_held_stays(world: World) -> None:
    world.clock.advance(101)
    locks = MemoryLocks()
    with locks.hold(lock_name(template_name("b1", KEY)), 1):
        assert purge(world, locks=locks).run() == []


def test_a_template_used_since_the_plan_is_not_deleted(world: World) -> None:
    world.clock.advance(101)
    (old,) = world.store.vms.values()

    def use() -> None:
        world.store.during.clear()
        world.store.touch(old)

    world.store.during["look_again"] = use
    assert purge(world, expiry="idle").run() == []
    assert purge(world, expiry="idle").run() == []  # and is no longer planned either
    assert list(world.store.vms) == [old.moref]


def test_a_template_of_the_prior_art_expires_under_the_lock_of_its_name(world: World) -> None:
    name = f"b1_image_cache ({IMAGE.id})"
    made_at = world.clock.now()
    old = CacheEntry("vm-9", name, Phase.ADOPTED, None, None, 2000, GIB, made_at=made_at)
    world.store.vms = {"vm-9": old}
    world.clock.advance(101)
    locks = MemoryLocks()
    with locks.hold(name, 1):
        assert purge(world, locks=locks).run() == []
    assert purge(world, locks=locks).run() == [old]
    (event,) = (each for each in world.events if isinstance(each, Evicted))
    assert event.image_id == IMAGE.id


def test_a_limit_removes_what_was_used_longest_ago(world: World) -> None:
    (first,) = world.store.vms.values()
    world.clock.advance(10)
    world.engine.create_volume(IMAGE, volume(2, adapter_type="ide"), world.source)
    world.clock.advance(10)
    world.store.touch(first)
    (gone,) = purge(world, age_s=0, max_count=1).run()
    assert gone.moref != first.moref
    assert list(world.store.vms) == [first.moref]


def test_datastores_are_looked_at_only_for_a_percentage(world: World) -> None:
    world.placement.sizes = {"datastore-1": Space(capacity_bytes=10 * GIB, free_bytes=0)}
    assert purge(world, age_s=0).run() == []
    (gone,) = purge(world, age_s=0, max_percent=1).run()
    assert gone.size_bytes == GIB


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (None, "deleted"),
        (dataclasses.replace(IMAGE, status="deactivated"), "deactivated"),
        (dataclasses.replace(IMAGE, os_hash_value="cd" * 64), "changed"),
    ],
    ids=["deleted", "deactivated", "changed"],
)
def test_a_copy_of_an_image_that_is_gone_or_changed_goes(
    world: World, now: Image | None, why: str
) -> None:
    glance = Glance()
    glance.images[IMAGE.id] = now
    assert len(purge(world, catalog=glance).run()) == 1
    (event,) = (each for each in world.events if isinstance(each, Evicted))
    assert why in event.reason  # type: ignore[attr-defined]


def test_a_renamed_image_keeps_its_copy(world: World) -> None:
    glance = Glance(dataclasses.replace(IMAGE, updated_at="2031-01-01T00:00:00+00:00"))
    assert purge(world, catalog=glance).run() == []
    assert glance.asked == [IMAGE.id]


def test_a_copy_stays_while_glance_does_not_answer(world: World) -> None:
    glance = Glance()
    glance.images[IMAGE.id] = errors.SourceUnavailable("down")
    assert purge(world, catalog=glance).run() == []
    assert len(world.store.vms) == 1


def test_an_expired_copy_goes_though_glance_does_not_answer(world: World) -> None:
    glance = Glance()
    glance.images[IMAGE.id] = errors.SourceUnavailable("down")
    world.clock.advance(101)
    assert len(purge(world, catalog=glance).run()) == 1


def test_glance_is_asked_once_for_each_image_and_not_forever_when_it_is_down(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    images = [dataclasses.replace(IMAGE, id=f"{n:08}{IMAGE.id[8:]}") for n in range(10)]
    for adapter_type in ("lsiLogic", "ide"):
        for image in images:
            key = CacheKey.of(image, adapter_type)
            world.store.finish_import(world.store.put_import(key, GIB))
    glance = Glance(IMAGE, *images)
    purge(world, catalog=glance).plan()
    assert sorted(glance.asked) == sorted({*(image.id for image in images), IMAGE.id})
    down = Glance()
    down.images = dict.fromkeys(glance.images, errors.SourceUnavailable("down"))
    caplog.set_level("INFO")
    purge(world, catalog=down).plan()
    assert len(down.asked) == GLANCE_ATTEMPTS
    assert len(caplog.records) == 1


def test_an_operator_learns_that_stale_templates_stay(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """One WARNING, not repeated in each round, and none for a temporary failure."""
    glance = Glance()
    purges = purge(world, catalog=glance)
    no_admin = errors.NoGlanceAdmin("set send_service_user_token")
    caplog.set_level("INFO")
    for answer in (errors.SourceUnavailable("down"), no_admin, no_admin, IMAGE, no_admin):
        glance.images[IMAGE.id] = answer
        purges.plan()
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["INFO", "WARNING", "INFO", "INFO"]
    assert "set send_service_user_token" in said[1][1]


def test_one_image_that_glance_does_not_describe_does_not_block_the_others(world: World) -> None:
    other = dataclasses.replace(IMAGE, id="0" * 8 + IMAGE.id[8:])
    world.store.finish_import(world.store.put_import(CacheKey.of(other, "lsiLogic"), GIB))
    glance = Glance()
    glance.images = {other.id: errors.SourceUnavailable("refused"), IMAGE.id: None}
    (gone,) = purge(world, catalog=glance).run()
    assert gone.image_id == IMAGE.id


def test_a_template_that_volumes_wait_for_stays_until_they_have_been_cloned(world: World) -> None:
    """Otherwise the image is imported again for them at once."""
    world.clock.advance(101)
    (entry,) = world.store.entries()
    queue = CloneQueue(lambda: 1, world.clock, world.templates_in_use)

    def clone() -> None:
        with queue.slot(KEY, [entry], PLACE):
            pass

    waiter = threading.Thread(target=clone)
    with queue.slot(KEY, [entry], PLACE):
        waiter.start()
        wait_until(lambda: queue.waiting() == 1)
        assert world.templates_in_use.count(entry.moref) == 0
        assert purge(world).run() == []
    waiter.join()
    assert purge(world).run() == [entry]


def test_the_operator_learns_why_a_template_stayed(world: World) -> None:
    """It is in use, or another client has removed it between the plan and the deletion."""
    asked = purge(world)
    (entry,) = world.store.entries()
    with world.templates_in_use.use(entry.moref):
        busy = asked.plan_requested(None)
    assert [verdict.reason for verdict in busy.keep] == ["being cloned or waited for"]
    plan = asked.plan_requested(None)
    with world.templates_in_use.use(entry.moref):
        result = asked.carry_out(lambda: plan)
    ((_, why),) = result.stayed
    assert why.reason.startswith("it is in use") and not why.gone
    world.store.destroy(entry)
    ((_, why),) = asked.carry_out(lambda: plan).stayed
    assert why.gone


def test_a_requested_purge_fails_while_another_process_purges(world: World) -> None:
    locks = MemoryLocks()
    asked = purge(world, locks=locks)
    with locks.hold(LOCK, 0), pytest.raises(errors.LockTimeout):
        asked.carry_out(lambda: asked.plan_requested(None))
    assert len(world.store.entries()) == 1


def test_a_purge_of_slow_deletions_leaves_the_rest_to_the_next_run(world: World) -> None:
    for n in (2, 3):
        image = dataclasses.replace(IMAGE, id=f"{n:08}-0000-4000-8000-000000000000")
        world.engine.create_volume(image, volume(n), world.source)
    world.clock.advance(101)
    world.store.during["destroy"] = lambda: world.clock.advance(RUN_WITHIN_S / 2)
    subject = purge(world)
    done = subject.carry_out(subject.plan)
    assert len(done.removed) == 2
    ((_, stayed),) = done.stayed
    assert "next run" in stayed.reason
    assert not stayed.gone
    assert len(subject.run()) == 1
    assert world.store.vms == {}


def test_a_vcenter_that_goes_away_during_a_run_hides_nothing_that_was_removed(
    world: World,
) -> None:
    world.engine.create_volume(IMAGE, volume(2, adapter_type="ide"), world.source)
    world.clock.advance(101)

    def now() -> datetime.datetime:
        if world.store.calls["destroy"]:
            raise errors.Unreachable("vCenter is away")
        return world.clock.now()

    world.store.faults["look_again"] = [None, errors.Unreachable("vCenter is away")]
    subject = purge(world, now=now)
    done = subject.carry_out(subject.plan)
    assert len(done.removed) == 1
    ((_, stayed),) = done.stayed
    assert "vCenter is away" in stayed.reason


def test_an_expired_template_whose_datastore_is_out_of_reach_stays(world: World) -> None:
    (entry,) = world.store.vms.values()
    world.store.vms[entry.moref] = dataclasses.replace(entry, accessible=False)
    world.placement.reachable.clear()
    world.clock.advance(101)
    assert purge(world).run() == []
    assert world.store.calls["destroy"] == 0
    world.placement.reachable.add(entry.datastore or "")
    assert [gone.moref for gone in purge(world).run()] == [entry.moref]


def of_unknown_owner(world: World) -> str:
    ((moref, entry),) = world.store.vms.items()
    world.store.vms[moref] = dataclasses.replace(entry, owner=Owner.UNKNOWN)
    return moref


@pytest.mark.parametrize(
    ("change", "owner"),
    [
        ({}, Owner.OURS),
        ({"status": "deactivated"}, Owner.OURS),
        ({"size_bytes": 1}, Owner.UNKNOWN),
        (None, Owner.UNKNOWN),
    ],
    ids=str,
)
def test_a_copy_of_unknown_owner_is_ours_once_glance_has_the_very_image(
    world: World, change: dict[str, Any] | None, owner: Owner
) -> None:
    moref = of_unknown_owner(world)
    glance = Glance(IMAGE)
    if change is None:
        glance.images[IMAGE.id] = None
    else:
        glance.images[IMAGE.id] = dataclasses.replace(IMAGE, **change)
    its_purge = purge(world, catalog=glance)
    assert its_purge.plan().remove == ()
    assert world.store.calls["note_owner"] == 0, "a plan changes nothing"
    assert its_purge.run() == []
    assert world.store.vms[moref].owner is owner


def test_a_copy_that_cannot_be_noted_as_ours_stays_and_blocks_no_other(world: World) -> None:
    moref = of_unknown_owner(world)
    world.store.faults["note_owner"] = [errors.NoPermission("may not set attributes")]
    assert purge(world, catalog=Glance(IMAGE)).run() == []
    assert world.store.vms[moref].owner is Owner.UNKNOWN

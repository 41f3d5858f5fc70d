"""The removal of one entry: only if it is unchanged since the plan, and only if it is not in
use.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from tests.fakes.memory import PLACE, MemoryLocks
from tests.unit.cache.conftest import GIB, IMAGE, World
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Evicted, Rule
from vmdk_cache.cache.eviction_plan import Verdict
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.key import CacheKey, lock_name, template_name
from vmdk_cache.cache.pin import Pin

KEY = CacheKey.of(IMAGE, "lsiLogic")
PIN = Pin("alice@ctl1", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


class Lab:
    """An evictor, and one READY template.

    :ivar planned: the template as a plan saw it
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.store
        self.locks = MemoryLocks()
        self.evictor = Evictor(world.context(locks=self.locks))
        self.planned = self.store.finish_import(self.store.put_import(KEY, GIB))

    def verdict(self, rule: Rule | None = Rule.EXPIRED) -> Verdict:
        return Verdict(self.planned, "it was not used for 100 s", rule)

    def change(self, **fields: Any) -> CacheEntry:
        """Change the template in vCenter from now on."""
        changed = dataclasses.replace(self.store.vms[self.planned.moref], **fields)
        self.store.vms[changed.moref] = changed
        return changed

    def assert_stays(self, *words: str, **flags: bool) -> None:
        """Check that it is not removed, for a reason with these words, and without an event."""
        stayed = self.evictor.attempt(self.verdict())
        assert stayed is not None
        assert all(word in stayed.reason for word in words), stayed.reason
        assert (stayed.gone, stayed.busy) == (flags.get("gone", False), flags.get("busy", False))
        assert self.world.events == []


@pytest.fixture
def lab(world: World) -> Lab:
    return Lab(world)


def test_a_removed_entry_is_an_event_with_its_rule_and_reason(lab: Lab) -> None:
    assert lab.evictor.attempt(lab.verdict()) is None
    assert lab.store.vms == {}
    assert lab.world.events == [
        Evicted("b1", IMAGE.id, lab.planned.name, Rule.EXPIRED, "it was not used for 100 s", GIB)
    ]


def test_an_entry_removed_without_a_rule_was_requested(lab: Lab) -> None:
    assert lab.evictor.attempt(lab.verdict(rule=None)) is None
    (event,) = lab.world.events
    assert isinstance(event, Evicted)
    assert event.rule is Rule.REQUESTED


def test_an_entry_whose_lock_is_held_stays(lab: Lab) -> None:
    """Another process makes or removes it."""
    with lab.locks.hold(lock_name(template_name("b1", KEY)), 0):
        lab.assert_stays("in use", busy=True)
    assert lab.store.calls["destroy"] == 0
    assert lab.evictor.attempt(lab.verdict()) is None


def test_the_holder_of_the_lock_removes_without_taking_it_again(lab: Lab) -> None:
    with lab.locks.hold(lock_name(template_name("b1", KEY)), 0):
        assert lab.evictor.attempt(lab.verdict(), has_lock=True) is None


def test_an_entry_that_this_process_clones_from_stays(lab: Lab) -> None:
    with lab.world.templates_in_use.use(lab.planned.moref):
        lab.assert_stays("in use", busy=True)
    assert lab.store.calls["destroy"] == 0
    assert lab.evictor.attempt(lab.verdict()) is None


def test_an_entry_that_volumes_have_come_to_wait_for_since_the_plan_stays(lab: Lab) -> None:
    with lab.world.templates_in_use.awaited([lab.planned.moref]):
        lab.assert_stays("volumes wait", busy=True)
    assert lab.store.calls["destroy"] == 0
    assert lab.evictor.attempt(lab.verdict()) is None


def test_a_broken_entry_goes_though_volumes_wait_for_it(lab: Lab) -> None:
    with lab.world.templates_in_use.awaited([lab.planned.moref]):
        assert lab.evictor.attempt(lab.verdict(Rule.BROKEN)) is None


def test_an_entry_that_another_process_clones_from_stays(lab: Lab) -> None:
    lab.store.in_use.add(lab.planned.moref)
    lab.assert_stays("in use", busy=True)


def test_no_clone_begins_while_the_entry_is_destroyed(lab: Lab) -> None:
    refused = []

    def use() -> None:
        try:
            with lab.world.templates_in_use.use(lab.planned.moref):
                pass
        except errors.VmdkCacheError as failure:
            refused.append(failure)

    lab.store.during["destroy"] = use
    assert lab.evictor.attempt(lab.verdict()) is None
    assert len(refused) == 1


def test_an_entry_that_has_gone_is_not_destroyed_again(lab: Lab) -> None:
    del lab.store.vms[lab.planned.moref]
    lab.assert_stays("gone", gone=True)
    assert lab.store.calls["destroy"] == 0


LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize("field", ["used_at", "warmed_at"])
def test_an_entry_that_was_used_since_the_plan_stays(lab: Lab, field: str) -> None:
    lab.change(**{field: LATER})
    lab.assert_stays("used")


def test_an_entry_that_was_imported_again_since_the_plan_stays(lab: Lab) -> None:
    assert lab.planned.record is not None
    lab.change(record=dataclasses.replace(lab.planned.record, created_at=LATER))
    lab.assert_stays("altered")


@pytest.mark.parametrize("field", ["host", "unshared_bytes"])
def test_changes_that_do_not_concern_the_plan_protect_no_entry(lab: Lab, field: str) -> None:
    lab.change(**{field: 7})
    assert lab.evictor.attempt(lab.verdict()) is None


def test_the_caller_decides_last_by_what_the_entry_is_now(lab: Lab) -> None:
    changed = lab.change(unshared_bytes=7)
    seen: list[CacheEntry] = []

    def still(entry: CacheEntry) -> bool:
        seen.append(entry)
        return False

    assert lab.evictor.attempt(lab.verdict(), still) is not None
    assert seen == [changed]
    assert lab.store.calls["destroy"] == 0


@pytest.mark.parametrize(
    ("rule", "accessible"), [(Rule.BROKEN, True), (Rule.BROKEN, False), (Rule.EXPIRED, False)]
)
def test_lost_files_are_believed_only_while_the_datastore_is_in_reach(
    lab: Lab, rule: Rule, accessible: bool
) -> None:
    lab.change(accessible=accessible)
    lab.world.placement.reachable.clear()
    stayed = lab.evictor.attempt(lab.verdict(rule))
    assert stayed is not None and "datastore" in stayed.reason
    lab.world.placement.reachable.add(PLACE.datastore)
    assert lab.evictor.attempt(lab.verdict(rule)) is None


def test_a_sound_entry_goes_whether_or_not_its_datastore_is_listed(lab: Lab) -> None:
    """vCenter decides: only an entry that seems lost has to be seen twice."""
    lab.world.placement.reachable.clear()
    assert lab.evictor.attempt(lab.verdict()) is None


@pytest.mark.parametrize(
    ("failure", "busy"),
    [
        (errors.FileLocked("a clone reads it"), True),
        (errors.InUse("a clone reads it"), True),
        (errors.TaskFailed("no"), False),
        (errors.NoPermission("no"), False),
        (errors.Unreachable("no"), False),
    ],
)
@pytest.mark.parametrize("verb", ["look_again", "destroy"])
def test_a_failure_of_vcenter_keeps_the_entry_for_the_next_time(
    lab: Lab, failure: errors.VCenterError, busy: bool, verb: str
) -> None:
    lab.store.faults[verb] = [failure]
    lab.assert_stays(str(failure), busy=busy)
    assert lab.evictor.attempt(lab.verdict()) is None


def test_a_failed_coordinator_is_an_error_of_the_caller(lab: Lab) -> None:
    lab.locks.broken = errors.LockUnavailable("etcd is away")
    with pytest.raises(errors.LockUnavailable):
        lab.evictor.attempt(lab.verdict())
    assert lab.store.calls["destroy"] == 0


def test_a_replica_has_a_lock_of_its_own(lab: Lab) -> None:
    replica = lab.store.replicate(lab.planned, dataclasses.replace(PLACE, datastore="datastore-2"))
    with lab.locks.hold(lock_name(replica.name), 0):
        assert lab.evictor.attempt(lab.verdict()) is None


# -- pins


def test_an_entry_that_was_pinned_since_the_plan_stays(lab: Lab) -> None:
    lab.store.set_pin(lab.planned, PIN)
    lab.assert_stays("pinned")


def test_the_other_copies_of_its_image_stay_pinned(lab: Lab) -> None:
    elsewhere = dataclasses.replace(PLACE, datastore="datastore-2")
    replica = lab.store.replicate(lab.planned, elsewhere)
    other = lab.store.finish_import(
        lab.store.put_import(dataclasses.replace(KEY, image_id="another"), GIB)
    )
    lab.planned = lab.change(pinned=PIN)
    assert lab.evictor.attempt(lab.verdict(Rule.SUPERSEDED)) is None
    pins = {moref: entry.pinned for moref, entry in lab.store.vms.items()}
    assert pins == {replica.moref: PIN, other.moref: None}


def test_the_log_says_that_a_pin_ends_with_its_image(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.planned = lab.change(pinned=PIN)
    assert lab.evictor.attempt(lab.verdict(Rule.STALE)) is None
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "pinned by alice@ctl1 since 2026-01-02 00:00 UTC" in warning
    assert "pin the image again" in warning


def test_a_copy_that_has_gone_does_not_keep_the_pin_from_the_others(lab: Lab) -> None:
    for number in (2, 3):
        at = dataclasses.replace(PLACE, datastore=f"datastore-{number}")
        last = lab.store.replicate(lab.planned, at)
    lab.planned = lab.change(pinned=PIN)
    lab.store.faults["set_pin"] = [errors.ObjectNotFound("gone")]
    assert lab.evictor.attempt(lab.verdict(Rule.SUPERSEDED)) is None
    assert lab.store.vms[last.moref].pinned == PIN


def test_what_an_operator_removes_stays_if_its_pin_cannot_be_handed_on(lab: Lab) -> None:
    """An evacuation takes good copies too."""
    lab.store.replicate(lab.planned, dataclasses.replace(PLACE, datastore="datastore-2"))
    lab.planned = lab.change(pinned=PIN)
    lab.store.faults["set_pin"] = [errors.NoPermission("may not set it")]
    stayed = lab.evictor.attempt(lab.verdict(Rule.REQUESTED))
    assert stayed is not None
    assert "may not set it" in stayed.reason
    assert lab.planned.moref in lab.store.vms


def test_a_pin_that_cannot_be_handed_on_stops_no_removal(lab: Lab) -> None:
    lab.store.replicate(lab.planned, dataclasses.replace(PLACE, datastore="datastore-2"))
    lab.planned = lab.change(pinned=PIN)
    lab.store.faults["set_pin"] = [errors.NoPermission("no")]
    assert lab.evictor.attempt(lab.verdict(Rule.SUPERSEDED)) is None
    assert lab.planned.moref not in lab.store.vms

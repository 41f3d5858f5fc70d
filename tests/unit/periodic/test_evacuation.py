"""Templates are taken off a datastore, and no image that is needed is lost on the way."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import PLACE, MemoryLocks, MemoryPlacement, MemoryStore, memory_context
from tests.unit.cache.conftest import GIB, IMAGE
from vmdk_cache import errors
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Place, Space
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.room import LOCK as ROOM
from vmdk_cache.cache.room import Room
from vmdk_cache.conf import EXPIRY_IDLE, Settings
from vmdk_cache.periodic.evacuation import Evacuation
from vmdk_cache.periodic.purge import LOCK, Purge

ONE = PLACE.datastore
SECOND = dataclasses.replace(PLACE, datastore="datastore-2", datastore_name="ds2")
THIRD = dataclasses.replace(PLACE, datastore="datastore-3", datastore_name="ds3")


class _ImpatientLocks(MemoryLocks):
    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float) -> Iterator[None]:
        with super().hold(name, 0):
            yield


def key(number: int = 1) -> CacheKey:
    return CacheKey(f"image-{number}", "f1", "lsiLogic")


class Lab:
    """An evacuation on ports in memory; every template starts on ``PLACE``."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.placement = MemoryPlacement(PLACE, SECOND, THIRD)
        self.locks = _ImpatientLocks()
        self.said: list[str] = []
        self.evacuation = self.process()

    def process(self, **options: int | str) -> Evacuation:
        settings = Settings(enabled=True, age_s=1000, **options)  # type: ignore[arg-type]
        context = memory_context(
            settings,
            store=self.store,
            placement=self.placement,
            locks=self.locks,
            clock=self.clock,
        )
        evictor = Evictor(context)
        room = Room(context, evictor)
        queue = CloneQueue(lambda: 1, self.clock, context.templates_in_use)
        self.replication = Replication(context, room=room, queue=queue)
        self.purge = Purge(context, evictor)
        self.evacuation = Evacuation(
            context, replication=self.replication, room=room, evictor=evictor, purge=self.purge
        )
        return self.evacuation

    def template(self, number: int = 1) -> CacheEntry:
        return self.store.finish_import(self.store.put_import(key(number), GIB))

    def pin(self, entry: CacheEntry) -> Pin:
        pin = Pin("alice@ctl1", self.clock.now())
        self.store.set_pin(entry, pin)
        return pin

    def run(
        self, *datastores: str, replicate: bool = False, images: set[str] | None = None
    ) -> dict[str, str | None]:
        """Image of each template to remove -> why it stayed, None if it was removed."""
        leaving = set(datastores or [ONE])
        plan = self.evacuation.plan(leaving, images, replicate=replicate)
        done = self.evacuation.carry_out(
            plan, leaving, lambda entry, state: self.said.append(state)
        )
        return {
            each.verdict.entry.image_id or "": each.stayed.reason if each.stayed else None
            for each in done
        }

    def where(self, number: int = 1) -> list[str | None]:
        return sorted(
            entry.datastore or "" for entry in self.store.vms.values()
            if entry.image_id == key(number).image_id
        )  # fmt: skip


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_every_template_of_the_datastore_goes_and_no_other(lab: Lab) -> None:
    first = lab.template(1)
    lab.store.replicate(first, SECOND)
    lab.template(2)
    assert lab.run() == {"image-1": None, "image-2": None}
    assert (lab.where(1), lab.where(2)) == (["datastore-2"], [])


def test_only_the_images_that_were_named_go(lab: Lab) -> None:
    lab.template(1)
    lab.template(2)
    assert lab.run(images={"image-2"}) == {"image-2": None}
    assert (lab.where(1), lab.where(2)) == ([ONE], [])


def test_an_image_without_another_copy_is_copied_elsewhere_first(lab: Lab) -> None:
    seen: list[list[str | None]] = []
    lab.template()
    lab.store.during["destroy"] = lambda: seen.append(lab.where())
    assert lab.run(replicate=True) == {"image-1": None}
    assert seen == [[ONE, "datastore-2"]], "it was removed before its copy was complete"
    assert lab.where() == ["datastore-2"]
    assert lab.said == ["copying to another datastore", "removing"]


def test_an_image_with_another_copy_is_not_copied(lab: Lab) -> None:
    lab.store.replicate(lab.template(), THIRD)
    lab.store.calls.clear()
    assert lab.run(replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-3"]
    assert lab.store.calls["replicate"] == 0


def test_an_image_that_gets_another_copy_meanwhile_is_not_copied(lab: Lab) -> None:
    """Also when no further datastore is left."""
    lab.placement = MemoryPlacement(PLACE, SECOND)
    evacuation = lab.process()
    original = lab.template()
    plan = evacuation.plan({ONE}, replicate=True)
    lab.store.replicate(original, SECOND)
    (done,) = evacuation.carry_out(plan, {ONE})
    assert (done.stayed, done.copied_to) == (None, None)
    assert lab.where() == ["datastore-2"]


def test_the_copy_that_stays_does_not_expire_before_the_one_that_goes(lab: Lab) -> None:
    lab.process(expiry=EXPIRY_IDLE)
    original = lab.template()
    replica = lab.store.replicate(original, THIRD)
    lab.clock.sleep(2000)
    lab.store.touch(original)
    assert [v.entry.moref for v in lab.purge.plan().remove] == [replica.moref]
    assert lab.run(replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-3"]
    assert lab.purge.plan().remove == ()


def test_an_original_stays_if_its_use_cannot_be_noted_on_the_other_copy(lab: Lab) -> None:
    lab.process(expiry=EXPIRY_IDLE)
    original = lab.template()
    lab.store.replicate(original, THIRD)
    lab.clock.sleep(2000)
    lab.store.touch(original)
    lab.store.faults["touch"] = [errors.TaskFailed("vCenter is busy")]
    (reason,) = lab.run(replicate=True).values()
    assert reason is not None
    assert "vCenter is busy" in reason
    assert lab.where() == [ONE, "datastore-3"]


def test_no_copy_goes_to_a_datastore_that_is_evacuated_too(lab: Lab) -> None:
    lab.store.replicate(lab.template(), SECOND)
    assert lab.run(ONE, "datastore-2", replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-3"]


def test_a_copy_that_cannot_be_read_does_not_count_as_another(lab: Lab) -> None:
    lost = lab.store.replicate(lab.template(), SECOND)
    lab.store.vms[lost.moref] = dataclasses.replace(lost, accessible=False)
    assert lab.run(replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-2", "datastore-3"]  # the lost one is the reconcile's


def test_what_the_next_purge_would_remove_is_not_copied(lab: Lab) -> None:
    lab.template(1)
    lab.clock.advance(2000)
    lab.template(2)
    assert lab.run(replicate=True) == {"image-1": None, "image-2": None}
    assert (lab.where(1), lab.where(2)) == ([], ["datastore-2"])


@pytest.mark.parametrize("fails", ["replicate", "no datastore", "no room"])
def test_an_image_that_cannot_be_copied_stays_and_the_next_one_goes(lab: Lab, fails: str) -> None:
    lab.template(1)
    lab.store.replicate(lab.template(2), THIRD)
    if fails == "replicate":
        lab.store.faults["replicate"] = [errors.TaskFailed("the host crashed")]
    elif fails == "no datastore":
        lab.placement = MemoryPlacement(PLACE)
        lab.process()
    else:
        lab.placement.sizes = {p.datastore: Space(10 * GIB, GIB) for p in (PLACE, SECOND, THIRD)}
        lab.process(min_free_percent=50)
        assert "image_cache_min_free_percent" in str(lab.evacuation.places(
            lab.evacuation.plan([ONE], {"image-1"}, replicate=True), [ONE]
        ))  # fmt: skip
    done = lab.run(replicate=True)
    assert done["image-2"] is None
    assert "could not be copied to another datastore" in str(done["image-1"])
    assert (lab.where(1), lab.where(2)) == ([ONE], ["datastore-3"])


def test_a_datastore_that_is_full_is_passed_over(lab: Lab) -> None:
    lab.template()
    lab.store.faults["replicate"] = [errors.NoSpace("full")]
    assert lab.run(replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-3"]


def test_a_cache_at_its_limit_is_evacuated(lab: Lab) -> None:
    """The copy takes the place of the original."""
    lab.process(max_count=1)
    lab.template()
    [place] = lab.evacuation.places(
        lab.evacuation.plan([ONE], replicate=True), [ONE]
    ).values()  # fmt: skip
    assert place == SECOND
    assert lab.run(replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-2"]


def test_a_plan_says_where_copies_would_go_and_changes_nothing(lab: Lab) -> None:
    template = lab.template()
    plan = lab.evacuation.plan([ONE, "datastore-2"], replicate=True)
    assert lab.evacuation.places(plan, [ONE, "datastore-2"]) == {key(): THIRD}
    assert list(lab.store.vms) == [template.moref]


def test_a_pin_travels_with_the_image(lab: Lab) -> None:
    pin = lab.pin(lab.template())
    assert lab.run(replicate=True) == {"image-1": None}
    [left] = lab.store.vms.values()
    assert (left.datastore, left.pinned) == ("datastore-2", pin)


def test_the_last_copy_of_a_pinned_image_stays_unless_it_is_replicated(lab: Lab) -> None:
    lab.pin(lab.template())
    plan = lab.evacuation.plan([ONE], replicate=False)
    assert plan.remove == ()
    [verdict] = plan.keep
    assert "no other datastore has a copy: replicate or unpin it" in verdict.reason


def test_a_pinned_image_with_another_copy_leaves_the_datastore(lab: Lab) -> None:
    template = lab.template()
    lab.store.replicate(template, SECOND)
    pin = lab.pin(template)
    assert lab.run() == {"image-1": None}
    [left] = lab.store.vms.values()
    assert (left.datastore, left.pinned) == ("datastore-2", pin)


def _loses(lab: Lab, at: Place) -> Callable[[], None]:
    """What another process does in between: it removes the copy elsewhere."""

    def lose() -> None:
        for entry in list(lab.store.vms.values()):
            if entry.datastore == at.datastore:
                del lab.store.vms[entry.moref]

    return lose


def test_the_last_copy_stays_if_the_other_one_vanishes_meanwhile(lab: Lab) -> None:
    template = lab.template()
    lab.store.replicate(template, SECOND)
    lab.store.during["look_again"] = _loses(lab, SECOND)
    assert lab.run(replicate=True) == {
        "image-1": "its image no longer has a copy on another datastore"
    }
    assert lab.where() == [ONE]


def test_an_image_that_is_pinned_meanwhile_stays(lab: Lab) -> None:
    template = lab.template()
    lab.store.during["look_again"] = lambda: lab.pin(template) and None
    assert "unpin it first" in str(lab.run()["image-1"])


def test_a_template_that_volumes_use_meanwhile_goes_all_the_same(lab: Lab) -> None:
    template = lab.template()
    plan = lab.evacuation.plan([ONE], replicate=False)
    lab.clock.advance(10)
    lab.store.touch(template)
    [done] = lab.evacuation.carry_out(plan, [ONE])
    assert done.stayed is None


def test_a_template_that_is_being_cloned_stays(lab: Lab) -> None:
    lab.store.in_use.add(lab.template().moref)
    assert "in use" in str(lab.run(replicate=True)["image-1"])
    assert lab.where() == [ONE, "datastore-2"]


def test_nothing_goes_while_another_process_purges(lab: Lab) -> None:
    lab.template()
    with lab.locks.hold(LOCK, 0):
        (reason,) = lab.run().values()
    assert reason is not None
    assert "another process is purging" in reason


def test_no_import_evicts_the_other_copy_meanwhile(lab: Lab) -> None:
    lab.process(max_count=10)
    lab.store.replicate(lab.template(), THIRD)
    evicts: list[str] = []

    def import_elsewhere() -> None:
        with contextlib.suppress(errors.LockTimeout), lab.locks.hold(ROOM, 0):
            evicts.append("the copy on datastore-3")

    lab.store.during["destroy"] = import_elsewhere
    assert lab.run(replicate=True) == {"image-1": None}
    assert evicts == []


def test_a_vcenter_that_is_gone_ends_the_evacuation(lab: Lab) -> None:
    lab.template()
    lab.store.faults["replicate"] = [errors.Unreachable("no answer")]
    with pytest.raises(errors.Unreachable):
        lab.run(replicate=True)
    assert lab.where() == [ONE]


def test_an_interrupt_during_the_copy_loses_nothing(lab: Lab) -> None:
    """vCenter completes the copy, or makes none."""
    lab.template()

    def interrupt() -> None:
        raise KeyboardInterrupt

    lab.store.during["replicate"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        lab.run(replicate=True)
    assert ONE in lab.where()
    del lab.store.during["replicate"]
    assert lab.run(replicate=True) == {"image-1": None}


def test_a_template_without_a_record_goes_and_is_not_copied(lab: Lab) -> None:
    adopted = lab.template()
    lab.store.vms[adopted.moref] = dataclasses.replace(
        adopted, phase=Phase.ADOPTED, record=None, name=f"b1_image_cache ({IMAGE.id})"
    )
    assert lab.run(replicate=True) == {IMAGE.id: None}
    assert lab.store.vms == {}


def test_a_datastore_is_not_emptied_because_it_is_full(lab: Lab) -> None:
    """A limit is a reason to evict, but not to lose what --replicate was to keep."""
    lab.placement.sizes = {
        ONE: Space(10 * GIB, 0),
        **{p.datastore: Space(10 * GIB, 9 * GIB) for p in (SECOND, THIRD)},
    }
    lab.process(min_free_percent=50)
    lab.template()
    assert lab.run(replicate=True) == {"image-1": None}
    assert lab.where() == ["datastore-2"]

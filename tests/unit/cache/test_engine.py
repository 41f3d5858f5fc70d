"""The engine's decisions, on ports in memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from tests.fakes.memory import (
    PLACE,
    MemoryDisk,
    MemoryLocks,
    MemoryPlacement,
    MemorySource,
    MemoryTransfer,
    NoLocks,
)
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cache import admission
from vmdk_cache.cache.entry import ABANDONED_AFTER, CacheEntry, Phase
from vmdk_cache.cache.events import (
    Evicted,
    Hit,
    Imported,
    ImportFailed,
    ImportStarted,
    Miss,
    Reason,
    Rule,
)
from vmdk_cache.cache.importer import NAME_FREE_WITHIN_S
from vmdk_cache.cache.key import CacheKey, lock_name, template_name
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.templates_in_use import TemplatesInUse
from vmdk_cache.cache.volume_request import FILES_LOST, LONGEST_PAUSE_S, PAUSES_WITHIN_S, PLACES
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.locks import ToozLocks

KEY = CacheKey.of(IMAGE, "lsiLogic")
PATIENCE_S = 60.0


def test_the_first_volume_imports_and_the_second_does_not(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    second = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert (first.hit, second.hit) == (False, True)
    assert world.source.opened == 1
    assert world.store.volumes == {
        "volume-id-1": first.entry.moref,
        "volume-id-2": first.entry.moref,
    }
    assert world.kinds() == ["ImportStarted", "Imported", "Miss", "Hit"]
    started, imported, miss, hit = world.events
    assert isinstance(started, ImportStarted)
    assert isinstance(imported, Imported)
    assert isinstance(miss, Miss)
    assert isinstance(hit, Hit)
    assert started.template == imported.template == first.entry.name
    assert (imported.bytes_read, imported.virtual_size_bytes) == (4, GIB)
    assert (miss.saved_bytes, hit.saved_bytes) == (0, IMAGE.size_bytes)


@pytest.mark.parametrize("in_one_task", [True, False])
def test_the_event_says_whether_one_task_made_the_volume(world: World, in_one_task: bool) -> None:
    world.store.makes_volumes_in_one_task = in_one_task
    world.engine.create_volume(IMAGE, volume(1), world.source)
    world.engine.create_volume(IMAGE, volume(2), world.source)
    told = [event for event in world.events if isinstance(event, Hit | Miss)]
    assert [event.in_one_task for event in told] == [in_one_task, in_one_task]


def test_the_time_of_a_volume_is_split_by_step(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    engine = world.process(Settings(enabled=True, clones_per_template=1))
    go_on = threading.Event()
    calls = itertools.count()

    def take_time() -> None:
        if next(calls) == 0:
            wait_until(lambda: engine._queue.waiting() == 1)
            go_on.wait(PATIENCE_S)
            world.clock.advance(7)
        else:
            world.clock.advance(2)

    world.store.during["clone"] = take_time
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        made = [pool.submit(engine.create_volume, IMAGE, volume(n), world.source) for n in (2, 3)]
        go_on.set()
        for one in made:
            one.result()
    first, second = (event for event in world.events if isinstance(event, Hit))
    assert (first.queued_s, first.cloned_s, first.seconds) == (0, 7, 7)
    assert (second.queued_s, second.cloned_s, second.seconds) == (7, 2, 9)


@pytest.mark.parametrize("fails_at", ["source", "upload"])
def test_an_import_that_fails_says_so(world: World, fails_at: str) -> None:
    if fails_at == "source":
        world.source.fault = errors.SourceUnavailable("gone")
    else:
        world.store.faults["upload"] = [errors.NoSpace("full")]
    with pytest.raises(errors.VmdkCacheError) as failed:
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.kinds() == ["ImportStarted", "ImportFailed"]
    told = world.events[1]
    assert isinstance(told, ImportFailed)
    assert told.error == type(failed.value).__name__


def test_a_refused_image_is_no_failed_import(world: World) -> None:
    world.engine = world.process(Settings(enabled=True, max_size_bytes=GIB - 1))
    with pytest.raises(errors.NotCacheable):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.kinds() == []


def test_a_rival_that_was_faster_is_no_failed_import(world: World) -> None:
    class Overtaken(MemoryTransfer):
        @contextlib.contextmanager
        def __call__(self, image: Image, source: ImageSource) -> Iterator[MemoryDisk]:
            world.store.finish_import(world.store.put_import(KEY, GIB))
            with super().__call__(image, source) as disk:
                yield disk

    world.transfer = Overtaken(GIB)
    world.engine = world.process(locks=NoLocks())
    world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.kinds() == ["Hit"]


def test_fifty_first_volumes_at_once_import_once(world: World) -> None:
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        barrier = threading.Barrier(50)

        def create(number: int) -> bool:
            barrier.wait()
            return world.engine.create_volume(IMAGE, volume(number), world.source).hit

        hits = list(pool.map(create, range(50)))
    assert world.source.opened == 1
    assert hits.count(False) == 1
    assert len(world.store.volumes) == 50


def test_a_user_refused_by_glance_fails_no_other_users_volume(world: World) -> None:
    refused = MemorySource(fault=errors.SourceRefused("the token has expired"))
    flights = world.engine._importer._flights
    hits: list[bool] = []

    def create(number: int, source: MemorySource) -> None:
        hits.append(world.engine.create_volume(IMAGE, volume(number), source).hit)

    others = [
        threading.Thread(target=create, args=(number, world.source)) for number in range(2, 6)
    ]

    def others_wait() -> None:
        if not any(other.ident for other in others):
            for other in others:
                other.start()
            wait_until(lambda: flights.waiting(KEY) == len(others))

    world.store.during["upload"] = others_wait
    with pytest.raises(errors.SourceRefused):
        world.engine.create_volume(IMAGE, volume(1), refused)
    for other in others:
        other.join(PATIENCE_S)

    assert sorted(hits) == [False, True, True, True]
    assert world.source.opened == 1


def test_four_processes_with_shared_locks_import_once(world: World) -> None:
    locks = MemoryLocks()
    engines = [world.process(locks=locks) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        made = [
            pool.submit(engines[n % 4].create_volume, IMAGE, volume(n), world.source)
            for n in range(16)
        ]
        assert [m.result().hit for m in made].count(False) == 1
    assert world.source.opened == 1


def test_processes_without_a_shared_lock_share_the_winners_template(world: World) -> None:
    """vCenter's DuplicateName is the guard; the loser waits and destroys nothing."""
    rival = world.store.put_import(KEY, GIB)
    world.store.during["find"] = lambda: (
        world.store.finish_import(rival) and None if world.clock.slept else None
    )
    made = world.process(locks=NoLocks()).create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.moref) == (True, rival.moref)
    assert world.source.opened == 0
    assert world.store.calls["destroy"] == 0
    assert world.clock.elapsed_s < ABANDONED_AFTER.total_seconds(), "it waits no longer than needed"


def test_an_abandoned_import_is_replaced_and_not_cloned(world: World) -> None:
    dead = world.store.put_import(KEY, GIB)
    world.store.importing.clear()
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert made.entry.moref != dead.moref
    assert dead.moref not in world.store.vms
    assert 0 <= world.clock.elapsed_s - ABANDONED_AFTER.total_seconds() < 10
    assert evicted(world) == [(dead.name, Rule.BROKEN)]
    assert world.kinds() == ["Evicted", "ImportStarted", "Imported", "Miss"]


def test_an_import_that_still_runs_elsewhere_is_never_removed(world: World) -> None:
    rival = world.store.put_import(KEY, GIB)
    engine = world.process(Settings(enabled=True, lock_timeout_s=300), NoLocks())
    with pytest.raises(errors.LockTimeout):
        engine.create_volume(IMAGE, volume(), world.source)
    assert rival.moref in world.store.vms


def test_a_foreign_vm_of_that_name_is_left_alone(world: World) -> None:
    name = template_name("b1", KEY)
    theirs = CacheEntry("vm-9", name, Phase.FOREIGN, None, None, None, 0)
    world.store.vms["vm-9"] = theirs
    with pytest.raises(errors.NotCacheable) as refusal:
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert refusal.value.reason == Reason.NAME_TAKEN
    assert "vm-9" in str(refusal.value)
    assert world.store.vms == {"vm-9": theirs}


def test_a_template_that_vanishes_before_the_clone_is_a_miss(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    gone = errors.ObjectNotFound("deleted", moref=first.entry.moref)
    world.store.faults["clone"] = [gone]
    world.store.during["clone"] = lambda: world.store.vms.pop(first.entry.moref, None) and None
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert not again.hit
    assert world.source.opened == 2


def test_another_object_that_vanishes_is_not_mistaken_for_the_template(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = [errors.ObjectNotFound("no pool", moref="resgroup-8")]
    with pytest.raises(errors.ObjectNotFound, match="no pool"):
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert world.source.opened == 1


def test_a_locked_fresh_template_is_tried_again(world: World) -> None:
    world.store.faults["clone"] = [errors.FileLocked("locked")] * 5
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.store.volumes == {"volume-id-1": made.entry.moref}
    assert len(world.clock.slept) == 5


def test_a_template_that_stays_locked_gives_up(world: World) -> None:
    world.store.faults["clone"] = [errors.FileLocked("locked")] * 1000
    with pytest.raises(errors.FileLocked):
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert PAUSES_WITHIN_S <= world.clock.elapsed_s <= PAUSES_WITHIN_S + LONGEST_PAUSE_S
    assert world.store.calls["clone"] <= 12


def test_one_bound_holds_for_copies_that_are_locked_and_copies_that_go(world: World) -> None:
    world.store.faults["clone"] = [
        errors.FileLocked("locked") if number % 2 else errors.InUse("being deleted")
        for number in range(1000)
    ]
    with pytest.raises(errors.VCenterError):
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.clock.elapsed_s <= PAUSES_WITHIN_S + LONGEST_PAUSE_S


def test_only_pauses_count_and_not_the_import_between_two_failures(world: World) -> None:
    template = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.faults["clone"] = [
        errors.ObjectNotFound("deleted", moref=template.moref),
        errors.FileLocked("locked after the import"),
    ]
    world.store.during = {
        "clone": lambda: world.store.vms.pop(template.moref, None) and None,
        "upload": lambda: world.clock.advance(PAUSES_WITHIN_S + 1),
    }
    assert not world.engine.create_volume(IMAGE, volume(1), world.source).hit


@pytest.mark.parametrize(
    "fault",
    [errors.NoSpace("full"), errors.LeaseLost("lost"), errors.Unreachable("reset")],
    ids=lambda e: type(e).__name__,
)
def test_a_failed_import_leaves_nothing(world: World, fault: errors.VmdkCacheError) -> None:
    world.store.faults["upload"] = [fault]
    with pytest.raises(type(fault)):
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.store.vms == {}
    assert world.placement.reserved == 0


def test_a_broken_stream_leaves_no_entry(world: World) -> None:
    source = MemorySource(b"half", fault=errors.SourceUnavailable("cut"))
    with pytest.raises(errors.SourceUnavailable):
        world.engine.create_volume(IMAGE, volume(), source)
    assert world.store.vms == {}


def test_altered_bytes_are_never_cloned(world: World) -> None:
    altered = dataclasses.replace(IMAGE, checksum="0" * 32)
    with pytest.raises(errors.ImageCorrupt):
        world.engine.create_volume(altered, volume(), world.source)
    assert world.store.vms == {}
    assert world.store.volumes == {}


def test_a_disk_larger_than_the_volume_is_refused_and_kept_for_others(world: World) -> None:
    small = volume(1, size_bytes=GIB // 2)
    with pytest.raises(errors.VolumeTooSmall, match="volume-id-1"):
        world.engine.create_volume(IMAGE, small, world.source)
    assert world.engine.create_volume(IMAGE, volume(2), world.source).hit


def test_glances_size_saves_the_import(world: World) -> None:
    known = dataclasses.replace(IMAGE, virtual_size_bytes=GIB)
    with pytest.raises(errors.VolumeTooSmall):
        world.engine.create_volume(known, volume(1, size_bytes=GIB // 2), world.source)
    assert world.source.opened == 0


@pytest.mark.parametrize("known", [True, False], ids=["by Glance's word", "by the header"])
def test_an_oversize_image_is_not_cached(world: World, known: bool) -> None:
    engine = world.process(Settings(enabled=True, max_size_bytes=GIB - 1))
    image = dataclasses.replace(IMAGE, virtual_size_bytes=GIB if known else 0)
    with pytest.raises(errors.NotCacheable) as refusal:
        engine.create_volume(image, volume(), world.source)
    assert refusal.value.reason == Reason.IMAGE_TOO_LARGE
    assert "image_cache_max_size_gb" in str(refusal.value)
    assert world.store.vms == {}


def test_no_limit_means_no_limit(world: World) -> None:
    engine = world.process(Settings(enabled=True, max_size_bytes=0))
    assert not engine.create_volume(IMAGE, volume(), world.source).hit


@pytest.mark.parametrize(
    "change", [{"disk_format": "qcow2"}, {"container_format": "docker"}], ids=lambda c: str(*c)
)
def test_an_image_that_cannot_be_imported_is_refused_before_it_is_opened(
    world: World, change: dict[str, str]
) -> None:
    image = dataclasses.replace(IMAGE, **change)
    with pytest.raises(errors.ImageFormatError, match=next(iter(change.values()))):
        world.engine.create_volume(image, volume(), world.source)
    assert world.source.opened == 0


def test_adapters_do_not_share_a_template(world: World) -> None:
    one = world.engine.create_volume(IMAGE, volume(1), world.source)
    two = world.engine.create_volume(IMAGE, volume(2, adapter_type="ide"), world.source)
    assert one.entry.moref != two.entry.moref


def test_a_changed_image_does_not_get_the_old_copy(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    changed = dataclasses.replace(IMAGE, os_hash_value="cd" * 64)
    assert not world.engine.create_volume(changed, volume(2), world.source).hit


def test_reservations_end_with_the_request(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.placement.reserved == 0


def test_a_template_under_deletion_is_waited_for_and_then_a_miss(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    reserved = world.templates_in_use.deleting(first.entry.moref)
    reserved.__enter__()

    def end_of_deletion() -> None:
        if len(world.clock.slept) == 3:
            world.store.vms.pop(first.entry.moref, None)

    world.store.during["copies"] = end_of_deletion
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    reserved.__exit__(None, None, None)
    assert not again.hit
    assert again.entry.moref != first.entry.moref


def test_a_deletion_that_is_called_off_gives_a_hit(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = [errors.InUse("being deleted by another process")] * 3
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert (again.hit, again.entry.moref) == (True, first.entry.moref)


def test_a_deletion_that_never_ends_is_given_up(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    with world.templates_in_use.deleting(first.entry.moref), pytest.raises(errors.ObjectNotFound):
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert world.clock.elapsed_s >= PAUSES_WITHIN_S


def test_a_template_whose_state_never_allows_a_clone_is_tried_a_few_times(world: World) -> None:
    """InvalidState and MethodDisabled may last: an administrator may have disabled the method."""
    world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.calls.clear()
    began = world.clock.monotonic()
    disabled = errors.InUse("the method is disabled", fault="vim.fault.MethodDisabled")
    world.store.faults["clone"] = [disabled] * 1000

    with pytest.raises(errors.InUse):
        world.engine.create_volume(IMAGE, volume(2), world.source)

    assert world.store.calls["clone"] <= 12
    seconds = world.clock.monotonic() - began
    assert PAUSES_WITHIN_S <= seconds <= PAUSES_WITHIN_S + LONGEST_PAUSE_S


def files_lost(times: int) -> list[Exception | None]:
    lost = errors.ObjectNotFound("no such file", moref="task-7", fault=FILES_LOST)
    return [lost] * times


def evicted(world: World) -> list[tuple[str, Rule]]:
    return [(e.template, e.rule) for e in world.events if isinstance(e, Evicted)]


def test_one_clone_that_finds_no_files_removes_no_template(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = files_lost(1)
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert (again.hit, again.entry.moref) == (True, first.entry.moref)
    assert evicted(world) == []
    assert world.store.calls["destroy"] == 0


def test_a_template_that_vcenter_calls_inaccessible_goes_at_once(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = files_lost(1)

    def lose() -> None:
        if world.store.calls["clone"] == 2:
            world.store.vms[first.entry.moref] = dataclasses.replace(
                first.entry, phase=Phase.FOREIGN, record=None, accessible=False, has_config=False
            )

    world.store.during["clone"] = lose
    world.store.calls["clone"] = 1
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert not again.hit
    assert evicted(world) == [(first.entry.name, Rule.BROKEN)]
    assert first.entry.moref not in world.store.vms


def test_a_template_on_a_datastore_out_of_reach_is_not_removed(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.placement.reachable.clear()
    world.store.faults["clone"] = files_lost(9)
    with pytest.raises(errors.ObjectNotFound) as failed:
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert failed.value.fault == FILES_LOST
    assert list(world.store.vms) == [first.entry.moref]
    assert evicted(world) == []
    assert world.store.calls["clone"] == 3
    assert world.clock.elapsed_s < PAUSES_WITHIN_S


def test_a_copy_on_a_datastore_that_went_out_of_reach_gives_way_to_another(world: World) -> None:
    replica = with_two_copies(world)
    world.placement.reachable = {OTHER.datastore}
    world.store.faults["clone"] = files_lost(2)
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert (made.hit, made.entry.moref) == (True, replica.moref)
    assert len(world.store.vms) == 2


def test_a_template_without_files_that_another_thread_removes_is_waited_for(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = files_lost(9)
    locks = MemoryLocks()
    engine = world.process(locks=locks)

    def removed() -> None:
        if world.store.calls["clone"] == 6:
            world.store.vms.pop(first.entry.moref, None)
            world.store.faults["clone"] = []
            held.close()

    world.store.during["clone"] = removed
    with contextlib.ExitStack() as held:
        held.enter_context(locks.hold(lock_name(template_name("b1", KEY)), 0))
        again = engine.create_volume(IMAGE, volume(2), world.source)
    assert not again.hit
    assert evicted(world) == []


def test_a_template_without_its_files_that_vcenter_keeps_ends_the_wait(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = files_lost(9)
    world.store.faults["destroy"] = [errors.NoPermission("no right to delete")]
    with pytest.raises(errors.ObjectNotFound):
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert world.store.calls["clone"] == 3
    assert evicted(world) == []


def test_a_copy_that_vanishes_after_a_long_import_is_a_miss(world: World) -> None:
    """The wait for a disappearing template begins when a clone fails because of it."""

    def vanish() -> None:
        if world.store.calls["clone"] == 1:
            world.store.vms.clear()

    world.store.during = {
        "upload": lambda: world.clock.advance(PAUSES_WITHIN_S + 1),
        "clone": vanish,
    }
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert not made.hit
    assert world.kinds() == ["ImportStarted", "Imported", "ImportStarted", "Imported", "Miss"]


def test_a_volume_on_a_full_datastore_is_placed_on_another(world: World) -> None:
    world.placement = MemoryPlacement(PLACE, OTHER)
    world.engine = world.process()
    world.store.faults["clone"] = [errors.NoSpace("ds1 is full")]
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert made.place == OTHER
    assert world.kinds() == ["ImportStarted", "Imported", "Miss"]
    assert world.placement.reserved == 0


def test_when_every_datastore_is_full_the_error_says_so(world: World) -> None:
    world.placement = MemoryPlacement(PLACE, OTHER)
    world.engine = world.process()
    world.store.faults["clone"] = [errors.NoSpace("ds1 is full"), errors.NoSpace("ds2 is full")]
    with pytest.raises(errors.NoSpace, match="ds2"):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.store.calls["clone"] == 2


def test_a_volume_is_tried_on_a_few_full_datastores_only(world: World) -> None:
    places = [dataclasses.replace(PLACE, datastore=f"datastore-{n}") for n in range(1, 6)]
    world.placement = MemoryPlacement(*places)
    world.engine = world.process()
    world.store.faults["clone"] = [errors.NoSpace("full")] * 9
    with pytest.raises(errors.NoSpace):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.store.calls["clone"] == PLACES


def test_a_ready_copy_that_the_list_does_not_show_yet_is_served(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.copies = lambda key, *, fresh=False: ()  # type: ignore[method-assign]
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert (again.hit, again.entry.moref) == (True, first.entry.moref)
    assert world.clock.slept == []


class _Unopened(MemoryTransfer):
    """An image that Glance does not send."""

    def __call__(self, image: Image, source: ImageSource, *, check_grains: bool = False) -> Any:
        raise errors.SourceUnavailable("Glance is down")


def test_an_import_that_fails_before_there_is_a_vm_says_so(world: World) -> None:
    world.transfer = _Unopened(GIB)
    world.engine = world.process()
    with pytest.raises(errors.SourceUnavailable):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    (told,) = world.events
    assert isinstance(told, ImportFailed)
    assert (told.image_id, told.error) == (IMAGE.id, "SourceUnavailable")


def test_an_abandoned_import_that_cannot_be_removed_is_left_and_reported(world: World) -> None:
    dead = world.store.put_import(KEY, GIB)
    world.store.importing.clear()
    world.store.faults["destroy"] = [errors.NoPermission("no right to delete")]
    with pytest.raises(errors.NotCacheable, match="no right to delete") as refused:
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert refused.value.reason == Reason.NAME_TAKEN
    assert list(world.store.vms) == [dead.moref]
    assert world.events == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"phase": Phase.ALTERED}, "let the next purge do so"),
        ({"phase": Phase.FOREIGN, "was_ready": True}, "convert it back"),
        ({"phase": Phase.FOREIGN, "was_ready": False, "accessible": False}, "files are lost"),
        ({"phase": Phase.FOREIGN, "was_ready": False}, "rename or delete it"),
        ({"phase": Phase.FOREIGN, "was_ready": False, "record": None}, "rename or delete it"),
    ],
    ids=["altered", "converted", "without files", "foreign", "without a record"],
)
def test_another_object_with_the_templates_name_is_reported_with_a_remedy(
    world: World, changes: dict[str, Any], says: str
) -> None:
    entry = world.store.finish_import(world.store.put_import(KEY, GIB))
    world.store.vms[entry.moref] = dataclasses.replace(entry, **changes)
    with pytest.raises(errors.NotCacheable, match=says) as refused:
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert refused.value.reason == Reason.NAME_TAKEN
    assert entry.moref in str(refused.value)


def test_a_template_of_a_later_version_asks_for_an_upgrade(world: World) -> None:
    entry = world.store.finish_import(world.store.put_import(KEY, GIB))
    assert entry.record is not None
    record = dataclasses.replace(entry.record, schema=99)
    world.store.vms[entry.moref] = dataclasses.replace(entry, phase=Phase.FOREIGN, record=record)
    with pytest.raises(errors.NotCacheable, match="upgrade this host"):
        world.engine.create_volume(IMAGE, volume(), world.source)


def test_no_waiter_gets_a_removed_template(world: World) -> None:
    gone = world.engine.create_volume(IMAGE, volume(1), world.source).entry
    removed: list[CacheEntry] = []
    world.engine._queue.remove = removed.append  # type: ignore[method-assign]
    world.store.during["clone"] = lambda: removed or world.store.vms.clear()  # type: ignore[func-returns-value]
    assert not world.engine.create_volume(IMAGE, volume(2), world.source).hit
    assert [copy.moref for copy in removed] == [gone.moref]


def test_an_import_that_turns_out_to_be_done_is_served(world: World) -> None:
    slow = world.store.put_import(KEY, GIB)
    world.store.importing.clear()
    look_again = world.store.look_again

    def finish(entry: CacheEntry) -> CacheEntry | None:
        if world.store.vms[entry.moref].phase is Phase.IMPORTING:
            world.store.finish_import(entry)
        return look_again(entry)

    world.store.look_again = finish  # type: ignore[method-assign]
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.moref) == (True, slow.moref)
    assert world.store.calls["destroy"] == 0


def test_an_import_that_turns_out_to_run_is_waited_for(world: World) -> None:
    slow = world.store.put_import(KEY, GIB)
    world.store.importing.clear()
    world.store.during["look_again"] = lambda: world.store.importing.add(slow.moref)

    def finish() -> None:
        if slow.moref in world.store.importing:
            world.store.finish_import(slow)

    world.store.during["copies"] = finish
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.moref) == (True, slow.moref)
    assert world.store.calls["destroy"] == 0


def test_a_template_without_its_files_is_replaced(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = files_lost(2)
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert not again.hit
    assert list(world.store.vms) == [again.entry.moref]
    assert again.entry.moref != first.entry.moref
    (gone,) = (event for event in world.events if isinstance(event, Evicted))
    assert (gone.template, gone.rule) == (first.entry.name, Rule.BROKEN)


def test_a_taken_name_without_a_visible_owner_ends_the_attempts(world: World) -> None:
    world.store.faults["upload"] = [errors.NameTaken("a folder has it")] * 100
    with pytest.raises(errors.NotCacheable) as refusal:
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert refusal.value.reason == Reason.NAME_TAKEN
    assert NAME_FREE_WITHIN_S <= sum(world.clock.slept) < 2 * NAME_FREE_WITHIN_S
    assert world.store.calls["upload"] < 10


@pytest.mark.parametrize("free_after", [1, 6])
def test_the_name_of_an_import_that_failed_is_waited_for(world: World, free_after: int) -> None:
    """vCenter removes its VM after the lease has ended, and no entry is found under the name."""
    world.store.faults["upload"] = [errors.NameTaken("it is being removed")] * free_after
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert not made.hit
    assert [type(event) for event in world.events[-2:]] == [Imported, Miss]
    assert world.clock.slept == [2.0, 4.0, 8.0, 16.0, 16.0, 16.0][:free_after]


def test_a_lost_lock_does_not_lose_the_import(world: World) -> None:
    class Lost:
        def acquire(self, blocking: object) -> bool:
            return True

        def release(self) -> bool:
            raise OSError("coordinator is gone")

    engine = world.process(locks=ToozLocks(lambda name: Lost(), "vc/b1"))
    assert not engine.create_volume(IMAGE, volume(), world.source).hit
    assert len(world.store.volumes) == 1


def test_a_template_with_an_unreadable_record_does_not_block_requests(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    (entry,) = world.store.vms.values()
    world.store.vms[entry.moref] = dataclasses.replace(entry, phase=Phase.ADOPTED, record=None)
    with pytest.raises(errors.NotCacheable) as refused:
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert refused.value.reason == Reason.NAME_TAKEN
    assert world.clock.slept == []


OTHER = dataclasses.replace(PLACE, datastore="datastore-2", datastore_name="ds2", host="host-2")


def with_two_copies(world: World) -> CacheEntry:
    """A template's replica on the other datastore."""
    world.placement = MemoryPlacement(PLACE, OTHER)
    world.engine = world.process()
    first = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.vms[first.moref] = first = dataclasses.replace(first, host=PLACE.host)
    return world.store.replicate(first, OTHER)


def test_a_volume_is_cloned_from_its_own_datastores_copy(world: World) -> None:
    with_two_copies(world)
    made = [world.engine.create_volume(IMAGE, volume(n), world.source) for n in (1, 2)]
    assert {outcome.entry.datastore for outcome in made} == {"datastore-1", "datastore-2"}
    assert all(outcome.entry.datastore == outcome.place.datastore for outcome in made)
    assert world.source.opened == 1


def test_a_copy_too_new_for_the_volumes_host_gives_way_to_another(world: World) -> None:
    replica = with_two_copies(world)
    refusal = errors.HardwareTooNew("too new")
    world.store.faults["clone"] = [refusal]
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert made.entry.moref == replica.moref


def test_when_no_copy_fits_the_volumes_host_the_reason_is_the_faults(world: World) -> None:
    with_two_copies(world)
    refusal = errors.HardwareTooNew("too new")
    world.store.faults["clone"] = [refusal, refusal]
    with pytest.raises(errors.HardwareTooNew):
        world.engine.create_volume(IMAGE, volume(1), world.source)


def test_a_copy_whose_host_is_in_maintenance_is_not_asked_while_there_is_another(
    world: World,
) -> None:
    replica = with_two_copies(world)
    world.placement.sick_hosts = {PLACE.host}
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert made.entry.moref == replica.moref
    assert world.store.calls["move"] == 0


def test_a_copy_on_a_datastore_out_of_reach_is_not_asked_while_there_is_another(
    world: World,
) -> None:
    replica = with_two_copies(world)
    for entry in list(world.store.vms.values()):
        if entry.moref != replica.moref:
            world.store.vms[entry.moref] = dataclasses.replace(entry, accessible=False)
    third = dataclasses.replace(PLACE, datastore="datastore-3", host="host-3")
    world.placement = MemoryPlacement(third)
    world.engine = world.process()
    assert world.engine.create_volume(IMAGE, volume(1), world.source).entry == replica


def test_the_only_copy_moves_to_a_host_that_can_read_it(world: World) -> None:
    neighbour = dataclasses.replace(PLACE, host="host-9")
    world.placement = MemoryPlacement(PLACE, neighbour)
    world.engine = world.process()
    first = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.vms[first.moref] = dataclasses.replace(first, host=PLACE.host)
    world.placement.sick_hosts = {PLACE.host}
    assert world.engine.create_volume(IMAGE, volume(1), world.source).hit
    assert world.store.vms[first.moref].host == "host-9"


def test_a_host_that_goes_away_during_the_request_fails_no_volume(world: World) -> None:
    replica = with_two_copies(world)
    world.store.faults["clone"] = [errors.HostUnavailable("in maintenance", moref="host-1")]
    world.store.during["clone"] = lambda: world.placement.sick_hosts.add(PLACE.host)
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert made.entry.moref == replica.moref


def test_a_volume_whose_host_goes_away_while_it_waits_is_placed_again(world: World) -> None:
    neighbour = dataclasses.replace(PLACE, host="host-9")
    world.placement = MemoryPlacement(PLACE, neighbour)
    world.engine = world.process()
    template = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.faults["clone"] = [errors.HostUnavailable("in maintenance", moref="host-1")]
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert (made.hit, made.entry.moref, made.place) == (True, template.moref, neighbour)
    assert world.placement.reserved == 0


def test_the_importing_volume_counts_as_a_miss_even_if_placed_again(world: World) -> None:
    world.store.faults["clone"] = [errors.HostUnavailable("in maintenance", moref="host-1")]
    assert not world.engine.create_volume(IMAGE, volume(1), world.source).hit


def test_hosts_that_all_go_end_the_attempts(world: World) -> None:
    world.engine.warm(IMAGE, "lsiLogic", world.source)
    away = errors.HostUnavailable("in maintenance", moref="host-1")
    world.store.faults["clone"] = [away] * 10
    with pytest.raises(errors.HostUnavailable):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.store.calls["clone"] == PLACES


def test_a_template_that_no_host_can_read_is_not_waited_for(world: World) -> None:
    template = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.vms[template.moref] = dataclasses.replace(template, host="host-lost")
    world.placement.sick_hosts = {"host-lost", PLACE.host}
    world.store.faults["clone"] = [errors.HostUnavailable("away", moref="host-lost")] * 10
    began = world.clock.monotonic()
    with pytest.raises(errors.HostUnavailable):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.clock.monotonic() == began


def test_waiting_volumes_learn_that_the_template_has_moved(world: World) -> None:
    neighbour = dataclasses.replace(PLACE, host="host-9")
    world.placement = MemoryPlacement(PLACE, neighbour)
    world.engine = world.process(Settings(enabled=True, clones_per_template=1))
    template = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.vms[template.moref] = dataclasses.replace(template, host=PLACE.host)
    world.placement.sick_hosts = {PLACE.host}
    queue = world.engine._queue
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # The first clone moves it only after the others have read its place and wait.
        world.store.during["move"] = lambda: wait_until(lambda: queue.waiting() == 7)
        made = [
            pool.submit(world.engine.create_volume, IMAGE, volume(n), world.source)
            for n in range(1, 9)
        ]
        assert all(one.result().hit for one in made)
    assert world.store.calls["move"] == 1


def test_a_template_without_its_files_gives_way_to_its_replica(world: World) -> None:
    replica = with_two_copies(world)
    world.store.faults["clone"] = files_lost(2)
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert (made.hit, made.entry.moref) == (True, replica.moref)
    assert list(world.store.vms) == [replica.moref]


def test_a_warm_up_counts_for_every_copy(world: World) -> None:
    with_two_copies(world)
    world.clock.advance(1000)
    world.engine.warm(IMAGE, "lsiLogic", world.source)
    assert {entry.warmed_at for entry in world.store.vms.values()} == {world.clock.now()}


class _DefectError(Exception):
    """An error of no class of this package."""


class _Overdrawn(MemoryPlacement):
    """Its accounting is wrong once the volume exists."""

    @contextlib.contextmanager
    def for_volume(
        self, volume: Volume, size_bytes: int, excluded: Collection[str] = ()
    ) -> Iterator[Place]:
        with super().for_volume(volume, size_bytes, excluded) as place:
            yield place
        raise _DefectError("a defect")


class _Forgetful(TemplatesInUse):
    @contextlib.contextmanager
    def use(self, moref: str) -> Iterator[None]:
        with super().use(moref):
            yield
        raise _DefectError("a defect")


@contextlib.contextmanager
def _unlockable() -> Iterator[None]:
    yield
    raise errors.Unreachable("the lock of the volume's deletion cannot be released")


@pytest.mark.parametrize(
    "where", ["usage", "events", "placement", "templates_in_use", "deletion lock"]
)
@pytest.mark.parametrize("number", [1, 2], ids=["miss", "hit"])
def test_no_later_error_fails_a_volume_that_exists(
    world: World, where: str, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    if number == 2:
        world.engine.create_volume(IMAGE, volume(1), world.source)
    world.clock.advance(3600)
    if where == "usage":
        world.store.faults["touch"] = [_DefectError("a defect")]
    elif where == "placement":
        world.placement = _Overdrawn()
    elif where == "templates_in_use":
        world.templates_in_use = _Forgetful()
    if where == "events":
        world.events = _DeafTo(Hit, Miss)  # type: ignore[assignment]
    world.engine = world.process()
    with caplog.at_level("INFO"):
        waits = _unlockable if where == "deletion lock" else contextlib.nullcontext
        wanted = volume(number, deletion_lock=waits)
        made = world.engine.create_volume(IMAGE, wanted, world.source)
    assert made.hit == (number == 2)
    assert made.place == PLACE
    assert world.store.volumes[f"volume-id-{number}"] == made.entry.moref
    assert world.store.calls["clone"] == number
    assert any(
        "a defect" in message or "cannot be released" in message
        for message in (record.getMessage() for record in caplog.records)
    )


class _DeafTo(list[object]):
    """Events with a listener that fails for some kinds of them."""

    def __init__(self, *kinds: type) -> None:
        super().__init__()
        self._kinds = kinds

    def append(self, event: object) -> None:
        if isinstance(event, self._kinds):
            raise _DefectError("a defect")
        super().append(event)


def test_a_defect_before_the_clone_is_no_volume(world: World) -> None:
    world.store.faults["clone"] = [_DefectError("a defect")]
    with pytest.raises(_DefectError):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.store.volumes == {}


@pytest.mark.parametrize("work", ["create_volume", "warm", "check_warm"])
@pytest.mark.parametrize("adapter", ["floppy", "LSILOGIC", "x\n\x1b[2J"])
def test_an_adapter_that_vsphere_does_not_have_is_refused_before_glance_is_asked(
    world: World, work: str, adapter: str
) -> None:
    image = dataclasses.replace(IMAGE, adapter_type=adapter)
    calls: dict[str, Callable[[], object]] = {
        "create_volume": lambda: world.engine.create_volume(
            image, volume(1, adapter_type=adapter), world.source
        ),
        "warm": lambda: world.engine.warm(image, "lsiLogic", world.source),
        "check_warm": lambda: world.engine.check_warm(image, "lsiLogic"),
    }
    with pytest.raises(errors.ImageFormatError, match="vmware_adaptertype") as refused:
        calls[work]()
    assert str(refused.value).isprintable()
    assert "paraVirtual" in str(refused.value), "it says what to set"
    assert world.source.opened == 0
    assert world.events == []


@pytest.mark.parametrize("adapter", admission.ADAPTER_TYPES)
def test_each_adapter_that_vsphere_has_is_taken(world: World, adapter: str) -> None:
    image = dataclasses.replace(IMAGE, adapter_type=adapter)
    world.engine.check_warm(image, "lsiLogic")
    made = world.engine.create_volume(image, volume(1, adapter_type=adapter), world.source)
    assert made.entry.record is not None
    assert made.entry.record.key.adapter_type == adapter


class Owner:
    """Cinder, for one volume.

    :ivar deleted: it has deleted the volume
    :ivar asked: how often the cache has checked that the volume is still wanted
    :ivar waits: its deletion would wait now
    """

    def __init__(self) -> None:
        self.deleted = False
        self.asked = 0
        self.waits = False

    def is_wanted(self) -> bool:
        self.asked += 1
        return not self.deleted

    @contextlib.contextmanager
    def deletion_lock(self) -> Iterator[None]:
        assert not self.waits
        self.waits = True
        try:
            yield
        finally:
            self.waits = False

    def volume(self, number: int) -> Volume:
        return volume(number, is_wanted=self.is_wanted, deletion_lock=self.deletion_lock)


def test_a_volume_deleted_while_it_waits_is_not_cloned_and_keeps_no_slot(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    engine = world.process(Settings(enabled=True, clones_per_template=1))
    owner, go_on = Owner(), threading.Event()
    world.store.during["clone"] = lambda: _wait(go_on)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        first = pool.submit(engine.create_volume, IMAGE, volume(2), world.source)
        wait_until(lambda: world.store.calls["clone"] == 2)
        second = pool.submit(engine.create_volume, IMAGE, owner.volume(3), world.source)
        wait_until(lambda: engine._queue.waiting() == 1)
        third = pool.submit(engine.create_volume, IMAGE, volume(4), world.source)
        owner.deleted = True
        go_on.set()
        assert (first.result(PATIENCE_S).hit, third.result(PATIENCE_S).hit) == (True, True)
        with pytest.raises(errors.VolumeDeleted, match="volume-id-3"):
            second.result(PATIENCE_S)
    assert world.store.volumes.keys() == {"volume-id-1", "volume-id-2", "volume-id-4"}
    assert world.store.calls["clone"] == 3
    assert world.templates_in_use.morefs() == frozenset()


def _wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)


@pytest.mark.parametrize("deleted", [1, 2])
def test_an_import_goes_on_for_others_though_its_volume_is_deleted(
    world: World, deleted: int
) -> None:
    owner, go_on = Owner(), threading.Event()
    volumes = {1: volume(1), 2: volume(2), deleted: owner.volume(deleted)}
    world.store.during["upload"] = lambda: _wait(go_on)
    flights = world.engine._importer._flights
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = {1: pool.submit(world.engine.create_volume, IMAGE, volumes[1], world.source)}
        wait_until(lambda: world.store.calls["upload"] == 1)
        asked[2] = pool.submit(world.engine.create_volume, IMAGE, volumes[2], world.source)
        wait_until(lambda: flights.waiting(KEY) == 1)
        owner.deleted = True
        go_on.set()
        with pytest.raises(errors.VolumeDeleted):
            asked.pop(deleted).result(PATIENCE_S)
        (other,) = asked.values()
        other.result(PATIENCE_S)
    assert world.store.volumes.keys() == {f"volume-id-{3 - deleted}"}
    assert world.store.calls["upload"] == 1


def test_a_volume_is_looked_up_twice_and_its_deletion_waits_for_the_clone(world: World) -> None:
    owner = Owner()
    seen: list[tuple[bool, int]] = []
    world.store.during["clone"] = lambda: seen.append((owner.waits, owner.asked))
    world.engine.create_volume(IMAGE, owner.volume(1), world.source)
    assert seen == [(True, 1)]
    assert (owner.waits, owner.asked) == (False, 2)


def test_the_vm_of_a_volume_that_gets_another_image_goes_before_the_clone_can_begin(
    world: World,
) -> None:
    """Not before the template exists, nor for an image that cannot become the volume."""
    owner = Owner()
    seen: list[tuple[bool, int, int]] = []

    def remove_old_vm() -> None:
        seen.append((owner.waits, len(world.store.vms), world.store.calls["clone"]))

    volume_of = dataclasses.replace(owner.volume(1), remove_old_vm=remove_old_vm)
    small = dataclasses.replace(volume_of, size_bytes=1)
    with pytest.raises(errors.VolumeTooSmall):
        world.engine.create_volume(IMAGE, small, world.source)
    assert seen == []
    world.engine.create_volume(IMAGE, volume_of, world.source)
    assert seen == [(True, 1, 0)]


def test_a_volume_deleted_during_its_clone_is_removed(world: World) -> None:
    owner = Owner()

    def delete() -> None:
        owner.deleted = True

    world.store.during["clone"] = delete
    with pytest.raises(errors.VolumeDeleted):
        world.engine.create_volume(IMAGE, owner.volume(1), world.source)
    assert world.store.volumes == {}
    assert "Miss" not in world.kinds()


def test_an_import_whose_vm_exists_is_counted_once(world: World) -> None:
    """It counts as a VM, and no longer as a reservation."""
    engine = world.process(Settings(enabled=True, max_count=2))
    other = dataclasses.replace(IMAGE, id="22222222-2222-3333-4444-555555555555")

    def import_another() -> None:
        world.store.during.clear()
        assert not engine.create_volume(other, volume(2), world.source).hit

    world.store.during["upload"] = import_another
    assert not engine.create_volume(IMAGE, volume(1), world.source).hit
    assert len(world.store.vms) == 2

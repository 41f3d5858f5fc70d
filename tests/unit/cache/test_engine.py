"""The engine's decisions, on ports in memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterator

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
from vmdk_cache import errors
from vmdk_cache.cache import file_locked
from vmdk_cache.cache.engine import DELETED_WITHIN_S, FILES_LOST, PLACES
from vmdk_cache.cache.entry import CacheEntry, Phase
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
from vmdk_cache.cache.importer import ABANDONED_AFTER, NAME_TAKEN_ROUNDS
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.locks import ToozLocks

KEY = CacheKey.of(IMAGE, "lsiLogic")
PATIENCE_S = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads bring about; fails when they never do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.002)


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


def test_the_time_of_a_volume_is_told_by_where_it_went(world: World) -> None:
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


@pytest.mark.parametrize("fails_at", ["source", "import_"])
def test_an_import_that_fails_says_so(world: World, fails_at: str) -> None:
    if fails_at == "source":
        world.source.fault = errors.SourceUnavailable("gone")
    else:
        world.store.faults["import_"] = [errors.NoSpace("full")]
    with pytest.raises(errors.VmdkCacheError) as failed:
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.kinds() == ["ImportStarted", "ImportFailed"]
    told = world.events[1]
    assert isinstance(told, ImportFailed)
    assert told.error == type(failed.value).__name__


def test_what_the_cache_does_not_take_is_no_failed_import(world: World) -> None:
    world.engine = world.process(Settings(enabled=True, max_size_bytes=GIB - 1))
    with pytest.raises(errors.NotCacheable):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.kinds() == []


def test_a_rival_that_was_faster_is_no_failed_import(world: World) -> None:
    class Overtaken(MemoryTransfer):
        @contextlib.contextmanager
        def __call__(self, image: Image, source: ImageSource) -> Iterator[MemoryDisk]:
            world.store.finish_import(world.store.begin_import(KEY, GIB))
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
    rival = world.store.begin_import(KEY, GIB)
    world.store.during["find"] = lambda: (
        world.store.finish_import(rival) and None if world.clock.slept else None
    )
    made = world.process(locks=NoLocks()).create_volume(IMAGE, volume(), world.source)
    assert (made.hit, made.entry.moref) == (True, rival.moref)
    assert world.source.opened == 0
    assert world.store.calls["destroy"] == 0


def test_an_abandoned_import_is_replaced_and_not_cloned(world: World) -> None:
    dead = world.store.begin_import(KEY, GIB)
    world.store.importing.clear()
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert made.entry.moref != dead.moref
    assert dead.moref not in world.store.vms
    assert world.clock.monotonic() >= ABANDONED_AFTER.total_seconds()


def test_an_import_that_still_runs_elsewhere_is_never_removed(world: World) -> None:
    rival = world.store.begin_import(KEY, GIB)
    engine = world.process(Settings(enabled=True, lock_timeout_s=300), NoLocks())
    with pytest.raises(errors.LockTimeout):
        engine.create_volume(IMAGE, volume(), world.source)
    assert rival.moref in world.store.vms


def test_somebody_elses_vm_of_that_name_is_left_alone(world: World) -> None:
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
    locked = errors.FileLocked("locked")
    world.store.faults["clone"] = [locked] * (file_locked.ATTEMPTS - 1)
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.store.volumes == {"volume-id-1": made.entry.moref}
    assert len(world.clock.slept) == file_locked.ATTEMPTS - 1


def test_a_template_that_stays_locked_gives_up(world: World) -> None:
    world.store.faults["clone"] = [errors.FileLocked("locked")] * file_locked.ATTEMPTS
    with pytest.raises(errors.FileLocked):
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.store.calls["clone"] == file_locked.ATTEMPTS


@pytest.mark.parametrize(
    "fault",
    [errors.NoSpace("full"), errors.LeaseLost("lost"), errors.Unreachable("reset")],
    ids=lambda e: type(e).__name__,
)
def test_a_failed_import_leaves_nothing(world: World, fault: errors.VmdkCacheError) -> None:
    world.store.faults["import_"] = [fault]
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


def test_glances_own_word_on_the_size_saves_the_import(world: World) -> None:
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
def test_what_nobody_can_import_is_refused_before_anything_is_opened(
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
    condemned = world.leases.condemn(first.entry.moref)
    condemned.__enter__()

    def end_of_deletion() -> None:
        if len(world.clock.slept) == 3:
            world.store.vms.pop(first.entry.moref, None)

    world.store.during["copies"] = end_of_deletion
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    condemned.__exit__(None, None, None)
    assert not again.hit
    assert again.entry.moref != first.entry.moref


def test_a_deletion_that_is_called_off_gives_a_hit(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = [errors.InUse("being deleted by another process")] * 3
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert (again.hit, again.entry.moref) == (True, first.entry.moref)


def test_a_deletion_that_never_ends_is_not_waited_for_for_ever(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    with world.leases.condemn(first.entry.moref), pytest.raises(errors.ObjectNotFound):
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert world.clock.monotonic() >= DELETED_WITHIN_S


def test_a_template_without_its_files_is_replaced(world: World) -> None:
    first = world.engine.create_volume(IMAGE, volume(1), world.source)
    world.store.faults["clone"] = [
        errors.ObjectNotFound("no such file", moref="task-7", fault=FILES_LOST)
    ]
    again = world.engine.create_volume(IMAGE, volume(2), world.source)
    assert not again.hit
    assert list(world.store.vms) == [again.entry.moref]
    assert again.entry.moref != first.entry.moref
    (gone,) = (event for event in world.events if isinstance(event, Evicted))
    assert (gone.template, gone.rule) == (first.entry.name, Rule.BROKEN)


def test_a_name_that_nobody_seen_bears_ends_the_attempts(world: World) -> None:
    world.store.faults["import_"] = [errors.NameTaken("a folder has it")] * 100
    with pytest.raises(errors.NotCacheable) as refusal:
        world.engine.create_volume(IMAGE, volume(), world.source)
    assert refusal.value.reason == Reason.NAME_TAKEN
    assert world.store.calls["import_"] == NAME_TAKEN_ROUNDS


def test_a_lost_lock_does_not_lose_the_import(world: World) -> None:
    class Lost:
        def acquire(self, blocking: object) -> bool:
            return True

        def release(self) -> bool:
            raise OSError("coordinator is gone")

    engine = world.process(locks=ToozLocks(lambda name: Lost(), "vc/b1"))
    assert not engine.create_volume(IMAGE, volume(), world.source).hit
    assert len(world.store.volumes) == 1


def test_a_template_whose_record_nobody_can_read_does_not_hold_up_requests(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(1), world.source)
    (entry,) = world.store.vms.values()
    world.store.vms[entry.moref] = dataclasses.replace(entry, phase=Phase.ADOPTED, record=None)
    with pytest.raises(errors.NotCacheable) as refused:
        world.engine.create_volume(IMAGE, volume(2), world.source)
    assert refused.value.reason == Reason.NAME_TAKEN
    assert world.clock.slept == []


OTHER = dataclasses.replace(PLACE, datastore="datastore-2", datastore_name="ds2", host="host-2")


def with_two_copies(world: World) -> CacheEntry:
    """The replica, on the other datastore, of a template."""
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


def test_a_host_that_goes_meanwhile_costs_no_volume(world: World) -> None:
    replica = with_two_copies(world)
    world.store.faults["clone"] = [errors.HostUnavailable("in maintenance", moref="host-1")]
    world.store.during["clone"] = lambda: world.placement.sick_hosts.add(PLACE.host)
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert made.entry.moref == replica.moref


def test_a_volume_whose_host_goes_while_it_waits_is_placed_anew(world: World) -> None:
    neighbour = dataclasses.replace(PLACE, host="host-9")
    world.placement = MemoryPlacement(PLACE, neighbour)
    world.engine = world.process()
    template = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.faults["clone"] = [errors.HostUnavailable("in maintenance", moref="host-1")]
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert (made.hit, made.entry.moref, made.place) == (True, template.moref, neighbour)
    assert world.placement.reserved == 0


def test_whoever_imported_is_told_so_though_placed_anew(world: World) -> None:
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


def test_those_in_line_know_that_the_template_has_moved(world: World) -> None:
    neighbour = dataclasses.replace(PLACE, host="host-9")
    world.placement = MemoryPlacement(PLACE, neighbour)
    world.engine = world.process(Settings(enabled=True, clones_per_template=1))
    template = world.engine.warm(IMAGE, "lsiLogic", world.source)[0]
    world.store.vms[template.moref] = dataclasses.replace(template, host=PLACE.host)
    world.placement.sick_hosts = {PLACE.host}
    queue = world.engine._queue
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # The first moves it only once the others have read where it was, and stand in line.
        world.store.during["move"] = lambda: wait_until(lambda: queue.waiting() == 7)
        made = [
            pool.submit(world.engine.create_volume, IMAGE, volume(n), world.source)
            for n in range(1, 9)
        ]
        assert all(one.result().hit for one in made)
    assert world.store.calls["move"] == 1


def test_a_template_without_its_files_gives_way_to_its_replica(world: World) -> None:
    replica = with_two_copies(world)
    world.store.faults["clone"] = [
        errors.ObjectNotFound("no such file", moref="task-7", fault=FILES_LOST)
    ]
    made = world.engine.create_volume(IMAGE, volume(1), world.source)
    assert (made.hit, made.entry.moref) == (True, replica.moref)
    assert list(world.store.vms) == [replica.moref]


def test_a_warm_up_counts_for_every_copy(world: World) -> None:
    with_two_copies(world)
    world.clock.advance(1000)
    world.engine.warm(IMAGE, "lsiLogic", world.source)
    assert {entry.warmed_at for entry in world.store.vms.values()} == {world.clock.now()}

"""When replicas are made, and from which copy; a missing replica delays no volume."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import logging
import threading
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import PLACE, MemoryLocks, MemoryPlacement, MemoryStore, memory_context
from tests.unit.cache.conftest import GIB, IMAGE
from vmdk_cache import conf, errors
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Event, Replicated
from vmdk_cache.cache.eviction_plan import Verdict, plan_eviction
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.key import (
    CacheKey,
    free_replica_name,
    is_copy_name,
    lock_name,
    replica_name,
)
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.replication import (
    AT_ONCE,
    DEMAND_LIFE_S,
    PAUSE_AFTER_FAILURE_S,
    THREAD_NAME,
    Replication,
)
from vmdk_cache.cache.room import Room
from vmdk_cache.cache.templates_in_use import TemplatesInUse
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings

SECOND = Place("datastore-2", "ds2", "host-2", "pool-1", "datacenter-1")
THIRD = Place("datastore-3", "ds3", "host-3", "pool-1", "datacenter-1")
FOURTH = Place("datastore-4", "ds4", "host-4", "pool-1", "datacenter-1")
FIFTH = Place("datastore-5", "ds5", "host-5", "pool-1", "datacenter-1")
AFTER = 2  # image_cache_replicate_after


def key(number: int = 1) -> CacheKey:
    image = dataclasses.replace(IMAGE, id=f"{number:08}-0000-4000-8000-000000000000")
    return CacheKey.of(image, "lsiLogic")


class RecordingQueue(CloneQueue):
    """A queue without waiters.

    :ivar changed: copies that were added
    :ivar pending: datastores that have a pending copy
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(lambda: 1, clock, TemplatesInUse())
        self.changed: list[CacheEntry] = []
        self.pending: set[str] = set()

    def add(self, copy: CacheEntry) -> None:
        super().add(copy)
        self.changed.append(copy)

    def set_pending(self, key: CacheKey, datastore: str) -> None:
        super().set_pending(key, datastore)
        self.pending.add(datastore)

    def clear_pending(self, key: CacheKey, datastore: str) -> None:
        super().clear_pending(key, datastore)
        self.pending.discard(datastore)


class World:
    """A replication on ports in memory; every template starts on ``PLACE``."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.placement = MemoryPlacement(PLACE, SECOND, THIRD, FOURTH, FIFTH)
        self.locks = MemoryLocks()
        self.templates_in_use = TemplatesInUse()
        self.events: list[Event] = []
        self.queue = RecordingQueue(self.clock)
        self.replication = self.process()

    def process(self, **options: Any) -> Replication:
        """Another process that shares vCenter, locks and the templates in use."""
        settings = Settings(enabled=True, replicate_after=AFTER, **options)
        context = memory_context(
            settings,
            store=self.store,
            placement=self.placement,
            locks=self.locks,
            templates_in_use=self.templates_in_use,
            events=self.events.append,
            clock=self.clock,
        )
        self.evictor = Evictor(context)
        self.room = Room(context, self.evictor)
        self.replication = Replication(context, room=self.room, queue=self.queue)
        return self.replication

    def template(self, of: CacheKey, host: str = PLACE.host) -> CacheEntry:
        made = self.store.finish_import(self.store.put_import(of, GIB))
        self.store.vms[made.moref] = dataclasses.replace(made, host=host)
        return self.store.vms[made.moref]

    def ask(self, of: CacheKey, place: Place = SECOND, times: int = AFTER + 1) -> None:
        for _ in range(times):
            self.replication.asked(of, self.store.copies(of), place)

    def replicas(self) -> list[str]:
        """Places of the replicas of all images."""
        return sorted(e.datastore or "" for e in self.store.vms.values() if "-" in e.name[-5:])


def at_work() -> set[threading.Thread]:
    threads = threading.enumerate()
    # A thread that is just starting must be awaited through the thread that starts it.
    return {thread for thread in threads if thread.name == THREAD_NAME and thread.is_alive()}


def settle() -> None:
    """Wait until all replicas that were begun have ended."""
    while threads := at_work():
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def wait_for(event: threading.Event) -> None:
    assert event.wait(60)


@pytest.fixture
def world() -> World:
    return World()


# -- when


def test_a_datastore_gets_its_replica_with_the_first_volume_beyond_the_option(world: World) -> None:
    template = world.template(key())
    world.ask(key(), times=AFTER)
    settle()
    assert world.replicas() == []
    world.ask(key(), times=1)
    settle()
    (replica,) = (e for e in world.store.vms.values() if e.moref != template.moref)
    assert replica.name == replica_name("b1", key(), SECOND.datastore)
    assert (replica.phase, replica.datastore) == (Phase.READY, SECOND.datastore)
    assert replica.record == template.record
    assert [entry.moref for entry in world.queue.changed] == [replica.moref]
    assert world.events == [
        Replicated("b1", key().image_id, replica.name, SECOND.datastore_name, 0.0)
    ]


def test_datastores_and_images_are_counted_apart(world: World) -> None:
    world.template(key(1))
    world.template(key(2))
    for place in (SECOND, THIRD):
        world.ask(key(1), place, times=AFTER)
        world.ask(key(2), place, times=AFTER)
    settle()
    assert world.replicas() == []


def test_volumes_days_apart_make_no_replica(world: World) -> None:
    world.template(key())
    for _ in range(3 * AFTER):
        world.ask(key(), times=1)
        world.clock.advance(DEMAND_LIFE_S + 1)
    settle()
    assert world.replicas() == []


def test_a_burst_makes_one_replica(world: World) -> None:
    world.template(key())
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        for _ in range(100):
            pool.submit(world.ask, key(), times=1)
    settle()
    assert world.store.calls["replicate"] == 1


def test_several_processes_make_one_replica(world: World) -> None:
    world.template(key())
    copies = world.store.copies(key())
    both = [world.replication, world.process()]
    go = threading.Event()
    world.store.during["replicate"] = lambda: wait_for(go)
    for replication in both:
        for _ in range(AFTER + 1):
            replication.asked(key(), copies, SECOND)
    go.set()
    settle()
    assert world.replicas() == [SECOND.datastore]
    assert world.store.calls["replicate"] == 1


@pytest.mark.parametrize("option", [conf.REPLICAS_OFF, conf.REPLICAS_ON_DEMAND])
def test_the_option_switches_replicas_off(world: World, option: str) -> None:
    world.process(replicas=option)
    world.template(key())
    world.ask(key(), times=100)
    settle()
    assert bool(world.replicas()) is (option == conf.REPLICAS_ON_DEMAND)


def test_a_volume_on_a_copys_datastore_requests_no_replica(world: World) -> None:
    world.template(key())
    world.ask(key(), PLACE, times=100)
    settle()
    assert world.store.calls["replicate"] == 0


def test_the_last_copy_may_be_deleted_before_its_replica_is_begun(world: World) -> None:
    template = world.template(key())
    del world.store.vms[template.moref]
    for _ in range(AFTER + 1):
        world.replication.asked(key(), [template], SECOND)
    settle()
    assert world.store.calls["replicate"] == 0


def test_a_replica_that_was_deleted_is_made_again_when_asked_for_again(world: World) -> None:
    world.template(key())
    world.ask(key())
    settle()
    (replica,) = world.queue.changed
    del world.store.vms[replica.moref]
    world.ask(key(), times=AFTER)
    settle()
    assert world.replicas() == []
    world.ask(key(), times=1)
    settle()
    assert world.replicas() == [SECOND.datastore]


@pytest.mark.parametrize(("apart_s", "made"), [(DEMAND_LIFE_S, True), (DEMAND_LIFE_S + 1, False)])
def test_a_demand_lives_for_a_day_and_no_longer(world: World, apart_s: float, made: bool) -> None:
    world.template(key())
    world.ask(key(), times=AFTER)
    world.clock.advance(apart_s)
    world.ask(key(), times=1)
    settle()
    assert (world.replicas() == [SECOND.datastore]) is made


def test_a_demand_is_not_forgotten_when_another_datastore_is_asked_for(world: World) -> None:
    """Old demands are dropped then, and only those."""
    world.template(key())
    world.ask(key(), times=AFTER)
    world.clock.advance(DEMAND_LIFE_S)
    world.ask(key(), THIRD, times=1)
    world.ask(key(2), THIRD, times=1)
    world.ask(key(), times=1)
    settle()
    assert world.replicas() == [SECOND.datastore]


def test_expired_demand_takes_no_memory(world: World) -> None:
    world.template(key(1))
    for number in range(1, 50):
        world.ask(key(number), times=1)
    world.clock.advance(DEMAND_LIFE_S + 1)
    world.ask(key(50), times=1)
    assert list(world.replication._demands) == [key(50)]


def test_a_replica_is_reported_with_the_time_that_it_took(world: World) -> None:
    world.template(key())
    world.store.during["replicate"] = lambda: world.clock.advance(40)
    world.replication.make(key(), SECOND.datastore)
    world.replication.make(key(), SECOND.datastore)
    (event,) = world.events
    assert isinstance(event, Replicated)
    assert event.seconds == 40.0


# -- a replica that an administrator moved to another datastore


def move(world: World, moref: str, place: Place) -> None:
    moved = dataclasses.replace(world.store.vms[moref], datastore=place.datastore, host=place.host)
    world.store.vms[moref] = moved


def test_a_datastore_whose_replica_was_moved_away_gets_another_one(world: World) -> None:
    """The moved replica keeps the name that the datastore's replica usually has."""
    world.template(key())
    names = set()
    for other in (THIRD, FOURTH, FIFTH):
        replica, made = world.replication.make(key(), SECOND.datastore)
        assert made
        assert (replica.phase, replica.datastore) == (Phase.READY, SECOND.datastore)
        assert is_copy_name(replica.name, "b1", key())
        names.add(replica.name)
        move(world, replica.moref, other)
    assert len(names) == 3
    assert [type(event) for event in world.events] == [Replicated] * 3


def test_volumes_have_the_replica_made_that_was_moved_away(world: World) -> None:
    world.template(key())
    world.ask(key())
    settle()
    (replica,) = world.queue.changed
    move(world, replica.moref, THIRD)
    world.ask(key())
    settle()
    assert world.replicas() == [SECOND.datastore, THIRD.datastore]


def test_a_moved_replica_counts_where_it_is(world: World) -> None:
    world.template(key())
    replica, _ = world.replication.make(key(), SECOND.datastore)
    move(world, replica.moref, THIRD)
    found, made = world.replication.make(key(), THIRD.datastore)
    assert (found.moref, made) == (replica.moref, False)
    world.ask(key(), THIRD, times=10 * AFTER)
    settle()
    assert world.replicas() == [THIRD.datastore]


def test_a_replica_with_another_name_is_not_taken_for_broken_while_it_is_made(
    world: World,
) -> None:
    world.template(key())
    replica, _ = world.replication.make(key(), SECOND.datastore)
    move(world, replica.moref, THIRD)
    name = free_replica_name("b1", key(), SECOND.datastore, {replica.name})
    free: list[str] = []

    def try_locks() -> None:
        for lock in map(lock_name, (name, replica.name)):
            with contextlib.suppress(errors.LockTimeout), world.locks.hold(lock, 0):
                free.append(lock)

    world.store.during["replicate"] = try_locks
    made, _ = world.replication.make(key(), SECOND.datastore)
    assert (made.name, free) == (name, [])
    try_locks()
    assert free == [lock_name(name), lock_name(replica.name)]


def test_a_name_that_another_object_has_is_not_tried_forever(world: World) -> None:
    """It is no copy of the key; a reconcile finds out what it is."""
    template = world.template(key())
    name = replica_name("b1", key(), SECOND.datastore)
    world.store.vms["vm-9"] = dataclasses.replace(
        template, moref="vm-9", name=name, phase=Phase.FOREIGN, record=None
    )
    with pytest.raises(errors.NameTaken):
        world.replication.make(key(), SECOND.datastore)
    assert world.store.calls["replicate"] == 1
    del world.store.vms["vm-9"]
    made, _ = world.replication.make(key(), SECOND.datastore)
    assert made.name == name


# -- how many at a time


def test_few_replicas_are_made_at_a_time_and_all_in_the_end(world: World) -> None:
    keys = [key(number) for number in range(1, 2 * AT_ONCE + 2)]
    entered, go = threading.Semaphore(0), threading.Event()
    at_work, most, guard = 0, 0, threading.Lock()

    def count() -> None:
        nonlocal at_work, most
        with guard:
            at_work += 1
            most = max(most, at_work)
        entered.release()
        wait_for(go)
        with guard:
            at_work -= 1

    world.store.during["replicate"] = count
    for one in keys:
        world.template(one)
        world.ask(one)
    for _ in range(AT_ONCE):
        assert entered.acquire(timeout=60)
    go.set()
    settle()
    assert most == AT_ONCE
    assert world.replicas() == [SECOND.datastore] * len(keys)


def test_replicas_of_a_key_double_while_others_go_on(world: World) -> None:
    """Each is read from another copy: one at first, then two. Another image gets a turn in
    between.
    """
    entered, go = threading.Semaphore(0), {n: threading.Event() for n in (1, 2)}
    begun: list[int] = []
    sources: list[frozenset[str]] = []

    def look() -> None:
        copies = len(world.store.copies(key(1)))
        begun.append(copies)
        sources.append(world.templates_in_use.morefs())
        entered.release()
        wait_for(go[copies])

    world.store.during["replicate"] = look
    first = world.template(key(1))
    for place in (SECOND, THIRD, FOURTH):
        world.ask(key(1), place)
    assert entered.acquire(timeout=60)
    assert world.queue.pending == {SECOND.datastore, THIRD.datastore, FOURTH.datastore}
    other = world.template(key(2))
    world.ask(key(2), FIFTH)
    assert entered.acquire(timeout=60)
    assert sources == [frozenset({first.moref}), frozenset({first.moref, other.moref})]
    go[1].set()
    for _ in range(2):
        assert entered.acquire(timeout=60)
    (replica,) = (e for e in world.queue.changed if e.datastore == SECOND.datastore)
    assert begun == [1, 1, 2, 2]
    assert sources[-1] == {first.moref, replica.moref}
    go[2].set()
    settle()
    assert world.replicas() == [SECOND.datastore, THIRD.datastore, FOURTH.datastore, "datastore-5"]
    assert world.queue.pending == set()


def test_a_replica_without_a_new_source_waits_without_taking_a_turn(world: World) -> None:
    """Otherwise one image with many datastores would hold up all others."""
    entered, go = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        entered.release()
        wait_for(go)

    world.store.during["replicate"] = wait
    world.template(key(1))
    for place in (SECOND, THIRD, FOURTH, FIFTH):
        world.ask(key(1), place)
    assert entered.acquire(timeout=60)
    for number in range(2, AT_ONCE + 1):
        world.template(key(number))
        world.ask(key(number))
        assert entered.acquire(timeout=60)
    assert len(at_work()) == AT_ONCE
    go.set()
    settle()
    assert len(world.replicas()) == 4 + AT_ONCE - 1


def test_replicas_for_waiting_volumes_begin_when_the_import_ends(world: World) -> None:
    for place, volumes in ((PLACE, 9), (SECOND, AFTER + 1), (THIRD, AFTER)):
        for _ in range(volumes):
            world.replication.asked(key(), [], place)
    settle()
    assert world.replicas() == []
    copies = [world.template(key())]
    world.replication.begin(key(), copies)
    world.replication.begin(key(), copies)
    settle()
    assert world.replicas() == [SECOND.datastore]


def test_a_replica_is_pending_until_it_is_made_or_given_up(world: World) -> None:
    world.template(key())
    pending: list[set[str]] = []
    world.store.during["replicate"] = lambda: pending.append(set(world.queue.pending))
    world.store.faults["replicate"] = [errors.NoSpace("full")]
    world.ask(key())
    settle()
    assert world.queue.pending == set()
    world.clock.advance(PAUSE_AFTER_FAILURE_S)
    world.ask(key())
    settle()
    assert world.queue.pending == set()
    assert pending[-1] == {SECOND.datastore}


def test_waiting_volumes_get_a_copy_that_another_process_made_meanwhile(world: World) -> None:
    template = world.template(key())
    made = world.store.replicate(template, SECOND)
    for _ in range(AFTER + 1):
        world.replication.asked(key(), [template], SECOND)
    settle()
    assert [entry.moref for entry in world.queue.changed] == [made.moref]
    assert world.queue.pending == set()


def test_asking_does_not_wait_for_a_replica(world: World) -> None:
    """The thread that asks belongs to a user's request."""
    world.template(key())
    go = threading.Event()
    world.store.during["replicate"] = lambda: wait_for(go)
    world.ask(key(), times=100)
    assert world.replicas() == []
    go.set()
    settle()


def test_after_close_no_replica_begins_and_waiting_ones_are_dropped(world: World) -> None:
    keys = [key(number) for number in range(1, AT_ONCE + 2)]
    entered, go = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        entered.release()
        wait_for(go)

    world.store.during["replicate"] = wait
    for one in keys:
        world.template(one)
        world.ask(one)
    for _ in range(AT_ONCE):
        assert entered.acquire(timeout=60)
    world.replication.close()
    world.replication.close()
    world.ask(keys[0], THIRD)
    go.set()
    settle()
    assert world.replicas() == [SECOND.datastore] * AT_ONCE


# -- from which copy


def test_a_copy_whose_host_cannot_read_it_is_no_source(world: World) -> None:
    sick = world.template(key(), host="host-9")
    world.placement.sick_hosts.add("host-9")
    world.ask(key())
    settle()
    assert world.replicas() == []
    well = world.store.replicate(world.store.vms[sick.moref], THIRD)
    world.clock.advance(PAUSE_AFTER_FAILURE_S)
    from_which: list[str] = []
    world.store.during["replicate"] = lambda: from_which.extend(world.templates_in_use.morefs())
    world.ask(key())
    settle()
    assert from_which == [well.moref]


def test_the_copy_that_fewest_clone_from_is_the_source(world: World) -> None:
    template = world.template(key())
    other = world.store.replicate(template, THIRD)
    from_which: list[frozenset[str]] = []
    with world.templates_in_use.use(template.moref):
        world.store.during["replicate"] = lambda: from_which.append(world.templates_in_use.morefs())
        world.ask(key())
        settle()
    assert from_which == [frozenset({template.moref, other.moref})]


def test_a_copy_that_a_replica_was_read_from_before_is_a_source_like_any(world: World) -> None:
    template = world.template(key())
    other = world.store.replicate(template, THIRD)
    from_which: list[frozenset[str]] = []
    with world.templates_in_use.use(other.moref):
        world.store.during["replicate"] = lambda: from_which.append(world.templates_in_use.morefs())
        world.replication.make(key(), SECOND.datastore)
        del world.store.vms[world.queue.changed[-1].moref]
        world.replication.make(key(), SECOND.datastore)
    assert from_which == [frozenset({template.moref, other.moref})] * 2


def test_a_requested_replica_without_a_readable_copy_is_an_error(world: World) -> None:
    world.template(key(), host="host-9")
    world.placement.sick_hosts.add("host-9")
    with pytest.raises(errors.HostUnavailable):
        world.replication.make(key(), SECOND.datastore)


def test_neither_source_nor_replica_is_deleted_during_replication(world: World) -> None:
    """The source is leased, and both have a name whose lock is held."""
    template = world.template(key())
    unfinished = dataclasses.replace(
        template,
        moref="vm-8",
        name=replica_name("b1", key(), SECOND.datastore),
        phase=Phase.FOREIGN,
        record=None,
        has_config=False,
    )
    removed: list[bool] = []

    def try_to_delete() -> None:
        entries = (template, unfinished)
        removed.extend(world.evictor.attempt(Verdict(entry, "")) is None for entry in entries)
        with pytest.raises(errors.InUse), world.templates_in_use.deleting(template.moref):
            pass

    world.store.during["replicate"] = try_to_delete
    world.ask(key())
    settle()
    assert removed == [False, False]
    assert world.replicas() == [SECOND.datastore]
    lock = lock_name(replica_name("b1", key(), SECOND.datastore))
    with world.locks.hold(lock, 0), world.templates_in_use.deleting(template.moref):
        pass


# -- trouble


def tried(world: World) -> int:
    return world.store.calls["replicate"]


def infos(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "vmdk_cache.cache.replication"]


@pytest.mark.parametrize(
    "fault",
    [
        errors.NoSpace("full"),
        errors.NameTaken("there"),
        errors.Unreachable("away"),
        errors.ObjectNotFound("gone", moref="vm-1"),
        RuntimeError("a defect"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_failed_replica_is_a_line_in_the_log_and_is_tried_again_after_a_pause(
    world: World, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    template = world.template(key())
    world.store.faults["replicate"] = [fault]
    world.ask(key())
    settle()
    world.ask(key(), times=100)
    settle()
    assert tried(world) == 1
    (line,) = infos(caplog)
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert str(fault) in line.getMessage()
    assert key().image_id in line.getMessage()
    assert list(world.store.vms) == [template.moref]
    assert (world.placement.reserved, world.templates_in_use.morefs()) == (0, frozenset())

    world.clock.advance(PAUSE_AFTER_FAILURE_S)
    world.ask(key(), times=1)
    settle()
    assert world.replicas() == [SECOND.datastore]


def test_a_datastore_without_space_gets_none(world: World) -> None:
    world.template(key())
    nowhere = dataclasses.replace(SECOND, datastore="datastore-9")
    world.ask(key(), nowhere)
    settle()
    assert tried(world) == 0


@pytest.mark.parametrize("failure", [errors.LockTimeout("held"), errors.LockUnavailable("broken")])
def test_without_the_lock_of_its_name_no_replica_is_made_now(
    world: World, failure: Exception
) -> None:
    world.template(key())
    world.locks.broken = failure
    world.ask(key())
    settle()
    assert tried(world) == 0
    world.locks.broken = None
    world.clock.advance(PAUSE_AFTER_FAILURE_S)
    world.ask(key())
    settle()
    assert world.replicas() == [SECOND.datastore]


def test_a_fresh_template_that_is_locked_for_a_while_gets_its_replica(world: World) -> None:
    world.template(key())
    world.store.faults["replicate"] = [errors.FileLocked("locked")] * 5
    world.ask(key())
    settle()
    assert world.replicas() == [SECOND.datastore]


def test_a_host_without_free_threads_makes_no_replica_and_fails_no_volume(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.template(key())

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        world.ask(key())
    (line,) = infos(caplog)
    assert "can't start new thread" in line.getMessage()
    world.clock.advance(PAUSE_AFTER_FAILURE_S)
    world.ask(key())
    settle()
    assert world.replicas() == [SECOND.datastore]


def test_nothing_is_evicted_for_a_replica(world: World) -> None:
    world.process(max_count=2)
    world.template(key(1))
    world.template(key(2))
    world.ask(key(1))
    settle()
    assert world.replicas() == []
    assert len(world.store.vms) == 2


def test_replicas_that_are_made_at_once_keep_the_limit_together(world: World) -> None:
    world.process(max_count=3)
    for number in (1, 2):
        world.template(key(number))
    entered, go = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        entered.release()
        wait_for(go)

    world.store.during["replicate"] = wait
    world.ask(key(1))
    assert entered.acquire(timeout=60)
    first = at_work()
    world.ask(key(2))
    for second in at_work() - first:
        second.join(60)
    go.set()
    settle()
    assert tried(world) == 1
    assert len(world.store.vms) == 3


# -- the replica's age


@pytest.mark.parametrize("expiry", [conf.EXPIRY_AGE, conf.EXPIRY_IDLE])
def test_the_replica_of_an_old_template_in_use_does_not_expire_at_once(
    world: World, expiry: str
) -> None:
    template = world.template(key())
    world.clock.advance(5000)
    world.store.touch(template, warmed=expiry == conf.EXPIRY_AGE)
    world.ask(key())
    settle()
    (replica,) = world.queue.changed
    settings = Settings(age_s=1000, expiry=expiry)
    now = world.clock.now() + datetime.timedelta(seconds=999)
    assert plan_eviction(world.store.entries(), now, settings).remove == ()
    later = now + datetime.timedelta(seconds=2)
    gone = {verdict.entry.moref for verdict in plan_eviction([replica], later, settings).remove}
    assert gone == {replica.moref}


def test_a_use_that_cannot_be_noted_does_not_prevent_a_replica(world: World) -> None:
    world.template(key())
    world.store.faults["touch"] = [errors.NoPermission("Global.SetCustomField")]
    world.ask(key())
    settle()
    assert world.replicas() == [SECOND.datastore]
    assert [type(event) for event in world.events] == [Replicated]


# -- for a caller that waits for it


def test_a_requested_replica_is_made_regardless_of_the_option(world: World) -> None:
    world.process(replicas=conf.REPLICAS_OFF)
    world.template(key())
    replica, made = world.replication.make(key(), SECOND.datastore)
    assert (made, replica.datastore) == (True, SECOND.datastore)
    again, made = world.replication.make(key(), SECOND.datastore)
    assert (made, again.moref) == (False, replica.moref)
    assert [type(event) for event in world.events] == [Replicated]


def test_a_requested_replica_that_is_not_made_has_a_reason(world: World) -> None:
    world.template(key())
    with pytest.raises(errors.NoPlacement, match="nowhere"):
        world.replication.make(key(), "nowhere")
    world.store.faults["replicate"] = [errors.NoSpace("full")]
    with pytest.raises(errors.NoSpace):
        world.replication.make(key(), SECOND.datastore)
    assert world.queue.pending == set()
    assert world.replication.make(key(), SECOND.datastore)[1]  # not put off


def test_a_replica_without_a_source_is_an_error(world: World) -> None:
    with pytest.raises(errors.ObjectNotFound, match=key().image_id):
        world.replication.make(key(), SECOND.datastore)


# -- pins


def pinned(world: World, template: CacheEntry) -> Pin:
    pin = Pin("alice@ctl1", world.clock.now())
    world.store.set_pin(template, pin)
    return pin


def test_a_replica_of_a_pinned_copy_is_pinned(world: World) -> None:
    pin = pinned(world, world.template(key(1)))
    made, is_new = world.replication.make(key(1), SECOND.datastore)
    assert is_new
    assert made.pinned == world.store.vms[made.moref].pinned == pin


def test_a_replica_is_not_pinned_if_its_source_was_unpinned_meanwhile(world: World) -> None:
    template = world.template(key(1))
    pinned(world, template)
    world.store.during["replicate"] = lambda: world.store.set_pin(template, None)
    made, _ = world.replication.make(key(1), SECOND.datastore)
    assert made.pinned is None


def test_a_replica_is_unpinned_if_its_source_was_unpinned_as_the_pin_was_copied(
    world: World,
) -> None:
    """The unpin does not see the pin of a replica that gets it after its last look."""
    template = world.template(key(1))
    pinned(world, template)

    def unpin() -> None:
        world.store.vms[template.moref] = dataclasses.replace(template, pinned=None)

    world.store.during["set_pin"] = unpin
    made, _ = world.replication.make(key(1), SECOND.datastore)
    assert made.pinned is world.store.vms[made.moref].pinned is None


def test_a_replica_that_cannot_be_pinned_is_still_a_replica(world: World) -> None:
    pinned(world, world.template(key(1)))
    world.store.faults["set_pin"] = [errors.NoPermission("no")]
    made, is_new = world.replication.make(key(1), SECOND.datastore)
    assert is_new
    assert made.pinned is None


def test_a_replica_of_an_unpinned_copy_costs_nothing_more(world: World) -> None:
    world.template(key(1))
    world.replication.make(key(1), SECOND.datastore)
    assert world.store.calls["set_pin"] == world.store.calls["look_again"] == 0

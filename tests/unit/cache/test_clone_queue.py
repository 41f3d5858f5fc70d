from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import datetime
import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache import errors
from vmdk_cache.cache.clone_order import HOST_UNITS
from vmdk_cache.cache.clone_queue import SLOT_WITHIN_S, CloneQueue
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.record import Record
from vmdk_cache.cache.templates_in_use import TemplatesInUse

GIB = 1 << 30
KEY = CacheKey("11111111-2222-3333-4444-555555555555", "f" * 32, "lsiLogic")
OTHER_KEY = dataclasses.replace(KEY, fingerprint="e" * 32)
SOON_S = 60.0


def copy(
    moref: str, datastore: str = "ds-1", host: str | None = "host-1", key: CacheKey = KEY
) -> CacheEntry:
    made_at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    record = Record("b1", key, GIB, made_at, "host:1")
    return CacheEntry(moref, moref, Phase.READY, record, datastore, 2000, GIB, host=host)


def place(datastore: str = "ds-1", host: str = "host-2") -> Place:
    return Place(datastore, datastore, host, "pool-1", "datacenter-1")


class Clone:
    """A clone in its own thread: waits for its slot, then runs until the test ends it.

    :ivar source: moref of the copy that it is cloned from, None while it waits
    """

    def __init__(
        self,
        queue: CloneQueue,
        *copies: CacheEntry,
        at: Place | None = None,
        key: CacheKey = KEY,
    ) -> None:
        self.source: str | None = None
        self._turn = (key, copies, at or place())
        self._queue = queue
        self._started = threading.Event()
        self._ending: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError), self._queue.slot(*self._turn) as entry:
            self.source = entry.moref
            self._started.set()
            assert self._end.wait(SOON_S)
            if self._ending:
                raise self._ending

    def runs_from(self) -> str | None:
        """The copy's moref, once it has a slot."""
        assert self._started.wait(SOON_S), "it has no slot"
        return self.source

    def end(self, failure: BaseException | None = None) -> None:
        """End the clone; it has left the queue when this returns."""
        self._ending = failure
        self._end.set()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


class Volumes:
    """A queue whose clones arrive one after the other, so a test knows their order."""

    def __init__(self, clones_per_template: int) -> None:
        self.queue = CloneQueue(lambda: clones_per_template, ManualClock(), TemplatesInUse())
        self.clones: list[Clone] = []

    def join(
        self,
        *copies: CacheEntry,
        at: Place | None = None,
        key: CacheKey = KEY,
    ) -> Clone:
        """A clone that runs, or that the queue knows as waiting."""
        before = self.queue.waiting()
        clone = Clone(self.queue, *copies, at=at, key=key)
        self.clones.append(clone)
        wait_until(lambda: clone.source is not None or self.queue.waiting() > before)
        return clone


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, which needs no help of this one."""
    turn = threading.Event()
    for _ in range(int(SOON_S * 1000)):
        if condition():
            return
        turn.wait(0.001)
    raise AssertionError("the condition did not become true")


@pytest.fixture
def clones_per_template() -> int:
    return 1


@pytest.fixture
def volumes(clones_per_template: int) -> Iterator[Volumes]:
    made = Volumes(clones_per_template)
    yield made
    for clone in made.clones:
        clone.end()


A, B = copy("vm-a"), copy("vm-b")
FAR = copy("vm-far", "ds-2", "host-3")


def test_a_slot_is_held_for_the_block_and_given_back(volumes: Volumes) -> None:
    first, second = volumes.join(A), volumes.join(A)
    assert first.runs_from() == "vm-a"
    assert second.source is None
    first.end()
    assert second.runs_from() == "vm-a"


def test_a_failed_clone_gives_its_slot_back(volumes: Volumes) -> None:
    first, second = volumes.join(A), volumes.join(A)
    first.runs_from()
    first.end(RuntimeError("the clone failed"))
    assert second.runs_from() == "vm-a"


def test_the_blocks_own_error_comes_out_as_it_is() -> None:
    queue = CloneQueue(lambda: 1, ManualClock(), TemplatesInUse())
    failure = RuntimeError("the clone failed")
    with pytest.raises(RuntimeError) as seen, queue.slot(KEY, [A], place()):
        raise failure
    assert seen.value is failure


def test_waiters_are_served_first_come_first_served(volumes: Volumes) -> None:
    clones = [volumes.join(A) for _ in range(4)]
    for now, after in itertools.pairwise(clones):
        now.runs_from()
        assert after.source is None
        now.end()


@pytest.mark.parametrize("clones_per_template", [HOST_UNITS])
def test_an_image_that_had_its_turn_waits_until_the_others_had_theirs(volumes: Volumes) -> None:
    """Both have their template on the full host."""
    other = copy("vm-o", key=OTHER_KEY)
    at = [place(host=f"host-{n + 10}") for n in range(HOST_UNITS + 6)]
    running = [volumes.join(A, at=at.pop()) for _ in range(HOST_UNITS)]
    many = [volumes.join(A, at=at.pop()) for _ in range(4)]
    few = [volumes.join(other, at=at.pop(), key=OTHER_KEY) for _ in range(2)]
    for expected in (many[0], few[0], many[1], few[1], many[2], many[3]):
        running.pop().end()
        expected.runs_from()


def test_a_new_copy_is_given_to_waiters(volumes: Volumes) -> None:
    volumes.join(A).runs_from()
    waiting = volumes.join(A)
    volumes.queue.add(copy("vm-b", host="host-4"))
    assert waiting.runs_from() == "vm-b"


def test_a_copy_of_another_image_is_given_to_no_volume(volumes: Volumes) -> None:
    first, waiting = volumes.join(A), volumes.join(A)
    volumes.queue.add(copy("vm-b", host="host-4", key=OTHER_KEY))
    first.end()
    assert waiting.runs_from() == "vm-a"


# -- copies in the making


def busy(volumes: Volumes) -> None:
    """Volumes are being cloned to A's own datastore, so A is cloned to no other."""
    for _ in range(3):
        volumes.join(A).runs_from()


@pytest.mark.parametrize("clones_per_template", [5])
def test_a_volume_waits_for_the_copy_that_is_being_made_on_its_datastore(volumes: Volumes) -> None:
    busy(volumes)
    volumes.queue.set_pending(KEY, "ds-2")
    waiting, elsewhere = volumes.join(A, at=place("ds-2")), volumes.join(A, at=place("ds-3"))
    assert elsewhere.runs_from() == "vm-a"
    assert waiting.source is None
    volumes.queue.add(copy("vm-b", "ds-2", "host-4"))
    assert waiting.runs_from() == "vm-b"


@pytest.mark.parametrize("clones_per_template", [5])
def test_no_volume_waits_for_a_copy_that_is_not_made_after_all(volumes: Volumes) -> None:
    busy(volumes)
    volumes.queue.set_pending(KEY, "ds-2")
    waiting = volumes.join(A, at=place("ds-2"))
    assert waiting.source is None
    volumes.queue.clear_pending(OTHER_KEY, "ds-2")
    volumes.queue.clear_pending(KEY, "ds-3")
    assert waiting.source is None
    volumes.queue.clear_pending(KEY, "ds-2")
    assert waiting.runs_from() == "vm-a"
    volumes.queue.clear_pending(KEY, "ds-2")


@pytest.mark.parametrize("clones_per_template", [5])
def test_a_copy_of_another_image_in_the_making_holds_no_volume_up(volumes: Volumes) -> None:
    busy(volumes)
    volumes.queue.set_pending(OTHER_KEY, "ds-2")
    assert volumes.join(A, at=place("ds-2")).runs_from() == "vm-a"


@pytest.mark.parametrize("clones_per_template", [5])
def test_a_copy_that_was_made_is_pending_no_more(volumes: Volumes) -> None:
    busy(volumes)
    volumes.queue.set_pending(KEY, "ds-2")
    made = copy("vm-b", "ds-2", "host-4")
    volumes.queue.add(made)
    volumes.queue.remove(made)
    assert volumes.join(A, at=place("ds-2")).runs_from() == "vm-a"


def test_a_copy_that_earlier_volumes_had_is_not_given_to_later_ones(volumes: Volumes) -> None:
    """It may have been deleted since; a pending copy outlasts the waiters."""
    volumes.queue.set_pending(KEY, "ds-9")
    earlier = volumes.join(A)
    earlier.runs_from()
    earlier.end()
    assert volumes.join(B).runs_from() == "vm-b"


def test_an_image_without_waiters_and_pending_copies_is_forgotten(volumes: Volumes) -> None:
    volumes.queue.set_pending(KEY, "ds-2")
    clones = [volumes.join(A) for _ in range(3)]
    volumes.queue.clear_pending(KEY, "ds-2")
    volumes.queue.add(copy("vm-o", key=OTHER_KEY))
    volumes.queue.remove(copy("vm-o", key=OTHER_KEY))
    for clone in clones:
        clone.runs_from()
        clone.end()
    assert (volumes.queue._queues, volumes.queue._running) == ({}, {})


def test_a_volume_behind_clones_that_never_end_is_given_up_after_a_day() -> None:
    clock = ManualClock()
    queue = CloneQueue(lambda: 1, clock, TemplatesInUse(), check_every_s=0.01)
    stuck = Clone(queue, A)
    assert stuck.runs_from() == "vm-a"
    failures: list[errors.LockTimeout] = []

    def wait() -> None:
        try:
            with queue.slot(KEY, [A], place()):
                raise AssertionError("there is no free slot")
        except errors.LockTimeout as failure:
            failures.append(failure)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    wait_until(lambda: queue.waiting() == 1)
    clock.advance(SLOT_WITHIN_S - 1)
    waiting.join(0.1)
    assert waiting.is_alive()
    clock.advance(1)
    waiting.join(SOON_S)

    assert "for a slot to clone image 11111111-2222-3333-4444-555555555555" in str(failures[0])
    assert queue.waiting() == 0
    stuck.end()
    with queue.slot(KEY, [A], place()) as entry:
        assert entry == A


def test_a_lost_copy_is_given_to_no_volume_that_has_another(volumes: Volumes) -> None:
    on_a, on_b = volumes.join(A, B), volumes.join(A, B)
    assert {on_a.runs_from(), on_b.runs_from()} == {"vm-a", "vm-b"}
    waiting = volumes.join(A, B)
    volumes.queue.remove(A)
    (on_a if on_a.source == "vm-a" else on_b).end()
    assert waiting.source is None
    (on_b if on_a.source == "vm-a" else on_a).end()
    assert waiting.runs_from() == "vm-b"


def test_a_copy_that_is_excluded_is_not_given_again() -> None:
    queue = CloneQueue(lambda: 1, ManualClock(), TemplatesInUse())
    with queue.slot(KEY, [A, B], place(), excluded={"vm-a"}) as entry:
        assert entry == B
    with queue.slot(KEY, [A], place(), excluded={"vm-a"}) as entry:
        assert entry == A


def test_no_volume_hangs_when_the_last_copy_is_lost(volumes: Volumes) -> None:
    first, second, third = volumes.join(A), volumes.join(A), volumes.join(A)
    volumes.queue.remove(A)
    first.end()
    assert second.runs_from() == "vm-a"
    second.end(RuntimeError("the template is gone"))
    assert third.runs_from() == "vm-a"


def test_a_copy_made_after_the_last_was_lost_takes_its_place(volumes: Volumes) -> None:
    """The clone that finds that it is lost handles it."""
    volumes.join(A).runs_from()
    waiting, last = volumes.join(A), volumes.join(A)
    volumes.queue.remove(A)
    volumes.queue.add(copy("vm-b", host="host-4"))
    volumes.queue.remove(A)
    assert waiting.runs_from() == "vm-b"
    waiting.end()
    assert last.runs_from() == "vm-b"


@pytest.mark.parametrize("clones_per_template", [20])
def test_a_template_that_has_moved_is_charged_to_its_new_host(volumes: Volumes) -> None:
    clones = [volumes.join(A, at=place(host=f"host-{n + 10}")) for n in range(HOST_UNITS + 1)]
    assert clones[-1].source is None
    volumes.queue.add(copy("vm-a", host="host-9"))
    assert clones[-1].runs_from() == "vm-a"


def test_a_waiter_that_is_cancelled_leaves_the_queue(volumes: Volumes) -> None:
    """A killed green thread gets its exception where it waits."""
    first = volumes.join(A)
    slot = volumes.queue.slot(KEY, [A], place())
    with Impatient(), pytest.raises(Impatient.Killed):
        slot.__enter__()
    assert volumes.queue.waiting() == 0
    first.end()
    assert volumes.join(A).runs_from() == "vm-a"


class Impatient:
    """In the block, this thread's waits for an event end with an exception."""

    class Killed(BaseException):
        pass

    def __enter__(self) -> None:
        self._wait = threading.Event.wait
        mine = threading.get_ident()

        def wait(event: threading.Event, timeout: float | None = None) -> bool:
            if threading.get_ident() == mine:
                raise Impatient.Killed
            return self._wait(event, timeout)

        threading.Event.wait = wait  # type: ignore[method-assign]

    def __exit__(self, *_exc: object) -> None:
        threading.Event.wait = self._wait  # type: ignore[method-assign]


def test_a_hundred_threads_of_two_images_keep_the_limits_and_are_all_served() -> None:
    slots = 3
    queue = CloneQueue(lambda: slots, ManualClock(), TemplatesInUse())
    images = {
        KEY: [A, FAR],
        OTHER_KEY: [copy("vm-o", "ds-1", "host-1", OTHER_KEY)],
    }
    guard = threading.Lock()
    cloning: collections.Counter[str] = collections.Counter()
    units: collections.Counter[str] = collections.Counter()
    peaks: list[tuple[int, int]] = []
    begin = threading.Barrier(100)

    def clone(number: int) -> str:
        key = KEY if number % 2 else OTHER_KEY
        at = place(f"ds-{number % 3 + 1}", f"host-{number % 4 + 1}")
        begin.wait(SOON_S)
        with queue.slot(key, images[key], at) as entry:
            hosts = collections.Counter([str(entry.host), at.host])
            with guard:
                cloning[entry.moref] += 1
                units.update(hosts)
                peaks.append((max(cloning.values()), max(units.values())))
            threading.Event().wait(0.001)  # let others run into it
            with guard:
                cloning[entry.moref] -= 1
                units.subtract(hosts)
        return entry.moref

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        served = collections.Counter(
            future.result(SOON_S) for future in [pool.submit(clone, n) for n in range(100)]
        )
    assert served["vm-a"] + served["vm-far"] == 50
    assert served["vm-o"] == 50
    assert max(of_copy for of_copy, _of_host in peaks) == slots
    assert max(of_host for _of_copy, of_host in peaks) <= HOST_UNITS
    assert queue.waiting() == 0


class Owner:
    """The requester of a volume; ``gone`` once the volume was deleted."""

    def __init__(self) -> None:
        self.gone = False
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.gone:
            raise errors.VolumeDeleted("volume v1 was deleted")


def test_a_waiter_whose_volume_is_deleted_leaves_though_the_clone_ahead_goes_on() -> None:
    queue = CloneQueue(lambda: 1, ManualClock(), TemplatesInUse(), check_every_s=0.01)
    ahead = Clone(queue, A)
    ahead.runs_from()
    deleted, other = Owner(), Owner()

    def take_turn(owner: Owner) -> str:
        with queue.slot(KEY, [A], place(), check_wanted=owner.check) as entry:
            return entry.moref

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        leaves, stays = pool.submit(take_turn, deleted), pool.submit(take_turn, other)
        wait_until(lambda: deleted.asked > 1 and other.asked > 1)
        assert queue.waiting() == 2
        deleted.gone = True
        with pytest.raises(errors.VolumeDeleted):
            leaves.result(SOON_S)
        assert (queue.waiting(), stays.done()) == (1, False)
        ahead.end()
        assert stays.result(SOON_S) == "vm-a"
    assert queue.waiting() == 0


def test_a_volume_that_need_not_wait_is_not_looked_up() -> None:
    queue = CloneQueue(lambda: 1, ManualClock(), TemplatesInUse(), check_every_s=0.01)
    owner = Owner()
    with queue.slot(KEY, [A], place(), check_wanted=owner.check):
        pass
    assert owner.asked == 0

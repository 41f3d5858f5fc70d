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
from vmdk_cache.cache.clone_queue import TURN_WITHIN_S, CloneQueue
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.record import Record

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
    """A clone in a thread of its own: waits for its turn, then runs until told to end.

    :ivar source: moref of the copy that it is made from, None while it waits
    """

    def __init__(
        self,
        queue: CloneQueue,
        *copies: CacheEntry,
        at: Place | None = None,
        key: CacheKey = KEY,
        size_bytes: int = GIB,
    ) -> None:
        self.source: str | None = None
        self._turn = (key, copies, at or place(), size_bytes)
        self._queue = queue
        self._started = threading.Event()
        self._ending: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError), self._queue.turn(*self._turn) as entry:
            self.source = entry.moref
            self._started.set()
            assert self._end.wait(SOON_S)
            if self._ending:
                raise self._ending

    def runs_from(self) -> str | None:
        """Once it is its turn."""
        assert self._started.wait(SOON_S), "it is not its turn"
        return self.source

    def end(self, failure: BaseException | None = None) -> None:
        """When this returns it has left the queue."""
        self._ending = failure
        self._end.set()
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()


class Line:
    """A queue whose clones come one after the other, so that a test knows who came first."""

    def __init__(self, clones_per_template: int) -> None:
        self.clock = ManualClock()
        self.queue = CloneQueue(lambda: clones_per_template, self.clock)
        self.clones: list[Clone] = []

    def join(
        self,
        *copies: CacheEntry,
        at: Place | None = None,
        key: CacheKey = KEY,
        size_bytes: int = GIB,
    ) -> Clone:
        """A clone that runs, or is known to the queue as waiting."""
        before = self.queue.waiting()
        clone = Clone(self.queue, *copies, at=at, key=key, size_bytes=size_bytes)
        self.clones.append(clone)
        wait_until(lambda: clone.source is not None or self.queue.waiting() > before)
        return clone

    def run(self, *copies: CacheEntry, at: Place, seconds: float, size_bytes: int = GIB) -> None:
        """A clone that is done when this returns, and took that long."""
        clone = self.join(*copies, at=at, size_bytes=size_bytes)
        clone.runs_from()
        self.clock.advance(seconds)
        clone.end()


def wait_until(condition: Callable[[], bool]) -> None:
    """Until another thread has got there; what it does meanwhile, it does without our help."""
    turn = threading.Event()
    for _ in range(int(SOON_S * 1000)):
        if condition():
            return
        turn.wait(0.001)
    raise AssertionError("it did not happen")


@pytest.fixture
def clones_per_template() -> int:
    return 1


@pytest.fixture
def line(clones_per_template: int) -> Iterator[Line]:
    made = Line(clones_per_template)
    yield made
    for clone in made.clones:
        clone.end()


A, B = copy("vm-a"), copy("vm-b")
FAR = copy("vm-far", "ds-2", "host-3")


def test_a_slot_is_held_for_the_block_and_given_back(line: Line) -> None:
    first, second = line.join(A), line.join(A)
    assert first.runs_from() == "vm-a"
    assert second.source is None
    first.end()
    assert second.runs_from() == "vm-a"


def test_a_failed_clone_gives_its_slot_back(line: Line) -> None:
    first, second = line.join(A), line.join(A)
    first.runs_from()
    first.end(RuntimeError("the clone failed"))
    assert second.runs_from() == "vm-a"


def test_the_blocks_own_error_comes_out_as_it_is() -> None:
    queue = CloneQueue(lambda: 1, ManualClock())
    failure = RuntimeError("the clone failed")
    with pytest.raises(RuntimeError) as seen, queue.turn(KEY, [A], place(), GIB):
        raise failure
    assert seen.value is failure


def test_who_came_first_goes_first(line: Line) -> None:
    clones = [line.join(A) for _ in range(4)]
    for now, after in itertools.pairwise(clones):
        now.runs_from()
        assert after.source is None
        now.end()


@pytest.mark.parametrize("clones_per_template", [HOST_UNITS])
def test_an_image_that_had_its_turn_waits_until_the_others_had_theirs(line: Line) -> None:
    """Both have their template on the host that is full."""
    other = copy("vm-o", key=OTHER_KEY)
    at = [place(host=f"host-{n + 10}") for n in range(HOST_UNITS + 6)]
    running = [line.join(A, at=at.pop()) for _ in range(HOST_UNITS)]
    many = [line.join(A, at=at.pop()) for _ in range(4)]
    few = [line.join(other, at=at.pop(), key=OTHER_KEY) for _ in range(2)]
    for expected in (many[0], few[0], many[1], few[1], many[2], many[3]):
        running.pop().end()
        expected.runs_from()


def test_a_new_copy_is_given_to_those_who_wait(line: Line) -> None:
    line.join(A).runs_from()
    waiting = line.join(A)
    line.queue.add(copy("vm-b", host="host-4"))
    assert waiting.runs_from() == "vm-b"


def test_a_copy_of_another_image_is_given_to_nobody(line: Line) -> None:
    first, waiting = line.join(A), line.join(A)
    line.queue.add(copy("vm-b", host="host-4", key=OTHER_KEY))
    first.end()
    assert waiting.runs_from() == "vm-a"


# -- copies in the making


def test_who_goes_where_a_copy_is_in_the_making_waits_for_it(line: Line) -> None:
    line.queue.promise(KEY, "ds-2", GIB)
    waiting, elsewhere = line.join(A, at=place("ds-2")), line.join(A, at=place("ds-3"))
    assert elsewhere.runs_from() == "vm-a"
    assert waiting.source is None
    line.queue.add(copy("vm-b", "ds-2", "host-4"), made_in_s=30.0)
    assert waiting.runs_from() == "vm-b"


def test_nobody_waits_for_a_copy_that_is_not_made_after_all(line: Line) -> None:
    line.queue.promise(KEY, "ds-2", GIB)
    waiting = line.join(A, at=place("ds-2"))
    assert waiting.source is None
    line.queue.withdraw(OTHER_KEY, "ds-2")
    line.queue.withdraw(KEY, "ds-3")
    assert waiting.source is None
    line.queue.withdraw(KEY, "ds-2")
    assert waiting.runs_from() == "vm-a"
    line.queue.withdraw(KEY, "ds-2")


def test_a_copy_of_another_image_in_the_making_holds_nobody_up(line: Line) -> None:
    line.queue.promise(OTHER_KEY, "ds-2", GIB)
    assert line.join(A, at=place("ds-2")).runs_from() == "vm-a"


def test_a_copy_that_was_made_is_promised_no_more(line: Line) -> None:
    line.queue.promise(KEY, "ds-2", GIB)
    line.queue.add(copy("vm-b", "ds-2", "host-4"))
    line.queue.remove("vm-b")
    assert line.join(A, at=place("ds-2")).runs_from() == "vm-a"


def test_how_long_a_copy_took_tells_how_long_the_next_will(line: Line) -> None:
    """Within ds-1 a clone takes 10 s; without the copy's 100 s, one across would seem to be 30."""
    near = copy("vm-near")
    line.run(near, at=place(), seconds=10.0)
    line.queue.add(copy("vm-b", "ds-2", "host-4"), made_in_s=100.0)
    first = line.join(near, FAR)
    line.clock.advance(9.0)
    assert (first.runs_from(), line.join(near, FAR).source) == ("vm-near", None)


def test_nobody_hangs_when_a_copy_in_the_making_is_late_and_nothing_else_happens() -> None:
    made = Line(1)
    made.queue = CloneQueue(lambda: 1, made.clock, look_again_s=0.01)
    made.queue.promise(KEY, "ds-2", GIB)
    waiting = made.join(A, at=place("ds-2"))
    assert waiting.source is None
    made.clock.advance(50_000.0)
    assert waiting.runs_from() == "vm-a"
    waiting.end()


def test_a_volume_behind_clones_that_never_end_is_given_up_after_a_day() -> None:
    clock = ManualClock()
    queue = CloneQueue(lambda: 1, clock, look_again_s=0.01)
    stuck = Clone(queue, A)
    assert stuck.runs_from() == "vm-a"
    failures: list[errors.LockTimeout] = []

    def wait() -> None:
        try:
            with queue.turn(KEY, [A], place(), GIB):
                raise AssertionError("there is no free slot")
        except errors.LockTimeout as failure:
            failures.append(failure)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    wait_until(lambda: queue.waiting() == 1)
    clock.advance(TURN_WITHIN_S - 1)
    waiting.join(0.1)
    assert waiting.is_alive()
    clock.advance(1)
    waiting.join(SOON_S)

    assert "for a turn to clone image 11111111-2222-3333-4444-555555555555" in str(failures[0])
    assert queue.waiting() == 0
    stuck.end()
    with queue.turn(KEY, [A], place(), GIB) as entry:
        assert entry == A


def test_a_lost_copy_is_given_to_nobody_who_has_another(line: Line) -> None:
    on_a, on_b = line.join(A, B), line.join(A, B)
    assert {on_a.runs_from(), on_b.runs_from()} == {"vm-a", "vm-b"}
    waiting = line.join(A, B)
    line.queue.remove("vm-a")
    (on_a if on_a.source == "vm-a" else on_b).end()
    assert waiting.source is None
    (on_b if on_a.source == "vm-a" else on_a).end()
    assert waiting.runs_from() == "vm-b"


def test_a_copy_that_was_unfit_is_not_given_again() -> None:
    queue = CloneQueue(lambda: 1, ManualClock())
    with queue.turn(KEY, [A, B], place(), GIB, unfit={"vm-a"}) as entry:
        assert entry == B
    with queue.turn(KEY, [A], place(), GIB, unfit={"vm-a"}) as entry:
        assert entry == A


def test_nobody_hangs_when_the_last_copy_is_lost(line: Line) -> None:
    first, second, third = line.join(A), line.join(A), line.join(A)
    line.queue.remove("vm-a")
    first.end()
    assert second.runs_from() == "vm-a"
    second.end(RuntimeError("the template is gone"))
    assert third.runs_from() == "vm-a"


def test_a_copy_made_after_the_last_was_lost_takes_its_place(line: Line) -> None:
    line.join(A).runs_from()
    waiting, last = line.join(A), line.join(A)
    line.queue.remove("vm-a")
    line.queue.add(copy("vm-b", host="host-4"))
    assert waiting.runs_from() == "vm-b"
    waiting.end()
    assert last.runs_from() == "vm-b"


@pytest.mark.parametrize("clones_per_template", [20])
def test_a_template_that_has_moved_is_charged_to_its_new_host(line: Line) -> None:
    clones = [line.join(A, at=place(host=f"host-{n + 10}")) for n in range(HOST_UNITS + 1)]
    assert clones[-1].source is None
    line.queue.add(copy("vm-a", host="host-9"))
    assert clones[-1].runs_from() == "vm-a"


def test_who_is_cancelled_while_waiting_leaves_the_line(line: Line) -> None:
    """A green thread that is killed gets its exception where it waits."""
    first = line.join(A)
    turn = line.queue.turn(KEY, [A], place(), GIB)
    with Impatient(), pytest.raises(Impatient.Killed):
        turn.__enter__()
    assert line.queue.waiting() == 0
    first.end()
    assert line.join(A).runs_from() == "vm-a"


class Impatient:
    """In the block, this thread's waits for an event end in an exception."""

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


def test_the_pace_decides_whether_to_wait_for_the_nearer_copy(line: Line) -> None:
    near = copy("vm-near")
    line.run(near, at=place(), seconds=10.0)
    line.run(FAR, at=place(), seconds=100.0)
    first, waits = line.join(near, FAR), line.join(near, FAR)
    assert (first.runs_from(), waits.source) == ("vm-near", None)
    line.clock.advance(10.0)
    first.end()
    assert waits.runs_from() == "vm-near"
    line.clock.advance(10.0)
    waits.end()
    for _ in range(20):
        line.run(FAR, at=place(), seconds=11.0)
    first, hurries = line.join(near, FAR), line.join(near, FAR)
    assert (first.runs_from(), hurries.runs_from()) == ("vm-near", "vm-far")


def test_failed_clones_do_not_count_as_fast_ones(line: Line) -> None:
    near = copy("vm-near")
    line.run(near, at=place(), seconds=10.0)
    line.run(FAR, at=place(), seconds=100.0)
    for _ in range(20):
        failing = line.join(FAR)
        failing.runs_from()
        failing.end(RuntimeError("refused at once"))
    first, waits = line.join(near, FAR), line.join(near, FAR)
    assert (first.runs_from(), waits.source) == ("vm-near", None)


def test_a_hundred_threads_of_two_images_keep_the_limits_and_are_all_served() -> None:
    slots = 3
    queue = CloneQueue(lambda: slots, ManualClock())
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
        with queue.turn(key, images[key], at, GIB) as entry:
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
    """Whoever wanted a volume; ``gone`` once it was deleted."""

    def __init__(self) -> None:
        self.gone = False
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.gone:
            raise errors.VolumeDeleted("volume v1 was deleted")


def test_a_waiter_whose_volume_is_deleted_leaves_though_the_clone_ahead_goes_on() -> None:
    queue = CloneQueue(lambda: 1, ManualClock(), look_again_s=0.01)
    ahead = Clone(queue, A)
    ahead.runs_from()
    deleted, other = Owner(), Owner()

    def take_turn(owner: Owner) -> str:
        with queue.turn(KEY, [A], place(), GIB, check_wanted=owner.check) as entry:
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
    queue = CloneQueue(lambda: 1, ManualClock(), look_again_s=0.01)
    owner = Owner()
    with queue.turn(KEY, [A], place(), GIB, check_wanted=owner.check):
        pass
    assert owner.asked == 0

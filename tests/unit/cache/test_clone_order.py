from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmdk_cache.cache import clone_order
from vmdk_cache.cache.clone_order import (
    HOST_UNITS,
    MAX_OVERTAKEN,
    MAX_SKIPPED,
    Decision,
    Line,
    Promise,
    Running,
    Waiter,
    decide,
)
from vmdk_cache.cache.clone_pace import GIB, Pace, Speed
from vmdk_cache.cache.entry import CacheEntry, Phase

#: 10 s a GiB within a datastore, 30 across.
PACE = Pace(Speed(10.0, 1.0), Speed(30.0, 1.0))
SLOTS = 8


def copy(moref: str, datastore: str = "ds-1", host: str | None = "host-1") -> CacheEntry:
    return CacheEntry(moref, moref, Phase.READY, None, datastore, 2000, GIB, host=host)


def waiter(
    ticket: int,
    datastore: str = "ds-1",
    host: str = "host-2",
    unfit: Iterable[str] = (),
    **known: int,
) -> Waiter:
    return Waiter(ticket, datastore, host, GIB, frozenset(unfit), **known)


def run(
    source: CacheEntry, host: str = "host-2", ends_at: float = 10.0, target: str = "ds-9"
) -> Running:
    """A clone that began at 0 and shares its target with nobody, unless that is said."""
    units = clone_order.units(source, host)
    return Running(source.moref, target, target == source.datastore, units, 0.0, ends_at)


def granted(*lines: Line, running: Sequence[Running] = (), slots: int = SLOTS) -> dict[int, str]:
    """Ticket -> moref of the copy, in the order of the turns."""
    decision = decide(lines, running, slots, PACE, 0.0)
    return {grant.ticket: grant.copy.moref for grant in decision.grants}


A = copy("vm-a")
B = copy("vm-b")
NEAR, FAR = copy("vm-near", "ds-1", "host-1"), copy("vm-far", "ds-2", "host-3")


def test_no_more_clones_of_a_copy_run_than_allowed() -> None:
    line = Line(0, (A,), tuple(waiter(n, host=f"host-{n + 2}") for n in range(9)))
    assert list(granted(line, slots=3)) == [0, 1, 2]
    assert list(granted(line, running=[run(A)], slots=3)) == [0, 1]


def test_a_clone_between_hosts_costs_each_one_unit() -> None:
    line = Line(0, (A,), tuple(waiter(n) for n in range(20)))
    assert len(granted(line, slots=100)) == HOST_UNITS


def test_a_clone_on_one_host_costs_two() -> None:
    line = Line(0, (A,), tuple(waiter(n, host="host-1") for n in range(20)))
    assert len(granted(line, slots=100)) == HOST_UNITS // 2


def test_a_full_target_host_is_spared_whatever_its_clones_come_from() -> None:
    lines = [
        Line(0, (copy("vm-a", host="host-8"),), (waiter(0),)),
        Line(1, (copy("vm-b", host="host-9"),), (waiter(1), waiter(2, host="host-5"))),
    ]
    running = [run(copy("vm-c", host=f"host-{n}")) for n in range(10, 10 + HOST_UNITS)]
    assert granted(*lines, running=running) == {2: "vm-b"}


def test_an_unknown_host_is_not_charged() -> None:
    line = Line(0, (copy("vm-a", host=None),), tuple(waiter(n, host="") for n in range(20)))
    assert len(granted(line, slots=20)) == 20


def test_a_copy_on_the_volumes_own_datastore_is_preferred() -> None:
    assert granted(Line(0, (FAR, NEAR), (waiter(0),))) == {0: "vm-near"}


@pytest.mark.parametrize(
    ("near_ends_at", "expected"),
    [(5.0, {}), (19.0, {}), (21.0, {0: "vm-far"})],
    ids=["soon", "just in time", "too late"],
)
def test_one_waits_for_a_busy_copy_only_if_that_is_done_sooner(
    near_ends_at: float, expected: dict[int, str]
) -> None:
    line = Line(0, (FAR, NEAR), (waiter(0),))
    assert granted(line, running=[run(NEAR, ends_at=near_ends_at)], slots=1) == expected


def test_those_ahead_count_when_one_considers_to_wait() -> None:
    """From 15 s on for 10 s each; across, 30 s from now."""
    line = Line(0, (NEAR, FAR), tuple(waiter(n) for n in range(3)))
    assert granted(line, running=[run(NEAR, ends_at=15.0)], slots=1) == {1: "vm-far"}


def test_those_who_clone_across_to_a_datastore_share_it() -> None:
    """The copy there is free in 35 s; a clone across takes 30 s alone, 60 s beside another."""
    busy = run(NEAR, ends_at=35.0)
    line = Line(0, (NEAR, FAR), (waiter(0),))
    elsewhere, beside = (run(B, ends_at=99.0, target=ds) for ds in ("ds-8", "ds-1"))
    beside = dataclasses.replace(beside, near=False)
    assert granted(line, running=[busy, elsewhere], slots=1) == {0: "vm-far"}
    assert granted(line, running=[busy, beside], slots=1) == {}


def test_clones_that_share_a_datastore_end_later() -> None:
    """Two on ds-1 that would take 10 s each are there until 20: no time to wait for them."""
    running = [run(NEAR, ends_at=10.0, target="ds-1") for _ in range(2)]
    line = Line(0, (NEAR, FAR), (waiter(0),))
    assert granted(line, running=running, slots=2) == {0: "vm-far"}
    assert granted(line, running=running[:1], slots=1) == {}


# -- copies in the making


def promised(ready_at: float, *waiters: Waiter, datastore: str = "ds-1") -> Line:
    """Volumes of ds-1 with a copy elsewhere; a clone across takes 30 s alone, one within 10 s."""
    return Line(0, (FAR,), waiters or (waiter(0),), (Promise(datastore, ready_at),))


@pytest.mark.parametrize(
    ("ready_at", "expected"),
    [(5.0, {}), (49.0, {}), (51.0, {0: "vm-far"})],
    ids=["soon", "just in time", "too late"],
)
def test_one_waits_for_a_copy_in_the_making_only_if_that_is_done_sooner(
    ready_at: float, expected: dict[int, str]
) -> None:
    """Across it would share with the replica: 60 s."""
    assert granted(promised(ready_at)) == expected


def test_a_copy_in_the_making_elsewhere_is_waited_for_by_nobody() -> None:
    assert granted(promised(5.0, datastore="ds-3")) == {0: "vm-far"}


def test_a_copy_in_the_making_has_no_more_slots_than_any() -> None:
    """Ready at 20 and then 10 s each, one after the other: the fourth would not end before 60."""
    line = promised(20.0, *(waiter(n) for n in range(4)))
    assert granted(line, slots=1) == {3: "vm-far"}


def test_a_copy_in_the_making_that_is_late_is_not_waited_for_for_ever() -> None:
    for now, goes in ((15.0, False), (80.0, True)):
        decision = decide([promised(10.0)], [], SLOTS, PACE, now)
        assert bool(decision.grants) is goes


def test_who_was_skipped_too_often_waits_for_no_copy_in_the_making() -> None:
    assert granted(promised(1.0, waiter(0, skipped=MAX_SKIPPED))) == {0: "vm-far"}


def test_a_free_copy_beside_the_volume_is_taken_whatever_is_promised() -> None:
    line = Line(0, (NEAR, FAR), (waiter(0),), (Promise("ds-1", 1.0),))
    assert granted(line) == {0: "vm-near"}


def test_hosts_that_read_for_a_replica_keep_a_unit_for_it() -> None:
    waiters = tuple(waiter(n, "ds-2") for n in range(20))
    line = Line(0, (FAR,), waiters, (Promise("ds-1", 1.0),))
    assert len(granted(line, slots=100)) == HOST_UNITS - 1


def test_a_full_host_of_a_copy_makes_another_copy_better() -> None:
    other = [run(B, ends_at=25.0) for _ in range(HOST_UNITS)]  # on host-1, as NEAR is
    line = Line(0, (NEAR, FAR), (waiter(0, host="host-7"),))
    assert granted(line, running=other) == {0: "vm-far"}


def test_a_clone_that_never_ends_is_not_waited_for_for_ever() -> None:
    line = Line(0, (NEAR, FAR), (waiter(0),))
    decision = decide([line], [run(NEAR, ends_at=10.0)], 1, PACE, 100.0)
    assert [grant.copy.moref for grant in decision.grants] == ["vm-far"]


def test_a_copy_that_was_unfit_is_not_given_again_while_there_is_another() -> None:
    line = Line(0, (NEAR, FAR), (waiter(0, unfit=["vm-near"]), waiter(1)))
    assert granted(line) == {0: "vm-far", 1: "vm-near"}
    claims = waiter(0, unfit=["vm-near"], skipped=MAX_SKIPPED)
    assert granted(dataclasses.replace(line, waiters=(claims,))) == {0: "vm-far"}


def test_who_waits_for_the_only_fit_copy_leaves_the_unfit_one_to_others() -> None:
    line = Line(0, (NEAR, FAR), (waiter(0, unfit=["vm-near"]), waiter(1)))
    assert granted(line, running=[run(FAR)], slots=1) == {1: "vm-near"}


def test_nobody_hangs_when_every_copy_was_unfit() -> None:
    line = Line(0, (NEAR, FAR), (waiter(0, unfit=["vm-near", "vm-far"]),))
    assert granted(line) == {0: "vm-near"}


def test_equal_copies_share_the_load() -> None:
    copies = tuple(copy(f"vm-{n}", "ds-2", f"host-{n + 3}") for n in range(4))
    line = Line(0, copies, tuple(waiter(n, host=f"host-{n + 10}") for n in range(8)))
    shares = collections.Counter(granted(line).values())
    assert shares == dict.fromkeys(("vm-0", "vm-1", "vm-2", "vm-3"), 2)


def test_images_take_turns_however_many_wait_for_one() -> None:
    many = Line(0, (A,), tuple(waiter(n, host=f"host-{n % 50 + 2}") for n in range(300)))
    few = Line(1, (B,), tuple(waiter(n) for n in range(300, 303)))
    assert list(granted(many, few)) == [0, 300, 1, 301, 2, 302, 3, 4]


def test_the_image_whose_turn_it_is_goes_first() -> None:
    lines = [Line(7, (A,), (waiter(0),)), Line(3, (B,), (waiter(1),))]
    running = [run(copy("vm-c"), host="host-5") for _ in range(HOST_UNITS - 1)]  # on host-1
    assert granted(*lines, running=running) == {1: "vm-b"}


def test_a_volume_beside_the_copy_overtakes_those_that_copy_across() -> None:
    line = Line(0, (NEAR,), (waiter(0, "ds-2"), waiter(1, "ds-2"), waiter(2), waiter(3, "ds-2")))
    decision = decide([line], [], 1, PACE, 0.0)
    assert [grant.ticket for grant in decision.grants] == [2]
    assert decision.overtaken == {0: 1, 1: 1}


def test_who_was_overtaken_often_enough_is_not_any_more() -> None:
    late = waiter(0, "ds-2", overtaken=MAX_OVERTAKEN)
    line = Line(0, (NEAR,), (late, waiter(1), waiter(2)))
    assert list(granted(line, slots=1)) == [0]
    nearly = waiter(0, "ds-2", overtaken=MAX_OVERTAKEN - 1)
    assert list(granted(dataclasses.replace(line, waiters=(nearly, waiter(1))), slots=1)) == [1]


def test_a_full_host_holds_up_only_those_that_go_there() -> None:
    full = [run(copy("vm-c", host=f"host-{n}")) for n in range(10, 10 + HOST_UNITS)]  # host-2
    line = Line(0, (A,), (waiter(0), waiter(1), waiter(2, host="host-5")))
    decision = decide([line], full, SLOTS, PACE, 0.0)
    assert [grant.ticket for grant in decision.grants] == [2]
    assert decision.skipped == {0: 1}
    assert decision.overtaken == {0: 1, 1: 1}


def test_nothing_is_noted_when_nobody_goes() -> None:
    line = Line(0, (A,), (waiter(0), waiter(1)))
    assert decide([line], [run(A)], 1, PACE, 0.0) == Decision((), {}, {})


def test_who_was_skipped_too_often_has_its_slots_set_aside() -> None:
    """It needs two units of host-1; clones that need one take each as it falls free."""
    running = [run(copy("vm-c"), host=f"host-{n}") for n in range(10, 10 + HOST_UNITS - 1)]
    greedy = Line(1, (B,), (waiter(9, host="host-3"),))
    patient = Line(0, (A,), (waiter(0, host="host-1", skipped=MAX_SKIPPED - 1),))
    assert granted(patient, greedy, running=running) == {9: "vm-b"}
    claims = Line(0, (A,), (waiter(0, host="host-1", skipped=MAX_SKIPPED),))
    assert granted(claims, greedy, running=running) == {}
    assert granted(claims, greedy, running=running[1:]) == {0: "vm-a"}


def test_who_was_skipped_too_often_waits_for_no_better_copy() -> None:
    line = Line(0, (NEAR, FAR), (waiter(0, skipped=MAX_SKIPPED),))
    assert granted(line, running=[run(NEAR, ends_at=1.0)], slots=1) == {0: "vm-far"}


def test_only_one_claim_keeps_slots_idle() -> None:
    lines = [
        Line(n, (copy(f"vm-{n}", host="host-9"),), (waiter(n, skipped=MAX_SKIPPED + n),))
        for n in range(HOST_UNITS)
    ]
    busy = [run(copy("vm-c", host="host-9"), host=f"host-{n}") for n in range(20, 20 + HOST_UNITS)]
    others = tuple(waiter(n) for n in range(100, 120))  # to host-2, as those that claim
    others_line = Line(50, (copy("vm-d", host="host-4"),), others)
    assert len(granted(*lines, others_line, running=busy)) == HOST_UNITS - 1


# Worlds of a few hosts, datastores, images and copies; few, so that they collide.

HOSTS = st.sampled_from(["host-1", "host-2", "host-3"])
DATASTORES = st.sampled_from(["ds-1", "ds-2"])


@st.composite
def copies_of(draw: st.DrawFn, key: str) -> tuple[CacheEntry, ...]:
    places = draw(st.lists(st.tuples(DATASTORES, HOSTS | st.none()), min_size=1, max_size=3))
    return tuple(copy(f"vm-{key}-{n}", *place) for n, place in enumerate(places))


class World:
    """Waiters and clones under way, as the queue would keep them."""

    def __init__(self, images: Iterable[tuple[CacheEntry, ...]], slots: int) -> None:
        self.images = list(images)
        self.promises: list[dict[str, Promise]] = [{} for _ in self.images]
        self.slots = slots
        self.numbers = itertools.count()
        self.turns = [next(self.numbers) for _ in self.images]
        self.waiting: list[dict[int, Waiter]] = [{} for _ in self.images]
        self.running: dict[int, Running] = {}
        self.granted = 0
        self.now = 0.0

    def arrive(self, image: int, datastore: str, host: str) -> int:
        ticket = next(self.numbers)
        if not self.waiting[image]:
            self.turns[image] = next(self.numbers)
        unfit = [self.images[image][0].moref] if ticket % 5 == 0 else []
        self.waiting[image][ticket] = waiter(ticket, datastore, host, unfit)
        return ticket

    def promise(self, image: int, datastore: str, ready_in_s: int) -> None:
        self.promises[image][datastore] = Promise(datastore, self.now + ready_in_s)

    def keep_or_break_promises(self, image: int, made: bool) -> None:
        """The copies are made, or they will never be."""
        if made:
            new = (copy(f"vm-{next(self.numbers)}", ds, "host-1") for ds in self.promises[image])
            self.images[image] += tuple(new)
        self.promises[image].clear()

    def end(self, choice: int) -> None:
        if self.running:
            del self.running[sorted(self.running)[choice % len(self.running)]]
            self.now += 1.0

    def settle(self) -> Decision:
        lines = [
            Line(
                self.turns[n],
                self.images[n],
                tuple(waiting.values()),
                tuple(self.promises[n].values()),
            )
            for n, waiting in enumerate(self.waiting)
            if waiting
        ]
        decision = decide(lines, tuple(self.running.values()), self.slots, PACE, self.now)
        for grant in decision.grants:
            image = next(n for n, waiting in enumerate(self.waiting) if grant.ticket in waiting)
            del self.waiting[image][grant.ticket]
            self.turns[image] = next(self.numbers)
            self.running[grant.ticket] = grant.running
        self.granted += len(decision.grants)
        for waiting in self.waiting:
            for ticket, known in waiting.items():
                waiting[ticket] = dataclasses.replace(
                    known,
                    overtaken=known.overtaken + decision.overtaken.get(ticket, 0),
                    skipped=known.skipped + decision.skipped.get(ticket, 0),
                )
        return decision

    def fits(self, known: Waiter, source: CacheEntry) -> bool:
        """By the rules alone: whether a clone may begin."""
        used: collections.Counter[str] = collections.Counter()
        for clone in self.running.values():
            used.update(clone.units)
        used.update(clone_order.units(source, known.host))
        cloning = sum(clone.source == source.moref for clone in self.running.values())
        return cloning < self.slots and all(cost <= HOST_UNITS for cost in used.values())

    def check_limits(self) -> None:
        used: collections.Counter[str] = collections.Counter()
        for clone in self.running.values():
            used.update(clone.units)
        sources = collections.Counter(clone.source for clone in self.running.values())
        assert max(used.values(), default=0) <= HOST_UNITS
        assert max(sources.values(), default=0) <= self.slots

    def check_nobody_waits_for_nothing(self) -> None:
        """A free slot that somebody could use is left free only for a nearer copy, which may be
        in the making, or for making one.
        """
        for image, waiting in enumerate(self.waiting):
            for known in waiting.values():
                copies = known.choice(self.images[image])
                fitting = {c.datastore == known.datastore for c in copies if self.fits(known, c)}
                if any(self.promises):
                    continue  # a unit is kept of hosts that are used by other images as well
                assert True not in fitting, f"{known} waits beside a free copy"
                if fitting:
                    assert known.datastore in {c.datastore for c in copies}, f"{known} just waits"


ARRIVALS = st.tuples(st.integers(0, 2), DATASTORES, HOSTS)
PROMISES = st.tuples(st.integers(0, 2), DATASTORES, st.integers(0, 99))
KEPT = st.tuples(st.integers(0, 2), st.booleans())
EVENTS = st.lists(ARRIVALS | st.integers(0, 50) | PROMISES | KEPT, max_size=60)


@settings(deadline=None)
@given(
    st.tuples(*map(copies_of, "abc")),
    st.integers(1, 9),
    st.lists(ARRIVALS, min_size=1, max_size=5),
    st.integers(0, 60),
    EVENTS,
)
def test_limits_hold_nobody_waits_for_nothing_and_all_are_served(
    images: tuple[tuple[CacheEntry, ...], ...],
    slots: int,
    crowd: list[tuple[int, str, str]],
    crowd_size: int,
    events: list[tuple[int, str, str] | int | tuple[int, str, int] | tuple[int, bool]],
) -> None:
    """An event is somebody's arrival, the end of one of the clones under way, the promise of a copy
    or the end of an image's promises.
    """
    world = World(images, slots)
    arrivals = list(itertools.islice(itertools.cycle(crowd), crowd_size))
    arrived = 0
    for event in itertools.chain(arrivals, events):
        match event:
            case int():
                world.end(event)
            case int(image), str(datastore), str(host):
                world.arrive(image, datastore, host)
                arrived += 1
            case int(image), str(datastore), int(ready_in_s):
                world.promise(image, datastore, ready_in_s)
            case int(image), bool(made):
                world.keep_or_break_promises(image, made)
        world.settle()
        world.check_limits()
        claims = (w.skipped >= MAX_SKIPPED for waiting in world.waiting for w in waiting.values())
        if not any(claims):
            world.check_nobody_waits_for_nothing()
    for image in range(3):
        world.keep_or_break_promises(image, made=False)
    world.settle()
    for _ in range(arrived):
        world.end(0)
        world.settle()
        world.check_limits()
    assert world.granted == arrived


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*map(copies_of, "abc")),
    st.integers(1, 4),
    st.tuples(DATASTORES, HOSTS),
    st.lists(st.tuples(st.integers(0, 2), DATASTORES, HOSTS), min_size=1, max_size=6),
    st.lists(st.integers(0, 50), min_size=1, max_size=5),
)
def test_nobody_starves_whatever_keeps_arriving(
    images: tuple[tuple[CacheEntry, ...], ...],
    slots: int,
    victim: tuple[str, str],
    rivals: list[tuple[int, str, str]],
    ends: list[int],
) -> None:
    """Rivals come for ever, as fast as they are served; somebody comes into the midst of them."""
    world = World(images, slots)
    stream = itertools.cycle(rivals)
    for _ in range(40):
        world.arrive(*next(stream))
    world.settle()
    ticket = world.arrive(0, *victim)
    before = world.granted
    for end in itertools.cycle(ends):
        if ticket not in world.waiting[0]:
            break
        world.settle()
        world.end(end)
        world.end(0)  # the oldest: no clone runs for ever
        while sum(map(len, world.waiting)) < 40:
            world.arrive(*next(stream))
        # 40 ahead of it, three images in turn, and then as often as the first may be passed.
        assert world.granted - before < 3 * (40 + MAX_OVERTAKEN) + 3 * MAX_SKIPPED + 3 * HOST_UNITS


def test_who_needs_two_units_at_once_does_not_starve_beside_those_who_need_one() -> None:
    """Units fall free one at a time, and there is always somebody to take one."""
    world = World([(A,), (B,)], SLOTS)
    for _ in range(20):
        world.arrive(1, "ds-1", "host-3")
        world.arrive(1, "ds-1", "host-4")
    world.settle()
    ticket = world.arrive(0, "ds-1", "host-1")
    for _ in range(MAX_SKIPPED + HOST_UNITS):
        world.end(0)
        world.arrive(1, "ds-1", "host-3")
        world.settle()
    assert ticket not in world.waiting[0]
    assert world.granted > MAX_SKIPPED

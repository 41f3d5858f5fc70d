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


def run(source: CacheEntry, host: str = "host-2", ends_at: float = 10.0) -> Running:
    return Running(source.moref, clone_order.units(source, host), ends_at)


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
        self.images = tuple(images)
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

    def end(self, choice: int) -> None:
        if self.running:
            del self.running[sorted(self.running)[choice % len(self.running)]]
            self.now += 1.0

    def settle(self) -> Decision:
        lines = [
            Line(self.turns[n], self.images[n], tuple(waiting.values()))
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
        """A free slot that somebody could use is left free only for a nearer copy."""
        for image, waiting in enumerate(self.waiting):
            for known in waiting.values():
                copies = known.choice(self.images[image])
                fitting = {c.datastore == known.datastore for c in copies if self.fits(known, c)}
                assert True not in fitting, f"{known} waits beside a free copy"
                if fitting:
                    assert known.datastore in {c.datastore for c in copies}, f"{known} just waits"


ARRIVALS = st.tuples(st.integers(0, 2), DATASTORES, HOSTS)
EVENTS = st.lists(ARRIVALS | st.integers(0, 50), max_size=60)


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
    events: list[tuple[int, str, str] | int],
) -> None:
    """An event is somebody's arrival, or the end of one of the clones under way."""
    world = World(images, slots)
    arrivals = list(itertools.islice(itertools.cycle(crowd), crowd_size))
    for event in itertools.chain(arrivals, events):
        if isinstance(event, int):
            world.end(event)
        else:
            world.arrive(*event)
        world.settle()
        world.check_limits()
        claims = (w.skipped >= MAX_SKIPPED for waiting in world.waiting for w in waiting.values())
        if not any(claims):
            world.check_nobody_waits_for_nothing()
    arrived = crowd_size + sum(not isinstance(event, int) for event in events)
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

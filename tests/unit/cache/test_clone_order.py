"""Which waiter may clone next, and from which copy: each rule, and what holds in every world."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmdk_cache.cache.clone_order import (
    HOST_UNITS,
    MAX_OVERTAKEN,
    Grant,
    Group,
    ImageQueue,
    Needs,
    Running,
    Waiter,
    next_grant,
)
from vmdk_cache.cache.entry import CacheEntry, Phase

GIB = 1 << 30


def copy(moref: str, datastore: str = "ds-1", host: str | None = "host-1") -> CacheEntry:
    return CacheEntry(moref, moref, Phase.READY, None, datastore, 2000, GIB, host=host)


def waiter(
    ticket: int, datastore: str = "ds-1", host: str = "host-2", excluded: Iterable[str] = ()
) -> Waiter:
    return Waiter(ticket, Needs(datastore, host, frozenset(excluded)))


def queue_of(
    copies: Iterable[CacheEntry],
    *waiters: Waiter,
    order: int = 0,
    pending: Iterable[str] = (),
    overtaken: int = 0,
) -> ImageQueue:
    """
    :param overtaken: how often the first of each group was overtaken
    """
    made = ImageQueue(order, {copy.moref: copy for copy in copies}, set(pending))
    for waiter in waiters:
        made.join(waiter)
    for group in made.groups.values():
        group.overtaken = overtaken
    return made


def run(source: CacheEntry, host: str = "host-9", datastore: str = "ds-9") -> Running:
    hosts = tuple(host for host in (source.host, host) if host)
    return Running(source.moref, datastore, datastore != source.datastore, hosts)


def grants(
    queues: Sequence[ImageQueue], running: Iterable[Running] = (), slots: int = 8
) -> Iterator[Grant]:
    """One grant after the other, as the queue takes them."""
    under_way = list(running)
    turns = itertools.count(1000)
    while grant := next_grant(queues, under_way, slots):
        yield grant
        under_way.append(grant.running)
        grant.queue.leave(grant.waiter)
        grant.queue.order = next(turns)
        for group in grant.overtaken:
            group.overtaken += 1


def granted(*queues: ImageQueue, running: Iterable[Running] = (), slots: int = 8) -> dict[int, str]:
    """Ticket -> moref of the copy, in the order of the grants."""
    return {g.waiter.ticket: g.copy.moref for g in grants(queues, running, slots)}


A, B = copy("vm-a"), copy("vm-b")
NEAR, FAR = copy("vm-near", "ds-1", "host-1"), copy("vm-far", "ds-2", "host-3")


# -- slots and units


def test_no_more_clones_of_a_copy_run_than_it_has_slots() -> None:
    queue = queue_of([A], *(waiter(n, host=f"host-{n + 2}") for n in range(9)))
    assert list(granted(queue, slots=3)) == [0, 1, 2]
    queue = queue_of([A], *(waiter(n, host=f"host-{n + 2}") for n in range(9)))
    assert list(granted(queue, running=[run(A)], slots=3)) == [0, 1]


def test_a_clone_between_hosts_costs_each_one_unit() -> None:
    queue = queue_of([A], *(waiter(n, host=f"host-{n + 2}") for n in range(20)))
    assert len(granted(queue, slots=100)) == HOST_UNITS
    sources = [copy(f"vm-{n}", host=f"host-{n + 3}") for n in range(20)]
    assert len(granted(queue_of(sources, *map(waiter, range(20))))) == HOST_UNITS


def test_a_clone_on_one_host_costs_two_units() -> None:
    queue = queue_of([A], *(waiter(n, host="host-1") for n in range(20)))
    assert len(granted(queue, slots=100)) == HOST_UNITS // 2


def test_an_unknown_host_is_not_charged() -> None:
    unknown = copy("vm-a", host=None)
    queue = queue_of([unknown], *(waiter(n, host="") for n in range(20)))
    assert len(granted(queue, slots=20)) == 20


def test_a_full_host_holds_up_only_clones_of_that_host() -> None:
    full = [run(copy("vm-c", host=f"host-{n}"), host="host-2") for n in range(10, 10 + HOST_UNITS)]
    queue = queue_of([A], waiter(0), waiter(1), waiter(2, host="host-5"))
    assert granted(queue, running=full) == {2: "vm-a"}


def test_a_host_that_a_replica_is_read_from_keeps_one_unit_for_it() -> None:
    def waiting(turn: int, **known: Iterable[str]) -> ImageQueue:
        source = copy(f"vm-{turn}", "ds-2", "host-3")
        those = (waiter(100 * turn + n, "ds-2", f"host-{n + 9}") for n in range(20))
        return queue_of([source], *those, order=turn, **known)

    assert len(granted(waiting(0), slots=100)) == HOST_UNITS
    assert len(granted(waiting(0, pending=["ds-1"]), slots=100)) == HOST_UNITS - 1
    several = [waiting(turn, pending=["ds-1"]) for turn in range(2 * HOST_UNITS)]
    assert len(granted(*several, slots=100)) == HOST_UNITS - 1


# -- which copy


def test_a_copy_on_the_volumes_own_datastore_comes_first() -> None:
    busy = [run(NEAR, datastore="ds-2") for _ in range(3)]
    assert granted(queue_of([FAR, NEAR], waiter(0)), running=busy) == {0: "vm-near"}


def test_a_volume_waits_for_the_busy_copy_on_its_own_datastore() -> None:
    busy = [run(NEAR, datastore="ds-1"), run(NEAR, datastore="ds-1"), run(FAR)]
    assert granted(queue_of([NEAR, FAR], waiter(0)), running=busy, slots=2) == {}


def test_a_volume_waits_for_the_full_host_of_the_copy_on_its_own_datastore() -> None:
    others = [run(copy("vm-c", "ds-3", "host-1"), f"host-{n}", "ds-2") for n in range(10, 18)]
    assert granted(queue_of([NEAR, FAR], waiter(0)), running=[*others, run(FAR)]) == {}


def test_a_volume_waits_for_the_copy_that_is_being_made_on_its_datastore() -> None:
    busy = [run(FAR, f"host-{n}", "ds-2") for n in range(10, 13)]
    assert granted(queue_of([FAR], waiter(0), pending=["ds-1"]), running=busy) == {}
    assert granted(queue_of([FAR], waiter(0), pending=["ds-3"]), running=busy) == {0: "vm-far"}


def test_a_free_copy_on_the_volumes_datastore_is_taken_despite_pending_copies() -> None:
    assert granted(queue_of([NEAR, FAR], waiter(0), pending=["ds-1"])) == {0: "vm-near"}


def test_any_copies_share_the_volumes_of_a_datastore_without_one() -> None:
    copies = [copy(f"vm-{n}", "ds-2", f"host-{n + 3}") for n in range(4)]
    queue = queue_of(copies, *(waiter(n, host=f"host-{n + 10}") for n in range(8)))
    shares = collections.Counter(granted(queue).values())
    assert shares == dict.fromkeys(("vm-0", "vm-1", "vm-2", "vm-3"), 2)


def test_an_excluded_copy_is_not_given_while_there_is_another() -> None:
    queue = queue_of([NEAR, FAR], waiter(0, excluded=["vm-near"]), waiter(1))
    assert granted(queue) == {0: "vm-far", 1: "vm-near"}


def test_a_volume_that_waits_for_the_only_other_copy_leaves_the_excluded_one_to_others() -> None:
    queue = queue_of([NEAR, FAR], waiter(0, excluded=["vm-near"]), waiter(1))
    assert granted(queue, running=[run(FAR)], slots=1) == {1: "vm-near"}


def test_an_excluded_copy_is_given_when_there_is_no_other() -> None:
    queue = queue_of([NEAR, FAR], waiter(0, excluded=["vm-near", "vm-far"]))
    assert granted(queue) == {0: "vm-near"}


# -- clones across datastores


def waiting_beside(busy: CacheEntry, number: int, first: int = 0) -> list[Waiter]:
    """Volumes of its datastore, each for another host."""
    datastore = busy.datastore or ""
    return [waiter(first + n, datastore, f"host-{first + n + 20}") for n in range(number)]


def test_a_copy_makes_one_clone_across_datastores_at_a_time() -> None:
    queue = queue_of([NEAR, FAR], *waiting_beside(NEAR, 9))
    busy = [run(NEAR, "host-9", "ds-1")]
    assert granted(queue, running=busy, slots=1) == {0: "vm-far"}
    queue = queue_of([NEAR, FAR], *waiting_beside(NEAR, 9))
    assert granted(queue, running=busy * 4, slots=4) == {0: "vm-far"}


def test_a_volume_whose_copy_is_being_made_is_cloned_across_datastores_as_well() -> None:
    queue = queue_of([FAR], *waiting_beside(NEAR, 9), pending=["ds-1"])
    assert granted(queue) == {0: "vm-far"}


def test_a_datastore_gets_one_clone_across_datastores_at_a_time() -> None:
    copies = [NEAR, FAR, copy("vm-third", "ds-3", "host-4")]
    queue = queue_of(copies, *waiting_beside(NEAR, 9))
    assert len(granted(queue, running=[run(NEAR, datastore="ds-1")], slots=1)) == 1


def test_a_copy_clones_to_one_other_datastore_at_a_time() -> None:
    other = copy("vm-third", "ds-3", "host-4")
    queue = queue_of([NEAR, other, FAR], *waiting_beside(NEAR, 9), *waiting_beside(other, 9, 9))
    busy = [run(NEAR, datastore="ds-1"), run(other, datastore="ds-3")]
    assert granted(queue, running=busy * 4, slots=4) == {0: "vm-far"}


@pytest.mark.parametrize(("waiting", "across"), [(4, False), (5, True)])
def test_while_its_copy_is_being_made_only_a_busier_datastore_gets_clones_from_others(
    waiting: int, across: bool
) -> None:
    """Five volumes wait for the copy on the other datastore, or are being cloned there."""
    queue = queue_of(
        [FAR], *waiting_beside(NEAR, waiting), *waiting_beside(FAR, 4, 50), pending=["ds-1"]
    )
    busy = [run(FAR, datastore="ds-2"), run(copy("vm-c"), datastore="ds-1")]
    assert granted(queue, running=busy, slots=2) == ({0: "vm-far"} if across else {50: "vm-far"})


def test_a_copy_that_takes_long_to_be_made_is_not_waited_for_forever() -> None:
    """Volumes of the copy's busier datastore keep arriving."""
    queue = queue_of([A], waiter(0, "ds-2"), pending=["ds-2"])
    tickets, under_way = itertools.count(1), []
    for _ in range(MAX_OVERTAKEN + 1):
        while len(queue.groups) < 4:
            queue.join(waiter(next(tickets), host=f"host-{next(tickets)}"))
        grant = next_grant([queue], under_way, 8)
        assert grant is not None
        if grant.waiter.ticket == 0:
            break
        queue.leave(grant.waiter)
        under_way = [*under_way[-2:], grant.running]
        for group in grant.overtaken:
            group.overtaken += 1
    assert (grant.waiter.ticket, grant.copy) == (0, A)


def test_a_datastore_whose_copy_is_busy_gets_clones_from_others_however_busy_it_is() -> None:
    queue = queue_of([NEAR, FAR], *waiting_beside(NEAR, 1), *waiting_beside(FAR, 4, 50))
    busy = [run(NEAR, datastore="ds-1")] * 2
    assert granted(queue, running=busy, slots=2) == {0: "vm-far", 50: "vm-far"}


def test_the_only_slot_of_a_copy_is_for_volumes_of_its_own_datastore() -> None:
    queue = queue_of([NEAR, FAR], *waiting_beside(NEAR, 4), *waiting_beside(FAR, 1, 50))
    busy = [run(NEAR, datastore="ds-1")]
    assert granted(queue, running=busy, slots=1) == {50: "vm-far"}


def test_volumes_of_all_images_make_a_datastore_busy() -> None:
    queue = queue_of([FAR], *waiting_beside(NEAR, 4), pending=["ds-1"])
    theirs = queue_of([copy("vm-o", "ds-2", "host-5")], *waiting_beside(FAR, 9, 50), order=1)
    busy = [run(copy("vm-o", "ds-2", "host-5"), datastore="ds-2")]
    assert granted(queue, theirs, running=busy, slots=1) == {}


# -- the order


def test_images_take_turns_however_many_wait_for_one() -> None:
    many = queue_of([A], *(waiter(n, host=f"host-{n % 50 + 2}") for n in range(300)))
    few = queue_of([B], *(waiter(n, host=f"host-{n}") for n in range(300, 303)), order=1)
    assert list(granted(many, few)) == [0, 300, 1, 301, 2, 302, 3, 4]


def test_the_image_whose_turn_it_is_goes_first() -> None:
    queues = [queue_of([A], waiter(0), order=7), queue_of([B], waiter(1), order=3)]
    running = [run(copy("vm-c"), "host-5") for _ in range(HOST_UNITS - 1)]  # on host-1
    assert granted(*queues, running=running) == {1: "vm-b"}


def test_within_an_image_waiters_are_served_first_come_first_served() -> None:
    hosts = ["host-5", "host-6", "host-5", "host-7", "host-6"]
    queue = queue_of([A], *(waiter(n, host=host) for n, host in enumerate(hosts)))
    assert list(granted(queue)) == [0, 1, 2, 3, 4]


# -- overtaking


def needs_two_units(**known: int) -> ImageQueue:
    return queue_of([A], waiter(0, host="host-1"), **known)


def test_a_waiter_that_lacks_units_is_overtaken() -> None:
    full = [run(copy("vm-c"), f"host-{n}") for n in range(10, 10 + HOST_UNITS - 1)]
    blocked, free = needs_two_units(), queue_of([B], waiter(9, host="host-3"), order=1)
    assert granted(blocked, free, running=full) == {9: "vm-b"}
    (group,) = blocked.groups.values()
    assert group.overtaken == 1


def test_a_waiter_for_a_slot_is_not_overtaken() -> None:
    """The next slot of its copy is reserved for it."""
    blocked, free = queue_of([A], waiter(0)), queue_of([B], waiter(9, host="host-3"), order=1)
    assert granted(blocked, free, running=[run(A)], slots=1) == {9: "vm-b"}
    (group,) = blocked.groups.values()
    assert group.overtaken == 0


def test_a_waiter_for_a_slot_of_its_own_copy_is_not_overtaken() -> None:
    """The copy with a free slot is already cloned to another datastore."""
    blocked = queue_of([NEAR, FAR], waiter(0))
    free = queue_of([B], waiter(9, host="host-3"), order=1)
    busy = [run(NEAR, datastore="ds-1"), run(FAR)]
    assert granted(blocked, free, running=[*busy, busy[0]], slots=2) == {9: "vm-b"}
    (group,) = blocked.groups.values()
    assert group.overtaken == 0


def test_units_for_a_waiter_that_was_overtaken_too_often_are_reserved() -> None:
    """It needs two units of host-1; clones that need one take each as it becomes free."""
    full = [run(copy("vm-c"), f"host-{n}") for n in range(10, 10 + HOST_UNITS - 1)]

    def other() -> ImageQueue:
        return queue_of([B], waiter(9, host="host-3"), order=-1)

    assert granted(needs_two_units(overtaken=MAX_OVERTAKEN - 1), other(), running=full) != {}
    first = needs_two_units(overtaken=MAX_OVERTAKEN)
    assert granted(first, other(), running=full) == {}
    assert granted(first, other(), running=full[1:]) == {0: "vm-a"}


def test_the_slot_of_a_waiter_that_was_overtaken_too_often_is_kept_too() -> None:
    full = [run(copy("vm-c", host=f"host-{n}"), "host-2") for n in range(10, 10 + HOST_UNITS)]
    queue = queue_of([A], waiter(0), waiter(1, host="host-5"))
    queue.groups[waiter(0).needs].overtaken = MAX_OVERTAKEN
    assert granted(queue, running=full, slots=1) == {}
    queue.groups[waiter(0).needs].overtaken = 0
    assert granted(queue, running=full, slots=1) == {1: "vm-a"}


def test_of_two_that_were_overtaken_too_often_the_more_often_overtaken_goes_first() -> None:
    """Slots are reserved for one waiter at a time."""
    queues = [
        queue_of([copy(f"vm-{n}", host="host-9")], waiter(n), order=n, overtaken=MAX_OVERTAKEN + n)
        for n in range(HOST_UNITS)
    ]
    busy = [run(copy("vm-c", host="host-9"), f"host-{n}") for n in range(20, 20 + HOST_UNITS)]
    others = queue_of([copy("vm-d", host="host-4")], *map(waiter, range(100, 120)), order=50)
    assert next(iter(granted(*queues, running=busy[1:]))) == HOST_UNITS - 1
    assert len(granted(*queues, others, running=busy)) == HOST_UNITS - 1


def test_the_next_of_a_group_has_not_been_overtaken() -> None:
    queue = queue_of([A], waiter(0), waiter(1), overtaken=MAX_OVERTAKEN)
    (group,) = queue.groups.values()
    queue.leave(group.waiters[0])
    assert group.overtaken == 0


def test_a_waiter_in_the_middle_leaves_its_group_as_it_was() -> None:
    queue = queue_of([A], waiter(0), waiter(1), overtaken=5)
    (group,) = queue.groups.values()
    queue.leave(group.waiters[1])
    queue.leave(waiter(2))
    queue.leave(waiter(3, "ds-7"))
    assert ([one.ticket for one in group.waiters], group.overtaken) == ([0], 5)


# -- what a decision costs


class _Unscanned(collections.deque[Waiter]):
    """Waiters that reveal only the first one and their number."""

    def __iter__(self) -> Iterator[Waiter]:
        raise AssertionError("a decision looks at each waiter")

    def __contains__(self, _waiter: object) -> bool:
        raise AssertionError("a decision looks at each waiter")


def test_a_decision_looks_at_groups_and_not_at_each_waiter() -> None:
    queue = queue_of([NEAR, FAR], pending=["ds-3"])
    for datastore, host in itertools.product(("ds-1", "ds-2", "ds-3"), ("host-1", "host-2")):
        needs = Needs(datastore, host)
        queue.groups[needs] = Group(needs, _Unscanned(Waiter(n, needs) for n in range(100)))
    running: list[Running] = []
    while grant := next_grant([queue], running, 2):
        running.append(grant.running)
        queue.groups[grant.waiter.needs].waiters.popleft()
    assert running


# -- worlds of a few hosts, datastores, images and copies; few, so that they collide

HOSTS = st.sampled_from(["host-1", "host-2", "host-3"])
DATASTORES = st.sampled_from(["ds-1", "ds-2"])


@st.composite
def copies_of(draw: st.DrawFn, key: str) -> tuple[CacheEntry, ...]:
    places = draw(st.lists(st.tuples(DATASTORES, HOSTS | st.none()), min_size=1, max_size=3))
    return tuple(copy(f"vm-{key}-{n}", *place) for n, place in enumerate(places))


class World:
    """Waiters and running clones, as the queue keeps them."""

    def __init__(self, images: Iterable[tuple[CacheEntry, ...]], slots: int) -> None:
        self.slots = slots
        self.numbers = itertools.count()
        self.queues = [queue_of(copies, order=next(self.numbers)) for copies in images]
        self.running: dict[Waiter, Running] = {}
        self.granted = 0

    def arrive(self, image: int, datastore: str, host: str) -> Waiter:
        ticket = next(self.numbers)
        queue = self.queues[image]
        excluded = [next(iter(queue.copies))] if ticket % 5 == 0 else []
        arrived = waiter(ticket, datastore, host, excluded)
        queue.join(arrived)
        return arrived

    def end_pending(self, image: int, made: bool) -> None:
        """The pending copies are ready, or will never be."""
        queue = self.queues[image]
        if made:
            for datastore in sorted(queue.pending):
                new = copy(f"vm-{next(self.numbers)}", datastore)
                queue.copies[new.moref] = new
        queue.pending.clear()

    def end(self, choice: int) -> None:
        """End one of the running clones."""
        if self.running:
            ended = sorted(self.running, key=lambda one: one.ticket)[choice % len(self.running)]
            del self.running[ended]

    def settle(self) -> None:
        while grant := next_grant(self.queues, tuple(self.running.values()), self.slots):
            grant.queue.leave(grant.waiter)
            grant.queue.order = next(self.numbers)
            self.running[grant.waiter] = grant.running
            self.granted += 1
            for group in grant.overtaken:
                group.overtaken += 1

    def waiting(self) -> Iterator[tuple[ImageQueue, Group, Waiter]]:
        for queue in self.queues:
            for group in queue.groups.values():
                for one in group.waiters:
                    yield queue, group, one

    def used(self) -> collections.Counter[str]:
        return collections.Counter(host for one in self.running.values() for host in one.hosts)

    def check_limits(self) -> None:
        sources = collections.Counter(clone.source for clone in self.running.values())
        assert max(self.used().values(), default=0) <= HOST_UNITS
        assert max(sources.values(), default=0) <= self.slots

    def fits(self, needs: Needs, source: CacheEntry) -> bool:
        """Whether a clone may begin, by slots and units alone."""
        units = self.used() + collections.Counter(h for h in (source.host, needs.host) if h)
        cloning = sum(clone.source == source.moref for clone in self.running.values())
        return cloning < self.slots and max(units.values(), default=0) <= HOST_UNITS

    def check_no_slot_is_wasted(self) -> None:
        """A free slot stays free only for a nearer copy, a replica or a waiter with priority."""
        if any(queue.pending for queue in self.queues):
            return
        if any(group.overtaken >= MAX_OVERTAKEN for _queue, group, _one in self.waiting()):
            return
        for queue, _group, one in self.waiting():
            fit = [c for c in queue.copies.values() if c.moref not in one.needs.excluded]
            free = [c for c in fit if self.fits(one.needs, c)]
            near = [c for c in fit if c.datastore == one.needs.datastore]
            assert not any(c in near for c in free), f"{one} waits beside a free copy"
            assert near or not free, f"{one} waits for nothing"


ARRIVALS = st.tuples(st.integers(0, 2), DATASTORES, HOSTS)
PENDING = st.tuples(st.integers(0, 2), DATASTORES)
ENDED = st.tuples(st.integers(0, 2), st.booleans())
EVENTS = st.lists(ARRIVALS | st.integers(0, 50) | PENDING | ENDED, max_size=60)


@settings(deadline=None)
@given(
    st.tuples(*map(copies_of, "abc")),
    st.integers(1, 9),
    st.lists(ARRIVALS, min_size=1, max_size=5),
    st.integers(0, 60),
    EVENTS,
)
def test_limits_hold_no_slot_is_wasted_and_all_are_served(
    images: tuple[tuple[CacheEntry, ...], ...],
    slots: int,
    crowd: list[tuple[int, str, str]],
    crowd_size: int,
    events: list[tuple[int, str, str] | int | tuple[int, str] | tuple[int, bool]],
) -> None:
    """An event is an arrival, the end of a clone, a copy that becomes pending, or the end of all
    pending copies of an image.
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
            case int(image), str(datastore):
                world.queues[image].pending.add(datastore)
            case int(image), bool(made):
                world.end_pending(image, made)
        world.settle()
        world.check_limits()
        world.check_no_slot_is_wasted()
    for image in range(3):
        world.end_pending(image, made=False)
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
    st.lists(ARRIVALS, min_size=1, max_size=6),
    st.lists(st.integers(0, 50), min_size=1, max_size=5),
)
def test_no_waiter_starves_whatever_keeps_arriving(
    images: tuple[tuple[CacheEntry, ...], ...],
    slots: int,
    victim: tuple[str, str],
    rivals: list[tuple[int, str, str]],
    ends: list[int],
) -> None:
    """Rivals arrive forever, as fast as they are served; the victim arrives among them."""
    crowd = 40
    world = World(images, slots)
    stream = itertools.cycle(rivals)
    for _ in range(crowd):
        world.arrive(*next(stream))
    world.settle()
    late = world.arrive(0, *victim)
    before = world.granted
    for end in itertools.cycle(ends):
        if all(one is not late for _queue, _group, one in world.waiting()):
            break
        world.settle()
        world.end(end)
        world.end(0)  # the oldest: no clone runs forever
        while sum(1 for _one in world.waiting()) < crowd:
            world.arrive(*next(stream))
        # Three images alternate; each waiter ahead of it may be overtaken this often.
        assert world.granted - before < 3 * crowd * MAX_OVERTAKEN


def test_waiters_that_need_one_unit_do_not_starve_one_that_needs_two() -> None:
    """Units become free one at a time, and there is always a waiter to take one."""
    world = World([(A,), (B,)], 8)
    for _ in range(20):
        world.arrive(1, "ds-1", "host-3")
        world.arrive(1, "ds-1", "host-4")
    world.settle()
    late = world.arrive(0, "ds-1", "host-1")
    for _ in range(MAX_OVERTAKEN + HOST_UNITS):
        world.end(0)
        world.arrive(1, "ds-1", "host-3")
        world.settle()
    assert all(one is not late for _queue, _group, one in world.waiting())
    assert world.granted > MAX_OVERTAKEN

"""Which of those who wait may clone now, and from which copy: a decision, made anew at each event.

- A clone goes to the copy that will have it done first. That may be a busy one on the volume's own
  datastore, or one that is only in the making there: who prefers it goes on waiting, and is bound
  to nothing until a slot is free.
- Images take turns, whoever has how many volumes waiting. Within an image, who came first goes
  first, but for a volume whose own datastore has a copy: it goes before those who have to copy
  across, until they have been overtaken MAX_OVERTAKEN times.
- Who cannot go is passed by others who can, so that a full host holds up nobody else. Who is first
  of its image and was passed MAX_SKIPPED times goes before all others and takes any copy; for the
  one of those that was passed most, what it needs is set aside as it falls free. So nobody waits
  for ever, and no more than one clone's worth of slots is idle for it.
- A host does HOST_UNITS at a time. More would wait in vCenter's own queue, which is first come
  first served and would undo all this.
"""

from __future__ import annotations

import bisect
import collections
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmdk_cache.cache.clone_pace import Pace
from vmdk_cache.cache.entry import CacheEntry

#: vCenter admits so many units of provisioning on a host at a time; a clone between two hosts costs
#: each of them one, a clone on one host two (VMware KB 326281, vpxd.ResourceManager.*, in the units
#: of before 6.0; since then both limit and costs are twice as high: docs/assumptions.rst, A62).
HOST_UNITS = 8
#: How often those who came later, and have a copy on their own datastore, may go first.
MAX_OVERTAKEN = 8
#: How often the first of its image may be passed. It is passed all the time by those who want other
#: hosts and copies, which costs it nothing; so this is several times what runs on a host at a time.
MAX_SKIPPED = 32


@dataclass(frozen=True)
class Waiter:
    """Somebody who waits to clone.

    :ivar ticket: who came earlier has a smaller one
    :ivar datastore: where the volume goes, a managed object id; so is ``host``
    :ivar unfit: morefs of copies that have turned out not to become its volume; none of them is
        chosen while there is another
    :ivar overtaken: how many of its image came later and went first
    :ivar skipped: how many went while it was first of its image and could not
    """

    ticket: int
    datastore: str
    host: str
    size_bytes: int
    unfit: frozenset[str] = frozenset()
    overtaken: int = 0
    skipped: int = 0

    def choice(self, copies: Sequence[CacheEntry]) -> Sequence[CacheEntry]:
        """Those that may be given to it."""
        if not self.unfit:
            return copies
        return [copy for copy in copies if copy.moref not in self.unfit] or copies


@dataclass(frozen=True)
class Promise:
    """A copy in the making: its slots fall free when it is ready.

    :ivar datastore: managed object id
    :ivar ready_at: when it is expected to be, on the monotonic clock
    """

    datastore: str
    ready_at: float


@dataclass(frozen=True)
class Line:
    """Those who wait for one image.

    :ivar turn: lines with a smaller one are asked first; no two have the same
    :ivar copies: to clone from, at least one
    :ivar promises: copies in the making, at most one of a datastore
    """

    turn: int
    copies: tuple[CacheEntry, ...]
    waiters: tuple[Waiter, ...]
    promises: tuple[Promise, ...] = ()


@dataclass(frozen=True)
class Running:
    """A clone under way.

    :ivar source: moref of the copy
    :ivar target: the datastore it goes to, a managed object id
    :ivar near: it stays on that datastore
    :ivar units: what it costs which host
    :ivar began_at: on the monotonic clock
    :ivar alone_s: how long it is expected to take if it has the datastore to itself
    """

    source: str
    target: str
    near: bool
    units: Mapping[str, int]
    began_at: float
    alone_s: float


@dataclass(frozen=True)
class Grant:
    """Who may clone now, and from what."""

    ticket: int
    copy: CacheEntry
    running: Running


@dataclass(frozen=True)
class Decision:
    """What an event leads to.

    :ivar grants: in the order in which turns were taken
    :ivar overtaken: how often each of those who still wait has been overtaken now, by ticket
    :ivar skipped: how often each has been passed as the first of its image now, by ticket
    """

    grants: tuple[Grant, ...]
    overtaken: Mapping[int, int]
    skipped: Mapping[int, int]


def units(copy: CacheEntry, host: str) -> dict[str, int]:
    """What a clone of ``copy`` to ``host`` costs which host; an unknown one is not charged."""
    return dict(collections.Counter(known for known in (copy.host, host) if known))


def decide(
    lines: Sequence[Line],
    running: Sequence[Running],
    clones_per_template: int,
    pace: Pace,
    now: float,
) -> Decision:
    """Who may clone now.

    :param clones_per_template: at a time from one copy, at least 1
    :param now: on the monotonic clock
    """
    room = _Room(running, clones_per_template, pace, now)
    for line in lines:
        room.keep_for_replicas(line)
    grants, passed = _settle_claims(lines, room)
    served = {grant.ticket for grant in grants}
    declined: set[int] = set()  # lines of which somebody could not go
    asked = collections.deque((line, _in_order(line, served)) for line in _by_turn(lines, served))
    while asked:
        line, those = asked.popleft()
        for waiter in those:
            copy = room.best(waiter, waiter.choice(line.copies))
            if not room.expect_promised(waiter, copy, line):
                if room.fits(waiter, copy):
                    grants.append(room.grant(waiter, copy))
                    asked.append((line, those))
                    break
                room.expect(waiter, copy)
            if line.turn not in declined:
                declined.add(line.turn)
                passed.setdefault(waiter.ticket, len(grants))
            if not room.is_open(line.copies):
                break
    served = {grant.ticket for grant in grants}
    return Decision(
        grants=tuple(grants),
        overtaken=_overtaken(lines, served),
        skipped={
            ticket: len(grants) - before
            for ticket, before in passed.items()
            if ticket not in served and before < len(grants)
        },
    )


def _settle_claims(lines: Sequence[Line], room: _Room) -> tuple[list[Grant], dict[int, int]]:
    """Those who were passed too often go first, and wait for nothing that is only promised.

    :returns: who of them goes, and the others' tickets with the number of grants before them
    """
    claims = [
        (waiter, line) for line in lines for waiter in line.waiters if waiter.skipped >= MAX_SKIPPED
    ]
    claims.sort(key=lambda claim: (-claim[0].skipped, claim[0].ticket))
    grants = []
    for waiter, line in claims:
        choice = waiter.choice(line.copies)
        fitting = [copy for copy in choice if room.fits(waiter, copy)]
        if not fitting:
            # Always the same copy, lest the slots it waits for change with every estimate.
            room.set_aside(waiter, min(choice, key=lambda c: (not _near(waiter, c), c.moref)))
            break
        grants.append(room.grant(waiter, room.best(waiter, fitting)))
    return grants, {waiter.ticket: 0 for waiter, _line in claims[len(grants) :]}


def _by_turn(lines: Sequence[Line], served: set[int]) -> list[Line]:
    """Lines that have just had a turn come last."""
    return sorted(
        lines, key=lambda line: (any(w.ticket in served for w in line.waiters), line.turn)
    )


def _in_order(line: Line, served: set[int]) -> Iterator[Waiter]:
    """Those of a line who are still waiting, who goes first first."""
    datastores = {copy.datastore for copy in line.copies}

    def rank(waiter: Waiter) -> tuple[bool, bool, int]:
        late = waiter.overtaken >= MAX_OVERTAKEN
        return (not late, not late and waiter.datastore not in datastores, waiter.ticket)

    yield from sorted((w for w in line.waiters if w.ticket not in served), key=rank)


def _overtaken(lines: Sequence[Line], served: set[int]) -> dict[int, int]:
    found = {}
    for line in lines:
        went = sorted(waiter.ticket for waiter in line.waiters if waiter.ticket in served)
        if went:
            for waiter in line.waiters:
                if waiter.ticket not in served and waiter.ticket < went[-1]:
                    found[waiter.ticket] = len(went) - bisect.bisect(went, waiter.ticket)
    return found


def _near(waiter: Waiter, copy: CacheEntry) -> bool:
    return copy.datastore == waiter.datastore


class _Room:
    """Slots of copies and units of hosts: what is free now, and when more will be.

    Expectations are kept as the times at which each slot or unit falls free, earliest first. Clones
    to one datastore are taken to share it evenly.
    """

    def __init__(
        self, running: Sequence[Running], clones_per_template: int, pace: Pace, now: float
    ) -> None:
        self._slots = clones_per_template
        self._pace = pace
        self._now = now
        self._cloning: collections.Counter[str] = collections.Counter()  # by copy
        self._used: collections.Counter[str] = collections.Counter()  # units, by host
        self._kept_slots: collections.Counter[str] = collections.Counter()
        self._kept_units: collections.Counter[str] = collections.Counter()
        self._slot_times: dict[str, list[float]] = {}
        self._unit_times: dict[str, list[float]] = {}
        self._promised_times: dict[tuple[int, str], list[float]] = {}
        self._alike = collections.Counter((clone.target, clone.near) for clone in running)
        for clone in running:
            took_s = clone.alone_s * self._alike[clone.target, clone.near]
            self._start(clone.source, clone.units, self._expected(clone.began_at + took_s))

    def keep_for_replicas(self, line: Line) -> None:
        """A unit of each host that replicas are read by, lest they stand in vCenter's queue."""
        if line.promises:
            self._kept_units.update(copy.host for copy in line.copies if copy.host)

    def fits(self, waiter: Waiter, copy: CacheEntry) -> bool:
        """Whether the clone may run now."""
        source = copy.moref
        return self._cloning[source] + self._kept_slots[source] < self._slots and all(
            self._used[host] + self._kept_units[host] + cost <= HOST_UNITS
            for host, cost in units(copy, waiter.host).items()
        )

    def is_open(self, copies: Sequence[CacheEntry]) -> bool:
        """Whether anybody at all could clone from one of the copies now."""
        return any(
            self._cloning[copy.moref] < self._slots
            and (not copy.host or self._used[copy.host] < HOST_UNITS)
            for copy in copies
        )

    def best(self, waiter: Waiter, copies: Sequence[CacheEntry]) -> CacheEntry:
        """The copy that will have the clone done first. Only for one on its own datastore is a free
        one left: to wait for another as good gains nothing.
        """
        free = {_near(waiter, copy) for copy in copies if self.fits(waiter, copy)}
        if free:
            copies = [
                copy
                for copy in copies
                if self.fits(waiter, copy) or (_near(waiter, copy) and True not in free)
            ]

        def rank(copy: CacheEntry) -> tuple[float, bool, bool, int, str]:
            busy, near = not self.fits(waiter, copy), _near(waiter, copy)
            # A clone that is due now may still take a while: one that can begin wins the tie.
            return (
                self._ends_at(waiter, copy),
                busy,
                not near,
                self._cloning[copy.moref],
                copy.moref,
            )

        return copies[0] if len(copies) == 1 else min(copies, key=rank)

    def grant(self, waiter: Waiter, copy: CacheEntry) -> Grant:
        """Take what the clone needs."""
        near, costs = _near(waiter, copy), units(copy, waiter.host)
        self._start(copy.moref, costs, self._ends_at(waiter, copy))
        self._alike[waiter.datastore, near] += 1
        alone_s = self._pace.seconds(near, waiter.size_bytes)
        running = Running(copy.moref, waiter.datastore, near, costs, self._now, alone_s)
        return Grant(waiter.ticket, copy, running)

    def expect(self, waiter: Waiter, copy: CacheEntry) -> None:
        """The clone will run from ``copy`` as soon as it can; others come after it."""
        self._book(copy.moref, units(copy, waiter.host), self._ends_at(waiter, copy))

    def expect_promised(self, waiter: Waiter, copy: CacheEntry, line: Line) -> bool:
        """Whether the clone will be done sooner from the copy in the making on its own datastore
        than across, from ``copy``; if so, others come after it there.

        Replicas read what those read who clone across, and one writes where this one would write.
        Who went across now would share with each of them.
        """
        promise = next((p for p in line.promises if p.datastore == waiter.datastore), None)
        if promise is None or _near(waiter, copy):
            return False
        times = self._times_of_promise(line, promise)
        promised = times[0] + self._seconds(waiter, near=True, begins_now=False)
        shared = len(line.promises) * self._pace.seconds(False, waiter.size_bytes)
        if promised >= self._ends_at(waiter, copy) + shared:
            return False
        heapq.heapreplace(times, promised)
        return True

    def set_aside(self, waiter: Waiter, copy: CacheEntry) -> None:
        """Nobody else takes the last of what the clone needs."""
        self._kept_slots[copy.moref] += 1
        self._kept_units.update(units(copy, waiter.host))

    def _ends_at(self, waiter: Waiter, copy: CacheEntry) -> float:
        start, begins_now = self._now, self.fits(waiter, copy)
        if not begins_now:
            start = self._times(copy.moref)[0]
            for host, cost in units(copy, waiter.host).items():
                start = max(start, sorted(self._times_of_host(host))[cost - 1])
        return start + self._seconds(waiter, near=_near(waiter, copy), begins_now=begins_now)

    def _seconds(self, waiter: Waiter, *, near: bool, begins_now: bool) -> float:
        """How long the clone takes among the others to its datastore. One that begins later takes
        the place of one of these.
        """
        others = self._alike[waiter.datastore, near]
        sharing = others + 1 if begins_now else max(others, 1)
        return sharing * self._pace.seconds(near, waiter.size_bytes)

    def _start(self, source: str, costs: Mapping[str, int], ends_at: float) -> None:
        self._cloning[source] += 1
        self._used.update(costs)
        self._book(source, costs, ends_at)

    def _book(self, source: str, costs: Mapping[str, int], ends_at: float) -> None:
        heapq.heapreplace(self._times(source), ends_at)
        for host, cost in costs.items():
            for _ in range(cost):
                heapq.heapreplace(self._times_of_host(host), ends_at)

    def _times(self, source: str) -> list[float]:
        return self._slot_times.setdefault(source, [self._now] * self._slots)

    def _times_of_promise(self, line: Line, promise: Promise) -> list[float]:
        slots = [self._expected(promise.ready_at)] * self._slots
        return self._promised_times.setdefault((line.turn, promise.datastore), slots)

    def _expected(self, at: float) -> float:
        """What is late is expected to be late as long again."""
        return self._now + abs(at - self._now)

    def _times_of_host(self, host: str) -> list[float]:
        return self._unit_times.setdefault(host, [self._now] * HOST_UNITS)

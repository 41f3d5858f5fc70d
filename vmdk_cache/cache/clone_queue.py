"""Clones wait here for their turn, and learn here which copy they are made from.

What is decided stands in cache/clone_order.py; this is who waits, in this process:

    turn()      joins its image's line -> waits -> has a slot, clones -> leaves, the slot is free
    promise()   a copy is being made on a datastore: who has to go there may wait for it
    add()       a copy that anybody in the line may be given from now on; keeps its promise
    withdraw()  it will not be made: nobody waits for it any more
    remove()    one that nobody is given any more, unless it is the last: then its clone finds out

A decision is made under the one lock whenever somebody joins or leaves or the copies change, and
wakes those whom it lets go, nobody else. That something is late is no such event, so whoever waits
has it looked at from time to time: LOOK_AGAIN_S. As often, a waiter checks that its volume is still
wanted. Slots are counted in this process alone: what
others take of a host's is not known here, and vCenter has their clones queue.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from vmdk_cache import errors
from vmdk_cache.cache import clone_order
from vmdk_cache.cache.clone_order import Grant, Line, Promise, Running, Waiter
from vmdk_cache.cache.clone_pace import Pace
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.clock import Clock
from vmdk_cache.quoting import identifier

#: How long who waits leaves it to others to have a decision made. Clones take minutes.
LOOK_AGAIN_S = 30.0
#: How long a volume waits for its turn. Thousands of clones pass in a day; where none does, the
#: clones ahead are stuck.
TURN_WITHIN_S = 24 * 3600.0


class _Seat:
    """Of one who waits: where the decision finds it."""

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.called = threading.Event()
        self.copy: CacheEntry | None = None  # once it is called


@dataclass
class _Queue:
    """An image's line; it lives as long as anybody stands in it.

    :ivar lost: the only copy listed is gone, and listed for want of another
    """

    turn: int
    copies: dict[str, CacheEntry] = field(default_factory=dict)
    seats: dict[int, _Seat] = field(default_factory=dict)
    lost: bool = False

    def put(self, copy: CacheEntry) -> None:
        if self.lost:
            self.copies.clear()
            self.lost = False
        self.copies[copy.moref] = copy

    def drop(self, moref: str) -> None:
        if len(self.copies) > 1:
            self.copies.pop(moref, None)
        else:
            self.lost |= moref in self.copies


class CloneQueue:
    """The line before the copies of one backend; safe for use by many threads.

    :param clones_per_template: at a time from one copy, at least 1; asked at each decision
    :param look_again_s: see the module; seconds of the machine's time
    """

    def __init__(
        self,
        clones_per_template: Callable[[], int],
        clock: Clock,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._clones_per_template = clones_per_template
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queues: dict[CacheKey, _Queue] = {}
        self._promises: dict[CacheKey, dict[str, Promise]] = {}  # by datastore
        self._running: dict[int, Running] = {}
        self._pace = Pace()
        self._look_again_s = look_again_s
        self._decisions = 0

    @contextlib.contextmanager
    def turn(
        self,
        key: CacheKey,
        copies: Sequence[CacheEntry],
        place: Place,
        size_bytes: int,
        *,
        unfit: Collection[str] = (),
        check_wanted: Callable[[], None] = lambda: None,
    ) -> Iterator[CacheEntry]:
        """Wait for a slot; the copy to clone from, and the slot for the block.

        :param copies: READY ones of the key, at least one; those that are added later count too
        :param size_bytes: what the clone has to copy
        :param unfit: morefs of copies not to be given, unless there is no other
        :param check_wanted: called every LOOK_AGAIN_S; the wait ends with what it raises
        :raises LockTimeout: it is not its turn within TURN_WITHIN_S
        """
        assert copies, "whoever wants to clone has something to clone from"
        ticket = next(self._numbers)
        seat = _Seat(Waiter(ticket, place.datastore, place.host, size_bytes, frozenset(unfit)))
        try:
            self._join(key, copies, seat)
            self._wait(key, seat, check_wanted)
            assert seat.copy is not None
            near = seat.copy.datastore == place.datastore
            began, sharing = self._clock.monotonic(), self._alike(place.datastore, near)
            yield seat.copy
            sharing = (sharing + self._alike(place.datastore, near)) / 2
            # One that fails says nothing about how long clones take.
            self._learn(near, (self._clock.monotonic() - began) / sharing, size_bytes)
        finally:
            self._leave(key, ticket)

    def _wait(self, key: CacheKey, seat: _Seat, check_wanted: Callable[[], None]) -> None:
        ends_at = self._clock.monotonic() + TURN_WITHIN_S
        decisions = 0
        while not seat.called.wait(self._look_again_s):
            if self._clock.monotonic() >= ends_at:
                raise errors.LockTimeout(
                    f"waited {TURN_WITHIN_S:g} s for a turn to clone image "
                    f"{identifier(key.image_id)}: look in vCenter for clones that do not end"
                )
            check_wanted()
            decisions = self._look_again(decisions)

    def add(self, entry: CacheEntry, made_in_s: float | None = None) -> None:
        """A new READY copy, or a change of one: those who wait for its key may get it from now.

        :param made_in_s: how long it took to make it from a copy on another datastore
        """
        if entry.record is None:
            return
        with self._lock:
            if made_in_s is not None:
                self._pace = self._pace.learned(False, made_in_s, entry.size_bytes)
            self._forget(entry.record.key, entry.datastore)
            queue = self._queues.get(entry.record.key)
            if queue is not None:
                queue.put(entry)
                self._call_next()

    def promise(self, key: CacheKey, datastore: str, size_bytes: int, rounds: int = 1) -> None:
        """A copy is being made, or about to be; a later promise of it takes the earlier one's
        place. Whoever makes it calls ``add`` or ``withdraw`` in the end, whatever happens.

        :param datastore: managed object id
        :param rounds: how many copies are made one after the other until it is ready, its own
            included: each takes as long as a clone across
        """
        with self._lock:
            ready_at = self._clock.monotonic() + rounds * self._pace.seconds(False, size_bytes)
            self._promises.setdefault(key, {})[datastore] = Promise(datastore, ready_at)

    def withdraw(self, key: CacheKey, datastore: str) -> None:
        """It is not made, or not now: who waited for it is given another. Nothing happens if there
        is no such promise (any more).
        """
        with self._lock:
            if self._forget(key, datastore):
                self._call_next()

    def remove(self, moref: str) -> None:
        """It is lost or being deleted: who waits and has another copy does not get it any more."""
        with self._lock:
            for queue in self._queues.values():
                queue.drop(moref)
            self._call_next()

    def waiting(self) -> int:
        """How many wait for a slot."""
        with self._lock:
            return sum(len(queue.seats) for queue in self._queues.values())

    def _forget(self, key: CacheKey, datastore: str | None) -> bool:
        """End a promise; whether there was one."""
        promises = self._promises.get(key, {})
        known = datastore is not None and promises.pop(datastore, None) is not None
        if not promises:
            self._promises.pop(key, None)
        return known

    def _look_again(self, decisions: int) -> int:
        """Have a decision made if none was since there were so many; how many there are now."""
        with self._lock:
            if decisions == self._decisions:
                self._call_next()
            return self._decisions

    def _join(self, key: CacheKey, copies: Sequence[CacheEntry], seat: _Seat) -> None:
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = _Queue(next(self._numbers))
            for copy in copies:
                queue.put(copy)
            queue.seats[seat.waiter.ticket] = seat
            self._call_next()

    def _leave(self, key: CacheKey, ticket: int) -> None:
        """Whether it was still waiting, or cloning."""
        with self._lock:
            self._running.pop(ticket, None)
            self._stand_up(key, ticket)
            self._call_next()

    def _alike(self, datastore: str, near: bool) -> float:
        """How many clones run to the datastore, of those that stay on one or those that do not."""
        kind = (datastore, near)
        with self._lock:
            return sum((clone.target, clone.near) == kind for clone in self._running.values())

    def _learn(self, near: bool, seconds: float, size_bytes: int) -> None:
        with self._lock:
            self._pace = self._pace.learned(near, seconds, size_bytes)

    def _stand_up(self, key: CacheKey, ticket: int) -> _Seat | None:
        queue = self._queues.get(key)
        seat = queue.seats.pop(ticket, None) if queue else None
        if queue and not queue.seats:
            del self._queues[key]
        return seat

    def _call_next(self) -> None:
        self._decisions += 1
        if not self._queues:
            return
        lines = [
            Line(
                queue.turn,
                tuple(queue.copies.values()),
                tuple(seat.waiter for seat in queue.seats.values()),
                tuple(self._promises.get(key, {}).values()),
            )
            for key, queue in self._queues.items()
        ]
        decision = clone_order.decide(
            lines,
            list(self._running.values()),
            self._clones_per_template(),
            self._pace,
            self._clock.monotonic(),
        )
        keys = {ticket: key for key, queue in self._queues.items() for ticket in queue.seats}
        for grant in decision.grants:
            self._call(keys[grant.ticket], grant)
        for ticket in decision.overtaken.keys() | decision.skipped.keys():
            seat = self._queues[keys[ticket]].seats[ticket]
            seat.waiter = dataclasses.replace(
                seat.waiter,
                overtaken=seat.waiter.overtaken + decision.overtaken.get(ticket, 0),
                skipped=seat.waiter.skipped + decision.skipped.get(ticket, 0),
            )

    def _call(self, key: CacheKey, grant: Grant) -> None:
        queue = self._queues[key]
        queue.turn = next(self._numbers)
        seat = self._stand_up(key, grant.ticket)
        assert seat is not None
        self._running[grant.ticket] = grant.running
        seat.copy = grant.copy
        seat.called.set()

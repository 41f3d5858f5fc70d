"""Clones wait here for their turn, and learn here which copy they are made from.

What is decided stands in cache/clone_order.py; this is who waits, in this process:

    turn()     joins its image's line -> waits -> has a slot, clones -> leaves, the slot is free
    add()      a copy that anybody in the line may be given from now on
    remove()   one that nobody is given any more, unless it is the last: then its clone finds out

A decision is made under the one lock whenever somebody joins or leaves or the copies change, and
wakes those whom it lets go, nobody else. Slots are counted in this process alone: what others take
of a host's is not known here, and vCenter has their clones queue.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from vmdk_cache.cache import clone_order
from vmdk_cache.cache.clone_order import Grant, Line, Running, Waiter
from vmdk_cache.cache.clone_pace import Pace
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.clock import Clock


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

    :param clones_per_template: at a time from one copy, at least 1
    """

    def __init__(self, clones_per_template: int, clock: Clock) -> None:
        self._clones_per_template = clones_per_template
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queues: dict[CacheKey, _Queue] = {}
        self._running: dict[int, Running] = {}
        self._pace = Pace()

    @contextlib.contextmanager
    def turn(
        self,
        key: CacheKey,
        copies: Sequence[CacheEntry],
        place: Place,
        size_bytes: int,
        *,
        unfit: Collection[str] = (),
    ) -> Iterator[CacheEntry]:
        """Wait for a slot; the copy to clone from, and the slot for the block.

        :param copies: READY ones of the key, at least one; those that are added later count too
        :param size_bytes: what the clone has to copy
        :param unfit: morefs of copies not to be given, unless there is no other
        """
        assert copies, "whoever wants to clone has something to clone from"
        ticket = next(self._numbers)
        seat = _Seat(Waiter(ticket, place.datastore, place.host, size_bytes, frozenset(unfit)))
        try:
            self._join(key, copies, seat)
            seat.called.wait()
            assert seat.copy is not None
            began = self._clock.monotonic()
            yield seat.copy
            near = seat.copy.datastore == place.datastore
            # One that fails says nothing about how long clones take.
            self._learn(near, self._clock.monotonic() - began, size_bytes)
        finally:
            self._leave(key, ticket)

    def add(self, entry: CacheEntry) -> None:
        """A new READY copy, or a change of one: those who wait for its key may get it from now."""
        if entry.record is None:
            return
        with self._lock:
            queue = self._queues.get(entry.record.key)
            if queue is not None:
                queue.put(entry)
                self._call_next()

    def remove(self, moref: str) -> None:
        """It is lost or condemned: who waits and has another copy does not get it any more."""
        with self._lock:
            for queue in self._queues.values():
                queue.drop(moref)
            self._call_next()

    def waiting(self) -> int:
        """How many wait for a slot."""
        with self._lock:
            return sum(len(queue.seats) for queue in self._queues.values())

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
        if not self._queues:
            return
        lines = [
            Line(
                queue.turn,
                tuple(queue.copies.values()),
                tuple(seat.waiter for seat in queue.seats.values()),
            )
            for queue in self._queues.values()
        ]
        decision = clone_order.decide(
            lines,
            list(self._running.values()),
            self._clones_per_template,
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

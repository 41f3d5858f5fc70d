"""vCenter's queue of operations: limits how many run at a time, in all and per host.

Each host is first come, first served: an operation that waits for a full host blocks later ones for
that host, and no others. A waiting operation stays `queued`, without a time limit.

Life of an admission: new -> waiting (`request`) -> admitted -> released. A waiting admission may be
released too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping


class OperationQueue:
    """Units in use, and the admissions that wait. Thread-safe.

    :param units_per_host: units that one host has
    :param operations: how many operations run at a time in the whole vCenter; read at each
        admission
    """

    def __init__(self, units_per_host: int, operations: Callable[[], int]) -> None:
        self._units_per_host = units_per_host
        self._operations = operations
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}
        self._running = 0
        self._waiting: dict[Admission, None] = {}  # in the order of their requests

    @property
    def running(self) -> int:
        """Operations admitted and not yet released."""
        return self._running

    @property
    def waiting(self) -> int:
        """Waiting operations."""
        return len(self._waiting)

    def new(self, units: Mapping[str, int] | None = None) -> Admission:
        """An admission that has not been requested yet.

        :param units: moref of a host to the units that the operation needs there
        """
        return Admission(self, units or {})

    def enter(self, place: Admission) -> None:
        """Used by `Admission.request`."""
        with self._lock:
            self._waiting[place] = None
        self._admit()

    def leave(self, place: Admission) -> None:
        """Used by `Admission.release`."""
        with self._lock:
            if place.admitted:
                self._running -= 1
                for host, units in place.units.items():
                    self._used[host] -= units
            else:
                self._waiting.pop(place, None)
        self._admit()

    def _admit(self) -> None:
        admitted: list[Admission] = []
        with self._lock:
            full: set[str] = set()
            for place in list(self._waiting):
                if self._running >= self._operations():
                    break
                lacking = {
                    host
                    for host, units in place.units.items()
                    if host in full or self._used.get(host, 0) + units > self._units_per_host
                }
                if lacking:
                    full |= lacking
                    continue
                for host, units in place.units.items():
                    self._used[host] = self._used.get(host, 0) + units
                self._running += 1
                place.admitted = True
                del self._waiting[place]
                admitted.append(place)
        for place in admitted:
            place.begin()


class Admission:
    """One operation's place in the queue."""

    def __init__(self, queue: OperationQueue, units: Mapping[str, int]) -> None:
        self.units = units
        self.admitted = False
        self._queue = queue
        self._released = False
        self._callback: Callable[[], None] | None = None

    def request(self, admitted: Callable[[], None]) -> None:
        """Call `admitted` once, now or as soon as there is room."""
        self._callback = admitted
        self._queue.enter(self)

    def begin(self) -> None:
        """Used by the queue."""
        assert self._callback is not None, "only what was requested is admitted"
        self._callback()

    def release(self) -> None:
        """Return the units, or leave the queue. A second call does nothing."""
        if not self._released:
            self._released = True
            self._queue.leave(self)

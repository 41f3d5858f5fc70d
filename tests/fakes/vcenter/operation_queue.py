"""vCenter's queue of operations: what runs at a time, in the whole and per host.

First come, first served for each host: who waits for a host that is full holds back whoever comes
later for that host, and nobody else. What waits for its turn stays `queued`, without a time limit.

Life of an admission: new -> waiting (`request`) -> admitted -> released; a waiting one may be
released too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping


class OperationQueue:
    """Units in use, and who waits for some. Thread-safe.

    :param units_per_host: what one host takes at a time
    :param operations: how many run at a time in the whole vCenter; read at each admission
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
        """Operations admitted and not released."""
        return self._running

    @property
    def waiting(self) -> int:
        """Operations that wait for their turn."""
        return len(self._waiting)

    def new(self, units: Mapping[str, int] | None = None) -> Admission:
        """A place that has not been asked for yet.

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
        """Call `admitted` once, now or when there is room."""
        self._callback = admitted
        self._queue.enter(self)

    def begin(self) -> None:
        """Used by the queue."""
        assert self._callback is not None, "only what was requested is admitted"
        self._callback()

    def release(self) -> None:
        """Give the units back, or leave the queue; twice is fine."""
        if not self._released:
            self._released = True
            self._queue.leave(self)

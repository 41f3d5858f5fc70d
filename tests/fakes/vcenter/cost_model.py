"""What work costs, off by default: clone times by bytes and bandwidth, and vCenter's queue.

With ``CostModel(enabled=True)`` a clone takes its bytes over the slower of the bandwidths involved,
and each host takes only so many clones at a time: 8 units per involved host, 1 for a clone between
two hosts, 2 for one that stays on its host, so 8 and 4 at a time. (VMware KB 326281: cost 16 per
host, clones cost 2 and 4.) What exceeds it stays `queued`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20
SLOTS_PER_HOST = 8


@dataclass
class CostModel:
    """Bandwidths in bytes per second of the fake's time; 0 means unlimited.

    :param datastore_bandwidth: what one datastore reads or writes, shared by the clones under way
        on it
    :param host_bandwidth: what one host moves, shared likewise
    :param fixed_clone_s: time of a clone beside its bytes
    :param fixed_task_s: time of any other task on a virtual machine
    """

    enabled: bool = False
    datastore_bandwidth: float = 200.0 * MIB
    host_bandwidth: float = 800.0 * MIB
    fixed_clone_s: float = 1.0
    fixed_task_s: float = 0.2
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _used: dict[str, int] = field(default_factory=dict, repr=False)
    _queue: deque[CloneAdmission] = field(default_factory=deque, repr=False)
    _transfers: dict[str, int] = field(default_factory=dict, repr=False)

    def clone_admission(self, source_host: Any, target_host: Any) -> CloneAdmission | None:
        """The queue place of a clone from a VM of one host to another (or the same); None when
        costs are off.
        """
        if not self.enabled:
            return None
        if source_host is target_host:
            units = {source_host.moref: 2}
        else:
            units = {source_host.moref: 1, target_host.moref: 1}
        return CloneAdmission(self, units)

    def task_seconds(self) -> float:
        """How long a task other than a clone takes."""
        return self.fixed_task_s if self.enabled else 0.0

    def clone_seconds(
        self, copied_bytes: int, source_datastore: Any, target_datastore: Any, host: Any
    ) -> float:
        """How long a copy of so many bytes takes if nothing else starts; 0 when costs are off.

        Bandwidth is divided by the copies under way when this one starts: an approximation that
        neither slows those down nor speeds this one up later. Pair it with `transfer_started` and
        `transfer_ended`.
        """
        if not self.enabled:
            return 0.0
        rates = []
        with self._lock:
            for key, bandwidth in (
                (source_datastore.moref, self.datastore_bandwidth),
                (target_datastore.moref, self.datastore_bandwidth),
                (host.moref, self.host_bandwidth),
            ):
                if bandwidth > 0:
                    rates.append(bandwidth / max(1, self._transfers.get(key, 0)))
        return self.fixed_clone_s + (copied_bytes / min(rates) if rates else 0.0)

    def transfer_started(self, *places: Any) -> None:
        """A copy begins to use these datastores and hosts (each once)."""
        with self._lock:
            for moref in {place.moref for place in places}:
                self._transfers[moref] = self._transfers.get(moref, 0) + 1

    def transfer_ended(self, *places: Any) -> None:
        """The copy that used these datastores and hosts has ended."""
        with self._lock:
            for moref in {place.moref for place in places}:
                self._transfers[moref] = max(0, self._transfers.get(moref, 0) - 1)

    def _admit(self) -> None:
        # First come, first served per host: who waits does not hold up clones of other hosts.
        admitted: list[Callable[[], None]] = []
        with self._lock:
            waiting: deque[CloneAdmission] = deque()
            blocked: set[str] = set()
            for place in self._queue:
                full = any(
                    host in blocked or self._used.get(host, 0) + units > SLOTS_PER_HOST
                    for host, units in place.units.items()
                )
                if full:
                    blocked.update(place.units)
                    waiting.append(place)
                    continue
                for host, units in place.units.items():
                    self._used[host] = self._used.get(host, 0) + units
                place.admitted = True
                assert place.callback is not None
                admitted.append(place.callback)
            self._queue = waiting
        for callback in admitted:
            callback()


class CloneAdmission:
    """One clone's place in the queue: requested -> admitted -> released."""

    def __init__(self, model: CostModel, units: dict[str, int]) -> None:
        self.units = units
        self.admitted = False
        self.callback: Callable[[], None] | None = None
        self._model = model
        self._released = False

    def request(self, admitted: Callable[[], None]) -> None:
        """Call `admitted` once, now or when enough clones on these hosts have ended."""
        self.callback = admitted
        with self._model._lock:
            self._model._queue.append(self)
        self._model._admit()

    def release(self) -> None:
        """Give the units back, or leave the queue; twice is fine."""
        with self._model._lock:
            if self._released:
                return
            self._released = True
            if self.admitted:
                for host, units in self.units.items():
                    self._model._used[host] -= units
            elif self in self._model._queue:
                self._model._queue.remove(self)
        self._model._admit()

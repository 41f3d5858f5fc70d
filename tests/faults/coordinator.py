"""An in-memory coordinator of locks with tooz's interface, whose failures a test chooses."""

from __future__ import annotations

import collections
import threading
from typing import Literal

from tooz import coordination

#: gone: no lock is granted; lost: it disappears while a lock is held; held: another process has the
#: lock.
LockFault = Literal["gone", "lost", "held"]


class Coordinator:
    """Its ``get_lock`` is what :class:`vmdk_cache.locks.ToozLocks` takes.

    :ivar acquisitions: number of requests for a lock
    :ivar hits: number of failures that a test chose
    """

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
        self._fault: tuple[LockFault, int] | None = None
        self.acquisitions = self.hits = 0

    def reset(self) -> None:
        """Count from now on, without faults."""
        self._fault = None
        self.acquisitions = self.hits = 0

    def fail(self, how: LockFault, number: int) -> None:
        """The ``number``-th request for a lock from now on has this fault."""
        self.reset()
        self._fault = (how, number)

    def get_lock(self, name: str) -> _Lock:
        """The lock of that name."""
        return _Lock(self, self._locks[name])

    def asked(self) -> LockFault | None:
        """Count a request for a lock; returns its fault."""
        self.acquisitions += 1
        if self._fault is None or self._fault[1] != self.acquisitions:
            return None
        self.hits += 1
        return self._fault[0]


class _Lock:
    def __init__(self, coordinator: Coordinator, lock: threading.Lock) -> None:
        self._coordinator = coordinator
        self._lock = lock
        self._is_lost = False

    def acquire(self, blocking: bool | float = True) -> bool:
        fault = self._coordinator.asked()
        if fault == "gone":
            raise coordination.ToozConnectionError("the coordinator does not answer")
        if fault == "held":
            return False
        self._is_lost = fault == "lost"
        return self._lock.acquire(timeout=60 if blocking is True else float(blocking))

    def release(self) -> bool:
        self._lock.release()
        if self._is_lost:
            raise coordination.ToozConnectionError("the coordinator does not answer")
        return True

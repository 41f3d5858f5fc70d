"""A coordinator of locks as tooz gives it, in memory, that fails where it is told to."""

from __future__ import annotations

import collections
import threading
from typing import Literal

from tooz import coordination

#: gone: no lock is granted; lost: it is gone while a lock is held; held: another has the lock.
LockFault = Literal["gone", "lost", "held"]


class Coordinator:
    """Its ``get_lock`` is what :class:`vmdk_cache.locks.ToozLocks` takes.

    :ivar acquisitions: how often a lock was asked for
    :ivar hits: how often it failed as told
    """

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
        self._fault: tuple[LockFault, int] | None = None
        self.acquisitions = self.hits = 0

    def reset(self) -> None:
        """Count from now, without faults."""
        self._fault = None
        self.acquisitions = self.hits = 0

    def fail(self, how: LockFault, number: int) -> None:
        """The lock that is asked for as the ``number``-th from now has this fault."""
        self.reset()
        self._fault = (how, number)

    def get_lock(self, name: str) -> _Lock:
        """The lock of that name."""
        return _Lock(self, self._locks[name])

    def asked(self) -> LockFault | None:
        """A lock is asked for: what is wrong with it."""
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

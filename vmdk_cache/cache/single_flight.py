"""One flight per key: the first caller does the work, the others wait for what it brings back.

This binds the threads of one process; between processes see vmdk_cache/locks.py. Followers share
the leader's result or the leader's error: after a failed import they all take the plain road
instead of queueing up to fail one after another.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from vmdk_cache import errors

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Runs at most one ``work`` per key at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Key, concurrent.futures.Future[Result]] = {}

    def run(self, key: Key, work: Callable[[], Result], timeout_s: float) -> tuple[Result, bool]:
        """The result of ``work``, and whether this caller was the one who did it.

        :param timeout_s: how long a follower waits
        :raises LockTimeout: the leader needs longer than that
        :raises Exception: what the leader's ``work`` raised, for all
        """
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = concurrent.futures.Future()
        if not leads:
            try:
                return flight.result(timeout_s), False
            except concurrent.futures.TimeoutError:
                if flight.done():
                    raise  # the leader's own error is a time-out
                raise errors.LockTimeout(f"waited {timeout_s:g} s for {key}") from None
        try:
            result = work()
        except BaseException as failure:
            self._land(key)
            # An interrupt is the leader's own; to the others the work has merely stopped.
            stopped = errors.SourceUnavailable(f"the work on {key} was interrupted")
            flight.set_exception(failure if isinstance(failure, Exception) else stopped)
            raise
        self._land(key)
        flight.set_result(result)
        return result, True

    def _land(self, key: Key) -> None:
        with self._lock:
            del self._flights[key]

"""One flight per key: the first caller does the work, the others wait for its outcome.

This coordinates the threads of one process; for processes see vmdk_cache/locks.py. Followers share
the leader's result or the leader's error: after a failed import all of them fall back to the plain
import instead of failing one after another.

Two kinds of error concern the leader alone and are not shared; the next follower then leads:

- errors that end a single thread: GreenletExit, eventlet.Timeout, KeyboardInterrupt, and all others
  that are not an ``Exception``
- errors that ``is_leaders_own`` selects, for example when Glance refuses the leader's token
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from vmdk_cache import errors
from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.quoting import sentence

#: How often a follower checks that it still wants the outcome.
CHECK_EVERY_S = 30.0

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """:ivar outcome: the leader's result; None if the next follower has to lead
    :ivar error: the error that all share
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.outcome: tuple[Result] | None = None
        self.error: Exception | None = None
        self.followers = 0


class SingleFlight(Generic[Key, Result]):
    """Runs at most one ``work`` per key at a time.

    :param is_leaders_own: whether an error of ``work`` concerns its leader alone
    :param check_every_s: see CHECK_EVERY_S; seconds of the machine's time
    """

    def __init__(
        self,
        *,
        is_leaders_own: Callable[[Exception], bool] = lambda failure: False,
        clock: Clock | None = None,
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        self._check_every_s = check_every_s
        self._is_leaders_own = is_leaders_own
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._flights: dict[Key, _Flight[Result]] = {}

    def run(
        self,
        key: Key,
        work: Callable[[], Result],
        timeout_s: float,
        check_wanted: Callable[[], None] = lambda: None,
    ) -> tuple[Result, bool]:
        """The result of ``work``, and whether this caller led.

        :param timeout_s: how long a follower waits in all, also behind several leaders
        :param check_wanted: a follower calls it from time to time; what it raises ends the wait. A
            leader does not call it: others may need the outcome
        :raises LockTimeout: the work takes longer than ``timeout_s``
        :raises Exception: the error of the leader's ``work``
        """
        ends_at = self._clock.monotonic() + timeout_s
        while True:
            flight, leads = self._join(key)
            if leads:
                return self._lead(key, flight, work), True
            while not flight.ended.wait(min(self._check_every_s, self._left_s(ends_at))):
                if not self._left_s(ends_at):
                    raise errors.LockTimeout(
                        f"waited {timeout_s:g} s for another thread's work on {sentence(key)}"
                    )
                check_wanted()
            if flight.error is not None:
                raise flight.error
            if flight.outcome is not None:
                return flight.outcome[0], False

    def _left_s(self, ends_at: float) -> float:
        return max(0.0, ends_at - self._clock.monotonic())

    def waiting(self, key: Key) -> int:
        """How many followers wait for the flight of ``key``."""
        with self._lock:
            flight = self._flights.get(key)
            return flight.followers if flight is not None else 0

    def _join(self, key: Key) -> tuple[_Flight[Result], bool]:
        """The key's flight, and whether this caller leads it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                flight.followers += 1
                return flight, False
            flight = self._flights[key] = _Flight()
            return flight, True

    def _lead(self, key: Key, flight: _Flight[Result], work: Callable[[], Result]) -> Result:
        try:
            result = work()
            flight.outcome = (result,)
        except Exception as failure:
            if not self._is_leaders_own(failure):
                flight.error = failure
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.ended.set()
        return result

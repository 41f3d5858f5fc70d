"""A clock that stands still until it is moved, or until somebody sleeps on it."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol

from vmdk_cache.clock import SystemClock


class ManualClock:
    """Starts at ``start``; ``sleep`` moves it and returns at once.

    :ivar slept: the seconds of every sleep, in order
    """

    def __init__(self, start: str = "2026-01-01T00:00:00+00:00") -> None:
        self._lock = threading.Lock()
        self._start = datetime.datetime.fromisoformat(start)
        self._elapsed_s = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime.datetime:
        return self._start + datetime.timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._elapsed_s += seconds


class HastyClock(SystemClock):
    """The machine's clock, but nobody sleeps long on it: pauses between retries cost nothing."""

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.05))


class Moved(Protocol):
    """A server's clock, such as the fake vCenter's, that its clients go by as well."""

    def now(self) -> datetime.datetime: ...
    def monotonic(self) -> float: ...
    def advance(self, seconds: float) -> None: ...
    def sleep(self, delay_s: float) -> None: ...


class SharedClock:
    """A client on the clock of its server: who sleeps lets the time of both pass, at once."""

    def __init__(self, clock: Moved) -> None:
        self._clock = clock

    def now(self) -> datetime.datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)
        time.sleep(0.001)  # what became due is done by other threads


class WaitingClock(SharedClock):
    """As that, but the clock moves by itself (the fake vCenter's virtual time): who sleeps waits
    until the time has come, and lets none pass while others work.
    """

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

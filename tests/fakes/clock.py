"""A clock that stands still until it is moved, or until somebody sleeps on it."""

from __future__ import annotations

import datetime
import threading
import time

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

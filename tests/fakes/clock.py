"""Clocks for the cache in tests. A sleep of 2 s moves each clock's reading by 2 s."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol

from tests.fakes.vcenter.activity import Activity

#: Reading of a new clock. It is far from 0, so that code that takes 0.0 for "never" fails.
START_S = 1_000_000.0
#: Longest real duration in seconds of a sleep on a hasty clock.
HASTY_S = 0.05
#: Longest real time in seconds that a client's sleep gives the server to do what has become due.
SETTLE_S = 0.05


class ManualClock:
    """Starts at ``start``, and its ``monotonic`` at START_S. ``sleep`` moves the clock and returns
    at once.

    :ivar slept: the seconds of every sleep, in order
    :ivar elapsed_s: seconds since the start
    """

    def __init__(self, start: str = "2026-01-01T00:00:00+00:00") -> None:
        self._lock = threading.Lock()
        self._start = datetime.datetime.fromisoformat(start)
        self.elapsed_s = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime.datetime:
        return self._start + datetime.timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return START_S + self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.elapsed_s += seconds


class HastyClock:
    """The machine's time, except that a long sleep takes a short real time and skips the rest.
    Threads that sleep at the same time skip it together.

    For a client in its own process: its clock runs ahead of vCenter's by the time it skipped. A
    client in the fake vCenter's process uses `SharedHastyClock`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._skipped_s = 0.0

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self._skipped_s)

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped_s

    def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        time.sleep(min(seconds, HASTY_S))
        self.advance_to(until)

    def advance(self, seconds: float) -> None:
        self.advance_to(self.monotonic() + seconds)

    def advance_to(self, moment: float) -> None:
        """Skip the time until ``monotonic`` reads ``moment``, if that has not passed."""
        with self._lock:
            self._skipped_s += max(0.0, moment - self.monotonic())


class Moved(Protocol):
    """A server's clock, such as the fake vCenter's, that its clients use as well."""

    activity: Activity

    def now(self) -> datetime.datetime: ...
    def monotonic(self) -> float: ...
    def advance(self, seconds: float) -> None: ...
    def advance_to(self, target: float) -> None: ...
    def sleep(self, delay_s: float) -> None: ...


class SharedClock:
    """A client that uses its server's clock: a sleep moves the time of both at once."""

    def __init__(self, clock: Moved) -> None:
        self._clock = clock

    def now(self) -> datetime.datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Give other threads real time to do what has become due. Otherwise, on a busy machine,
        minutes would pass on the clock while a client polls.
        """
        self._clock.advance(seconds)
        time.sleep(0.001)
        self._clock.activity.wait_until_idle(SETTLE_S)


class SharedHastyClock(SharedClock):
    """A `SharedClock` whose server's clock follows real time: a sleep takes a short real time, and
    then the clock of both skips the rest.
    """

    def sleep(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        time.sleep(min(seconds, HASTY_S))
        self._clock.advance_to(until)


class WaitingClock(SharedClock):
    """A `SharedClock` that moves by itself (the fake vCenter's virtual time): a sleep waits for its
    time to come, and moves no time while other threads work.
    """

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

"""Clocks of the cache in tests. On each of them a sleep of 2 s moves the clock's reading by 2 s."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol

from tests.fakes.vcenter.activity import Activity

#: What a clock reads at its start: far from 0, so that code which takes 0.0 for "never" fails.
START_S = 1_000_000.0
#: Real seconds that a sleep on a hasty clock takes at most.
HASTY_S = 0.05
#: Real seconds that a client's sleep waits at most for the server to do what has become due.
SETTLE_S = 0.05


class ManualClock:
    """Starts at ``start``, and its ``monotonic`` at START_S; ``sleep`` moves it and returns at
    once.

    :ivar slept: the seconds of every sleep, in order
    :ivar elapsed_s: since the start
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
    """The machine's time, but a long sleep takes a short real time and skips the rest. Threads that
    sleep at the same time skip it together.

    For a client in a process of its own: its clock runs ahead of its vCenter's by what it skipped.
    A client in the fake vCenter's process uses `SharedHastyClock`.
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
    """A server's clock, such as the fake vCenter's, that its clients go by as well."""

    activity: Activity

    def now(self) -> datetime.datetime: ...
    def monotonic(self) -> float: ...
    def advance(self, seconds: float) -> None: ...
    def advance_to(self, target: float) -> None: ...
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
        """Other threads do what has become due; on a busy machine that takes real time, in which
        a client that polls must not let minutes pass.
        """
        self._clock.advance(seconds)
        time.sleep(0.001)
        self._clock.activity.wait_until_idle(SETTLE_S)


class SharedHastyClock(SharedClock):
    """As that, on a server's clock that follows real time: a sleep takes a short real time, and
    then the clock of both skips the rest.
    """

    def sleep(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        time.sleep(min(seconds, HASTY_S))
        self._clock.advance_to(until)


class WaitingClock(SharedClock):
    """As SharedClock, but the clock moves by itself (the fake vCenter's virtual time): who sleeps
    waits until the time has come, and lets none pass while others work.
    """

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

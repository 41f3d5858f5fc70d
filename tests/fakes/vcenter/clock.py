"""The fake's time: real, scaled or manual, with timers.

``Clock(scale=1.0)`` follows real time, ``scale=60.0`` makes one real second a minute, and
``scale=0.0`` stands still until `advance` is called. `advance` works in every mode. It runs the
timers that became due in the caller's thread, in order of their deadlines, before it returns; so a
test that advances past a lease's timeout finds the lease gone. Otherwise one background thread runs
due timers. Timers must be short and may take the vCenter's lock.

Requests and tasks cost time (cost_model.py). That time passes by itself, also on a clock that
stands still (`pass_time`, `Passing`); delays that a test injects, such as a fault rule's, do not.
``Clock(longest_pause_s=0.001)`` shortens it: a pause takes at most that many real seconds, and the
clock then moves to the pause's end. Use it if all clients share this clock.

virtual_time.py moves a clock that stands still from timer to timer while no thread works.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.fakes.vcenter.activity import Activity

#: First value of `monotonic`. It is far from 0, so that code that takes 0.0 for "never" fails.
START_S = 1_000_000.0
#: Real seconds that passing time takes on a clock that stands still: lets other threads run.
_MOMENT_S = 0.001


class Passing(float):
    """Seconds that pass by themselves, also on a clock that stands still; for
    `Clock.call_later`.
    """


class Timer:
    """A pending call. `cancel` is safe at any time, even from inside the call."""

    def __init__(self, deadline: float, call: Callable[[], None], awaited: bool) -> None:
        self.deadline = deadline
        self.call = call
        self.awaited = awaited
        self.cancelled = False

    def cancel(self) -> None:
        """Drop the call unless it has begun."""
        self.cancelled = True


class _Sleep:
    """A thread that sleeps on the clock."""

    def __init__(self, activity: Activity) -> None:
        self._pause = activity.pause()
        self._woken = threading.Event()

    def wake(self) -> None:
        self._pause.end()
        self._woken.set()

    def wait(self) -> None:
        self._woken.wait()


class Clock:
    """The time of everything inside the fake (task times, idle sessions, lease timers, costs).
    `activity` counts the work that is timed by this clock.

    :param longest_pause_s: longest real duration in seconds of a cost; by default, infinite, or a
        moment on a clock that stands still
    """

    def __init__(self, scale: float = 1.0, *, longest_pause_s: float = math.inf) -> None:
        if scale < 0:
            raise ValueError(f"clock scale must be 0 (manual) or positive, not {scale}")
        self.scale = scale
        self._longest_pause_s = longest_pause_s if scale else _MOMENT_S
        self.activity = Activity()
        self._real_start = time.monotonic()
        self._start = datetime.now(UTC)
        self._advanced_s = 0.0
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, Timer]] = []
        # Timers that the clock moves to by itself, by the real time at which it does so.
        self._passing: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def monotonic(self) -> float:
        """Seconds in the fake's own time; `START_S` when it started."""
        return START_S + self.elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the fake started, in its own time."""
        return (time.monotonic() - self._real_start) * self.scale + self._advanced_s

    def now(self) -> datetime:
        """The current date in the fake's own time, aware, in UTC."""
        return self._start + timedelta(seconds=self.elapsed_s)

    def call_later(
        self, delay_s: float, call: Callable[[], None], *, awaited: bool = True
    ) -> Timer:
        """Run `call` after `delay_s` seconds of the fake's time, in the timer thread or inside
        `advance`. A `Passing` delay passes by itself, also on a clock that stands still.

        :param awaited: False for a timer that only cleans up after neglect, such as a lease's
            timeout; virtual time does not move to it
        """
        timer = Timer(self.monotonic() + max(0.0, delay_s), call, awaited)
        with self._changed:
            if isinstance(delay_s, Passing):
                moves_at = time.monotonic() + self._real_pause_s(delay_s)
                heapq.heappush(self._passing, (moves_at, next(self._order), timer))
            heapq.heappush(self._timers, (timer.deadline, next(self._order), timer))
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(
                    target=self._run, name="vcenter-timers", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
        return timer

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass for the calling thread. On a clock that stands still, they pass at
        once.
        """
        if seconds <= 0:
            return
        until = self.monotonic() + seconds
        if self.scale:
            with self.activity.pause():
                time.sleep(self._real_pause_s(seconds))
        self.advance_to(until)

    def sleep(self, delay_s: float) -> None:
        """Block the calling thread for `delay_s` seconds of the fake's time.

        Never call this under the lock.
        """
        if delay_s <= 0:
            return
        sleep = _Sleep(self.activity)
        self.call_later(delay_s, sleep.wake)
        sleep.wait()

    def advance(self, seconds: float) -> None:
        """Move time forward at once and run every timer that became due, earliest first."""
        if seconds < 0:
            raise ValueError("time cannot go backwards")
        self.advance_to(self.monotonic() + seconds)

    def next_awaited(self) -> float | None:
        """When the next awaited timer is due, by `monotonic`; None if there is none."""
        with self._changed:
            return min(
                (due for due, _, timer in self._timers if timer.awaited and not timer.cancelled),
                default=None,
            )

    def advance_to(self, target: float) -> None:
        """As `advance`, to a moment of `monotonic`; if that has passed, run what is due."""
        with self._changed:
            while self._timers and self._timers[0][0] <= target:
                deadline, _, timer = heapq.heappop(self._timers)
                # A timer runs at its own deadline, so that whatever it starts is timed from there.
                self._advanced_s += max(0.0, deadline - self.monotonic())
                if not timer.cancelled:
                    self._call_unlocked(timer)
            self._advanced_s += max(0.0, target - self.monotonic())
            self._changed.notify_all()

    def stop(self) -> None:
        """Drop all timers and end the timer thread."""
        with self._changed:
            self._stopped = True
            pending, self._timers = self._timers, []
            self._changed.notify_all()
        for _, _, timer in pending:
            owner = getattr(timer.call, "__self__", None)
            if isinstance(owner, _Sleep):
                owner.wake()

    def _call_unlocked(self, timer: Timer) -> None:
        self.activity.begin(told=False)
        self._changed.release()
        try:
            timer.call()
        finally:
            self._changed.acquire()
            self.activity.end()

    def _real_pause_s(self, delay_s: float) -> float:
        """Real seconds until the clock has moved by `delay_s` by itself."""
        if not self.scale:
            return self._longest_pause_s
        return min(delay_s / self.scale, self._longest_pause_s)

    def _run(self) -> None:
        while (target := self._wait_for_next()) is not None:
            self.advance_to(target)

    def _wait_for_next(self) -> float | None:
        """Block until a timer is due, or until the clock moves to one by itself. Returns that
        moment, by `monotonic`; None if the clock is stopped.
        """
        with self._changed:
            while not self._stopped:
                waits_s = []
                if self._timers:
                    left_s = self._timers[0][0] - self.monotonic()
                    if left_s <= 0:
                        return self._timers[0][0]
                    if self.scale:
                        waits_s.append(left_s / self.scale)
                if self._passing:
                    pause_s = self._passing[0][0] - time.monotonic()
                    if pause_s <= 0:
                        _, _, timer = heapq.heappop(self._passing)
                        if timer.cancelled:
                            continue
                        return timer.deadline
                    waits_s.append(pause_s)
                self._changed.wait(min(waits_s, default=None))
        return None

"""The fake's time: real, scaled or manual, with timers.

``Clock(scale=1.0)`` follows real time, ``scale=60.0`` lets one real second count as a minute,
``scale=0.0`` stands still until `advance` is called. `advance` works in every mode and runs the
timers that became due in the caller's thread, in order of their deadlines, before it returns; so a
test that advances past a lease's time-out finds the lease gone. Otherwise one background thread
runs due timers. Timers must be short and may take the vCenter's lock.

virtual_time.py moves a clock that stands still from timer to timer while nobody is at work.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.fakes.vcenter.activity import Activity


class Timer:
    """A pending call; `cancel` is safe at any time, also from inside the call itself."""

    def __init__(self, deadline: float, call: Callable[[], None], awaited: bool) -> None:
        self.deadline = deadline
        self.call = call
        self.awaited = awaited
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the call unless it has begun."""
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
    """Time as seen by everything inside the fake (task times, idle sessions, lease
    timers, costs). `activity` tells who is at work under this clock.
    """

    def __init__(self, scale: float = 1.0) -> None:
        if scale < 0:
            raise ValueError(f"clock scale must be 0 (manual) or positive, not {scale}")
        self.scale = scale
        self.activity = Activity()
        self._real_start = time.monotonic()
        self._start = datetime.now(UTC)
        self._advanced_s = 0.0
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def monotonic(self) -> float:
        """Seconds since the fake started, in its own time."""
        return (time.monotonic() - self._real_start) * self.scale + self._advanced_s

    def now(self) -> datetime:
        """The date in the fake's own time, aware, in UTC."""
        return self._start + timedelta(seconds=self.monotonic())

    def call_later(
        self, delay_s: float, call: Callable[[], None], *, awaited: bool = True
    ) -> Timer:
        """Run `call` after `delay_s` seconds of the fake's time, in the timer thread or inside
        `advance`.

        :param awaited: False for what ends only what was neglected, such as a lease's time-out:
            virtual time does not pass for its sake
        """
        timer = Timer(self.monotonic() + max(0.0, delay_s), call, awaited)
        with self._changed:
            heapq.heappush(self._timers, (timer.deadline, next(self._order), timer))
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(
                    target=self._run, name="vcenter-timers", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
        return timer

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
        """When the next timer that somebody waits for is due, by `monotonic`; None without one."""
        with self._changed:
            return min(
                (due for due, _, timer in self._timers if timer.awaited and not timer.cancelled),
                default=None,
            )

    def advance_to(self, target: float) -> None:
        """As `advance`, to a moment of `monotonic`; one that has passed runs what is due."""
        with self._changed:
            while self._timers and self._timers[0][0] <= target:
                deadline, _, timer = heapq.heappop(self._timers)
                # A timer sees the time it was set for, so that what it starts is timed from there.
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

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                wait_s: float | None = None
                if self._timers:
                    left_s = self._timers[0][0] - self.monotonic()
                    if left_s <= 0:
                        _, _, timer = heapq.heappop(self._timers)
                        if not timer.cancelled:
                            self._call_unlocked(timer)
                        continue
                    wait_s = left_s / self.scale if self.scale else None
                self._changed.wait(wait_s)

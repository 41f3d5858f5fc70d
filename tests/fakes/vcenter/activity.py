"""Who is at work inside the fake, so that virtual time knows when nobody is.

A request is at work from its arrival to its answer, a step of a task from its submission to its
end. Whoever only waits for something else (a long poll for changes, a transfer for its time, an
upload for the client's next bytes) pauses meanwhile. Who wakes a pause ends it, before the woken
thread runs: there is no moment in which work is due and nobody counts as busy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts work under way. Thread-safe; takes no other lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._events = 0
        self._here = threading.local()

    @property
    def busy(self) -> int:
        """Requests and steps at work at this moment."""
        return self._busy

    @property
    def events(self) -> int:
        """Grows with every beginning of work and every wake-up, a sleeping client's included."""
        return self._events

    def begin(self, *, told: bool = True) -> None:
        """Work was taken on, here or for another thread.

        :param told: False for what happens inside the fake (a timer), of which nobody knows yet
        """
        with self._changed:
            self._busy += 1
            self._events += told

    def end(self) -> None:
        """Work that was begun is done."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def note(self) -> None:
        """Somebody outside was told something and may act on it."""
        with self._changed:
            self._events += 1

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Whether nobody is at work, after at most so many real seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, timeout_s)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The calling thread works until the end of the block, but for its pauses."""
        self._here.works = True
        self.begin()
        try:
            yield
        finally:
            self._here.works = False
            self.end()

    def pause(self) -> Pause:
        """The calling thread begins to wait; a thread that is not at work (a client's) counts only
        as told when the pause ends.
        """
        return Pause(self, counts=getattr(self._here, "works", False))


class Pause:
    """One wait: `end` it once the wait is over, from whatever thread; again is fine."""

    def __init__(self, activity: Activity, *, counts: bool) -> None:
        self._activity = activity
        self._counts = counts
        self._ended = False
        self._lock = threading.Lock()
        if counts:
            activity.end()

    def end(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        if self._counts:
            self._activity.begin()
        else:
            self._activity.note()

    def __enter__(self) -> Pause:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

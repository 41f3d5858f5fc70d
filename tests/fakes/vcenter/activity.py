"""Counts the threads that work inside the fake, so that virtual time knows when none does.

A request counts as work from its arrival to its answer, and a step of a task from its submission to
its end. A thread that only waits (a long poll for changes, a transfer for its time, an upload for
the client's next bytes) pauses its work meanwhile. The thread that wakes a waiting thread ends the
pause before the other runs, so work that is due always counts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts work in progress. Thread-safe; takes no other lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._events = 0
        self._here = threading.local()

    @property
    def busy(self) -> int:
        """Number of requests and steps in progress."""
        return self._busy

    @property
    def events(self) -> int:
        """Increases with every start of work and every wake-up, including those of sleeping
        clients.
        """
        return self._events

    def begin(self, *, told: bool = True) -> None:
        """Count work that starts, in this thread or another.

        :param told: False for work inside the fake (a timer) that no client knows of yet
        """
        with self._changed:
            self._busy += 1
            self._events += told

    def end(self) -> None:
        """Count one piece of work as done."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def note(self) -> None:
        """Count a message to a client, which may act on it."""
        with self._changed:
            self._events += 1

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Whether all work ends within timeout_s real seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, timeout_s)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the calling thread as working until the end of the block, except during its
        pauses.
        """
        self._here.works = True
        self.begin()
        try:
            yield
        finally:
            self._here.works = False
            self.end()

    def pause(self) -> Pause:
        """Start a wait of the calling thread. For a thread that does no work (a client's), only the
        end of the pause counts, as an event.
        """
        return Pause(self, counts=getattr(self._here, "works", False))


class Pause:
    """One wait. Any thread may call `end` when the wait is over, also more than once."""

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

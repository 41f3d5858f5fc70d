"""A task that somebody waits for, and how it ended; see vmdk_cache/vim/task.py."""

from __future__ import annotations

import threading
from typing import Any

from vmdk_cache.vim.properties import Properties


class PendingTask:
    """Guarded by the waiter's lock.

    :param run_within_s: how long it may run
    :param start_within_s: how long it may stay in vCenter's queue
    :ivar changed: notified of its end, and of its beginning
    :ivar values: all that vCenter has told of it so far
    :ivar started_at: monotonic time when it was first seen to run
    """

    def __init__(
        self,
        moref: str,
        lock: threading.Lock,
        now: float,
        run_within_s: float,
        start_within_s: float,
    ) -> None:
        self.moref = moref
        self.run_within_s = run_within_s
        self.start_within_s = start_within_s
        self.began_at = self.warned_at = now
        self.changed = threading.Condition(lock)
        self.values: Properties = {}
        self.started_at: float | None = None
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    @property
    def ends_at(self) -> float:
        """Monotonic time after which it is given up."""
        if self.started_at is None:
            return self.began_at + self.start_within_s
        return self.started_at + self.run_within_s

    @property
    def overdue(self) -> str:
        """What a task that is given up has done for too long."""
        if self.started_at is None:
            return f"waited in vCenter's queue for more than {self.start_within_s:g} s"
        return f"ran for more than {self.run_within_s:g} s"

    def end(self, *, result: Any = None, error: Exception | None = None) -> None:
        """The first end counts."""
        if not self.done:
            self.done, self.result, self.error = True, result, error
            self.changed.notify_all()

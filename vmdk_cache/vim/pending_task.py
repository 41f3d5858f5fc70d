"""A task that somebody waits for, and how it ended; see vmdk_cache/vim/task.py."""

from __future__ import annotations

import threading
from typing import Any

from vmdk_cache.vim.properties import Properties


class PendingTask:
    """Guarded by the waiter's lock.

    :ivar changed: notified of its end, and of its beginning
    :ivar values: all that vCenter has told of it so far
    :ivar started_at: monotonic time when it was first seen to run
    """

    def __init__(self, moref: str, lock: threading.Lock, now: float) -> None:
        self.moref = moref
        self.began_at = self.warned_at = now
        self.changed = threading.Condition(lock)
        self.values: Properties = {}
        self.started_at: float | None = None
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None

    def end(self, *, result: Any = None, error: Exception | None = None) -> None:
        """The first end counts."""
        if not self.done:
            self.done, self.result, self.error = True, result, error
            self.changed.notify_all()

"""A network link that is slower than what this machine could send to itself."""

from __future__ import annotations

import time

#: Pauses shorter than this cost more than they are worth; the next one makes up for them.
_SHORTEST_PAUSE_S = 0.005


class Link:
    """Holds whoever calls `pass_on` to a rate.

    :param bytes_per_s: 0: no limit
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._began: float | None = None
        self._passed_bytes = 0

    def pass_on(self, size_bytes: int) -> None:
        """Return when so many more bytes may have passed."""
        if not self._bytes_per_s:
            return
        if self._began is None:
            self._began = time.monotonic()
        self._passed_bytes += size_bytes
        ahead_s = self._began + self._passed_bytes / self._bytes_per_s - time.monotonic()
        if ahead_s > _SHORTEST_PAUSE_S:
            time.sleep(ahead_s)

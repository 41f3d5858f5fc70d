"""A network link that is slower than this machine's loopback."""

from __future__ import annotations

import time

#: Pauses shorter than this cost more than they are worth; the next one includes them.
_SHORTEST_PAUSE_S = 0.005


class Link:
    """Limits its users to a rate together.

    :param bytes_per_s: 0: no limit
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._began: float | None = None
        self._passed_bytes = 0

    def pass_on(self, size_bytes: int) -> None:
        """Wait until this many more bytes may have passed."""
        if not self._bytes_per_s:
            return
        if self._began is None:
            self._began = time.monotonic()
        self._passed_bytes += size_bytes
        ahead_s = self._began + self._passed_bytes / self._bytes_per_s - time.monotonic()
        if ahead_s > _SHORTEST_PAUSE_S:
            time.sleep(ahead_s)

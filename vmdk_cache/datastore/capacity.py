"""Sums of sizes, and the space promised to work that has not taken it yet."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

GIB = 1 << 30


def provisioned_gib(sizes_bytes: Iterable[int]) -> int:
    """The sum of the sizes in GiB, rounded up once, at the end."""
    return -(-sum(sizes_bytes) // GIB)


class Reservations:
    """Bytes promised per datastore (moref) while creates run; any thread may use it.

    vCenter's free space falls only as the bytes arrive, so that without this every create of a
    burst would see the same best datastore.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()

    @contextlib.contextmanager
    def reserve(self, datastore: str, size_bytes: int) -> Iterator[None]:
        """Count `size_bytes` (>= 0) on the datastore for the length of the block."""
        if size_bytes < 0:
            raise ValueError(f"cannot reserve {size_bytes} bytes")
        with self._lock:
            self._bytes[datastore] += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._bytes[datastore] -= size_bytes
                if not self._bytes[datastore]:
                    del self._bytes[datastore]

    def pending(self) -> dict[str, int]:
        """A copy: bytes promised now, by moref; datastores without any are left out."""
        with self._lock:
            return dict(self._bytes)

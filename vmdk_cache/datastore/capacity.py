"""Sums of sizes, and the space promised to work that has not taken it yet."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

GIB = 1 << 30

Chosen = TypeVar("Chosen")


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
        with self.claim(lambda _: datastore, lambda chosen: chosen, size_bytes):
            yield

    @contextlib.contextmanager
    def claim(
        self,
        choose: Callable[[dict[str, int]], Chosen],
        datastore_of: Callable[[Chosen], str],
        size_bytes: int,
    ) -> Iterator[Chosen]:
        """Choose and reserve in one step, so that of two choices one knows of the other.

        :param choose: is given what `pending` would return; must be quick, others wait for it
        :param datastore_of: moref of the datastore that was chosen
        """
        if size_bytes < 0:
            raise ValueError(f"cannot reserve {size_bytes} bytes")
        with self._lock:
            chosen = choose(dict(self._bytes))
            datastore = datastore_of(chosen)
            self._bytes[datastore] += size_bytes
        try:
            yield chosen
        finally:
            with self._lock:
                self._bytes[datastore] -= size_bytes
                if not self._bytes[datastore]:
                    del self._bytes[datastore]

    def pending(self) -> dict[str, int]:
        """A copy: bytes promised now, by moref; datastores without any are left out."""
        with self._lock:
            return dict(self._bytes)

"""Pins on templates that this process is cloning from.

A clone pins its template. A template is reserved before it is deleted: from then on it cannot be
pinned, and a pinned template cannot be reserved. Between processes vCenter decides: a clone holds
the template's shared lock, and deleting it needs the exclusive one (docs/assumptions.rst, A77).
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator

from vmdk_cache import errors


class Pins:
    """Pins by moref. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pinned: collections.Counter[str] = collections.Counter()
        self._reserved: set[str] = set()

    @contextlib.contextmanager
    def pin(self, moref: str) -> Iterator[None]:
        """Keep the template for the block.

        :raises ObjectNotFound: the template is about to be deleted
        """
        with self._lock:
            if moref in self._reserved:
                raise errors.ObjectNotFound(f"template {moref} is being deleted", moref=moref)
            self._pinned[moref] += 1
        try:
            yield
        finally:
            with self._lock:
                self._pinned[moref] -= 1
                if not self._pinned[moref]:
                    del self._pinned[moref]

    def pinned(self) -> frozenset[str]:
        """The templates that this process is cloning from."""
        with self._lock:
            return frozenset(self._pinned)

    def count(self, moref: str) -> int:
        """How many clones of the template this process is making."""
        with self._lock:
            return self._pinned[moref]

    @contextlib.contextmanager
    def reserve_for_deletion(self, moref: str) -> Iterator[None]:
        """Allow no new pin during the block, which deletes the template.

        :raises InUse: the template is pinned, or already reserved
        """
        with self._lock:
            if moref in self._pinned or moref in self._reserved:
                raise errors.InUse(f"template {moref} is being cloned or deleted", moref=moref)
            self._reserved.add(moref)
        try:
            yield
        finally:
            with self._lock:
                self._reserved.discard(moref)

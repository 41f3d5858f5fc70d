"""The images that are to stay: marked in Glance with ``image_cache_warm``.

Whoever keeps them warm tells which they are; whoever makes room asks, so that the two do not work
against each other (cache/eviction.py). Known to this process only: each process that serves the
backend asks Glance by itself. Empty where nobody does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable


class KeptImages:
    """Glance image ids; safe for use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: frozenset[str] = frozenset()

    def set(self, image_ids: Iterable[str]) -> None:
        """These, and no others."""
        ids = frozenset(image_ids)
        with self._lock:
            self._ids = ids

    def __call__(self) -> frozenset[str]:
        with self._lock:
            return self._ids

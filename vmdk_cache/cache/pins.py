"""Pins on templates that this process is cloning from, and claims of volumes that wait for one.

A clone pins its template. A template is reserved before it is deleted: from then on it cannot be
pinned, and a pinned template cannot be reserved. Between processes vCenter decides: a clone holds
the template's shared lock, and deleting it needs the exclusive one (docs/assumptions.rst, A77).

A volume that waits for a slot claims the templates that it may be cloned from. They are not
removed, because the image would be imported again at once. A template that is broken goes
nevertheless.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Collection, Iterator

from vmdk_cache import errors


class Pins:
    """Pins by moref. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pinned: collections.Counter[str] = collections.Counter()
        self._claimed: collections.Counter[str] = collections.Counter()
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

    @contextlib.contextmanager
    def claim(self, morefs: Collection[str]) -> Iterator[None]:
        """Keep the templates during the block, in which a volume waits, unless they are broken."""
        claimed = collections.Counter(morefs)
        with self._lock:
            self._claimed += claimed
        try:
            yield
        finally:
            with self._lock:
                self._claimed -= claimed  # keeps no zeros

    def in_use(self) -> frozenset[str]:
        """The templates that this process is cloning from, or that volumes wait for."""
        with self._lock:
            return frozenset(self._pinned.keys() | self._claimed.keys())

    def count(self, moref: str) -> int:
        """How many clones of the template this process is making."""
        with self._lock:
            return self._pinned[moref]

    @contextlib.contextmanager
    def reserve_for_deletion(self, moref: str, *, is_broken: bool = False) -> Iterator[None]:
        """Allow no new pin during the block, which deletes the template.

        :param is_broken: the template is of no use to the volumes that claim it
        :raises InUse: the template is pinned, claimed, or already reserved
        """
        with self._lock:
            if moref in self._pinned or moref in self._reserved:
                raise errors.InUse(f"template {moref} is being cloned or deleted", moref=moref)
            if moref in self._claimed and not is_broken:
                raise errors.InUse(f"volumes wait for template {moref}", moref=moref)
            self._reserved.add(moref)
        try:
            yield
        finally:
            with self._lock:
                self._reserved.discard(moref)

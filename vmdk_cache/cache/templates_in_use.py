"""Templates that this process is cloning from, or that its volumes wait for.

While this process clones from a template, it does not delete it. While it deletes a template, it
starts no clone of it. Between processes vCenter decides: a clone holds the template's shared lock,
and deleting it needs the exclusive one (docs/assumptions.rst, A77).

A template that a volume of this process waits for is not removed either, because the image would be
imported again at once, unless the template is broken. A volume waits for the copies that it knew
when it joined the queue, not for replicas that were made later: if one of those is removed, the
volume gets another copy.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Collection, Iterator

from vmdk_cache import errors


class TemplatesInUse:
    """By moref. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cloned: collections.Counter[str] = collections.Counter()
        self._awaited: collections.Counter[str] = collections.Counter()
        self._deleting: set[str] = set()

    @contextlib.contextmanager
    def use(self, moref: str) -> Iterator[None]:
        """Prevent deletion of the template during the block.

        :raises ObjectNotFound: the template is about to be deleted
        """
        with self._lock:
            if moref in self._deleting:
                raise errors.ObjectNotFound(f"template {moref} is being deleted", moref=moref)
            self._cloned[moref] += 1
        try:
            yield
        finally:
            with self._lock:
                self._cloned[moref] -= 1
                if not self._cloned[moref]:
                    del self._cloned[moref]

    @contextlib.contextmanager
    def awaited(self, morefs: Collection[str]) -> Iterator[None]:
        """Keep the templates during the block, in which a volume waits, unless they are broken."""
        awaited = collections.Counter(morefs)
        with self._lock:
            self._awaited += awaited
        try:
            yield
        finally:
            with self._lock:
                self._awaited -= awaited  # keeps no zeros

    def morefs(self) -> frozenset[str]:
        """The templates that this process is cloning from, or that volumes wait for."""
        with self._lock:
            return frozenset(self._cloned.keys() | self._awaited.keys())

    def count(self, moref: str) -> int:
        """How many clones of the template this process is making."""
        with self._lock:
            return self._cloned[moref]

    @contextlib.contextmanager
    def deleting(self, moref: str, *, is_broken: bool = False) -> Iterator[None]:
        """Start no clone of the template during the block, in which the template is deleted.

        :param is_broken: the template is of no use to the volumes that wait for it
        :raises InUse: the template is being cloned, awaited, or already being deleted
        """
        with self._lock:
            if moref in self._cloned or moref in self._deleting:
                raise errors.InUse(f"template {moref} is being cloned or deleted", moref=moref)
            if moref in self._awaited and not is_broken:
                raise errors.InUse(f"volumes wait for template {moref}", moref=moref)
            self._deleting.add(moref)
        try:
            yield
        finally:
            with self._lock:
                self._deleting.discard(moref)

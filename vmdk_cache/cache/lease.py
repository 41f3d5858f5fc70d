"""Who is cloning from which template, in this process.

A clone holds a lease on its template; a template is condemned before it is deleted. A lease on a
condemned template is refused, and a template with leases cannot be condemned. Between processes
vCenter decides: a clone holds the template's shared lock, deleting it needs the exclusive one
(docs/assumptions.rst, A77).
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator

from vmdk_cache import errors


class LeaseBook:
    """Leases by managed object id; safe for use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: collections.Counter[str] = collections.Counter()
        self._condemned: set[str] = set()

    @contextlib.contextmanager
    def hold(self, moref: str) -> Iterator[None]:
        """Keep the template for the block.

        :raises ObjectNotFound: the template is condemned, as good as gone
        """
        with self._lock:
            if moref in self._condemned:
                raise errors.ObjectNotFound(f"template {moref} is being deleted", moref=moref)
            self._held[moref] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[moref] -= 1
                if not self._held[moref]:
                    del self._held[moref]

    def held(self) -> frozenset[str]:
        """The templates that somebody in this process is cloning from now."""
        with self._lock:
            return frozenset(self._held)

    def holders(self, moref: str) -> int:
        """How many in this process are cloning from the template now."""
        with self._lock:
            return self._held[moref]

    @contextlib.contextmanager
    def condemn(self, moref: str) -> Iterator[None]:
        """Let no new lease start for the block, in which the template is to be deleted.

        :raises InUse: somebody holds a lease, or has condemned it already
        """
        with self._lock:
            if moref in self._held or moref in self._condemned:
                raise errors.InUse(f"template {moref} is being cloned or deleted", moref=moref)
            self._condemned.add(moref)
        try:
            yield
        finally:
            with self._lock:
                self._condemned.discard(moref)

"""Room for one more template: the limits hold before an import, not only after it.

Under a lock of the whole backend, the templates are counted and those that have to make room are
evicted. The lock is held until the new VM exists, because from then on the VM is counted itself. So
a burst of imports, in any number of processes, exceeds no limit. Nothing is evicted for an image
that would not fit anyway.

A replica takes only free room, and reserves it: vCenter shows no size of it until the clone is
complete, and imports must not wait for that. Other processes do not see the reservation, so they
may exceed a limit by the replicas that are being made, until the next purge.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.eviction_plan import Verdict, plan_room
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.ports import Place
from vmdk_cache.quoting import quoted

LOCK = "room"
#: The lock is usually held for seconds: for look-ups, deletions and the start of an import. While a
#: deletion hangs, which vim/template.py bounds, other imports give up and bypass the cache.
LOCK_TIMEOUT_S = 600.0


class Room:
    """Keeps the limits of one backend."""

    def __init__(self, context: CacheContext, evictor: Evictor) -> None:
        self._context = context
        self._evictor = evictor
        self._reserved_lock = threading.Lock()
        self._reserved: dict[str, CacheEntry] = {}

    @contextlib.contextmanager
    def make(self, size_bytes: int, place: Place) -> Iterator[None]:
        """Make room for a template of ``size_bytes`` at ``place``, and keep it free for the block.

        :raises NotCacheable: evicting would not make enough room
        """
        with self.locked():
            for verdict in self._plan(size_bytes, place):
                self._remove(verdict)
            yield

    def check(self, size_bytes: int, place: Place) -> None:
        """:raises NotCacheable: there is no room for a template, and evicting would not make any"""
        self._plan(size_bytes, place)

    @contextlib.contextmanager
    def free_for(
        self, name: str, size_bytes: int, place: Place, instead_of: Collection[str] = ()
    ) -> Iterator[None]:
        """Reserve free room for a replica of ``size_bytes`` at ``place``, for the block that makes
        it.

        :param name: the replica's
        :param instead_of: morefs of templates that it replaces, which do not count
        :raises NotCacheable: there is no room, or another template would have to be evicted
        """
        with self.locked():
            if plan := self._plan(size_bytes, place, instead_of):
                raise errors.NotCacheable(
                    Reason.NO_ROOM, f"{quoted(plan[0].entry.name)} would have to make room for it"
                )
            replica = CacheEntry("", name, Phase.IMPORTING, None, place.datastore, None, size_bytes)
            with self._reserved_lock:
                self._reserved[name] = replica
        try:
            yield
        finally:
            with self._reserved_lock:
                del self._reserved[name]

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """The lock of the whole backend, during which no import evicts anything; none while there
        are no limits."""
        if self._context.settings().has_limits:
            return self._context.locks.hold(LOCK, LOCK_TIMEOUT_S)
        return contextlib.nullcontext()

    def _plan(
        self, size_bytes: int, place: Place, instead_of: Collection[str] = ()
    ) -> tuple[Verdict, ...]:
        settings = self._context.settings()
        if not settings.has_limits:
            return ()
        entries = [e for e in self._context.entries() if e.moref not in instead_of]
        return plan_room(
            [*entries, *self._reservations(entries)],
            size_bytes,
            place.datastore,
            settings,
            spaces=self._context.spaces(),
            in_use=self._context.templates_in_use.morefs(),
            kept=self._context.kept(),
        )

    def _reservations(self, entries: Iterable[CacheEntry]) -> list[CacheEntry]:
        """The replicas that are being made; complete ones are among ``entries``."""
        counted = {entry.name for entry in entries if entry.phase is not Phase.FOREIGN}
        with self._reserved_lock:
            return [one for name, one in self._reserved.items() if name not in counted]

    def _remove(self, verdict: Verdict) -> None:
        if self._evictor.attempt(verdict) is not None:
            raise errors.NotCacheable(
                Reason.NO_ROOM,
                f"{quoted(verdict.entry.name)} should have made room and could not be removed now",
            )

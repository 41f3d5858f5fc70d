"""Room for one more template: limits are kept before an import, not after it.

Under a lock of the whole backend the templates are counted, and what has to go goes; the lock is
held until the new VM exists, from when on it counts itself. So no burst of imports, in however
many processes, exceeds a limit. Nothing is removed for an image that would not fit anyway.

A replica takes only what is free, and gets it promised: it has no size that others could count
until vCenter is done with it, and imports must not wait for that. Other processes know nothing of
the promise, so they may exceed a limit by the replicas in the making, until the next purge.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.eviction import Verdict, plan_room
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.ports import Place
from vmdk_cache.quoting import quoted

LOCK = "room"
#: The lock is held for look-ups, a few deletions and the start of an import.
LOCK_TIMEOUT_S = 600.0


class Room:
    """Keeps the limits of one backend."""

    def __init__(self, context: CacheContext, evictor: Evictor) -> None:
        self._context = context
        self._evictor = evictor
        self._promises_lock = threading.Lock()
        self._promises: dict[str, CacheEntry] = {}

    @contextlib.contextmanager
    def made(self, size_bytes: int, place: Place) -> Iterator[None]:
        """Room for a template of ``size_bytes`` at ``place``, kept free for the block.

        :raises NotCacheable: there is none, and none to be made
        """
        if not self._context.policy().has_limits:
            yield
            return
        with self._context.locks.hold(LOCK, LOCK_TIMEOUT_S):
            for verdict in self._plan(size_bytes, place):
                self._remove(verdict)
            yield

    def check(self, size_bytes: int, place: Place) -> None:
        """:raises NotCacheable: there is no room for a template, and none to be made"""
        if self._context.policy().has_limits:
            self._plan(size_bytes, place)

    @contextlib.contextmanager
    def free_for(self, name: str, size_bytes: int, place: Place) -> Iterator[None]:
        """Room for a replica of ``size_bytes`` at ``place`` that is there already, promised to it
        for the block, in which it is made.

        :param name: the replica's
        :raises NotCacheable: there is none, or only if another template goes
        """
        if not self._context.policy().has_limits:
            yield
            return
        with self._context.locks.hold(LOCK, LOCK_TIMEOUT_S):
            if plan := self._plan(size_bytes, place):
                raise errors.NotCacheable(
                    Reason.NO_ROOM, f"{quoted(plan[0].entry.name)} would have to make room for it"
                )
            promise = CacheEntry("", name, Phase.IMPORTING, None, place.datastore, None, size_bytes)
            with self._promises_lock:
                self._promises[name] = promise
        try:
            yield
        finally:
            with self._promises_lock:
                del self._promises[name]

    def _plan(self, size_bytes: int, place: Place) -> tuple[Verdict, ...]:
        policy = self._context.policy()
        entries = self._context.entries()
        return plan_room(
            [*entries, *self._promised(entries)],
            size_bytes,
            place.datastore,
            policy,
            spaces=self._context.placement.spaces() if policy.needs_space else {},
            in_use=self._context.pins.pinned(),
            kept=self._context.kept(),
        )

    def _promised(self, entries: Iterable[CacheEntry]) -> list[CacheEntry]:
        """What replicas in the making will take; those that are done count themselves."""
        counted = {entry.name for entry in entries if entry.phase is not Phase.FOREIGN}
        with self._promises_lock:
            return [p for name, p in self._promises.items() if name not in counted]

    def _remove(self, verdict: Verdict) -> None:
        if not self._evictor.remove(verdict, self._is_unused):
            raise errors.NotCacheable(
                Reason.NO_ROOM,
                f"{quoted(verdict.entry.name)} should have made room and could not be removed now",
            )

    def _is_unused(self, entry: CacheEntry) -> bool:
        return entry.moref not in self._context.pins.pinned()

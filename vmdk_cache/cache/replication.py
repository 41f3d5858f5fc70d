"""Replicas: further copies of a template, made in the background where volumes are cloned to.

    counted    a volume goes to a datastore that has no copy of its image
    queued     image_cache_replicate_after volumes of the image went there before
    at work    lock of the key, another look, a source that is in order, room, CloneVM_Task
    over       made, or given up: the count starts anew, after a failure not without a pause

No user waits for a replica, none fails with one, and no other template goes for it. Of a key one
is made at a time, and AT_ONCE in all: each loads the hosts and datastores that volumes are cloned
over meanwhile, and the second of a key can be made from the first.

Whoever makes one holds the lock of the key, as for an import, so nobody takes a replica in the
making for a broken one. Between processes without a shared lock vCenter refuses the second VM of
the name, and the removal of one that a task works on. A process that dies leaves a whole replica
or none, since vCenter finishes the clone, or removes what it began.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache import file_locked
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Events, Replicated
from vmdk_cache.cache.key import CacheKey, lock_name, replica_name
from vmdk_cache.cache.lease import LeaseBook
from vmdk_cache.cache.ports import Place, Placement, TemplateStore
from vmdk_cache.cache.room import Room
from vmdk_cache.clock import Clock
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.locks import Locks

LOG = logging.getLogger(__name__)

#: Replicas that one process makes at a time for one backend.
AT_ONCE = 2
#: The lock's other holders replicate the key to another datastore, or delete a copy.
LOCK_WAIT_S = 600.0
#: What kept a replica from being made rarely changes sooner.
PAUSE_AFTER_FAILURE_S = 600.0
#: Volumes further apart do not make a datastore one that is used repeatedly.
DEMAND_LIFE_S = 86400.0
THREAD_NAME = "image-cache-replica"


class _Wanted(NamedTuple):
    """A replica, made or not. ``datastore`` is a managed object id."""

    key: CacheKey
    datastore: str


@dataclasses.dataclass
class _Demand:
    """Volumes that went where no copy is.

    :ivar asked_at: monotonic time of the last one
    :ivar not_before: monotonic time; until then no replica is tried
    :ivar is_pending: its replica is queued or at work
    """

    asked_at: float
    volumes: int = 0
    not_before: float = 0.0
    is_pending: bool = False


class Replication:
    """Makes the replicas of one backend. Safe for use by many threads.

    :param copies_changed: told each new replica, which is READY
    """

    def __init__(
        self,
        backend: str,
        settings: Settings,
        *,
        store: TemplateStore,
        placement: Placement,
        room: Room,
        locks: Locks,
        leases: LeaseBook,
        events: Events,
        clock: Clock,
        copies_changed: Callable[[CacheEntry], None],
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._store = store
        self._placement = placement
        self._room = room
        self._locks = locks
        self._leases = leases
        self._events = events
        self._clock = clock
        self._copies_changed = copies_changed
        self._lock = threading.Lock()
        self._demands: dict[_Wanted, _Demand] = {}
        self._queue: list[_Wanted] = []
        self._keys_at_work: set[CacheKey] = set()
        self._threads = 0
        self._closed = False

    def asked(self, key: CacheKey, copies: Sequence[CacheEntry], place: Place) -> None:
        """A volume goes to ``place``, and is about to be cloned from one of ``copies``.

        To be told of each such volume before it is cloned, so that a burst gets its replica while
        it lasts. Neither blocks nor raises.

        :param copies: of the key; nothing happens if there is none, or one on that datastore
        """
        if self._settings.replicas == REPLICAS_OFF or not copies:
            return
        if any(copy.datastore == place.datastore for copy in copies):
            return
        with self._lock:
            if self._closed or not self._is_due(_Wanted(key, place.datastore)):
                return
            self._queue.append(_Wanted(key, place.datastore))
            if self._threads == AT_ONCE:
                return
            self._threads += 1
        self._start_thread()

    def close(self) -> None:
        """Begin no further replica; one that is at work ends by itself. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._queue.clear()

    def _is_due(self, wanted: _Wanted) -> bool:
        """Count one more volume; whether the replica is to be queued now."""
        now = self._clock.monotonic()
        if wanted not in self._demands:
            self._forget_old_demands(now)
        demand = self._demands.setdefault(wanted, _Demand(now))
        if now - demand.asked_at > DEMAND_LIFE_S:
            demand.volumes = 0
        demand.asked_at = now
        demand.volumes += 1
        if demand.is_pending or now < demand.not_before:
            return False
        demand.is_pending = demand.volumes > self._settings.replicate_after
        return demand.is_pending

    def _forget_old_demands(self, now: float) -> None:
        self._demands = {
            wanted: demand
            for wanted, demand in self._demands.items()
            if demand.is_pending or now - demand.asked_at <= DEMAND_LIFE_S
        }

    # -- the threads -----------------------------------------------------------------------------

    def _start_thread(self) -> None:
        try:
            threading.Thread(target=self._work, name=THREAD_NAME, daemon=True).start()
        except RuntimeError as failure:
            LOG.info("No thread to make replicas in: %s", failure)
            with self._lock:
                self._threads -= 1
                if not self._threads:  # else another thread comes to what is queued
                    for wanted in self._queue:
                        self._put_off(wanted)
                    self._queue.clear()

    def _work(self) -> None:
        """The thread: ends when there is nothing for it to do."""
        while (wanted := self._next()) is not None:
            made = False
            try:
                made = self._make(wanted)
            finally:
                with self._lock:
                    self._keys_at_work.discard(wanted.key)
                    if made:
                        self._demands.pop(wanted, None)
                    else:
                        self._put_off(wanted)

    def _next(self) -> _Wanted | None:
        """What waited longest and is of no key at work; the thread at work on a key comes back
        for the rest of it."""
        with self._lock:
            for wanted in self._queue:
                if wanted.key not in self._keys_at_work:
                    self._queue.remove(wanted)
                    self._keys_at_work.add(wanted.key)
                    return wanted
            self._threads -= 1
            return None

    def _put_off(self, wanted: _Wanted) -> None:
        now = self._clock.monotonic()
        self._demands[wanted] = _Demand(now, not_before=now + PAUSE_AFTER_FAILURE_S)

    # -- one replica -----------------------------------------------------------------------------

    def _make(self, wanted: _Wanted) -> bool:
        """Whether there is nothing more to do; False: to be tried later."""
        started = self._clock.monotonic()
        try:
            with self._locks.hold(lock_name(wanted.key), LOCK_WAIT_S):
                copies = self._store.copies(wanted.key, fresh=True)
                if not copies or any(copy.datastore == wanted.datastore for copy in copies):
                    return True
                made, place = self._replicate(wanted, self._source(copies))
            self._copies_changed(made)
            self._events(
                Replicated(
                    self._backend,
                    wanted.key.image_id,
                    made.name,
                    place.datastore_name,
                    self._clock.monotonic() - started,
                )
            )
        except Exception as failure:
            # Whatever it is: volumes are cloned across, as before.
            LOG.info(
                "No replica of image %s on datastore %s for now: %s",
                wanted.key.image_id,
                wanted.datastore,
                failure if isinstance(failure, errors.VmdkCacheError) else repr(failure),
            )
            return False
        return True

    def _source(self, copies: Sequence[CacheEntry]) -> CacheEntry:
        """Of those whose own host can read them, the one that the fewest are cloning from.

        :raises HostUnavailable: there is none; a replica moves no template, users do
        """
        fit = [
            copy for copy in copies if copy.accessible and self._placement.reader(copy) == copy.host
        ]
        if not fit:
            raise errors.HostUnavailable("no copy of it is on a host that can read it now")
        return min(fit, key=lambda copy: self._leases.holders(copy.moref))

    def _replicate(self, wanted: _Wanted, source: CacheEntry) -> tuple[CacheEntry, Place]:
        name = replica_name(self._backend, wanted.key, wanted.datastore)
        with (
            self._leases.hold(source.moref),
            self._placement.for_replica(source.size_bytes, wanted.datastore) as place,
            self._room.free_for(name, source.size_bytes, place),
        ):
            made = file_locked.outwait(lambda: self._store.replicate(source, place), self._clock)
            return self._with_times(made, source), place

    def _with_times(self, made: CacheEntry, source: CacheEntry) -> CacheEntry:
        """Warmed up when its source was, and used now: else it might expire as soon as it is made,
        because its record is as old as the template's."""
        warmed = dataclasses.replace(made, warmed_at=source.warmed_at)
        try:
            return dataclasses.replace(warmed, used_at=self._store.touch(warmed))
        except errors.VmdkCacheError as failure:
            LOG.info("The use of replica %s was not noted: %s", made.name, failure)
            return made

"""Replicas: further copies of a template, made in the background where volumes are cloned to.

    counted    a volume goes to a datastore that has no copy of its image
    queued     image_cache_replicate_after volumes of the image went there before, and there is a
               copy to make it from; promised to the waiters in the clone queue
    at work    lock of its name, another look, a source that is in order, room, CloneVM_Task
    over       made, or given up: the promise ends and the count starts anew, after a failure not
               without a pause

Volumes that go to its datastore wait for a replica (cache/clone_order.py), none fails with one, and
no other template goes for it. Of a key as many are made at a time as there are copies to read from,
each from another, so they double: 1, 2, 4; and AT_ONCE in all, for each loads the hosts and
datastores that volumes are cloned over meanwhile.

A replica's name has a digest of its datastore. One that an administrator moves keeps its name and
counts where it is; the next one for the datastore that it left gets another name.

The maker of a replica holds the lock of the datastore's usual name, and that of the replica's own
if it has another, so nobody takes a replica in the making for a broken one, and no two make the
same. Others of the key go on meanwhile, each of them safe by itself:

    an import       of the key needs that there is no copy. The source is one until the replica is,
                    and vCenter keeps it for as long as it is read; so none begins meanwhile.
    a removal       of the source is refused by its pin here, by vCenter for other processes; if
                    it comes first, there is nothing to clone, and the replica is given up. Of the
                    replica: it is not READY before it is made, and then it is a copy like any.
    a reconcile     finds a machine without configuration; the lock of its name is held.

Between processes without a shared lock vCenter refuses the second VM of the name, and the removal
of one that a task works on. A process that dies leaves a whole replica or none, since vCenter
finishes the clone, or removes what it began.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.cache import clone_failure
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Replicated
from vmdk_cache.cache.key import CacheKey, free_replica_name, lock_name_of, replica_name
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.room import Room
from vmdk_cache.conf import REPLICAS_OFF
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)

#: Replicas that one process makes at a time for one backend.
AT_ONCE = 4
#: The lock's other holders make the same replica, or delete it.
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

    :param queue: told what is being made, and each new replica, which is READY
    """

    def __init__(self, context: CacheContext, *, room: Room, queue: CloneQueue) -> None:
        self._backend = context.backend
        self._deployment = context.deployment
        self._settings = context.settings
        self._store = context.store
        self._placement = context.placement
        self._locks = context.locks
        self._pins = context.pins
        self._events = context.events
        self._clock = context.clock
        self._room = room
        self._clone_queue = queue
        self._lock = threading.Lock()
        self._demands: dict[CacheKey, dict[str, _Demand]] = {}  # by datastore
        self._waiting: list[_Wanted] = []
        self._at_work: set[_Wanted] = set()
        self._copies: dict[CacheKey, int] = {}  # to read from, when last seen
        self._readers: collections.Counter[str] = collections.Counter()  # replicas, by source
        self._closed = False

    def asked(self, key: CacheKey, copies: Sequence[CacheEntry], place: Place) -> None:
        """A volume goes to ``place``.

        To be told of each such volume once, before it is cloned, and before it waits for an import
        that others wait for as well: so a burst gets its replica while it lasts. Neither blocks
        nor raises.

        :param copies: of the key, perhaps none yet; one on that datastore is all it takes
        """
        if self._settings().replicas == REPLICAS_OFF:
            return
        if all(copy.datastore != place.datastore for copy in copies):
            with self._lock:
                self._count(key, place.datastore)
        self.begin(key, copies)

    def begin(self, key: CacheKey, copies: Sequence[CacheEntry]) -> None:
        """There are ``copies`` now, of which replicas are made wherever enough volumes go.

        Neither blocks nor raises; nothing happens if there is no copy.
        """
        if not copies:
            return
        with self._lock:
            due = [] if self._closed else self._due(key, {copy.datastore for copy in copies})
            if not due:
                return
            self._copies[key] = len(copies)
            for wanted in due:
                self._waiting.append(wanted)
                self._clone_queue.promise(*wanted)
            self._start_threads()

    def make(self, key: CacheKey, datastore: str) -> tuple[CacheEntry, bool]:
        """A READY copy of the key on that datastore, and whether this very call made it.

        To whoever waits for it; ``image_cache_replicas`` does not matter. Neither does a failure
        of a moment ago, nor how many others are being made.

        :param datastore: managed object id
        :raises ObjectNotFound: there is no copy to make it from
        :raises VmdkCacheError: it was not made; there is no half of one
        """
        self._clone_queue.promise(key, datastore)
        try:
            found, made = self._have(_Wanted(key, datastore))
        finally:
            self._clone_queue.withdraw(key, datastore)
        if found is None:
            raise errors.ObjectNotFound(
                f"image {identifier(key.image_id)} has no template any more that a copy could be "
                f"made of"
            )
        return found, made

    def close(self) -> None:
        """Begin no further replica; one that is at work ends by itself. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._drop_waiting()

    def _count(self, key: CacheKey, datastore: str) -> None:
        now = self._clock.monotonic()
        if datastore not in self._demands.get(key, {}):
            self._forget_old_demands(now)
        demand = self._demands.setdefault(key, {}).setdefault(datastore, _Demand(now))
        if now - demand.asked_at > DEMAND_LIFE_S:
            demand.volumes = 0
        demand.asked_at = now
        demand.volumes += 1

    def _due(self, key: CacheKey, there: set[str | None]) -> list[_Wanted]:
        """The replicas of the key that are to be queued now."""
        now = self._clock.monotonic()
        due = []
        for datastore, demand in self._demands.get(key, {}).items():
            if demand.is_pending or now < demand.not_before or datastore in there:
                continue
            if demand.volumes > self._settings().replicate_after:
                demand.is_pending = True
                due.append(_Wanted(key, datastore))
        return due

    def _of_key(self, key: CacheKey) -> int:
        return sum(wanted.key == key for wanted in (*self._waiting, *self._at_work))

    def _forget_old_demands(self, now: float) -> None:
        for key, demands in list(self._demands.items()):
            for datastore, demand in list(demands.items()):
                if not demand.is_pending and now - demand.asked_at > DEMAND_LIFE_S:
                    del demands[datastore]
            if not demands:
                del self._demands[key]

    # -- the threads -----------------------------------------------------------------------------

    def _start_threads(self) -> None:
        """One for each replica that can be made now."""
        while (wanted := self._next()) is not None:
            thread = threading.Thread(
                target=self._work, args=(wanted,), name=THREAD_NAME, daemon=True
            )
            try:
                thread.start()
            except RuntimeError as failure:
                LOG.info("No thread to make replicas in: %s", sentence(failure))
                self._at_work.discard(wanted)
                self._waiting.insert(0, wanted)
                if not self._at_work:  # else whoever ends comes to what waits
                    self._drop_waiting()
                return

    def _next(self) -> _Wanted | None:
        """What waited longest and has a copy that no other replica is read from."""
        if len(self._at_work) == AT_ONCE:
            return None
        busy = collections.Counter(wanted.key for wanted in self._at_work)
        for wanted in self._waiting:
            if busy[wanted.key] < self._copies[wanted.key]:
                self._waiting.remove(wanted)
                self._at_work.add(wanted)
                return wanted
        return None

    def _work(self, wanted: _Wanted) -> None:
        """The thread of one replica."""
        made = False
        try:
            made = self._make(wanted)
        finally:
            with self._lock:
                self._at_work.discard(wanted)
                if made:
                    self._demands.get(wanted.key, {}).pop(wanted.datastore, None)
                else:
                    self._put_off(wanted)
                self._clone_queue.withdraw(*wanted)
                self._start_threads()
                if not self._of_key(wanted.key):
                    self._copies.pop(wanted.key, None)

    def _drop_waiting(self) -> None:
        for wanted in self._waiting:
            self._put_off(wanted)
            self._clone_queue.withdraw(*wanted)
        self._waiting.clear()

    def _put_off(self, wanted: _Wanted) -> None:
        now = self._clock.monotonic()
        demand = _Demand(now, not_before=now + PAUSE_AFTER_FAILURE_S)
        self._demands.setdefault(wanted.key, {})[wanted.datastore] = demand

    # -- one replica -----------------------------------------------------------------------------

    def _make(self, wanted: _Wanted) -> bool:
        """Whether there is nothing more to do; False: to be tried later."""
        try:
            self._have(wanted)
        except Exception as failure:
            # Whatever it is: volumes are cloned across, as before.
            LOG.info(
                "No replica of image %s on datastore %s for now: %s",
                identifier(wanted.key.image_id),
                wanted.datastore,
                sentence(failure if isinstance(failure, errors.VmdkCacheError) else repr(failure)),
            )
            return False
        return True

    def _have(self, wanted: _Wanted) -> tuple[CacheEntry | None, bool]:
        """The replica, None if there is no copy to make it from; and whether it was made now."""
        started = self._clock.monotonic()
        of = (self._backend, wanted.key, wanted.datastore)
        usual_name = replica_name(*of, self._deployment)
        with contextlib.ExitStack() as locks:
            # Whatever the replica is named: two processes must not make one for the same datastore.
            locks.enter_context(self._locks.hold(lock_name_of(usual_name), LOCK_WAIT_S))
            copies = self._store.copies(wanted.key, fresh=True)
            there = next((c for c in copies if c.datastore == wanted.datastore), None)
            if there is not None:
                self._clone_queue.add(there)
            if there is not None or not copies:
                return there, False
            taken = {copy.name for copy in copies}
            name = free_replica_name(*of, taken, self._deployment)
            if name != usual_name:
                locks.enter_context(self._locks.hold(lock_name_of(name), LOCK_WAIT_S))
            made, place = self._replicate(wanted, name, copies)
        with self._lock:
            if wanted.key in self._copies:
                self._copies[wanted.key] = len(copies) + 1
        self._clone_queue.add(made)
        self._events(
            Replicated(
                self._backend,
                wanted.key.image_id,
                made.name,
                place.datastore_name,
                self._clock.monotonic() - started,
            )
        )
        return made, True

    def _replicate(
        self, wanted: _Wanted, name: str, copies: Sequence[CacheEntry]
    ) -> tuple[CacheEntry, Place]:
        """The copy, and where it is."""
        with (
            self._source(copies) as source,
            self._placement.for_replica(source.size_bytes, wanted.datastore) as place,
            self._room.free_for(name, source.size_bytes, place),
        ):
            made = retry.call(
                lambda: self._store.replicate(source, place, name),
                when=lambda failure: isinstance(failure, errors.FileLocked),
                first_wait_s=clone_failure.FIRST_PAUSE_S,
                max_wait_s=clone_failure.LONGEST_PAUSE_S,
                within_s=clone_failure.PAUSES_WITHIN_S,
                clock=self._clock,
            )
            return self._with_times(made, source), place

    @contextlib.contextmanager
    def _source(self, copies: Sequence[CacheEntry]) -> Iterator[CacheEntry]:
        """Of those whose own host can read them, one that no other replica is made from, if there
        is one, and that the fewest are cloning from; pinned, like that of a volume.

        :raises HostUnavailable: there is none; a replica moves no template, users do
        """
        fit = [
            copy for copy in copies if copy.accessible and self._placement.reader(copy) == copy.host
        ]
        if not fit:
            raise errors.HostUnavailable("no copy of it is on a host that can read it now")
        with self._lock:
            source = min(fit, key=lambda c: (self._readers[c.moref], self._pins.count(c.moref)))
            self._readers[source.moref] += 1
        try:
            with self._pins.pin(source.moref):
                yield source
        finally:
            with self._lock:
                self._readers -= collections.Counter([source.moref])  # keeps no zeros

    def _with_times(self, made: CacheEntry, source: CacheEntry) -> CacheEntry:
        """Warmed up when its source was, and used now: else it might expire as soon as it is made,
        because its record is as old as the template's."""
        warmed = dataclasses.replace(made, warmed_at=source.warmed_at)
        try:
            return dataclasses.replace(warmed, used_at=self._store.touch(warmed))
        except errors.VmdkCacheError as failure:
            LOG.info("The use of replica %s was not noted: %s", quoted(made.name), failure)
            return made

"""Replicas: further copies of a template, made in the background on datastores that volumes use.

    counted    a volume is placed on a datastore that has no copy of its image
    queued     image_cache_replicate_after volumes of the image were placed there before, and there
               is a copy to clone; the replica is pending in the clone queue
    running    lock of its name, another look for copies, a usable source, room, CloneVM_Task
    ended      made or given up: it is no longer pending and the count starts again, after a failure
               only after a pause

Volumes on the datastore of a replica wait for it (cache/clone_order.py). No volume fails because a
replica fails, and no other template is evicted for a replica. At most as many replicas of a key are
made at a time as there are copies to read from, each from a different copy, so the number of copies
doubles: 1, 2, 4. The limit for all keys is AT_ONCE, because each replica loads hosts and datastores
that volumes are cloned on meanwhile.

The name of a replica contains a digest of its datastore. A replica that an administrator moves
keeps its name and counts on its new datastore; the next replica on the former one gets another
name.

The maker of a replica holds the lock of the datastore's usual name, and also that of the replica's
name if that differs. So an unfinished replica is not taken for a broken one, and no replica is made
twice. Other operations on the key continue, and each of them is safe:

    an import       of the key needs that there is no copy. The source exists until the replica
                    does, because vCenter keeps it while it is read; so no import begins.
    a removal       of the source is refused: in this process because it is in use, in others by
                    vCenter. If it comes first, there is nothing to clone, and the replica is given
                    up. The replica is not READY before it is complete; then it is a copy like any
                    other.
    a reconcile     finds a VM without configuration, but the lock of its name is held.

Between processes without a shared lock, vCenter refuses a second VM of the name, and the removal of
a VM that a task uses. A process that dies leaves a complete replica or none, because vCenter
finishes the clone or removes it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.cache import volume_request
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Replicated
from vmdk_cache.cache.key import CacheKey, free_replica_name, lock_name, replica_name
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.room import Room
from vmdk_cache.conf import REPLICAS_OFF
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)

#: Replicas that one process makes at a time for one backend.
AT_ONCE = 4
#: Other holders of the lock make the same replica, or delete it.
LOCK_WAIT_S = 600.0
#: The cause of a failed replica rarely goes away sooner.
PAUSE_AFTER_FAILURE_S = 600.0
#: After a longer gap between volumes, a datastore does not count as used repeatedly.
DEMAND_LIFE_S = 86400.0
THREAD_NAME = "image-cache-replica"


class _Replica(NamedTuple):
    """A replica, made or still to be made. ``datastore`` is a moref."""

    key: CacheKey
    datastore: str


@dataclasses.dataclass
class _Demand:
    """The volumes of a key on a datastore without a copy.

    :ivar asked_at: monotonic time of the last volume
    :ivar not_before: monotonic time before which no replica is tried
    :ivar is_pending: its replica is queued or running
    """

    asked_at: float
    volumes: int = 0
    not_before: float = 0.0
    is_pending: bool = False


class Replication:
    """Makes the replicas of one backend. Thread-safe.

    :param queue: learns which replicas are pending, and gets each new READY replica
    """

    def __init__(self, context: CacheContext, *, room: Room, queue: CloneQueue) -> None:
        self._context = context
        self._room = room
        self._clone_queue = queue
        self._lock = threading.Lock()
        self._demands: dict[CacheKey, dict[str, _Demand]] = {}  # by datastore
        self._waiting: list[_Replica] = []
        self._at_work: set[_Replica] = set()
        self._copies: dict[CacheKey, int] = {}  # to read from, when last seen
        self._readers: collections.Counter[str] = collections.Counter()  # replicas, by source
        self._closed = False

    def asked(self, key: CacheKey, copies: Sequence[CacheEntry], place: Place) -> None:
        """Count a volume that is placed on ``place``, and queue the replicas that are due.

        Call it each time a volume is placed, before it is cloned, and before it waits for a shared
        import, so that a burst gets its replica while it lasts. Neither blocks nor raises.

        :param copies: of the key, possibly none yet; one on that datastore is enough
        """
        if self._context.settings().replicas == REPLICAS_OFF:
            return
        if all(copy.datastore != place.datastore for copy in copies):
            with self._lock:
                self._count(key, place.datastore)
        self.begin(key, copies)

    def begin(self, key: CacheKey, copies: Sequence[CacheEntry]) -> None:
        """Queue the replicas of ``copies`` that are due on datastores with enough volumes.

        Neither blocks nor raises; does nothing without a copy.
        """
        if not copies:
            return
        with self._lock:
            due = [] if self._closed else self._due(key, {copy.datastore for copy in copies})
            if not due:
                return
            self._copies[key] = len(copies)
            for replica in due:
                self._waiting.append(replica)
                self._clone_queue.set_pending(*replica)
            self._start_threads()

    def make(
        self, key: CacheKey, datastore: str, instead_of: Collection[str] = ()
    ) -> tuple[CacheEntry, bool]:
        """A READY copy of the key on that datastore, and whether this call made it.

        For callers that wait for the replica: made regardless of ``image_cache_replicas``, of a
        recent failure, and of the number of replicas that are being made.

        :param datastore: moref
        :param instead_of: morefs of templates that will be removed for it: they do not count for
            the limits
        :raises ObjectNotFound: there is no copy to make it from
        :raises VmdkCacheError: it was not made, and nothing is left of it
        """
        self._clone_queue.set_pending(key, datastore)
        try:
            found, made = self._have(_Replica(key, datastore), instead_of)
        finally:
            self._clone_queue.clear_pending(key, datastore)
        if found is None:
            raise errors.ObjectNotFound(
                f"image {identifier(key.image_id)} no longer has a template that could be copied"
            )
        return found, made

    def close(self) -> None:
        """Start no further replica; running ones end by themselves. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._drop_waiting()

    def _count(self, key: CacheKey, datastore: str) -> None:
        now = self._context.clock.monotonic()
        if datastore not in self._demands.get(key, {}):
            self._forget_old_demands(now)
        demand = self._demands.setdefault(key, {}).setdefault(datastore, _Demand(now))
        if now - demand.asked_at > DEMAND_LIFE_S:
            demand.volumes = 0
        demand.asked_at = now
        demand.volumes += 1

    def _due(self, key: CacheKey, there: set[str | None]) -> list[_Replica]:
        """The replicas of the key to queue now."""
        now = self._context.clock.monotonic()
        due = []
        for datastore, demand in self._demands.get(key, {}).items():
            if demand.is_pending or now < demand.not_before or datastore in there:
                continue
            if demand.volumes > self._context.settings().replicate_after:
                demand.is_pending = True
                due.append(_Replica(key, datastore))
        return due

    def _of_key(self, key: CacheKey) -> int:
        return sum(replica.key == key for replica in (*self._waiting, *self._at_work))

    def _forget_old_demands(self, now: float) -> None:
        for key, demands in list(self._demands.items()):
            for datastore, demand in list(demands.items()):
                if not demand.is_pending and now - demand.asked_at > DEMAND_LIFE_S:
                    del demands[datastore]
            if not demands:
                del self._demands[key]

    # -- the threads -----------------------------------------------------------------------------

    def _start_threads(self) -> None:
        """Start a thread for each replica that can be made now."""
        while (replica := self._next()) is not None:
            thread = threading.Thread(
                target=self._work, args=(replica,), name=THREAD_NAME, daemon=True
            )
            try:
                thread.start()
            except RuntimeError as failure:
                LOG.info("Cannot start a thread to make a replica: %s", sentence(failure))
                self._at_work.discard(replica)
                self._waiting.insert(0, replica)
                if not self._at_work:  # otherwise a running one starts the waiting ones at its end
                    self._drop_waiting()
                return

    def _next(self) -> _Replica | None:
        """The replica that has waited longest and has a copy that no other replica is read from."""
        if len(self._at_work) == AT_ONCE:
            return None
        busy = collections.Counter(replica.key for replica in self._at_work)
        for replica in self._waiting:
            if busy[replica.key] < self._copies[replica.key]:
                self._waiting.remove(replica)
                self._at_work.add(replica)
                return replica
        return None

    def _work(self, replica: _Replica) -> None:
        """Make one replica, in its thread."""
        made = False
        try:
            made = self._make(replica)
        finally:
            with self._lock:
                self._at_work.discard(replica)
                if made:
                    self._demands.get(replica.key, {}).pop(replica.datastore, None)
                else:
                    self._put_off(replica)
                self._clone_queue.clear_pending(*replica)
                self._start_threads()
                if not self._of_key(replica.key):
                    self._copies.pop(replica.key, None)

    def _drop_waiting(self) -> None:
        for replica in self._waiting:
            self._put_off(replica)
            self._clone_queue.clear_pending(*replica)
        self._waiting.clear()

    def _put_off(self, replica: _Replica) -> None:
        now = self._context.clock.monotonic()
        demand = _Demand(now, not_before=now + PAUSE_AFTER_FAILURE_S)
        self._demands.setdefault(replica.key, {})[replica.datastore] = demand

    # -- one replica -----------------------------------------------------------------------------

    def _make(self, replica: _Replica) -> bool:
        """Make a replica if it is missing; False if it has to be tried again later."""
        try:
            self._have(replica)
        except Exception as failure:
            # Safe for any error: volumes are cloned across datastores, as before.
            LOG.info(
                "No replica of image %s on datastore %s for now: %s",
                identifier(replica.key.image_id),
                replica.datastore,
                sentence(failure if isinstance(failure, errors.VmdkCacheError) else repr(failure)),
            )
            return False
        return True

    def _have(
        self, replica: _Replica, instead_of: Collection[str] = ()
    ) -> tuple[CacheEntry | None, bool]:
        """The replica, None if there is no copy to make it from; and whether this call made it."""
        started = self._context.clock.monotonic()
        of = (self._context.backend, replica.key, replica.datastore)
        usual_name = replica_name(*of, self._context.deployment)
        with contextlib.ExitStack() as locks:
            # The usual name is locked even if the replica gets another one: two processes must not
            # make replicas on the same datastore.
            locks.enter_context(self._context.locks.hold(lock_name(usual_name), LOCK_WAIT_S))
            copies = self._context.store.copies(replica.key, fresh=True)
            there = next((c for c in copies if c.datastore == replica.datastore), None)
            if there is not None:
                self._clone_queue.add(there)
            if there is not None or not copies:
                return there, False
            taken = {copy.name for copy in copies}
            name = free_replica_name(*of, taken, self._context.deployment)
            if name != usual_name:
                locks.enter_context(self._context.locks.hold(lock_name(name), LOCK_WAIT_S))
            made, place = self._replicate(replica, name, copies, instead_of)
        with self._lock:
            if replica.key in self._copies:
                self._copies[replica.key] = len(copies) + 1
        self._clone_queue.add(made)
        self._context.events(
            Replicated(
                self._context.backend,
                replica.key.image_id,
                made.name,
                place.datastore_name,
                self._context.clock.monotonic() - started,
            )
        )
        return made, True

    def _replicate(
        self,
        replica: _Replica,
        name: str,
        copies: Sequence[CacheEntry],
        instead_of: Collection[str],
    ) -> tuple[CacheEntry, Place]:
        """The new copy and its place."""
        with (
            self._source(copies) as source,
            self._context.placement.for_template(
                source.size_bytes, only=replica.datastore
            ) as place,
            self._room.free_for(name, source.size_bytes, place, instead_of),
        ):
            made = retry.call(
                lambda: self._context.store.replicate(source, place, name),
                when=lambda failure: isinstance(failure, errors.FileLocked),
                first_wait_s=volume_request.FIRST_PAUSE_S,
                max_wait_s=volume_request.LONGEST_PAUSE_S,
                within_s=volume_request.PAUSES_WITHIN_S,
                clock=self._context.clock,
            )
            return self._with_pin(self._with_times(made, source), source), place

    @contextlib.contextmanager
    def _source(self, copies: Sequence[CacheEntry]) -> Iterator[CacheEntry]:
        """A copy whose own host can read it: the one that the fewest replicas and then the fewest
        clones are made from; in use, as for a volume.

        :raises HostUnavailable: there is none; only volumes move a template to another host
        """
        fit = self._context.readable(copies)
        if not fit:
            raise errors.HostUnavailable("no copy is on a host that can read it now")
        with self._lock:
            source = min(
                fit,
                key=lambda c: (
                    self._readers[c.moref],
                    self._context.templates_in_use.count(c.moref),
                ),
            )
            self._readers[source.moref] += 1
        try:
            with self._context.templates_in_use.use(source.moref):
                yield source
        finally:
            with self._lock:
                self._readers -= collections.Counter([source.moref])  # keeps no zeros

    def _with_times(self, made: CacheEntry, source: CacheEntry) -> CacheEntry:
        """The replica with its source's warm-up and a use now: otherwise it might expire at once,
        because its record is as old as the template's."""
        warmed = dataclasses.replace(made, warmed_at=source.warmed_at)
        try:
            return dataclasses.replace(warmed, used_at=self._context.store.touch(warmed))
        except errors.VmdkCacheError as failure:
            LOG.info("The use of replica %s was not noted: %s", quoted(made.name), failure)
            return made

    def _with_pin(self, made: CacheEntry, source: CacheEntry) -> CacheEntry:
        """The replica with its source's pin, which then outlives the source. Without it, the
        replica is protected as long as the source is there."""
        if source.pinned is None:
            return made
        try:
            seen = self._context.store.look_again(source)  # it may have been unpinned meanwhile
            if seen is None or seen.pinned is None:
                return made
            self._context.store.set_pin(made, seen.pinned)
            again = self._context.store.look_again(source)
            if again is not None and again.pinned is None:  # an unpin may have missed the replica
                self._context.store.set_pin(made, None)
                return made
        except errors.VmdkCacheError as failure:
            LOG.info("Replica %s is not pinned itself: %s", quoted(made.name), failure)
            return made
        return dataclasses.replace(made, pinned=seen.pinned)

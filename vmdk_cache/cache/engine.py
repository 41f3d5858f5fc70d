"""From a request to a volume: look up, import once, clone.

    create_volume
      admission      what the cache does not take is refused before anything happens
      place          where the volume goes
      copies         READY copies of the image, in memory?      -> hit
      importer       else one thread of one process imports it, the others wait   -> miss
      queue          which copy the clone runs from, and when
      clone          from that copy, under a lease

Every way out is one of: an Outcome (the volume exists), NotCacheable or another VmdkCacheError (the
volume does not exist, nothing is left in vCenter; the caller takes the plain road), ImageError (no
road leads to a volume from this image).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache import admission, file_locked
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Events, Evicted, Hit, Miss, Rule
from vmdk_cache.cache.evictor import lock_of
from vmdk_cache.cache.importer import RIVAL_POLL_S, Home, Importer
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.lease import LeaseBook
from vmdk_cache.cache.ports import Place, Placement, TemplateStore, Volume
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.cache.usage import Usage
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.locks import Locks

LOG = logging.getLogger(__name__)

#: How long a template that is being deleted may take to go.
DELETED_WITHIN_S = 300.0
#: How often a volume is placed: hosts go into maintenance one by one.
PLACES = 3
#: Another thread's move of a template to a host, a matter of seconds.
MOVED_WITHIN_S = 600.0
#: The files of a template are lost (vSphere API reference, CloneVM_Task).
FILES_LOST = "vim.fault.FileNotFound"


@dataclass(frozen=True)
class Outcome:
    """The volume exists.

    :ivar hit: it was cloned from a template that this request did not import
    :ivar entry: the copy that it was cloned from
    :ivar seconds: from request to volume
    """

    hit: bool
    entry: CacheEntry
    place: Place
    seconds: float


class Warmth(enum.StrEnum):
    """How there came to be a copy, in words that operators see."""

    IMPORTED = "imported"
    REPLICATED = "replicated"
    THERE = "already there"


class Warmed(NamedTuple):
    """A copy that was asked for in advance."""

    entry: CacheEntry
    how: Warmth


@dataclass
class _Request:
    """:ivar imported: it was this request that brought the image into the cache
    :ivar queued_s: spent in line, in all
    :ivar cloned_s: what its clone took, the last one if there were several
    """

    key: CacheKey
    image: Image
    volume: Volume
    source: ImageSource
    imported: bool = False
    queued_s: float = 0.0
    cloned_s: float = 0.0


class ImageCache:
    """The cache of one backend. Safe for use by many threads; holds no connection of its own."""

    def __init__(
        self,
        backend: str,
        settings: Settings,
        *,
        store: TemplateStore,
        placement: Placement,
        importer: Importer,
        queue: CloneQueue,
        replication: Replication,
        usage: Usage,
        locks: Locks,
        leases: LeaseBook,
        clock: Clock,
        events: Events,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._store = store
        self._placement = placement
        self._importer = importer
        self._queue = queue
        self._replication = replication
        self._usage = usage
        self._locks = locks
        self._leases = leases
        self._clock = clock
        self._events = events
        self._moves: SingleFlight[str, None] = SingleFlight()

    def create_volume(self, image: Image, volume: Volume, source: ImageSource) -> Outcome:
        """Make ``volume`` from ``image``.

        :param source: read at most once per backend and image, and only on a miss
        :raises NotCacheable: the cache does not take it; ``reason`` says why
        :raises ImageError: the image cannot become this volume
        :raises VmdkCacheError: the cache failed; nothing is left behind
        """
        started = self._clock.monotonic()
        admission.check_image(image, self._settings)
        admission.check_fits(image, image.virtual_size_bytes, volume)
        request = _Request(CacheKey.of(image, volume.adapter_type), image, volume, source)
        entry, place = self._place_and_clone(request)
        seconds = self._clock.monotonic() - started
        told = Miss if request.imported else Hit
        self._events(
            told(
                self._backend,
                image.id,
                volume.id,
                place.datastore_name,
                seconds,
                request.queued_s,
                request.cloned_s,
                0 if request.imported else image.size_bytes,
            )
        )
        return Outcome(not request.imported, entry, place, seconds)

    def warm(
        self, image: Image, adapter_type: str, source: ImageSource, datastore: str | None = None
    ) -> Warmed:
        """Have a template of ``image`` ready; its age, and that of its replicas, counts from now.

        :param adapter_type: of the volumes to come; the image's own property wins
        :param source: read only if no datastore has a copy
        :param datastore: managed object id of the one that is to have a copy; None: any suffices
        :raises NotCacheable, ImageError, VmdkCacheError: as of :meth:`create_volume`; what other
            datastores have got meanwhile stays
        """
        admission.check_image(image, self._settings)
        key = CacheKey.of(image, image.adapter_type or adapter_type)
        copies, how = self._look_again(key), Warmth.THERE
        if not copies:
            entry, imported = self._importer.ready(key, image, source, self._home(datastore))
            copies, how = (entry,), Warmth.IMPORTED if imported else Warmth.THERE
        for copy in copies:
            self._store.touch(copy, warmed=True)
        there = [copy for copy in copies if datastore in (None, copy.datastore)]
        if there or datastore is None:
            return Warmed(there[0], how)
        entry, made = self._replication.make(key, datastore)
        return Warmed(entry, Warmth.REPLICATED if made else Warmth.THERE)

    def check_warm(self, image: Image, adapter_type: str, datastore: str | None = None) -> None:
        """Whether :meth:`warm` would come to an import or a copy, as far as Glance and vCenter tell
        before the first byte; arguments and errors are that one's."""
        admission.check_image(image, self._settings)
        key = CacheKey.of(image, image.adapter_type or adapter_type)
        copies = self._look_again(key)
        if not any(datastore in (None, copy.datastore) for copy in copies):
            size_bytes = copies[0].size_bytes if copies else image.virtual_size_bytes
            self._importer.check(size_bytes or image.size_bytes, self._home(datastore))

    def _home(self, datastore: str | None, near: Place | None = None) -> Home:
        """Where a template goes: to that datastore, to the one ``near``, or to the best."""
        if datastore is None:
            return lambda size_bytes: self._placement.for_template(size_bytes, near=near)
        return lambda size_bytes: self._placement.for_replica(size_bytes, datastore)

    def _place_and_clone(self, request: _Request) -> tuple[CacheEntry, Place]:
        """Make the volume; elsewhere if its host goes while it waits, which may be long.

        :returns: the copy that it was cloned from, and where it is
        """
        for attempt in range(1, PLACES + 1):
            try:
                volume = request.volume
                with self._placement.for_volume(volume, volume.size_bytes) as place:
                    return self._clone(request, place), place
            except errors.HostUnavailable:
                if attempt == PLACES:
                    raise
                self._look_again(request.key)
        raise AssertionError("the last attempt returns or raises")

    def _clone(self, request: _Request, place: Place) -> CacheEntry:
        """Clone from one of the key's copies; one that vanishes on the way is a miss, no error."""
        key = request.key
        deadline = self._clock.monotonic() + DELETED_WITHIN_S
        copies: Sequence[CacheEntry] = self._store.copies(key)
        self._replication.asked(key, copies, place)
        while True:
            if not copies:
                copies = self._imported(request, place)
            admission.check_fits(request.image, copies[0].size_bytes, request.volume)
            cloned = self._clone_from(copies, request, place, deadline)
            if cloned is not None:
                self._usage.note(cloned)
                return cloned
            self._clock.sleep(RIVAL_POLL_S)
            copies = self._look_again(key)

    def _imported(self, request: _Request, place: Place) -> Sequence[CacheEntry]:
        home = self._home(None, near=place)
        entry, imported = self._importer.ready(request.key, request.image, request.source, home)
        request.imported |= imported
        self._replication.begin(request.key, (entry,))
        return (entry,)

    def _clone_from(
        self, copies: Sequence[CacheEntry], request: _Request, place: Place, deadline: float
    ) -> CacheEntry | None:
        """The copy that the volume was cloned from; None if the one chosen is going."""
        choice = self._readable(copies)
        unfit: set[str] = set()
        while True:
            try:
                return file_locked.outwait(
                    lambda: self._clone_once(choice, unfit, request, place), self._clock
                )
            except _UnfitCopyError as refused:
                if refused.moref in unfit or len(unfit) + 1 >= len(choice):
                    raise refused.failure from None
                unfit.add(refused.moref)
            except _GoingCopyError as going:
                if self._clock.monotonic() >= deadline:
                    raise going.failure from None
                return None

    def _clone_once(
        self, choice: Sequence[CacheEntry], unfit: set[str], request: _Request, place: Place
    ) -> CacheEntry:
        size_bytes = choice[0].size_bytes
        joined = self._clock.monotonic()
        with self._queue.turn(request.key, choice, place, size_bytes, unfit=unfit) as entry:
            request.queued_s += self._clock.monotonic() - joined
            try:
                with self._leases.hold(entry.moref):
                    self._have_it_readable(entry)
                    began = self._clock.monotonic()
                    self._store.clone(entry, request.volume, place)
                    request.cloned_s = self._clock.monotonic() - began
            except errors.VCenterError as failure:
                if isinstance(failure, errors.HardwareTooNew):
                    raise _UnfitCopyError(entry.moref, failure) from failure
                if self._is_going(entry, request.key, failure):
                    raise _GoingCopyError(entry.moref, failure) from failure
                raise
            return entry

    def _look_again(self, key: CacheKey) -> Sequence[CacheEntry]:
        """The key's copies as they are now, and with them all that is known of hosts."""
        return self._store.copies(key, fresh=True)

    def _readable(self, copies: Sequence[CacheEntry]) -> Sequence[CacheEntry]:
        """Those whose files are in reach and whose hosts can read them now; all, if there are
        none."""
        fit = [c for c in copies if c.accessible and self._placement.reader(c) == c.host]
        return fit or copies

    def _have_it_readable(self, entry: CacheEntry) -> None:
        """See to it that the template is registered on a host that can read it: vCenter clones none
        whose host is in maintenance or disconnected.

        :raises InUse: another process is just moving it
        """
        host = self._placement.reader(entry)
        if host is not None and host != entry.host:
            self._moves.run(
                entry.moref, lambda: self._store.move(entry, host), timeout_s=MOVED_WITHIN_S
            )
            self._queue.add(dataclasses.replace(entry, host=host))

    def _is_going(self, entry: CacheEntry, key: CacheKey, failure: errors.VCenterError) -> bool:
        """Whether a clone failed because of its template: condemned here, under deletion by
        another process (its clones then fail as in use), deleted already, or without its files,
        which makes it go now; or on a host that has just gone."""
        if failure.fault == FILES_LOST:
            return self._discard(entry)
        if isinstance(failure, errors.ObjectNotFound) and failure.moref == entry.moref:
            self._queue.remove(entry.moref)
            return True
        if isinstance(failure, errors.HostUnavailable):
            copies = self._look_again(key)
            return self._placement.reader(entry) != entry.host and any(
                self._placement.reader(copy) for copy in copies
            )
        return isinstance(failure, errors.InUse)

    def _discard(self, entry: CacheEntry) -> bool:
        """Remove a template whose files are lost; whether it is gone, or somebody is at it."""
        self._queue.remove(entry.moref)
        try:
            with (
                self._locks.hold(lock_of(entry), 0),
                self._leases.condemn(entry.moref),
            ):
                self._store.destroy(entry)
        except (errors.InUse, errors.LockTimeout):
            LOG.info("Template %s has lost its files and cannot be removed now", entry.name)
        else:
            self._events(
                Evicted(
                    self._backend,
                    entry.image_id or "",
                    entry.name,
                    Rule.BROKEN,
                    "its files are lost",
                    entry.size_bytes,
                )
            )
        return True


class _CopyError(Exception):
    """A volume cannot be cloned from this copy, perhaps from another, or later."""

    def __init__(self, moref: str, failure: errors.VCenterError) -> None:
        super().__init__(moref, failure)
        self.moref = moref
        self.failure = failure


class _UnfitCopyError(_CopyError):
    """It cannot become this volume at this place."""


class _GoingCopyError(_CopyError):
    """It is gone, or about to go."""

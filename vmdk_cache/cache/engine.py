"""From a request to a volume: look up, import once, clone.

    create_volume
      admission      what the cache does not take is refused before anything happens
      place          where the volume goes
      copies         READY copies of the image, in memory?      -> hit
      importer       else one thread of one process imports it, the others wait   -> miss
      queue          which copy the clone runs from, and when
      clone          from that copy, which is pinned

Every way out is one of: an Outcome (the volume exists), NotCacheable or another VmdkCacheError (the
volume does not exist, nothing is left in vCenter; the caller takes the plain road), ImageError (no
road leads to a volume from this image), VolumeDeleted (there is to be no volume any more).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache import admission, file_locked
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Events, Hit, Miss, Rule
from vmdk_cache.cache.eviction import Verdict
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import RIVAL_POLL_S, Home, Importer
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.pins import Pins
from vmdk_cache.cache.ports import Place, Placement, TemplateStore, Volume
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.cache.usage import Usage
from vmdk_cache.cache.volume_request import VolumeRequest, no_failure_once_made
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource

LOG = logging.getLogger(__name__)

#: How long a template that is being deleted may take to go, from the first clone that fails by it.
DELETED_WITHIN_S = 300.0
#: Pauses between attempts at such a template double up to this: its state need never change.
LONGEST_PAUSE_S = 60.0
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


class ImageCache:
    """The cache of one backend. Safe for use by many threads; holds no connection of its own."""

    def __init__(
        self,
        backend: str,
        settings: Callable[[], Settings],
        *,
        store: TemplateStore,
        placement: Placement,
        importer: Importer,
        queue: CloneQueue,
        replication: Replication,
        usage: Usage,
        evictor: Evictor,
        pins: Pins,
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
        self._evictor = evictor
        self._pins = pins
        self._clock = clock
        self._events = events
        self._moves: SingleFlight[str, None] = SingleFlight(clock=clock)

    def create_volume(self, image: Image, volume: Volume, source: ImageSource) -> Outcome:
        """Make ``volume`` from ``image``.

        :param source: read once per backend and image, on a miss only. It is opened again when the
            stream had to wait long for its upload to begin, and when a host refuses the data, to
            find out whether they are damaged
        :raises NotCacheable: the cache does not take it; ``reason`` says why
        :raises ImageError: the image cannot become this volume
        :raises VolumeDeleted: its owner deleted it in the meantime; nothing is left behind
        :raises VmdkCacheError: the cache failed; nothing is left behind
        """
        started = self._clock.monotonic()
        admission.check_image(image, self._settings())
        admission.check_fits(image, image.virtual_size_bytes, volume)
        request = VolumeRequest(CacheKey.of(image, volume.adapter_type), image, volume, source)
        with no_failure_once_made(request):
            self._place_and_clone(request)
        assert request.made is not None, "there is a volume, or an error"
        entry, place = request.made
        seconds = self._clock.monotonic() - started
        told = Miss if request.imported else Hit
        with no_failure_once_made(request):
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
                    request.in_one_task,
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
        admission.check_image(image, self._settings())
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
        admission.check_image(image, self._settings())
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

    def _place_and_clone(self, request: VolumeRequest) -> None:
        """Make the volume; elsewhere if its host goes while it waits, which may be long, or if its
        datastore turns out to be full."""
        full: set[str] = set()
        no_space: errors.NoSpace | None = None
        for attempt in range(1, PLACES + 1):
            try:
                volume = request.volume
                with self._placement.for_volume(volume, volume.size_bytes, full) as place:
                    self._clone(request, place)
                    return
            except errors.NoPlacement:
                if no_space is None:
                    raise
                raise no_space from None
            except _FullDatastoreError as found:
                no_space = found.failure
                if attempt == PLACES:
                    raise no_space from None
                full.add(place.datastore)
            except errors.HostUnavailable:
                if attempt == PLACES:
                    raise
                self._look_again(request.key)
        raise AssertionError("the last attempt returns or raises")

    def _clone(self, request: VolumeRequest, place: Place) -> None:
        """Clone from one of the key's copies; one that vanishes on the way is a miss, no error."""
        key = request.key
        copies: Sequence[CacheEntry] = self._store.copies(key)
        self._replication.asked(key, copies, place)
        pause_s = RIVAL_POLL_S
        while True:
            if not copies:
                copies = self._imported(request, place)
            admission.check_fits(request.image, copies[0].size_bytes, request.volume)
            cloned = self._clone_from(copies, request, place)
            if cloned is not None:
                self._usage.note(cloned)
                return
            self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            copies = self._look_again(key)

    def _imported(self, request: VolumeRequest, place: Place) -> Sequence[CacheEntry]:
        home = self._home(None, near=place)
        entry, imported = self._importer.ready(
            request.key, request.image, request.source, home, request.volume.check_wanted
        )
        request.imported |= imported
        self._replication.begin(request.key, (entry,))
        return (entry,)

    def _clone_from(
        self, copies: Sequence[CacheEntry], request: VolumeRequest, place: Place
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
                now = self._clock.monotonic()
                if request.going_by is None:
                    request.going_by = now + DELETED_WITHIN_S
                if now >= request.going_by:
                    raise going.failure from None
                return None

    def _clone_once(
        self, choice: Sequence[CacheEntry], unfit: set[str], request: VolumeRequest, place: Place
    ) -> CacheEntry:
        size_bytes, volume = choice[0].size_bytes, request.volume
        joined = self._clock.monotonic()
        with self._queue.turn(
            request.key, choice, place, size_bytes, unfit=unfit, check_wanted=volume.check_wanted
        ) as entry:
            request.queued_s += self._clock.monotonic() - joined
            try:
                with self._pins.pin(entry.moref):
                    self._have_it_readable(entry)
                    with volume.deletion_waits():
                        volume.check_wanted()
                        volume.make_way()
                        began = self._clock.monotonic()
                        request.in_one_task = self._store.clone(entry, volume, place)
                    request.made = (entry, place)
                    request.cloned_s = self._clock.monotonic() - began
            except errors.VCenterError as failure:
                if isinstance(failure, errors.NoSpace):
                    raise _FullDatastoreError(failure) from failure
                if isinstance(failure, errors.HardwareTooNew) or (
                    failure.fault == FILES_LOST and self._must_stay(entry, request)
                ):
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
        """Whether a clone failed because of its template: reserved here, under deletion by
        another process (its clones then fail as in use), deleted already, or without its files,
        which makes it go now; or on a host that has just gone."""
        if failure.fault == FILES_LOST:
            return True
        if isinstance(failure, errors.ObjectNotFound) and failure.moref == entry.moref:
            self._queue.remove(entry.moref)
            return True
        if isinstance(failure, errors.HostUnavailable):
            copies = self._look_again(key)
            return self._placement.reader(entry) != entry.host and any(
                self._placement.reader(copy) for copy in copies
            )
        return isinstance(failure, errors.InUse)

    def _must_stay(self, entry: CacheEntry, request: VolumeRequest) -> bool:
        """Whether a template whose files vCenter did not find is not to be removed now.

        A host may lose sight of a file for a moment: the template goes when vCenter calls it
        inaccessible as well, or when a second clone fails so.
        """
        seen = self._store.look_again(entry)
        if seen is not None:
            if seen.accessible and entry.moref not in request.lost:
                request.lost.add(entry.moref)
                return False
            stayed = self._evictor.attempt(Verdict(seen, "its files are lost", Rule.BROKEN))
            if stayed is not None and not stayed.gone and not stayed.busy:
                return True
        self._queue.remove(entry.moref)
        return False


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


class _FullDatastoreError(Exception):
    """The volume's datastore has no space for it."""

    def __init__(self, failure: errors.NoSpace) -> None:
        super().__init__(failure)
        self.failure = failure

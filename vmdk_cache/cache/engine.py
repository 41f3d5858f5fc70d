"""From a request to a volume: look up, import once, clone.

    create_volume
      admission      refuses what the cache does not take, before anything happens
      placement      decides where the volume goes
      copies         READY copies of the image, in memory?      -> hit
      importer       else one thread of one process imports it, the others wait   -> miss
      queue          decides which copy the clone is made from, and when
      clone          from that copy, which is in use until then
      next step      after a failure (cache/volume_request.py): another copy, another look at the
                     copies, another place, or give up

A request ends in one of: an Outcome (the volume exists), NotCacheable or another VmdkCacheError
(the volume does not exist and nothing is left in vCenter; the caller falls back to the plain
import), ImageError (the image cannot become a volume, here or by the plain import), VolumeDeleted
(the volume is no longer wanted).
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache import admission, volume_request
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Hit, Miss, Rule
from vmdk_cache.cache.eviction_plan import Verdict
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import Importer
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.cache.volume_request import Next, VolumeRequest, next_step
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

#: How long to wait while another thread moves a template to a host, which takes seconds.
MOVED_WITHIN_S = 600.0


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
    """The outcome of a warm-up, as operators see it."""

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
        context: CacheContext,
        *,
        importer: Importer,
        queue: CloneQueue,
        replication: Replication,
        evictor: Evictor,
    ) -> None:
        self._context = context
        self._importer = importer
        self._queue = queue
        self._replication = replication
        self._evictor = evictor
        self._moves: SingleFlight[str, None] = SingleFlight(clock=context.clock)

    def create_volume(self, image: Image, volume: Volume, source: ImageSource) -> Outcome:
        """Make ``volume`` from ``image``.

        :param source: read once per backend and image, on a miss only. It is opened again if the
            upload starts long after the stream was opened, and if a host refuses the data, to find
            out whether they are damaged
        :raises NotCacheable: the volume bypasses the cache; ``reason`` says why
        :raises ImageError: the image cannot become this volume
        :raises VolumeDeleted: its owner deleted it meanwhile; nothing is left behind
        :raises VmdkCacheError: the cache failed; nothing is left behind
        """
        started = self._context.clock.monotonic()
        admission.check_image(image, self._context.settings())
        admission.check_fits(image, image.virtual_size_bytes, volume)
        request = VolumeRequest(CacheKey.of(image, volume.adapter_type), image, volume, source)
        try:
            while request.made is None:
                with self._placed(request) as place:
                    self._make(request, place)
        except Exception as failure:
            if request.made is None:
                raise
            LOG.warning(
                "Volume %s exists, but a step after its clone failed: %s",
                volume.id,
                sentence(repr(failure)),
            )
        copy, place = request.made
        self._context.usage.note(copy)
        outcome = Outcome(
            not request.imported, copy, place, self._context.clock.monotonic() - started
        )
        self._report(request, outcome)
        return outcome

    @contextlib.contextmanager
    def _placed(self, request: VolumeRequest) -> Iterator[Place]:
        """A place for the volume, reserved for the block."""
        request.places += 1
        volume = request.volume
        with contextlib.ExitStack() as reserved:
            try:
                place = reserved.enter_context(
                    self._context.placement.for_volume(
                        volume, volume.size_bytes, request.excluded_datastores
                    )
                )
            except errors.NoPlacement:
                if request.no_space is None:
                    raise
                raise request.no_space from None
            yield place

    def _make(self, request: VolumeRequest, place: Place) -> None:
        """Clone the volume at the place, until it exists or has to be placed again.

        :raises VmdkCacheError: there is no volume, and cache/volume_request.py says to give up
        """
        copies: Sequence[CacheEntry] = self._context.store.copies(request.key)
        self._replication.asked(request.key, copies, place)
        while request.made is None:
            request.copy = None
            try:
                copies = copies or self._first_copy(request, place)
                admission.check_fits(request.image, copies[0].size_bytes, request.volume)
                self._clone(request, copies, place)
            except errors.VCenterError as failure:
                if request.made is not None:
                    raise
                match self._next_step(failure, request, copies):
                    case Next.ANOTHER_COPY:
                        assert request.copy is not None, "a clone has failed"
                        request.excluded_copies.add(request.copy.moref)
                    case Next.LOOK_AGAIN:
                        self._pause(request)
                        copies = self._fresh_copies(request.key)
                    case Next.ANOTHER_PLACE:
                        request.leave(place, failure)
                        return
                    case Next.GIVE_UP:
                        raise

    def _first_copy(self, request: VolumeRequest, place: Place) -> Sequence[CacheEntry]:
        """The copy that this request, or another one meanwhile, has imported."""
        entry, imported = self._importer.ready(
            request.key,
            request.image,
            request.source,
            near=place.datastore,
            check_wanted=request.volume.check_wanted,
        )
        request.imported |= imported
        self._replication.begin(request.key, (entry,))
        return (entry,)

    def _clone(self, request: VolumeRequest, copies: Sequence[CacheEntry], place: Place) -> None:
        """Wait for a slot, and clone from the copy that it belongs to."""
        choice, volume = self._readable(copies), request.volume
        joined = self._context.clock.monotonic()
        with self._queue.slot(
            request.key,
            choice,
            place,
            excluded=request.excluded_copies,
            check_wanted=volume.check_wanted,
        ) as copy:
            request.copy = copy
            request.queued_s += self._context.clock.monotonic() - joined
            with self._context.templates_in_use.use(copy.moref):
                self._move_if_unreadable(copy)
                with volume.deletion_lock():
                    volume.check_wanted()
                    volume.remove_old_vm()
                    began = self._context.clock.monotonic()
                    request.in_one_task = self._context.store.clone(copy, volume, place)
                    request.made = (copy, place)
                    request.cloned_s = self._context.clock.monotonic() - began

    def _readable(self, copies: Sequence[CacheEntry]) -> Sequence[CacheEntry]:
        """The copies that can be read now; if none can, all of them."""
        return self._context.readable(copies) or copies

    def _move_if_unreadable(self, entry: CacheEntry) -> None:
        """Register the template on another host if its own cannot read it: vCenter does not clone a
        template whose host is in maintenance or disconnected.

        :raises InUse: another process is moving it
        """
        host = self._context.placement.reader(entry)
        if host is not None and host != entry.host:
            self._moves.run(
                entry.moref,
                lambda: self._context.store.move(entry, host),
                timeout_s=MOVED_WITHIN_S,
            )
            self._queue.add(dataclasses.replace(entry, host=host))

    def _pause(self, request: VolumeRequest) -> None:
        self._context.clock.sleep(request.pause_s)
        request.paused_s += request.pause_s
        request.pause_s = min(2 * request.pause_s, volume_request.LONGEST_PAUSE_S)

    def _fresh_copies(self, key: CacheKey) -> Sequence[CacheEntry]:
        """The key's copies as they are now; this also refreshes the state of the hosts."""
        return self._context.store.copies(key, fresh=True)

    def _report(self, request: VolumeRequest, outcome: Outcome) -> None:
        self._context.events(
            (Hit if outcome.hit else Miss)(
                self._context.backend,
                request.image.id,
                request.volume.id,
                outcome.place.datastore_name,
                outcome.seconds,
                request.queued_s,
                request.cloned_s,
                request.image.size_bytes if outcome.hit else 0,
                request.in_one_task,
            )
        )

    # -- a failed clone --------------------------------------------------------------------------

    def _next_step(
        self, failure: errors.VCenterError, request: VolumeRequest, copies: Sequence[CacheEntry]
    ) -> Next:
        """Drop the copy if it has gone, and decide what to do now."""
        return next_step(
            failure,
            request,
            self._readable(copies),
            copy_stays=self._drop_copy(failure, request),
            readable_elsewhere=isinstance(failure, errors.HostUnavailable)
            and self._is_readable_elsewhere(request),
        )

    def _is_readable_elsewhere(self, request: VolumeRequest) -> bool:
        """Whether the copy's host has gone, and some host can read a copy."""
        copies, copy = self._fresh_copies(request.key), request.copy
        reader = self._context.placement.reader
        return copy is not None and reader(copy) != copy.host and any(map(reader, copies))

    def _drop_copy(self, failure: errors.VCenterError, request: VolumeRequest) -> bool:
        """Offer a copy that has gone, or is going, to no other volume; remove a copy whose files
        are lost.

        A host may lose sight of a file for a moment. So the copy is removed when vCenter calls it
        inaccessible as well, or when a second clone fails so.

        :returns: whether the copy's files are lost, and it could not be removed
        """
        copy = request.copy
        if copy is None:
            return False
        if failure.fault == volume_request.FILES_LOST:
            seen = self._context.store.look_again(copy)
            if seen is not None:
                if seen.accessible and copy.moref not in request.lost:
                    request.lost.add(copy.moref)
                    return False
                stayed = self._evictor.attempt(Verdict(seen, "its files are lost", Rule.BROKEN))
                if stayed is not None and not stayed.gone and not stayed.busy:
                    return True
            self._queue.remove(copy)
        elif isinstance(failure, errors.ObjectNotFound) and failure.moref == copy.moref:
            self._queue.remove(copy)
        return False

    # -- copies made in advance ------------------------------------------------------------------

    def warm(
        self, image: Image, adapter_type: str, source: ImageSource, datastore: str | None = None
    ) -> Warmed:
        """Make sure that a template of ``image`` is ready; the age of all its copies counts from
        now.

        :param adapter_type: of future volumes; the image's own property takes precedence
        :param source: read only if no datastore has a copy
        :param datastore: moref of the datastore that must have a copy; None means any
        :raises NotCacheable, ImageError, VmdkCacheError: same as :meth:`create_volume`; copies that
            were made on other datastores stay
        """
        admission.check_image(image, self._context.settings())
        key = CacheKey.of(image, image.adapter_type or adapter_type)
        copies, how = self._fresh_copies(key), Warmth.THERE
        if not copies:
            entry, imported = self._importer.ready(key, image, source, only=datastore)
            copies, how = (entry,), Warmth.IMPORTED if imported else Warmth.THERE
        for copy in copies:
            self._context.store.touch(copy, warmed=True)
        there = [copy for copy in copies if datastore in (None, copy.datastore)]
        if there or datastore is None:
            return Warmed(there[0], how)
        entry, made = self._replication.make(key, datastore)
        return Warmed(entry, Warmth.REPLICATED if made else Warmth.THERE)

    def check_warm(self, image: Image, adapter_type: str, datastore: str | None = None) -> None:
        """Whether :meth:`warm` would import or copy, as far as Glance and vCenter show before the
        first byte; same arguments and errors as :meth:`warm`."""
        admission.check_image(image, self._context.settings())
        key = CacheKey.of(image, image.adapter_type or adapter_type)
        copies = self._fresh_copies(key)
        if not any(datastore in (None, copy.datastore) for copy in copies):
            size_bytes = copies[0].size_bytes if copies else image.virtual_size_bytes
            self._importer.check(size_bytes or image.size_bytes, only=datastore)

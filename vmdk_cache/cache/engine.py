"""From a request to a volume: look up, import once, clone.

    create_volume
      admission      refuses what the cache does not take, before anything happens
      placement      decides where the volume goes
      copies         READY copies of the image, in memory?      -> hit
      importer       else one thread of one process imports it, the others wait   -> miss
      queue          decides which copy the clone is made from, and when
      clone          from that copy, which is pinned
      clone failure  another copy, another look at the copies, another place, or give up

A request ends in one of: an Outcome (the volume exists), NotCacheable or another VmdkCacheError
(the volume does not exist and nothing is left in vCenter; the caller falls back to the plain
import), ImageError (the image cannot become a volume, here or by the plain import), VolumeDeleted
(the volume is no longer wanted).
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vmdk_cache import errors
from vmdk_cache.cache import admission, clone_failure
from vmdk_cache.cache.clone_failure import Next, Situation
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Hit, Miss, Rule
from vmdk_cache.cache.eviction_plan import Verdict
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import Home, Importer
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.cache.volume_request import VolumeRequest, no_failure_once_made
from vmdk_cache.image import Image, ImageSource

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
        self._backend = context.backend
        self._settings = context.settings
        self._store = context.store
        self._placement = context.placement
        self._usage = context.usage
        self._pins = context.pins
        self._clock = context.clock
        self._events = context.events
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
        started = self._clock.monotonic()
        admission.check_image(image, self._settings())
        admission.check_fits(image, image.virtual_size_bytes, volume)
        request = VolumeRequest(CacheKey.of(image, volume.adapter_type), image, volume, source)
        with no_failure_once_made(request):
            self._make(request)
        assert request.made is not None, "there is a volume, or an error"
        seconds = self._clock.monotonic() - started
        with no_failure_once_made(request):
            self._report(request, seconds)
        return Outcome(not request.imported, *request.made, seconds)

    def _make(self, request: VolumeRequest) -> None:
        """Place the volume and clone it, until it exists or cache/clone_failure.py says to give
        up."""
        with contextlib.ExitStack() as reserved:
            place, copies = self._place(request, reserved)
            while request.made is None:
                request.copy = None
                try:
                    copies = copies or self._imported(request, place)
                    admission.check_fits(request.image, copies[0].size_bytes, request.volume)
                    self._clone(request, copies, place)
                except errors.VCenterError as failure:
                    match self._next_step(failure, request, copies):
                        case Next.ANOTHER_COPY:
                            request.exclude_copy()
                        case Next.LOOK_AGAIN:
                            self._pause(request)
                            copies = self._look_again(request.key)
                        case Next.ANOTHER_PLACE:
                            request.leave(place, failure)
                            place, copies = self._place(request, reserved)
                        case Next.GIVE_UP:
                            raise
            self._usage.note(request.made[0])

    def _place(
        self, request: VolumeRequest, reserved: contextlib.ExitStack
    ) -> tuple[Place, Sequence[CacheEntry]]:
        """The volume's place, and the copies of its image.

        :param reserved: gets the place's reservation, and ends the one that it has
        """
        reserved.close()
        request.places += 1
        volume = request.volume
        try:
            place = reserved.enter_context(
                self._placement.for_volume(volume, volume.size_bytes, request.full)
            )
        except errors.NoPlacement:
            if request.no_space is None:
                raise
            raise request.no_space from None
        copies = self._store.copies(request.key)
        self._replication.asked(request.key, copies, place)
        return place, copies

    def _imported(self, request: VolumeRequest, place: Place) -> Sequence[CacheEntry]:
        home = self._home(None, near=place)
        entry, imported = self._importer.ready(
            request.key, request.image, request.source, home, request.volume.check_wanted
        )
        request.imported |= imported
        self._replication.begin(request.key, (entry,))
        return (entry,)

    def _clone(self, request: VolumeRequest, copies: Sequence[CacheEntry], place: Place) -> None:
        """Wait for a slot, and clone from the copy that it belongs to."""
        choice, volume = self._readable(copies), request.volume
        joined = self._clock.monotonic()
        with self._queue.turn(
            request.key, choice, place, unfit=request.unfit, check_wanted=volume.check_wanted
        ) as copy:
            request.copy = copy
            request.queued_s += self._clock.monotonic() - joined
            with self._pins.pin(copy.moref):
                self._have_it_readable(copy)
                with volume.deletion_waits():
                    volume.check_wanted()
                    volume.make_way()
                    began = self._clock.monotonic()
                    request.in_one_task = self._store.clone(copy, volume, place)
                    request.made = (copy, place)
                    request.cloned_s = self._clock.monotonic() - began

    def _readable(self, copies: Sequence[CacheEntry]) -> Sequence[CacheEntry]:
        """The copies whose files are accessible and whose hosts can read them now; all copies if
        there are none."""
        fit = [c for c in copies if c.accessible and self._placement.reader(c) == c.host]
        return fit or copies

    def _have_it_readable(self, entry: CacheEntry) -> None:
        """Make sure that the template is registered on a host that can read it: vCenter does not
        clone a template whose host is in maintenance or disconnected.

        :raises InUse: another process is moving it
        """
        host = self._placement.reader(entry)
        if host is not None and host != entry.host:
            self._moves.run(
                entry.moref, lambda: self._store.move(entry, host), timeout_s=MOVED_WITHIN_S
            )
            self._queue.add(dataclasses.replace(entry, host=host))

    def _pause(self, request: VolumeRequest) -> None:
        self._clock.sleep(request.pause_s)
        request.paused_s += request.pause_s
        request.pause_s = min(2 * request.pause_s, clone_failure.LONGEST_PAUSE_S)

    def _look_again(self, key: CacheKey) -> Sequence[CacheEntry]:
        """The key's copies as they are now; this also refreshes the state of the hosts."""
        return self._store.copies(key, fresh=True)

    def _report(self, request: VolumeRequest, seconds: float) -> None:
        assert request.made is not None, request
        kind = Miss if request.imported else Hit
        self._events(
            kind(
                self._backend,
                request.image.id,
                request.volume.id,
                request.made[1].datastore_name,
                seconds,
                request.queued_s,
                request.cloned_s,
                0 if request.imported else request.image.size_bytes,
                request.in_one_task,
            )
        )

    # -- a failed clone --------------------------------------------------------------------------

    def _next_step(
        self, failure: errors.VCenterError, request: VolumeRequest, copies: Sequence[CacheEntry]
    ) -> Next:
        """What to do now; templates whose files are lost are removed first."""
        if request.made is not None:
            return Next.GIVE_UP  # the volume exists: see no_failure_once_made
        copy, stays, readable = request.copy, False, False
        if isinstance(failure, errors.HostUnavailable):
            readable = self._is_readable_elsewhere(request)
        elif copy is not None and failure.fault == clone_failure.FILES_LOST:
            stays = self._must_stay(copy, request)
        elif isinstance(failure, errors.ObjectNotFound) and copy and failure.moref == copy.moref:
            self._queue.remove(copy)
        return clone_failure.next_step(
            failure,
            Situation(
                copy=copy.moref if copy else None,
                copy_stays=stays,
                readable_elsewhere=readable,
                has_another_copy=request.has_another_copy(self._readable(copies)),
                may_wait=request.paused_s < clone_failure.PAUSES_WITHIN_S,
                may_move=request.places < clone_failure.PLACES,
            ),
        )

    def _is_readable_elsewhere(self, request: VolumeRequest) -> bool:
        """Whether the copy's host has gone, and some host can read a copy."""
        copies, copy = self._look_again(request.key), request.copy
        return (
            copy is not None
            and self._placement.reader(copy) != copy.host
            and any(self._placement.reader(one) for one in copies)
        )

    def _must_stay(self, copy: CacheEntry, request: VolumeRequest) -> bool:
        """Whether a copy whose files vCenter did not find is not to be removed now.

        A host may lose sight of a file for a moment: the copy goes when vCenter calls it
        inaccessible as well, or when a second clone fails so.
        """
        seen = self._store.look_again(copy)
        if seen is not None:
            if seen.accessible and copy.moref not in request.lost:
                request.lost.add(copy.moref)
                return False
            stayed = self._evictor.attempt(Verdict(seen, "its files are lost", Rule.BROKEN))
            if stayed is not None and not stayed.gone and not stayed.busy:
                return True
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
        :param datastore: managed object id of the datastore that must have a copy; None means any
        :raises NotCacheable, ImageError, VmdkCacheError: as of :meth:`create_volume`; copies that
            were made on other datastores stay
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
        """Whether :meth:`warm` would import or copy, as far as Glance and vCenter show before the
        first byte; arguments and errors as of :meth:`warm`."""
        admission.check_image(image, self._settings())
        key = CacheKey.of(image, image.adapter_type or adapter_type)
        copies = self._look_again(key)
        if not any(datastore in (None, copy.datastore) for copy in copies):
            size_bytes = copies[0].size_bytes if copies else image.virtual_size_bytes
            self._importer.check(size_bytes or image.size_bytes, self._home(datastore))

    def _home(self, datastore: str | None, near: Place | None = None) -> Home:
        """The place of a template: on that datastore, on that of ``near``, or on the best one."""
        if datastore is None:
            return lambda size_bytes: self._placement.for_template(size_bytes, near=near)
        return lambda size_bytes: self._placement.for_replica(size_bytes, datastore)

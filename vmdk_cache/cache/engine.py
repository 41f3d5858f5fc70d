"""From a request to a volume: look up, import once, clone.

    create_volume
      admission      what the cache does not take is refused before anything happens
      find           a READY entry for the key?            -> hit
      import         else one thread of one process imports it, the others wait   -> miss
      clone          from the entry, under a lease

Every way out is one of: an Outcome (the volume exists), NotCacheable or another VmdkCacheError (the
volume does not exist, nothing is left in vCenter; the caller takes the plain road), ImageError (no
road leads to a volume from this image).
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from dataclasses import dataclass

from vmdk_cache import errors, retry
from vmdk_cache.cache import admission
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Event, Events, Hit, Imported, Miss, Reason
from vmdk_cache.cache.key import CacheKey, lock_name
from vmdk_cache.cache.lease import LeaseBook
from vmdk_cache.cache.ports import Place, Placement, TemplateStore, Transfer, Volume
from vmdk_cache.cache.room import Room
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.cache.usage import Usage
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.locks import Locks

#: How long a template that is being deleted may take to go.
DELETED_WITHIN_S = 300.0
#: Imports that find the name taken and nobody there; more often than this something is wrong.
NAME_TAKEN_ROUNDS = 4
#: The files of a template are lost (vSphere API reference, CloneVM_Task).
FILES_LOST = "vim.fault.FileNotFound"
#: An import that no NFC lease holds has only to be marked, which takes seconds; one that stays so
#: for this long has lost its importer.
ABANDONED_AFTER = datetime.timedelta(seconds=60)
#: Between two looks at what another process does.
RIVAL_POLL_S = 2.0
#: A fresh template's files may stay locked for a while on vSphere 8.0 U1 and later (reported to
#: CloudStack as issues 11997 and 12328; gone by itself).
FILE_LOCKED_ATTEMPTS = 6
FILE_LOCKED_MIN_S = 10.0
FILE_LOCKED_MAX_S = 40.0


@dataclass(frozen=True)
class Outcome:
    """The volume exists.

    :ivar hit: it was cloned from a template that this request did not import
    :ivar seconds: from request to volume
    """

    hit: bool
    entry: CacheEntry
    place: Place
    seconds: float


class ImageCache:
    """The cache of one backend. Safe for use by many threads; holds no connection of its own."""

    def __init__(
        self,
        backend: str,
        settings: Settings,
        *,
        store: TemplateStore,
        placement: Placement,
        transfer: Transfer,
        room: Room,
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
        self._transfer = transfer
        self._room = room
        self._usage = usage
        self._locks = locks
        self._leases = leases
        self._clock = clock
        self._events = events
        self._flights: SingleFlight[CacheKey, CacheEntry] = SingleFlight()

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
        key = CacheKey.of(image, volume.adapter_type)
        with self._placement.for_volume(volume, volume.size_bytes) as place:
            entry, hit = self._clone(key, image, volume, source, place)
        seconds = self._clock.monotonic() - started
        kind: Callable[..., Event] = Hit if hit else Miss
        self._events(kind(self._backend, image.id, volume.id, place.datastore_name, seconds))
        return Outcome(hit, entry, place, seconds)

    def warm(self, image: Image, adapter_type: str, source: ImageSource) -> tuple[CacheEntry, bool]:
        """Have a template of ``image`` ready; its age counts from now.

        :param adapter_type: of the volumes to come; the image's own property wins
        :returns: the entry, and whether it was there before
        :raises NotCacheable, ImageError, VmdkCacheError: as of :meth:`create_volume`
        """
        admission.check_image(image, self._settings)
        key = CacheKey.of(image, image.adapter_type or adapter_type)
        entry, was_there = self._ready_entry(key, image, source, None)
        self._store.touch(entry, warmed=True)
        return entry, was_there

    def _clone(
        self, key: CacheKey, image: Image, volume: Volume, source: ImageSource, place: Place
    ) -> tuple[CacheEntry, bool]:
        """Clone from the key's entry; one that vanishes on the way is a miss, not an error."""
        deadline = self._clock.monotonic() + DELETED_WITHIN_S
        while True:
            entry, hit = self._ready_entry(key, image, source, place)
            admission.check_fits(image, entry.size_bytes, volume)
            try:
                self._clone_patiently(entry, volume, place)
                self._usage.note(entry)
                return entry, hit
            except (errors.ObjectNotFound, errors.InUse) as lost:
                if self._clock.monotonic() >= deadline or not self._is_going(entry, key, lost):
                    raise
            self._clock.sleep(RIVAL_POLL_S)

    def _is_going(self, entry: CacheEntry, key: CacheKey, lost: errors.VCenterError) -> bool:
        """Whether a clone failed because of its template: condemned here, under deletion by
        another process (its clones then fail as in use), deleted already, or without its files,
        which makes it go now."""
        if lost.fault == FILES_LOST:
            return self._discard(entry, key)
        return isinstance(lost, errors.InUse) or lost.moref == entry.moref

    def _discard(self, entry: CacheEntry, key: CacheKey) -> bool:
        """Remove a template whose files are lost, unless somebody is just about it."""
        try:
            with (
                self._locks.hold(lock_name(key), self._settings.lock_timeout_s),
                self._leases.condemn(entry.moref),
            ):
                self._store.destroy(entry)
        except errors.InUse:
            return False
        return True

    def _clone_patiently(self, entry: CacheEntry, volume: Volume, place: Place) -> None:
        with self._leases.hold(entry.moref):
            retry.call(
                lambda: self._store.clone(entry, volume, place),
                attempts=FILE_LOCKED_ATTEMPTS,
                when=lambda failure: isinstance(failure, errors.FileLocked),
                min_wait_s=FILE_LOCKED_MIN_S,
                max_wait_s=FILE_LOCKED_MAX_S,
                clock=self._clock,
            )

    def _ready_entry(
        self, key: CacheKey, image: Image, source: ImageSource, place: Place | None
    ) -> tuple[CacheEntry, bool]:
        """The key's READY entry, and whether it was there before this request."""
        entry = self._store.find(key)
        if entry is not None and entry.phase is Phase.READY:
            return entry, True
        imported = False

        def fly() -> CacheEntry:
            nonlocal imported
            with self._locks.hold(lock_name(key), self._settings.lock_timeout_s):
                entry, imported = self._find_or_import(key, image, source, place)
                return entry

        entry, _leads = self._flights.run(key, fly, self._settings.lock_timeout_s)
        return entry, not imported

    def _find_or_import(
        self, key: CacheKey, image: Image, source: ImageSource, place: Place | None
    ) -> tuple[CacheEntry, bool]:
        """Under the key's lock: look again, import, or wait for a process that has another lock."""
        deadline = self._clock.monotonic() + self._settings.lock_timeout_s
        rounds = 0
        while True:
            entry = self._store.find(key)
            if entry is None:
                try:
                    return self._import(key, image, source, place), True
                except errors.NameTaken as taken:
                    rounds += 1
                    if rounds == NAME_TAKEN_ROUNDS:
                        raise errors.NotCacheable(
                            Reason.NAME_TAKEN,
                            f"something that is no VM, or that this account cannot see, bears the "
                            f"template's name in the cache's folder: {taken}",
                        ) from taken
                # The rival's VM shows up a moment later, or its import has failed meanwhile.
                self._clock.sleep(RIVAL_POLL_S)
                continue
            if entry.phase is Phase.READY:
                return entry, False
            if entry.phase is not Phase.IMPORTING:
                raise errors.NotCacheable(
                    Reason.NAME_TAKEN,
                    f"the VM {entry.name!r} ({entry.moref}) in the cache's folder is no template "
                    f"of this cache but bears the name of one: rename or delete it",
                )
            self._outwait(entry, key, deadline)

    def _import(
        self, key: CacheKey, image: Image, source: ImageSource, place: Place | None
    ) -> CacheEntry:
        started = self._clock.monotonic()
        with self._transfer(image, source) as disk:
            admission.check_limit(image, disk.capacity_bytes, self._settings)
            with (
                self._placement.for_template(disk.capacity_bytes, near=place) as home,
                contextlib.ExitStack() as room,
            ):
                room.enter_context(self._room.made(disk.capacity_bytes, home))
                entry = self._store.import_(key, disk, home, started=room.close)
            seconds = self._clock.monotonic() - started
            self._events(
                Imported(
                    self._backend,
                    image.id,
                    entry.name,
                    home.datastore_name,
                    entry.size_bytes,
                    disk.bytes_read,
                    seconds,
                )
            )
        return entry

    def _outwait(self, entry: CacheEntry, key: CacheKey, deadline: float) -> None:
        """Return when ``entry`` is no longer being imported; remove it if nobody imports it.

        Whoever holds our lock is not the importer, so it is a process with which we share no
        coordinator, or one that died.

        :raises LockTimeout: it is still being imported at ``deadline``
        """
        idle_since: float | None = None
        while True:
            now = self._clock.monotonic()
            if now >= deadline:
                raise errors.LockTimeout(f"another process is still importing {entry.name!r}")
            seen = self._store.find(key)
            if seen is None or seen.moref != entry.moref or seen.phase is not Phase.IMPORTING:
                return
            if self._store.is_importing(entry):
                idle_since = None
            elif idle_since is None:
                idle_since = now
            elif now - idle_since >= ABANDONED_AFTER.total_seconds():
                self._store.destroy(entry)
                return
            self._clock.sleep(RIVAL_POLL_S)

"""The first copy of an image: imported once, however many ask for it, in however many processes.

    threads of this process     one flight per key: the first works, the others take its result
    processes that share locks  the key's lock; whoever gets it looks again before it imports
    processes that share none   vCenter refuses the second VM of a name; the loser waits for the
                                winner, or removes what a dead one left

An importer works only on the VM that it created itself, so no loser of a race harms a winner.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable

from vmdk_cache import errors
from vmdk_cache.cache import admission
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Events, Imported, ImportFailed, ImportStarted, Reason
from vmdk_cache.cache.key import CacheKey, lock_name, template_name
from vmdk_cache.cache.ports import Place, TemplateStore, Transfer
from vmdk_cache.cache.room import Room
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.locks import Locks

#: Gives a template of so many bytes its place, reserved for the block.
Home = Callable[[int], contextlib.AbstractContextManager[Place]]

#: Imports that find the name taken and nobody there; more often than this something is wrong.
NAME_TAKEN_ROUNDS = 4
#: An import that no NFC lease holds has only to be marked, which takes seconds; one that stays so
#: for this long has lost its importer.
ABANDONED_AFTER = datetime.timedelta(seconds=60)
#: Between two looks at what another process does.
RIVAL_POLL_S = 2.0


class Importer:
    """Imports for one backend; safe for use by many threads."""

    def __init__(
        self,
        backend: str,
        settings: Settings,
        *,
        store: TemplateStore,
        transfer: Transfer,
        room: Room,
        locks: Locks,
        clock: Clock,
        events: Events,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._store = store
        self._transfer = transfer
        self._room = room
        self._locks = locks
        self._clock = clock
        self._events = events
        self._flights: SingleFlight[CacheKey, tuple[CacheEntry, bool]] = SingleFlight()

    def ready(
        self, key: CacheKey, image: Image, source: ImageSource, home: Home
    ) -> tuple[CacheEntry, bool]:
        """A READY copy of the key, wherever it is, and whether this very call imported it.

        :param home: where the copy is to be if it has to be imported
        :raises NotCacheable, ImageError, VmdkCacheError: there is none, and nothing was left behind
        """

        def fly() -> tuple[CacheEntry, bool]:
            with self._locks.hold(lock_name(key), self._settings.lock_timeout_s):
                return self._find_or_import(key, image, source, home)

        (entry, imported), leads = self._flights.run(key, fly, self._settings.lock_timeout_s)
        return entry, imported and leads

    def check(self, size_bytes: int, home: Home) -> None:
        """Whether a template of that size could be made now, as far as is known before it is.

        :raises NoPlacement: no datastore has the space
        :raises NotCacheable: no limit leaves the room, and none can be made
        """
        with home(size_bytes) as place:
            self._room.check(size_bytes, place)

    def _find_or_import(
        self, key: CacheKey, image: Image, source: ImageSource, home: Home
    ) -> tuple[CacheEntry, bool]:
        """Under the key's lock: look again, import, or wait for a process that has another lock."""
        deadline = self._clock.monotonic() + self._settings.lock_timeout_s
        rounds = 0
        while True:
            copies = self._store.copies(key, fresh=True)
            if copies:
                return copies[0], False
            entry = self._store.find(key)
            if entry is None:
                try:
                    return self._import(key, image, source, home), True
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
            elif entry.phase is Phase.IMPORTING:
                self._outwait(entry, key, deadline)
            elif entry.phase is not Phase.READY:
                raise errors.NotCacheable(Reason.NAME_TAKEN, _who_has_the_name(entry))

    def _import(self, key: CacheKey, image: Image, source: ImageSource, home: Home) -> CacheEntry:
        """Import it, and tell how it goes."""
        began = self._clock.monotonic()
        has_vm = False

        def started(datastore: str) -> None:
            nonlocal has_vm
            has_vm = True
            name = template_name(self._backend, key)
            self._events(ImportStarted(self._backend, image.id, name, datastore))

        try:
            entry, datastore, bytes_read = self._transferred(key, image, source, home, started)
        except BaseException as failure:
            if has_vm or not isinstance(failure, (errors.NameTaken, errors.NotCacheable)):
                seconds, error = self._clock.monotonic() - began, type(failure).__name__
                self._events(ImportFailed(self._backend, image.id, error, seconds))
            raise
        self._events(
            Imported(
                self._backend,
                image.id,
                entry.name,
                datastore,
                entry.size_bytes,
                bytes_read,
                self._clock.monotonic() - began,
            )
        )
        return entry

    def _transferred(
        self,
        key: CacheKey,
        image: Image,
        source: ImageSource,
        home: Home,
        started: Callable[[str], None],
    ) -> tuple[CacheEntry, str, int]:
        """The copy, the name of its datastore, and how many bytes Glance sent.

        :param started: called with that name once there is a VM
        """
        with self._transfer(image, source) as disk:
            admission.check_limit(image, disk.capacity_bytes, self._settings)
            with (
                home(disk.capacity_bytes) as place,
                contextlib.ExitStack() as room,
            ):
                room.enter_context(self._room.made(disk.capacity_bytes, place))

                def has_vm() -> None:
                    room.close()
                    started(place.datastore_name)

                entry = self._store.import_(key, disk, place, started=has_vm)
            return entry, place.datastore_name, disk.bytes_read

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


def _who_has_the_name(entry: CacheEntry) -> str:
    vm = f"the VM {entry.name!r} ({entry.moref}) in the cache's folder"
    if entry.record is not None and entry.record.is_of_later_version:
        return f"{vm} was made by a later version of this package: upgrade this host"
    return f"{vm} is no template of this cache but bears the name of one: rename or delete it"

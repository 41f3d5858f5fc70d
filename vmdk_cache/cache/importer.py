"""The first copy of an image: imported once, however many threads and processes ask for it.

    threads of one process       one flight per key: the first thread imports, the others take its
                                 result
    processes that share locks   the key's lock; its holder looks for a copy before it imports
    processes that share none    vCenter refuses a second VM of the same name; the loser waits for
                                 the winner, or removes what a dead importer left
    an importer that died        vCenter removes its VM when the NFC lease runs out, within five
                                 minutes; until then the next holder of its lock, if that is the
                                 same lock, imports under another name

An importer whose lock was lost may still be alive: stopped for a while, or cut off from the
coordinator. So other importers leave its VM alone, and each importer looks for another copy before
it makes its own READY, and again afterwards: of two copies, one is removed.

An importer works only on the VM that it created, so the loser of a race cannot harm the winner.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache import admission
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import ABANDONED_AFTER, CacheEntry, Phase
from vmdk_cache.cache.events import Imported, ImportFailed, ImportStarted, Reason, Rule
from vmdk_cache.cache.eviction_plan import Supersession, Verdict
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.findings import diagnose
from vmdk_cache.cache.fresh_disk import FreshDisk
from vmdk_cache.cache.key import CacheKey, free_replica_name, lock_name, template_name
from vmdk_cache.cache.ports import Disk, Import, Transfer
from vmdk_cache.cache.room import Room
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import quoted, sentence

LOG = logging.getLogger(__name__)

#: The name of a failed import stays taken in vCenter for a while after its VM is gone. A name that
#: stays taken for longer, with no VM of that name, belongs to something else.
NAME_FREE_WITHIN_S = 60.0
_CHECKED_BYTES = 1 << 20
#: Between two looks at another process's import.
IMPORT_POLL_S = 2.0
#: The longest pause between two imports that find the name taken: each opens the image again.
NAME_TAKEN_PAUSE_S = 16.0


@dataclass(frozen=True)
class _Job:
    """An image to import.

    :ivar name: of the template
    :ivar near: moref of the datastore to import to if it has the space
    :ivar only: moref of the datastore to import to in any case
    """

    key: CacheKey
    image: Image
    source: ImageSource
    name: str
    near: str | None
    only: str | None


class Importer:
    """Imports for one backend; safe for use by many threads."""

    def __init__(
        self, context: CacheContext, *, transfer: Transfer, room: Room, evictor: Evictor
    ) -> None:
        self._context = context
        self._transfer = transfer
        self._room = room
        self._evictor = evictor
        self._flights: SingleFlight[CacheKey, tuple[CacheEntry, bool]] = SingleFlight(
            is_leaders_own=_is_refused_to_one_user, clock=context.clock
        )

    def ready(
        self,
        key: CacheKey,
        image: Image,
        source: ImageSource,
        *,
        near: str | None = None,
        only: str | None = None,
        check_wanted: Callable[[], None] = lambda: None,
    ) -> tuple[CacheEntry, bool]:
        """A READY copy of the key, on any datastore, and whether this call imported it.

        :param near: moref of the datastore to import to if it has the space
        :param only: moref of the datastore to import to in any case
        :param check_wanted: called from time to time while another thread imports the image; what
            it raises ends the wait. The import itself goes on, for the volumes that wait for it
        :raises NotCacheable, ImageError, VmdkCacheError: there is no copy, and nothing is left
            behind
        """
        settings = self._context.settings()
        name = template_name(self._context.backend, key, self._context.deployment)
        job = _Job(key, image, source, name, near, only)

        def find_or_import() -> tuple[CacheEntry, bool]:
            with self._context.locks.hold(lock_name(name), settings.lock_timeout_s):
                return self._find_or_import(job)

        (entry, imported), leads = self._flights.run(
            key, find_or_import, settings.lock_timeout_s, check_wanted
        )
        return entry, imported and leads

    def check(self, size_bytes: int, *, only: str | None = None) -> None:
        """Check, without changing anything, whether a template of that size could be imported now.

        :param only: same as in :meth:`ready`
        :raises NoPlacement: no datastore has the space
        :raises NotCacheable: the limits leave no room, and evicting would not make enough
        """
        with self._context.placement.for_template(size_bytes, only=only) as place:
            self._room.check(size_bytes, place)

    def _find_or_import(self, job: _Job) -> tuple[CacheEntry, bool]:
        """Under the key's lock: look at what vCenter has, act on it, and look again.

        a READY copy                        take it
        no VM of the template's name        import. If vCenter says that the name is taken,
                                            pause; NotCacheable after NAME_FREE_WITHIN_S
        an import that has lost its lock    import under another name, if there is room for both
        any other import                    wait until it ends; remove its VM if it is abandoned
        anything else of that name          NotCacheable
        """
        deadline = self._context.clock.monotonic() + self._context.settings().lock_timeout_s
        name_free_by: float | None = None
        pause_s = IMPORT_POLL_S
        while True:
            copies = self._context.store.copies(job.key, fresh=True)
            if copies:
                return copies[0], False
            entry = self._context.store.find(job.key)
            if entry is None:
                try:
                    return self._import(job), True
                except errors.NameTaken as taken:
                    now = self._context.clock.monotonic()
                    name_free_by = name_free_by or now + NAME_FREE_WITHIN_S
                    if now >= name_free_by:
                        raise errors.NotCacheable(
                            Reason.NAME_TAKEN,
                            f"an object that is not a VM, or that this account cannot see, has the "
                            f"template's name in the cache's folder: {taken}",
                        ) from taken
                # The VM of another import shows up a moment later; the name of a failed import
                # becomes free.
                self._context.clock.sleep(pause_s)
                pause_s = min(2 * pause_s, NAME_TAKEN_PAUSE_S)
            elif entry.phase is Phase.IMPORTING:
                name_free_by = None
                second = self._import_under_another_name(entry, job)
                if second is not None:
                    return second, True
                self._wait_for_other_import(entry, job.key, deadline)
            elif entry.phase is Phase.READY:
                return entry, False  # the list of copies does not show it yet
            else:
                found = diagnose(entry, self._context.backend, self._context.deployment)
                raise errors.NotCacheable(
                    Reason.NAME_TAKEN,
                    f"the VM {quoted(entry.name)} ({entry.moref}) in the cache's folder has the "
                    f"template's name: {found.says if found else 'rename or delete it'}",
                )

    def _import_under_another_name(self, entry: CacheEntry, job: _Job) -> CacheEntry | None:
        """Import the image although another import, whose lock was lost, still runs. None if its
        lock was not lost, or if there is no room for both."""
        if not self._has_lost_its_lock(entry) or not self._context.store.is_importing(entry):
            return None
        names = [one.name for one in self._context.store.entries()]
        of = (self._context.backend, job.key)
        name = free_replica_name(*of, entry.moref, names, self._context.deployment)
        LOG.info(
            "The importer of %s has lost its lock: importing %s as %s",
            quoted(entry.name),
            job.image,
            quoted(name),
        )
        try:
            with self._context.locks.hold(lock_name(name), 0):
                return self._import(dataclasses.replace(job, name=name))
        except (errors.NameTaken, errors.LockTimeout, errors.NoPlacement) as refused:
            LOG.info("%s is not imported as %s: %s", job.image, quoted(name), refused)
        except errors.NotCacheable as refused:
            if refused.reason != Reason.NO_ROOM:
                raise
            LOG.info("%s is not imported as %s: %s", job.image, quoted(name), refused)
        return None

    def _has_lost_its_lock(self, entry: CacheEntry) -> bool:
        """Whether the entry's importer held the lock that this thread holds now."""
        domain = self._context.locks.domain
        return bool(domain) and entry.record is not None and entry.record.lock_domain == domain

    def _check_alone(self, key: CacheKey) -> None:
        """:raises NameTaken: another import of the key was faster"""
        for copy in self._context.store.copies(key, fresh=True):
            raise errors.NameTaken(
                f"another process has imported the image meanwhile, as {quoted(copy.name)}",
                moref=copy.moref,
            )

    def _without_duplicates(self, entry: CacheEntry) -> CacheEntry:
        """The copy that stays, of those that became READY on the datastore at the same moment. A
        purge removes the others if they cannot be removed now.
        """
        assert entry.record is not None, "every import has one"
        try:
            copies = self._context.store.copies(entry.record.key, fresh=True)
            found = Supersession(copies)
            for copy in copies:
                stays = found.duplicate_of(copy)
                if stays is not None:
                    why = f"{quoted(stays.name)} became ready at the same moment"
                    verdict = Verdict(copy, why, Rule.SUPERSEDED)
                    self._evictor.attempt(verdict, has_lock=copy.moref == entry.moref)
            return found.duplicate_of(entry) or entry
        except errors.VmdkCacheError as failure:
            LOG.info("Could not check for other copies of %s: %s", quoted(entry.name), failure)
            return entry

    def _import(self, job: _Job) -> CacheEntry:
        """Import the image; report its start and outcome."""
        began = self._context.clock.monotonic()
        vm: Import | None = None
        try:
            try:
                disk = FreshDisk(self._transfer, job.image, job.source, self._context.clock)
                with (
                    contextlib.closing(disk),
                    self._begun(job, disk) as (vm, datastore),
                ):
                    vm.upload(disk)
                    self._check_alone(job.key)
                    entry, bytes_read = vm.commit(), disk.bytes_read
            except errors.UploadRefused:
                self._check_grains(job)
                raise
        except BaseException as failure:
            if vm is not None or not isinstance(failure, (errors.NameTaken, errors.NotCacheable)):
                seconds, error = self._context.clock.monotonic() - began, type(failure).__name__
                self._context.events(
                    ImportFailed(self._context.backend, job.image.id, error, seconds)
                )
            raise
        self._context.events(
            Imported(
                self._context.backend,
                job.image.id,
                entry.name,
                datastore,
                entry.size_bytes,
                bytes_read,
                self._context.clock.monotonic() - began,
            )
        )
        return self._without_duplicates(entry)

    @contextlib.contextmanager
    def _begun(self, job: _Job, disk: Disk) -> Iterator[tuple[Import, str]]:
        """The import, and the name of its datastore; an error in the block removes its VM."""
        size_bytes = disk.capacity_bytes
        admission.check_limit(job.image, size_bytes, self._context.settings())
        with contextlib.ExitStack() as begun:
            try:
                found = begun.enter_context(self._begun_at(job, size_bytes, job.near))
            except errors.NotCacheable as refused:
                if job.near is None or refused.reason != Reason.NO_ROOM:
                    raise
                # A limit may hold for that datastore alone.
                elsewhere = self._begun_at(job, size_bytes, None, excluded=(job.near,))
                try:
                    found = begun.enter_context(elsewhere)
                except errors.NoPlacement:
                    raise refused from None
            yield found

    @contextlib.contextmanager
    def _begun_at(
        self, job: _Job, size_bytes: int, near: str | None, excluded: Collection[str] = ()
    ) -> Iterator[tuple[Import, str]]:
        with (
            self._context.placement.for_template(
                size_bytes, near, only=job.only, excluded=excluded
            ) as place,
            contextlib.ExitStack() as begun,
        ):
            with self._room.make(size_bytes, place):
                vm = begun.enter_context(
                    self._context.store.begin_import(
                        job.key, job.name, job.image, size_bytes, place
                    )
                )
            datastore = place.datastore_name
            self._context.events(
                ImportStarted(self._context.backend, job.image.id, job.name, datastore)
            )
            yield vm, datastore

    def _check_grains(self, job: _Job) -> None:
        """Read the image once more, to find out whether the host refused it because it is damaged.

        Cinder's own driver ignores the host's answer and would create a volume without the image's
        bytes.

        :raises ImageError: the image is damaged
        """
        deadline = self._context.clock.monotonic() + self._context.settings().lock_timeout_s
        try:
            with self._transfer(job.image, job.source, check_grains=True) as disk:
                while disk.read(_CHECKED_BYTES):
                    if self._context.clock.monotonic() > deadline:
                        LOG.info("%s is not checked to its end: that takes too long", job.image)
                        return
                disk.finish()
        except errors.ImageError:
            raise
        except errors.VmdkCacheError as failure:
            LOG.info("%s cannot be checked for damage: %s", job.image, failure)

    def _wait_for_other_import(self, entry: CacheEntry, key: CacheKey, deadline: float) -> None:
        """Return when ``entry`` is no longer being imported, or the image has another copy; remove
        ``entry`` if no process is importing it.

        This thread holds the key's lock. So the importer shares no coordinator with this process,
        or it died. Another process may have overtaken the import.

        :raises LockTimeout: the entry is still being imported at ``deadline``
        """
        idle_since: float | None = None
        while True:
            now = self._context.clock.monotonic()
            if now >= deadline:
                raise errors.LockTimeout(f"another process is still importing {quoted(entry.name)}")
            seen = self._context.store.find(key)
            if seen is None or seen.moref != entry.moref or seen.phase is not Phase.IMPORTING:
                return
            if self._context.store.copies(key):
                return
            if self._context.store.is_importing(entry):
                idle_since = None
            elif idle_since is None:
                idle_since = now
            elif now - idle_since >= ABANDONED_AFTER.total_seconds():
                self._remove_abandoned(entry)
                return
            self._context.clock.sleep(IMPORT_POLL_S)

    def _remove_abandoned(self, entry: CacheEntry) -> None:
        """:raises NotCacheable: the entry cannot be removed now, and keeps the name"""

        def still(seen: CacheEntry) -> bool:
            return not self._context.store.is_importing(seen)

        verdict = Verdict(entry, "its import was abandoned", Rule.BROKEN)
        stayed = self._evictor.attempt(verdict, still, has_lock=True)
        if stayed is None:
            return
        seen = self._context.store.look_again(entry)
        if seen is not None and seen.phase is Phase.IMPORTING and still(seen):
            raise errors.NotCacheable(
                Reason.NAME_TAKEN,
                f"an import of {quoted(entry.name)} was abandoned, and its VM cannot be removed "
                f"now: {sentence(stayed.reason)}",
            )


def _is_refused_to_one_user(failure: Exception) -> bool:
    """Whether the next user may still get the image: each user has a Glance token of their own."""
    return isinstance(failure, errors.SourceRefused)

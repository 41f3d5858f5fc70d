"""The cache's folder in vCenter: the engine's TemplateStore, spoken to vim/.

The folder is ``OpenStack/Project (<backend>_image_cache)/<vmware_volume_folder>`` below the VM
folder of each datacenter that the backend reaches. It is created by the first import into its
datacenter, and by nothing else. Templates in other folders of ``Project (<backend>_image_cache)``,
which are there when the option was changed, are this backend's as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import socket
from collections.abc import Callable, Iterator

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.adapters.entry_index import EntryIndex
from vmdk_cache.adapters.volume_clone import VolumeClone
from vmdk_cache.backend import Backend
from vmdk_cache.cache import upload_check
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.ports import Disk, Place, Volume
from vmdk_cache.cache.record import RECORD_KEY, SCHEMA, Record
from vmdk_cache.cache.usage import ATTRIBUTE, Notes
from vmdk_cache.clock import Clock
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import import_lease, inventory, storage_usage, template
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

LOG = logging.getLogger(__name__)

#: How long vCenter may take to look at the files of an import after it was asked to. Well within
#: ABANDONED_AFTER (cache/importer.py): no lease and no task tell of the import meanwhile.
LOOKED_WITHIN_S = 40.0
_LOOK_POLL_S = 2.0
ANNOTATION = "Image cache of the OpenStack volume service. Do not change or delete by hand."


class VCenterTemplateStore:
    """Templates of one backend.

    :param index: follows the cache's folders, see
        :class:`~vmdk_cache.adapters.entry_index.EntryIndex`
    :param lock_domain: of the locks that importers hold
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        index: InventoryIndex,
        *,
        backend: Backend,
        clock: Clock,
        lock_domain: Callable[[], str] = lambda: "",
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._index = index
        self._entries = EntryIndex(
            session, index, backend.name, backend.deployment, backend.folder[-1]
        )
        self._backend = backend.name
        self._deployment = backend.deployment
        self._folder = backend.folder
        self._task_timeout_s = backend.task_timeout_s
        self._managed_by = backend.managed_by
        self._clock = clock
        self._lock_domain = lock_domain

    def find(self, key: CacheKey) -> CacheEntry | None:
        return self._entries.find(key)

    def copies(self, key: CacheKey, *, fresh: bool = False) -> tuple[CacheEntry, ...]:
        return self._entries.copies(key, fresh=fresh)

    def look_again(self, entry: CacheEntry) -> CacheEntry | None:
        return self._entries.look_again(entry)

    def entries(self) -> list[CacheEntry]:
        return self._entries.entries()

    def import_(
        self,
        key: CacheKey,
        disk: Disk,
        place: Place,
        *,
        name: str | None = None,
        started: Callable[[], None] = lambda: None,
        before_ready: Callable[[], None] = lambda: None,
    ) -> CacheEntry:
        record = Record(
            backend=self._backend,
            key=key,
            virtual_size_bytes=disk.capacity_bytes,
            created_at=self._session.server_time(),
            owner=_this_process(),
            deployment=self._deployment,
            lock_domain=self._lock_domain(),
        )
        request = import_lease.ImportRequest(
            name=name or template_name(self._backend, key, self._deployment),
            datastores=place.path_names or (place.datastore_name,),
            capacity_bytes=upload_check.declared_capacity(disk.capacity_bytes),
            adapter_type=key.adapter_type,
            extra_config={RECORD_KEY: record.to_json()},
            annotation=ANNOTATION,
            managed_by=self._managed_by,
        )
        folder = inventory.ensure_folder(self._session, place.datacenter, self._folder)
        with (
            self._changing(),
            import_lease.open_import(
                self._session, self._waiter, place.pool, folder, place.host, request
            ) as opened,
        ):
            started()
            uploaded_bytes = opened.upload(disk, disk.length, self._deadline(request.name))
            disk.finish()
            opened.complete()
            found = self._verified(opened.vm, record, uploaded_bytes)
            before_ready()
            self._mark(opened.vm)
        return self._noted(self._marked(found))

    def _verified(self, moref: str, record: Record, uploaded_bytes: int) -> template.VmInfo:
        """The imported VM, whose disk is what was sent as far as vCenter can say.

        :raises TaskFailed: it is not
        """
        self._ask_for_sizes(moref)
        found = template.get_vm(self._session, moref, RECORD_KEY)
        if found is None:
            raise errors.TaskFailed("the imported VM has disappeared", moref=moref)
        capacities = [disk.capacity_bytes for disk in found.disks]
        upload_check.check_capacity(capacities, record.virtual_size_bytes)
        if upload_check.seems_empty(found.committed_bytes, uploaded_bytes):
            self._check_contents(moref, uploaded_bytes)
        return found

    def _check_contents(self, moref: str, uploaded_bytes: int) -> None:
        """vCenter shows a disk without contents: find out whether it has looked since the upload.

        If it does not look within :data:`LOOKED_WITHIN_S`, its figure says nothing; then the host's
        answer to the upload and the capacity of the disk count.

        :raises TaskFailed: it has looked, and the disk is empty
        """
        uploaded_by = self._session.server_time()
        deadline = self._clock.monotonic() + LOOKED_WITHIN_S
        while True:
            self._ask_for_sizes(moref)
            usage = storage_usage.of(self._session, moref)
            if not upload_check.seems_empty(usage.committed_bytes, uploaded_bytes):
                return
            if usage.seen_at is not None and usage.seen_at >= uploaded_by:
                raise errors.TaskFailed(
                    f"the disk takes {usage.committed_bytes} bytes after an upload of "
                    f"{uploaded_bytes}: it is empty",
                    moref=moref,
                )
            if self._clock.monotonic() >= deadline:
                LOG.warning(
                    "vCenter has not looked at the files of %s since their upload, %g s ago: that "
                    "they take %d bytes is not taken as a sign of an empty disk",
                    moref, LOOKED_WITHIN_S, usage.committed_bytes,
                )  # fmt: skip
                return
            self._clock.sleep(_LOOK_POLL_S)

    def _ask_for_sizes(self, moref: str) -> None:
        """Have vCenter look at the VM's files; it may do so only after it has answered."""
        try:
            storage_usage.refresh(self._session, moref)
        except errors.VCenterError as failure:
            LOG.info("Sizes of %s could not be refreshed, the last known ones count: %s",
                     moref, failure)  # fmt: skip

    def _mark(self, moref: str) -> None:
        """The commit point. An error after which the VM is a template all the same is none."""
        try:
            template.mark_as_template(self._session, moref)
        except errors.VCenterError as failure:
            if not self._is_template(moref):
                raise
            LOG.info("%s has become a template in spite of an error: %s", moref, failure)

    def _is_template(self, moref: str) -> bool:
        try:
            found = template.get_vm(self._session, moref, RECORD_KEY)
        except errors.VCenterError:
            return False
        return found is not None and found.is_template

    def _marked(self, vm: template.VmInfo) -> CacheEntry:
        """The entry of a VM that has just become a template; it can be cloned from now on, even if
        vCenter cannot be asked."""
        try:
            return self._made(vm.moref, vm.name)
        except errors.ObjectNotFound:
            raise
        except errors.VCenterError as failure:
            LOG.info("Template %s cannot be read again: %s", quoted(vm.name), failure)
            return self._entries.entry_of(dataclasses.replace(vm, is_template=True))

    def _noted(self, ready: CacheEntry) -> CacheEntry:
        """With its content noted on it, by which it is known later that it was altered by hand.

        The template is ready, whatever becomes of this: a note that is missing is made up for by
        that of the next use.
        """
        notes = Notes(
            ready_vm=ready.moref, content_id=ready.content_id, deployment=ready.deployment
        )
        try:
            is_noted = self._note(ready.moref, notes)
        except errors.VmdkCacheError as failure:
            LOG.info(
                "The content of template %s was not noted yet: %s", quoted(ready.name), failure
            )
            return ready
        if not is_noted:
            return ready
        return dataclasses.replace(ready, was_ready=True, ready_content_id=ready.content_id)

    def _note(self, moref: str, notes: Notes) -> bool:
        return CustomAttributes.of(self._session).set(moref, ATTRIBUTE, notes.to_json())

    def _made(self, moref: str, name: str) -> CacheEntry:
        ready = template.get_vm(self._session, moref, RECORD_KEY, attributes=[ATTRIBUTE])
        if ready is None:
            raise errors.ObjectNotFound(
                f"template {quoted(name)} was deleted as soon as it was made", moref=moref
            )
        return self._entries.entry_of(ready)

    def is_importing(self, entry: CacheEntry) -> bool:
        return template.import_running(self._session, entry.moref)

    def clone(self, entry: CacheEntry, volume: Volume, place: Place) -> bool:
        return VolumeClone(
            self._session,
            self._waiter,
            entry,
            volume,
            place,
            source_disk=lambda: self._entries.disk_of(entry),
            timeout_s=self._task_timeout_s,
        ).make()

    def replicate(self, entry: CacheEntry, place: Place, name: str) -> CacheEntry:
        assert entry.record is not None, entry
        assert entry.disk_key is not None, entry
        # Of our own, even where an earlier version made the source: it serves our volumes.
        record = dataclasses.replace(
            entry.record, owner=_this_process(), deployment=self._deployment, schema=SCHEMA
        )
        request = template.CloneRequest(
            name=name,
            folder=inventory.ensure_folder(self._session, place.datacenter, self._folder),
            datastore=place.datastore,
            host=place.host,
            pool=place.pool,
            disk_key=entry.disk_key,
            extra_config={RECORD_KEY: record.to_json()},
            annotation=ANNOTATION,
            managed_by=self._managed_by,
            as_template=True,
        )
        with self._changing():
            moref = template.clone(
                self._session, self._waiter, entry.moref, request, timeout_s=self._task_timeout_s
            )
            made = self._made(moref, request.name)
            if made.phase is not Phase.READY:
                # Nothing documents that the clone gets its record: docs/assumptions.rst, A72.
                template.destroy(self._session, self._waiter, moref)
                raise errors.TaskFailed(
                    f"vCenter made the replica {quoted(request.name)} without its record",
                    moref=moref,
                )
        return made

    def move(self, entry: CacheEntry, host: str) -> None:
        with self._changing():
            template.move_to_host(self._session, self._waiter, entry.moref, host)

    def touch(self, entry: CacheEntry, *, warmed: bool = False) -> datetime.datetime:
        now = self._session.server_time()
        # All notes are one value, and the entry may have been read long ago: a use that is noted
        # after hours in a queue must not undo a warm-up of this morning.
        seen = self._entries.look_again(entry) or entry
        notes = self._notes(
            seen,
            used_at=seen.used_at or entry.used_at if warmed else now,
            warmed_at=now if warmed else seen.warmed_at or entry.warmed_at,
        )
        self._note(entry.moref, notes)
        return now

    def claim(self, entry: CacheEntry) -> None:
        seen = self._entries.look_again(entry)
        if seen is not None and seen.phase is Phase.READY and seen.owner is Owner.UNKNOWN:
            notes = self._notes(seen, used_at=seen.used_at, warmed_at=seen.warmed_at)
            self._note(seen.moref, notes)

    def _notes(
        self,
        seen: CacheEntry,
        *,
        used_at: datetime.datetime | None,
        warmed_at: datetime.datetime | None,
    ) -> Notes:
        """Those of a copy that serves this deployment."""
        return Notes(
            used_at=used_at,
            warmed_at=warmed_at,
            ready_vm=seen.moref,
            content_id=seen.ready_content_id
            or (seen.content_id if seen.phase is Phase.READY else None),
            deployment=self._deployment,
        )

    def note_ready(self, entry: CacheEntry) -> None:
        # All notes are one value: one that another process has written meanwhile must stay.
        seen = self._entries.look_again(entry)
        if seen is not None and seen.phase is Phase.READY and not seen.was_ready:
            self._noted(seen)

    def destroy(self, entry: CacheEntry) -> None:
        with self._changing():
            template.destroy(self._session, self._waiter, entry.moref)

    def _deadline(self, name: str) -> Callable[[int], None]:
        """For the upload to ask after each piece: a trickle must not hold its lock for ever."""
        ends_at = self._clock.monotonic() + self._task_timeout_s

        def check(sent_bytes: int) -> None:
            if self._clock.monotonic() > ends_at:
                raise errors.TaskTimedOut(
                    f"the import of {quoted(name)} has sent {sent_bytes} bytes after "
                    f"{self._task_timeout_s:g} s: see vmware_image_transfer_timeout_secs"
                )

        return check

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Whatever becomes of it, what was known before the block is too old after it."""
        try:
            yield
        finally:
            self._index.expire()


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"

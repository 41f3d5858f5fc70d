"""The cache's folder in vCenter: implements the engine's TemplateStore.

The folder is ``OpenStack/Project (<backend>_image_cache)/<vmware_volume_folder>`` below the VM
folder of each datacenter that the backend reaches. It is created by the first import into its
datacenter, and by nothing else. Templates in other folders of ``Project (<backend>_image_cache)``,
which exist after the option was changed, belong to this backend as well.
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
from vmdk_cache.adapters.template_import import TemplateImport, declared_capacity, note_content
from vmdk_cache.adapters.volume_clone import VolumeClone
from vmdk_cache.backend import Backend
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.record import ATTRIBUTE, PIN_ATTRIBUTE, RECORD_KEY, SCHEMA, Notes, Record
from vmdk_cache.image import Image
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import clone_spec, import_lease, import_spec, recent_task, template
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.folder import ensure_folder
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

LOG = logging.getLogger(__name__)

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
        self._lock_domain = lock_domain

    def find(self, key: CacheKey) -> CacheEntry | None:
        return self._entries.find(key)

    def copies(self, key: CacheKey, *, fresh: bool = False) -> tuple[CacheEntry, ...]:
        return self._entries.copies(key, fresh=fresh)

    def look_again(self, entry: CacheEntry) -> CacheEntry | None:
        return self._entries.look_again(entry)

    def entries(self) -> list[CacheEntry]:
        return self._entries.entries()

    @contextlib.contextmanager
    def begin_import(
        self, key: CacheKey, name: str, image: Image, capacity_bytes: int, place: Place
    ) -> Iterator[TemplateImport]:
        record = Record(
            backend=self._backend,
            key=key,
            virtual_size_bytes=capacity_bytes,
            created_at=self._session.server_time(),
            owner=_this_process(),
            deployment=self._deployment,
            lock_domain=self._lock_domain(),
            image_name=image.name,
            image_bytes=image.size_bytes,
        )
        request = import_spec.ImportRequest(
            name=name,
            datastores=place.path_names or (place.datastore_name,),
            capacity_bytes=declared_capacity(capacity_bytes),
            adapter_type=key.adapter_type,
            extra_config={RECORD_KEY: record.to_json()},
            annotation=ANNOTATION,
            managed_by=self._managed_by,
        )
        folder = ensure_folder(self._session, place.datacenter, self._folder)
        with (
            self._changing(),
            import_lease.open_import(
                self._session, self._waiter, place.pool, folder, place.host, request
            ) as lease,
        ):
            yield TemplateImport(
                self._session,
                self._entries,
                lease,
                name=name,
                image_bytes=image.size_bytes,
                capacity_bytes=capacity_bytes,
                timeout_s=self._task_timeout_s,
            )

    def is_importing(self, entry: CacheEntry) -> bool:
        return recent_task.is_importing(self._session, entry.moref)

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
        request = clone_spec.CloneRequest(
            name=name,
            folder=ensure_folder(self._session, place.datacenter, self._folder),
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
            made = self._entries.read(moref, request.name)
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
        self._note(
            seen,
            used_at=seen.used_at or entry.used_at if warmed else now,
            warmed_at=now if warmed else seen.warmed_at or entry.warmed_at,
        )
        return now

    def note_owner(self, entry: CacheEntry) -> None:
        seen = self._entries.look_again(entry)
        if seen is not None and seen.phase is Phase.READY and seen.owner is Owner.UNKNOWN:
            self._note(seen, used_at=seen.used_at, warmed_at=seen.warmed_at)

    def _note(
        self,
        seen: CacheEntry,
        *,
        used_at: datetime.datetime | None,
        warmed_at: datetime.datetime | None,
    ) -> None:
        """Write the notes of a copy that serves this deployment."""
        notes = Notes(
            used_at=used_at,
            warmed_at=warmed_at,
            ready_vm=seen.moref,
            content_id=seen.ready_content_id
            or (seen.content_id if seen.phase is Phase.READY else None),
            deployment=self._deployment,
        )
        CustomAttributes.of(self._session).set(seen.moref, ATTRIBUTE, notes.to_json())

    def note_ready(self, entry: CacheEntry) -> None:
        # All notes are one value: one that another process has written meanwhile must stay.
        seen = self._entries.look_again(entry)
        if seen is not None and seen.phase is Phase.READY and not seen.was_ready:
            note_content(self._session, seen)

    def set_pin(self, entry: CacheEntry, pin: Pin | None) -> None:
        text = "" if pin is None else pin.to_json(entry.moref)
        CustomAttributes.of(self._session).set_or_refuse(entry.moref, PIN_ATTRIBUTE, text)

    def destroy(self, entry: CacheEntry) -> None:
        with self._changing():
            template.destroy(self._session, self._waiter, entry.moref)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Whatever becomes of it, what was known before the block is too old after it."""
        try:
            yield
        finally:
            self._index.expire()


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"

"""The cache's folder in vCenter: the engine's TemplateStore, spoken to vim/.

The folder is ``OpenStack/Project (<backend>_image_cache)/<vmware_volume_folder>`` below the VM
folder of each datacenter that the backend reaches. It is created by the first import into its
datacenter, and by nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import socket
from collections.abc import Callable, Iterator, Sequence

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.entry_index import EntryIndex
from vmdk_cache.cache.key import CacheKey, replica_name, template_name
from vmdk_cache.cache.ports import Disk, Place, Volume
from vmdk_cache.cache.record import RECORD_KEY, Record
from vmdk_cache.cache.usage import ATTRIBUTE, Times
from vmdk_cache.cache.volume_clone import VolumeClone
from vmdk_cache.clock import Clock
from vmdk_cache.vim import inventory, lease, template
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

LOG = logging.getLogger(__name__)

MIB = 1 << 20
#: Smaller images are drowned by the few files that every VM has.
SIZEABLE_BYTES = 64 * MIB
ANNOTATION = "Image cache of the OpenStack volume service. Do not change or delete by hand."


class VCenterTemplateStore:
    """Templates of one backend.

    :param index: follows the cache's folders, see :class:`~vmdk_cache.cache.entry_index.EntryIndex`
    :param folder: inventory path of the cache's folder below a datacenter's VM folder
    :param managed_by: extension key and type that mark a VM as Cinder's, or None
    :param task_timeout_s: how long a clone or an import may run
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        index: InventoryIndex,
        *,
        backend: str,
        folder: Sequence[str],
        task_timeout_s: float,
        clock: Clock,
        managed_by: tuple[str, str] | None = None,
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._index = index
        self._entries = EntryIndex(session, index, backend)
        self._backend = backend
        self._folder = tuple(folder)
        self._task_timeout_s = task_timeout_s
        self._clock = clock
        self._managed_by = managed_by

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
        started: Callable[[], None] = lambda: None,
    ) -> CacheEntry:
        record = Record(
            backend=self._backend,
            key=key,
            virtual_size_bytes=disk.capacity_bytes,
            created_at=self._session.server_time(),
            owner=_this_process(),
        )
        request = lease.ImportRequest(
            name=template_name(self._backend, key),
            datastore=place.datastore_name,
            capacity_bytes=_declared(disk.capacity_bytes),
            adapter_type=key.adapter_type,
            extra_config={RECORD_KEY: record.to_json()},
            annotation=ANNOTATION,
            managed_by=self._managed_by,
        )
        folder = inventory.ensure_folder(self._session, place.datacenter, self._folder)
        with (
            self._changing(),
            lease.open_import(
                self._session, self._waiter, place.pool, folder, place.host, request
            ) as opened,
        ):
            started()
            opened.upload(disk, disk.length, self._deadline(request.name))
            disk.finish()
            opened.complete()
            found = self._fresh_look(opened.vm)
            _verify(found, record, disk.bytes_read)
            template.mark_as_template(self._session, opened.vm)
        return self._made(opened.vm, request.name)

    def _made(self, moref: str, name: str) -> CacheEntry:
        ready = template.get_vm(self._session, moref, RECORD_KEY)
        if ready is None:
            raise errors.ObjectNotFound(
                f"template {name!r} was deleted as soon as it was made", moref=moref
            )
        return self._entries.entry_of(ready)

    def _fresh_look(self, moref: str) -> template.VmInfo | None:
        try:
            template.refresh_storage(self._session, moref)
        except errors.VCenterError as failure:
            LOG.info("Sizes of %s could not be refreshed, the last known ones count: %s",
                     moref, failure)  # fmt: skip
        return template.get_vm(self._session, moref, RECORD_KEY)

    def is_importing(self, entry: CacheEntry) -> bool:
        return template.import_running(self._session, entry.moref)

    def clone(self, entry: CacheEntry, volume: Volume, place: Place) -> None:
        assert entry.disk_key is not None, entry

        def folder() -> str:
            return inventory.ensure_folder(self._session, place.datacenter, volume.folder)

        request = template.CloneRequest(
            name=volume.name,
            folder=folder(),
            datastore=place.datastore,
            host=place.host,
            pool=place.pool,
            disk_key=entry.disk_key,
            disk_type=volume.disk_type,
            instance_uuid=volume.instance_uuid,
            extra_config={**volume.extra_config, RECORD_KEY: ""},
            managed_by=volume.managed_by,
            profile_id=place.profile_id,
        )
        VolumeClone(
            self._session,
            self._waiter,
            self._clock,
            source=entry.moref,
            request=request,
            folder=folder,
            capacity_bytes=max(volume.size_bytes, entry.size_bytes),
            timeout_s=self._task_timeout_s,
        ).make()

    def replicate(self, entry: CacheEntry, place: Place) -> CacheEntry:
        assert entry.record is not None, entry
        assert entry.disk_key is not None, entry
        record = dataclasses.replace(entry.record, owner=_this_process())
        request = template.CloneRequest(
            name=replica_name(self._backend, record.key, place.datastore),
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
                # That vCenter reconfigures a clone that is a template at once is not documented.
                template.destroy(self._session, self._waiter, moref)
                raise errors.TaskFailed(
                    f"vCenter made the replica {request.name!r} without its record", moref=moref
                )
        return made

    def move(self, entry: CacheEntry, host: str) -> None:
        with self._changing():
            template.move_to_host(self._session, self._waiter, entry.moref, host)

    def touch(self, entry: CacheEntry, *, warmed: bool = False) -> datetime.datetime:
        now = self._session.server_time()
        # Both times stand in one value, and whoever holds the entry may have read it long ago: a
        # use that is noted after hours in a queue must not undo a warm-up of this morning.
        seen = self._entries.look_again(entry) or entry
        times = Times(
            used_at=seen.used_at or entry.used_at if warmed else now,
            warmed_at=now if warmed else seen.warmed_at or entry.warmed_at,
        )
        CustomAttributes.of(self._session).set(entry.moref, ATTRIBUTE, times.to_json())
        return now

    def destroy(self, entry: CacheEntry) -> None:
        with self._changing():
            template.destroy(self._session, self._waiter, entry.moref)

    def _deadline(self, name: str) -> Callable[[int], None]:
        """For the upload to ask after each piece: a trickle must not hold its lock for ever."""
        ends_at = self._clock.monotonic() + self._task_timeout_s

        def check(sent_bytes: int) -> None:
            if self._clock.monotonic() > ends_at:
                raise errors.TaskTimedOut(
                    f"the import of {name!r} has sent {sent_bytes} bytes after "
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


def _declared(capacity_bytes: int) -> int:
    """The capacity to ask for: whole MiB, which every kind of datastore can have (vVols in
    nothing less), and never below the image's own."""
    return -(-capacity_bytes // MIB) * MIB


def _verify(found: template.VmInfo | None, record: Record, image_bytes: int) -> None:
    """What vCenter made of the upload must be what was sent, before it becomes a template.

    A broken upload can end as a disk of another capacity (4096000 bytes) or without contents, and
    vCenter calls it a success: both were seen in production by SAP's nova fork.

    :param image_bytes: length of the image's file
    :raises TaskFailed: it is not
    """
    if found is None or len(found.disks) != 1:
        raise errors.TaskFailed("vCenter did not make exactly one disk of the import")
    capacity = found.disks[0].capacity_bytes
    if not 0 <= capacity - record.virtual_size_bytes < MIB:
        raise errors.TaskFailed(
            f"vCenter made a disk of {capacity} bytes of an image of {record.virtual_size_bytes}"
        )
    # Arrays that deduplicate take less than what was sent, but not next to nothing.
    if image_bytes >= SIZEABLE_BYTES and found.committed_bytes < image_bytes // 100:
        raise errors.TaskFailed(
            f"the disk takes {found.committed_bytes} bytes after an import of {image_bytes}: "
            f"it is empty"
        )

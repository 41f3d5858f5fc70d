"""The cache's folder in vCenter: the engine's TemplateStore, spoken to vim/.

The folder is ``OpenStack/Project (<backend>_image_cache)/<vmware_volume_folder>`` below the VM
folder of each datacenter that the backend reaches. It is created by the first import into its
datacenter, and by nothing else.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.cache.entry import CacheEntry, classify
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.ports import Disk, Place, Volume
from vmdk_cache.cache.record import RECORD_KEY, Record
from vmdk_cache.clock import Clock
from vmdk_cache.vim import inventory, lease, template
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

LOG = logging.getLogger(__name__)

CLONE_ATTEMPTS = 3
CLEAN_UP_ATTEMPTS = 6
ANNOTATION = "Image cache of the OpenStack volume service. Do not change or delete by hand."


class VCenterTemplateStore:
    """Templates of one backend.

    :param folder: inventory path of the cache's folder below a datacenter's VM folder
    :param managed_by: extension key and type that mark a VM as Cinder's, or None
    :param task_timeout_s: how long a clone or an import may run
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        *,
        backend: str,
        folder: Sequence[str],
        task_timeout_s: float,
        clock: Clock,
        managed_by: tuple[str, str] | None = None,
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._backend = backend
        self._folder = tuple(folder)
        self._task_timeout_s = task_timeout_s
        self._clock = clock
        self._managed_by = managed_by

    def find(self, key: CacheKey) -> CacheEntry | None:
        name = template_name(self._backend, key)
        for folder in self._folders():
            with _folder_may_go(folder):
                found = template.find_vm(self._session, folder, name, RECORD_KEY)
                if found is not None:
                    return self._entry(found)
        return None

    def entries(self) -> list[CacheEntry]:
        entries = []
        for folder in self._folders():
            with _folder_may_go(folder):
                found = template.list_vms(self._session, folder, RECORD_KEY)
                entries += [self._entry(vm) for vm in found]
        return entries

    def import_(self, key: CacheKey, disk: Disk, place: Place) -> CacheEntry:
        record = Record(
            backend=self._backend,
            key=key,
            virtual_size_bytes=disk.capacity_bytes,
            created_at=self._session.server_time(),
            owner=f"{socket.gethostname()}:{os.getpid()}",
        )
        request = lease.ImportRequest(
            name=template_name(self._backend, key),
            datastore=place.datastore_name,
            capacity_bytes=disk.capacity_bytes,
            adapter_type=key.adapter_type,
            extra_config={RECORD_KEY: record.to_json()},
            annotation=ANNOTATION,
            managed_by=self._managed_by,
        )
        folder = inventory.ensure_folder(self._session, place.datacenter, self._folder)
        with lease.open_import(
            self._session, self._waiter, place.pool, folder, place.host, request
        ) as opened:
            opened.upload(disk, disk.length)
            disk.finish()
            opened.complete()
            template.refresh_storage(self._session, opened.vm)
            found = template.get_vm(self._session, opened.vm, RECORD_KEY)
            _verify(found, record)
            template.mark_as_template(self._session, opened.vm)
        ready = template.get_vm(self._session, opened.vm, RECORD_KEY)
        if ready is None:
            raise errors.ObjectNotFound(
                f"template {request.name!r} was deleted right after its import", moref=opened.vm
            )
        return self._entry(ready)

    def is_importing(self, entry: CacheEntry) -> bool:
        return template.import_running(self._session, entry.moref)

    def clone(self, entry: CacheEntry, volume: Volume, place: Place) -> None:
        assert entry.disk_key is not None, entry
        request = template.CloneRequest(
            name=volume.name,
            folder=inventory.ensure_folder(self._session, place.datacenter, volume.folder),
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
        try:
            moref = self._clone(entry, request, volume)
            self._finish(moref, max(volume.size_bytes, entry.size_bytes), volume)
        except BaseException:
            self._remove_half_made(request.folder, volume)
            raise

    def destroy(self, entry: CacheEntry) -> None:
        template.destroy(self._session, self._waiter, entry.moref)

    def _clone(self, entry: CacheEntry, request: template.CloneRequest, volume: Volume) -> str:
        """The clone's moref. A lost answer leaves open whether the clone was made; its name makes
        the call safe to repeat: the second one is refused if the first one acted."""
        for attempt in range(1, CLONE_ATTEMPTS + 1):
            try:
                return template.clone(
                    self._session,
                    self._waiter,
                    entry.moref,
                    request,
                    timeout_s=self._task_timeout_s,
                )
            except (errors.Unreachable, errors.SessionExpired):
                if attempt == CLONE_ATTEMPTS:
                    raise
            except errors.NameTaken:
                if attempt == CLONE_ATTEMPTS or not self._destroy_volume(request.folder, volume):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _finish(self, moref: str, capacity_bytes: int, volume: Volume) -> None:
        """Size and uuid of the clone's disk; setting them twice does no harm."""
        retry.call(
            lambda: template.finish_clone(
                self._session,
                self._waiter,
                moref,
                capacity_bytes,
                volume.instance_uuid,
                forbidden_key=RECORD_KEY,
            ),
            attempts=CLONE_ATTEMPTS,
            first_wait_s=1.0,
            clock=self._clock,
        )

    def _remove_half_made(self, folder: str, volume: Volume) -> None:
        try:
            self._destroy_volume(folder, volume)
        except errors.VCenterError as failure:
            # The clone's own error matters more. Deleting the volume finds this VM by its uuid.
            LOG.warning(
                "Could not remove what the failed clone of volume %s left behind: %s",
                volume.id,
                failure,
            )

    def _destroy_volume(self, folder: str, volume: Volume) -> bool:
        """Delete the volume's VM, and whether there was one.

        By name and uuid: another VM of that name is not ours to touch. A clone that was given up
        may hold its VM for a while.
        """

        def work() -> bool:
            found = template.find_vm(self._session, folder, volume.name, RECORD_KEY)
            if found is None or found.instance_uuid != volume.instance_uuid:
                return False
            template.destroy(self._session, self._waiter, found.moref)
            return True

        return retry.call(
            work,
            attempts=CLEAN_UP_ATTEMPTS,
            when=lambda failure: isinstance(failure, errors.VCenterError),
            first_wait_s=1.0,
            clock=self._clock,
        )

    def _folders(self) -> list[str]:
        """The cache's folders that exist, one per datacenter at most."""
        found = (
            inventory.find_folder(self._session, datacenter.moref, self._folder)
            for datacenter in inventory.datacenters(self._session)
        )
        return [folder for folder in found if folder is not None]

    def _entry(self, found: template.VmInfo) -> CacheEntry:
        record = Record.from_json(found.extra_config_record)
        return CacheEntry(
            moref=found.moref,
            name=found.name,
            phase=classify(self._backend, found.name, found.is_template, len(found.disks), record),
            record=record,
            datastore=found.datastores[0] if found.datastores else None,
            disk_key=found.disks[0].key if len(found.disks) == 1 else None,
            size_bytes=sum(disk.capacity_bytes for disk in found.disks),
        )


@contextlib.contextmanager
def _folder_may_go(folder: str) -> Iterator[None]:
    """A folder that an admin deleted since it was found holds nothing."""
    try:
        yield
    except errors.ObjectNotFound as gone:
        if gone.moref != folder:
            raise


def _verify(found: template.VmInfo | None, record: Record) -> None:
    """What vCenter made of the upload must be what was sent, before it becomes a template.

    A broken upload can end as a disk of another capacity or without contents, and vCenter calls
    it a success (seen in production by SAP's nova fork, and documented there).

    :raises TaskFailed: it is not
    """
    if found is None or len(found.disks) != 1:
        raise errors.TaskFailed("vCenter did not make exactly one disk of the import")
    capacity = found.disks[0].capacity_bytes
    if capacity != record.virtual_size_bytes:
        raise errors.TaskFailed(
            f"vCenter made a disk of {capacity} bytes of an image of {record.virtual_size_bytes}"
        )
    if found.committed_bytes <= 0:
        raise errors.TaskFailed("vCenter reports an empty disk after the import")

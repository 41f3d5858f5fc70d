"""An import into the cache's folder, from the VM with an empty disk to the template.

begun      ImportVApp has made the VM with an empty disk, and an NFC lease holds it
uploaded   the data are sent, the lease is completed, and the VM's disk has been checked
committed  MarkAsTemplate has made the VM a template; then its content is noted on it

A broken upload can leave a disk of another capacity (4096000 bytes) or without contents, and
vCenter reports success: SAP's nova fork met both in production (docs/assumptions.rst, A47). So the
disk is checked before the VM becomes a template.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.adapters.entry_index import EntryIndex
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import Disk
from vmdk_cache.cache.record import ATTRIBUTE, RECORD_KEY, Notes
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import template, virtual_machine
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.import_lease import ImportLease
from vmdk_cache.vim.session import Session

LOG = logging.getLogger(__name__)

#: How long vCenter may take to look at the files of an import after it was asked to. Well within
#: ABANDONED_AFTER (cache/entry.py): meanwhile no lease and no task show the import.
LOOKED_WITHIN_S = 40.0
_LOOK_POLL_S = 2.0
MIB = 1 << 20
#: In a smaller upload, the few files that every VM has can be larger than its disk.
SIZEABLE_BYTES = 64 * MIB


class TemplateImport:
    """See :class:`~vmdk_cache.cache.ports.Import`.

    :param name: of the VM
    :param image_bytes: size of the image's file, 0 if unknown
    :param capacity_bytes: virtual size of the image
    :param timeout_s: how long the upload may take
    """

    def __init__(
        self,
        session: Session,
        entries: EntryIndex,
        lease: ImportLease,
        *,
        name: str,
        image_bytes: int,
        capacity_bytes: int,
        timeout_s: float,
    ) -> None:
        self._session = session
        self._clock = session.clock
        self._entries = entries
        self._lease = lease
        self._name = name
        self._image_bytes = image_bytes
        self._capacity_bytes = capacity_bytes
        self._timeout_s = timeout_s
        self._ends_at = session.clock.monotonic() + timeout_s
        self._vm: virtual_machine.VmInfo | None = None

    def upload(self, disk: Disk) -> None:
        uploaded_bytes = self._lease.upload(
            disk,
            disk.length,
            self._check_time,
            percent=lambda sent_bytes: percent_done(disk, sent_bytes, self._image_bytes),
        )
        disk.finish()
        self._lease.complete()
        self._vm = self._checked(uploaded_bytes)

    def commit(self) -> CacheEntry:
        assert self._vm is not None, "upload() comes first"
        self._mark()
        self._lease.keep()
        return note_content(self._session, self._read(self._vm))

    def _check_time(self, sent_bytes: int) -> None:
        """Called after each piece of the upload: a slow source must not hold its lock for ever."""
        if self._clock.monotonic() > self._ends_at:
            raise errors.TaskTimedOut(
                f"the import of {quoted(self._name)} has sent {sent_bytes} bytes after "
                f"{self._timeout_s:g} s: see vmware_image_transfer_timeout_secs"
            )

    def _checked(self, uploaded_bytes: int) -> virtual_machine.VmInfo:
        """The imported VM, whose disk matches the upload as far as vCenter can tell.

        :raises TaskFailed: it does not
        """
        moref = self._lease.vm
        self._ask_for_sizes()
        found = virtual_machine.get_vm(self._session, moref, RECORD_KEY)
        if found is None:
            raise errors.TaskFailed("the imported VM has disappeared", moref=moref)
        capacities = [disk.capacity_bytes for disk in found.disks]
        check_capacity(capacities, self._capacity_bytes)
        if seems_empty(found.committed_bytes, uploaded_bytes):
            self._check_contents(uploaded_bytes)
        return found

    def _check_contents(self, uploaded_bytes: int) -> None:
        """vCenter reports a disk without contents: find out whether it has looked since the upload.

        If it does not look within :data:`LOOKED_WITHIN_S`, the figure is ignored: the host's answer
        to the upload and the capacity of the disk decide.

        :raises TaskFailed: it has looked, and the disk is empty
        """
        moref = self._lease.vm
        uploaded_by = self._session.server_time()

        def look() -> tuple[int, bool, bool]:
            self._ask_for_sizes()
            committed_bytes, seen_at = virtual_machine.storage_usage(self._session, moref)
            has_looked = seen_at is not None and seen_at >= uploaded_by
            return committed_bytes, seems_empty(committed_bytes, uploaded_bytes), has_looked

        committed_bytes, is_empty, has_looked = retry.poll(
            look,
            until=lambda seen: not seen[1] or seen[2],
            within_s=LOOKED_WITHIN_S,
            first_wait_s=_LOOK_POLL_S,
            clock=self._clock,
        )
        if is_empty and has_looked:
            raise errors.TaskFailed(
                f"the disk takes {committed_bytes} bytes after an upload of {uploaded_bytes}: it "
                "is empty",
                moref=moref,
            )
        if is_empty:
            LOG.warning(
                "vCenter has not looked at the files of %s since their upload, %g s ago: that they "
                "take %d bytes is not taken as a sign of an empty disk",
                moref, LOOKED_WITHIN_S, committed_bytes,
            )  # fmt: skip

    def _ask_for_sizes(self) -> None:
        """Have vCenter look at the VM's files; it may do so only after it has answered."""
        try:
            virtual_machine.refresh_storage(self._session, self._lease.vm)
        except errors.VCenterError as failure:
            LOG.info("Sizes of %s could not be refreshed, the last known ones count: %s",
                     self._lease.vm, failure)  # fmt: skip

    def _mark(self) -> None:
        """The commit point. An error is not raised if the VM is a template nevertheless."""
        moref = self._lease.vm
        try:
            template.mark_as_template(self._session, moref)
        except errors.VCenterError as failure:
            if not self._is_template():
                raise
            LOG.info("%s has become a template in spite of an error: %s", moref, failure)

    def _is_template(self) -> bool:
        try:
            found = virtual_machine.get_vm(self._session, self._lease.vm, RECORD_KEY)
        except errors.VCenterError:
            return False
        return found is not None and found.is_template

    def _read(self, vm: virtual_machine.VmInfo) -> CacheEntry:
        """The new template; from now on it can be cloned, even if vCenter does not answer now."""
        try:
            return self._entries.read(vm.moref, vm.name)
        except errors.ObjectNotFound:
            raise
        except errors.VCenterError as failure:
            LOG.info("Template %s cannot be read again: %s", quoted(vm.name), failure)
            return self._entries.entry_of(dataclasses.replace(vm, is_template=True))


def note_content(session: Session, ready: CacheEntry) -> CacheEntry:
    """Note the content of a READY entry on it, so that an alteration by hand is found later; the
    entry with the note.

    A failure does not matter to the template: the next use writes the note.
    """
    notes = Notes(ready_vm=ready.moref, content_id=ready.content_id, deployment=ready.deployment)
    try:
        is_noted = CustomAttributes.of(session).set(ready.moref, ATTRIBUTE, notes.to_json())
    except errors.VmdkCacheError as failure:
        LOG.info("The content of template %s was not noted yet: %s", quoted(ready.name), failure)
        return ready
    if not is_noted:
        return ready
    return dataclasses.replace(ready, was_ready=True, ready_content_id=ready.content_id)


def declared_capacity(image_bytes: int) -> int:
    """The capacity to ask for: at least the image's own, in whole MiB. Every kind of datastore
    supports that; vVols support nothing finer."""
    return -(-image_bytes // MIB) * MIB


def check_capacity(disks_bytes: Sequence[int], image_bytes: int) -> None:
    """Check the disks of the imported VM.

    :param disks_bytes: capacity of each disk
    :param image_bytes: virtual size of the image
    :raises TaskFailed: there is not exactly one, or its size differs from the image's
    """
    if len(disks_bytes) != 1:
        raise errors.TaskFailed(f"vCenter made {len(disks_bytes)} disks of the import, not one")
    (made_bytes,) = disks_bytes
    if not 0 <= made_bytes - image_bytes < MIB:
        raise errors.TaskFailed(
            f"vCenter made a disk of {made_bytes} bytes of an image of {image_bytes}"
        )


def percent_done(disk: Disk, sent_bytes: int, image_bytes: int) -> int:
    """How much of an upload is done, from 0 to 99, because only its end shows success; 0 if
    unknown. An image that is converted on the way has a known length in Glance alone."""
    done, whole = (
        (disk.bytes_read, image_bytes) if disk.length is None else (sent_bytes, disk.length)
    )
    return min(99, done * 100 // whole) if whole else 0


def seems_empty(committed_bytes: int, uploaded_bytes: int) -> bool:
    """Whether the VM uses next to no space, compared with the upload.

    The upload counts, not the image's file: a raw image of zeros is large, and little of it is
    sent. Arrays that deduplicate store less than was sent, but not less than a hundredth of it.
    """
    return uploaded_bytes >= SIZEABLE_BYTES and committed_bytes < uploaded_bytes // 100

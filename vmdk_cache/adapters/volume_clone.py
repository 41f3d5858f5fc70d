"""A volume's VM, cloned from a template: complete after success, gone after a failure.

    submit    CloneVM_Task with the whole identity; waits for it. If that may save the next step,
              the request also sets uuid and size of the disk (adapters/disk_in_clone.py)
    recover   (only after a failure) if the outcome of the call is unknown: settle, that is, wait
              until no task that may be ours is running (clone_calls.py), and adopt the VM that ours
              created. Otherwise clear the way for another attempt: remove the VM, create the folder
              again
    finish    read the disk; ReconfigVM_Task sets its uuid and size, unless it has both;
              ExtendVirtualDisk_Task sets the size of an eagerZeroedThick disk, because
              ReconfigVM_Task would not zero the new part
    check     whether the volume is still wanted: its owner may have deleted it meanwhile
    clean up  (only on failure, or if it is not wanted) settle, then remove the VM

The volume's name is unique in its folder, and its uuid is globally unique, so a VM that a lost call
created cannot be confused with another. Until its task ends, a clone appears in its folder without
a configuration, or not at all; therefore settle looks at tasks first. Only a VM that one of our
tasks reports as its result is adopted: a VM of the same name and uuid may be the volume itself,
finished long ago. For the same reason, a VM that none of our tasks created is removed only while
Cinder reports that this volume is still being created.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.adapters.clone_calls import LOST, CloneCalls
from vmdk_cache.adapters.disk_in_clone import DiskInClone, trials_of
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.record import ATTRIBUTES, RECORD_KEY
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim import clone_spec, template, virtual_disk, virtual_machine
from vmdk_cache.vim.folder import ensure_folder
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_disk import VirtualDisk

LOG = logging.getLogger(__name__)

#: Maximum number of calls if an answer, or the place in the folder, is lost.
ATTEMPTS = 3
#: Maximum number of calls while another vCenter task is in the way, unless a time is given.
BUSY_ATTEMPTS = 2 * ATTEMPTS
#: The longest pause between two of those calls.
BUSY_PAUSE_S = 15.0
#: How long a cancelled clone may take to release its VM.
LET_GO_S = 600.0
EAGER = "eagerZeroedThick"


class VolumeClone:
    """One volume to be created.

    :param source: the template
    :param source_disk: returns the template's only disk, None if it is not known now
    :param timeout_s: how long the clone may run
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        source: CacheEntry,
        volume: Volume,
        place: Place,
        *,
        source_disk: Callable[[], VirtualDisk | None],
        timeout_s: float,
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._source = source
        self._volume = volume
        self._place = place
        self._source_disk = source_disk
        self._timeout_s = timeout_s
        self._capacity_bytes = max(volume.size_bytes, source.size_bytes)
        self._calls = CloneCalls(session, waiter, source.moref, timeout_s=timeout_s)
        self._request: clone_spec.CloneRequest
        self._disk: DiskInClone
        self._edit_was_refused = False

    def make(self) -> bool:
        """Create the volume's VM.

        :returns: whether CloneVM_Task alone created it
        :raises ObjectNotFound: with the template's moref if the template is gone
        :raises VolumeDeleted: the volume is no longer wanted; nothing is left behind
        :raises VCenterError: anything else; nothing is left behind
        """
        self._request = self._clone_request()
        uuid = self._volume.instance_uuid
        grows = self._capacity_bytes > self._source.size_bytes
        trials = trials_of(self._session)
        with trials.trial(uuid, self._volume.disk_type, grows=grows) as trial:
            self._disk = DiskInClone(
                trial, self._source_disk, capacity_bytes=self._capacity_bytes, uuid=uuid
            )
            try:
                self._finish(self._submit())
                self._volume.check_wanted()
            except BaseException:
                self._clean_up()
                raise
        return self._disk.is_whole

    def _clone_request(self) -> clone_spec.CloneRequest:
        volume, place = self._volume, self._place
        assert self._source.disk_key is not None, self._source
        return clone_spec.CloneRequest(
            name=volume.name,
            folder=self._folder(),
            datastore=place.datastore,
            host=place.host,
            pool=place.pool,
            disk_key=self._source.disk_key,
            disk_type=volume.disk_type,
            instance_uuid=volume.instance_uuid,
            extra_config={**volume.extra_config, RECORD_KEY: ""},
            managed_by=volume.managed_by,
            profile_id=place.profile_id,
        )

    def _folder(self) -> str:
        """The volume's folder, created if needed."""
        return ensure_folder(self._session, self._place.datacenter, self._volume.folder)

    # -- submit and recover ----------------------------------------------------------------------

    def _submit(self) -> str:
        """Clone; the moref of the VM, whose disk may lack uuid and size."""
        for attempt in range(1, ATTEMPTS + 1):
            if attempt > 1:
                self._disk.trial.disturbed()
            try:
                moref = self._calls.clone(self._disk.in_request(self._request))
                if self._edit_was_refused:
                    self._disk.trial.refused()
                return moref
            except errors.VCenterError as failure:
                created = self._created_unseen() if isinstance(failure, LOST) else None
                if created is not None:
                    self._disk.trial.disturbed()
                    return created
                if attempt == ATTEMPTS:
                    raise
                self._clear_way(failure)
        raise AssertionError("the last attempt returns or raises")

    def _created_unseen(self) -> str | None:
        """The clone of one of our calls whose answer was lost; None if there is none."""
        self._calls.settle(self._timeout_s)
        found = self._find()
        if found is None or not found.has_config or found.moref not in self._calls.results:
            return None
        return found.moref

    def _clear_way(self, failure: errors.VCenterError) -> None:
        """Remove the obstacle to the clone, so that another attempt may succeed.

        :raises VCenterError: ``failure``; another attempt would fail as well
        """
        if isinstance(failure, LOST):
            self._remove_incomplete(failure)
            return
        match failure:
            case errors.NoPermission() | errors.NotSupported() | errors.TaskFailed() if (
                self._disk.may_be_why(failure)
            ):
                self._edit_was_refused = True
                self._calls.settle(self._timeout_s)
                self._remove_incomplete(failure)
                LOG.info(
                    "%s is cloned again without an edit of its disk, which vCenter may have "
                    "refused: %s", quoted(self._request.name), sentence(failure)
                )  # fmt: skip
            case errors.ObjectNotFound(moref=moref) if moref == self._request.folder:
                self._request = dataclasses.replace(self._request, folder=self._folder())
            case errors.NameTaken():
                # The VM of an earlier attempt at this volume, whose clone may still wait in
                # vCenter's queue, or of one of our calls whose answer was lost. If the VM is not
                # this volume's, or stays in use, that is not a fault of the template.
                try:
                    removed = self._remove(self._timeout_s)
                except errors.InUse as busy:
                    raise failure from busy
                if not removed:
                    raise failure
            case _:
                raise failure

    def _remove_incomplete(self, failure: errors.VCenterError) -> None:
        """Remove an incomplete VM that one of our calls may have created.

        :raises VCenterError: ``failure``; a call may still be running
        """
        if not self._calls.are_settled:
            raise failure
        self._remove()

    # -- finish ----------------------------------------------------------------------------------

    def _finish(self, moref: str) -> None:
        grows_eagerly = self._request.disk_type == EAGER
        retry.call(  # setting size and uuid twice does no harm
            lambda: template.finish_clone(
                self._session,
                self._waiter,
                moref,
                None if grows_eagerly else self._capacity_bytes,
                self._request.instance_uuid,
                forbidden_key=RECORD_KEY,
                forbidden_attributes=ATTRIBUTES,
                look=self._disk.look,
            ),
            attempts=ATTEMPTS,
            first_wait_s=1.0,
            clock=self._session.clock,
        )
        if grows_eagerly:
            self._extend_eagerly(moref)

    def _extend_eagerly(self, moref: str) -> None:
        """Extend the disk. Another task may hold it for a moment; after a lost answer, that may be
        the extension itself, and to zero a large disk takes long."""
        lost = busy = 0

        def may_pass(failure: BaseException) -> bool:
            nonlocal lost, busy
            if isinstance(failure, LOST):
                lost += 1
                return lost < ATTEMPTS
            busy += 1
            return retry.is_retryable(failure) and (lost > 0 or busy < BUSY_ATTEMPTS)

        retry.call(
            lambda: virtual_disk.extend_eagerly(
                self._session,
                self._waiter,
                moref,
                self._place.datacenter,
                self._capacity_bytes,
                timeout_s=self._timeout_s,
            ),
            within_s=self._timeout_s,
            when=may_pass,
            first_wait_s=1.0,
            max_wait_s=BUSY_PAUSE_S,
            clock=self._session.clock,
        )

    # -- clean up --------------------------------------------------------------------------------

    def _clean_up(self) -> None:
        try:
            self._calls.settle(LET_GO_S)
            self._remove()
        except errors.VCenterError as failure:
            # The clone's own error matters more. Deleting the volume finds this VM by its uuid.
            LOG.warning(
                "Could not remove what the failed clone of %s left behind: %s",
                quoted(self._request.name),
                sentence(failure),
            )

    def _remove(self, within_s: float | None = None) -> bool:
        """Remove the volume's VM; False if there is none that may be removed.

        :param within_s: how long to wait for a vCenter task that uses it; None: a few attempts
        """

        def remove() -> bool:
            found = self._find()
            if found is None or not self._may_remove(found):
                return False
            if self._disk.is_sources(found.disks):
                template.unregister(self._session, found.moref)
            else:
                template.destroy(self._session, self._waiter, found.moref)
            return True

        return retry.call(
            remove,
            attempts=BUSY_ATTEMPTS if within_s is None else None,
            within_s=within_s,
            first_wait_s=1.0,
            max_wait_s=BUSY_PAUSE_S,
            clock=self._session.clock,
        )

    def _find(self) -> virtual_machine.VmInfo | None:
        """The volume's VM, complete or not, regardless of its creator; None if there is none."""
        try:
            found = virtual_machine.find_vm(
                self._session, self._request.folder, self._request.name, RECORD_KEY
            )
        except errors.ObjectNotFound:
            return None  # the folder itself is gone
        if found is None or (
            found.has_config and found.instance_uuid != self._volume.instance_uuid
        ):
            return None
        return found

    def _may_remove(self, found: virtual_machine.VmInfo) -> bool:
        if found.moref in self._calls.results or self._volume.is_being_created():
            return True
        LOG.warning(
            "VM %s (%s) is left alone: according to Cinder, this volume is not being created",
            quoted(found.name),
            found.moref,
        )
        return False

"""A volume's VM, cloned from a template: complete after success, gone after a failure.

    submit    CloneVM_Task with the whole identity; waits for it. If that may save the next step,
              the request also sets uuid and size of the disk (cache/one_task.py)
    recover   (only after a failure) if the outcome of the call is unknown: settle, that is, wait
              until no task that may be ours is running, and adopt the VM that ours created.
              Otherwise clear the way for another attempt: remove the VM, create the folder again
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
import datetime
from collections.abc import Callable
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.adapters.disk_in_clone import DiskInClone
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.cache.usage import ATTRIBUTE
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim import clone_task, template, virtual_disk
from vmdk_cache.vim.clone_task import CloneTask
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
POLL_S = 2.0
#: vCenter writes a task's queueTime by its own clock, read a moment later (docs/assumptions.rst,
#: A31).
CLOCK_SLACK_S = 5.0
#: How long a cancelled clone may take to release its VM.
LET_GO_S = 600.0
EAGER = "eagerZeroedThick"
#: After these errors, the call got no answer, but its task may exist.
UNANSWERED = (errors.Unreachable, errors.SessionExpired)
#: After these errors the outcome of a call or of its task is unknown.
LOST = (*UNANSWERED, errors.TaskLost)


@dataclass
class _Call:
    """A CloneVM_Task whose outcome is unknown.

    :ivar began_at: monotonic time when it was sent
    :ivar ended_at: monotonic time when it was answered or lost
    :ivar task: moref of its task, None if no answer came
    :ivar queued: earliest and latest time, by vCenter's clock, at which it may have been queued
    """

    began_at: float
    ended_at: float | None = None
    task: str | None = None
    queued: tuple[datetime.datetime, datetime.datetime] | None = None

    def may_be(self, task: CloneTask) -> bool:
        """Whether ``task`` may be the task of this call."""
        if self.task is not None or self.queued is None or task.queued_at is None:
            return True
        return self.queued[0] <= task.queued_at <= self.queued[1]


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
        self._clock = session.clock
        self._source = source
        self._volume = volume
        self._place = place
        self._source_disk = source_disk
        self._timeout_s = timeout_s
        self._capacity_bytes = max(volume.size_bytes, source.size_bytes)
        self._request: template.CloneRequest
        self._disk: DiskInClone
        self._edit_was_refused = False
        self._unsettled: list[_Call] = []
        self._made: set[str] = set()  # results of our tasks

    def make(self) -> bool:
        """Create the volume's VM.

        :returns: whether CloneVM_Task alone created it
        :raises ObjectNotFound: with the template's moref if the template is gone
        :raises VolumeDeleted: the volume is no longer wanted; nothing is left behind
        :raises VCenterError: anything else; nothing is left behind
        """
        self._request = self._clone_request()
        with DiskInClone.of(
            self._session,
            self._request,
            self._source_disk,
            capacity_bytes=self._capacity_bytes,
            grows=self._capacity_bytes > self._source.size_bytes,
        ) as self._disk:
            try:
                self._finish(self._submit())
                self._volume.check_wanted()
            except BaseException:
                self._clean_up()
                raise
        return self._disk.is_whole

    def _clone_request(self) -> template.CloneRequest:
        volume, place = self._volume, self._place
        assert self._source.disk_key is not None, self._source
        return template.CloneRequest(
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
                self._disk.disturbed()
            try:
                moref = self._clone(self._disk.in_request(self._request))
                if self._edit_was_refused:
                    self._disk.refused()
                return moref
            except errors.VCenterError as failure:
                made = self._made_unseen() if isinstance(failure, LOST) else None
                if made is not None:
                    self._disk.disturbed()
                    return made
                if attempt == ATTEMPTS:
                    raise
                self._clear_way(failure)
        raise AssertionError("the last attempt returns or raises")

    def _made_unseen(self) -> str | None:
        """The clone of one of our calls whose answer was lost; None if there is none."""
        self._settle(self._timeout_s)
        found = self._find()
        if found is None or not found.has_config or found.moref not in self._made:
            return None
        return found.moref

    def _clear_way(self, failure: errors.VCenterError) -> None:
        """Remove the obstacle to the clone, so that another attempt may succeed.

        :raises VCenterError: ``failure``; another attempt would fail as well
        """
        match failure:
            case errors.Unreachable() | errors.SessionExpired() | errors.TaskLost():
                self._remove_half(failure)
            case errors.NoPermission() | errors.NotSupported() | errors.TaskFailed() if (
                self._disk.may_be_why(failure)
            ):
                self._edit_was_refused = True
                self._settle(self._timeout_s)
                self._remove_half(failure)
                LOG.info(
                    "%s is cloned again without an edit of its disk, which vCenter may have "
                    "refused: %s", quoted(self._request.name), sentence(failure)
                )  # fmt: skip
            case errors.ObjectNotFound(moref=moref) if moref == self._request.folder:
                self._request = dataclasses.replace(self._request, folder=self._folder())
            case errors.NameTaken():
                # The VM of an earlier attempt at this volume, whose clone may still wait in
                # vCenter's queue, or of one of our calls whose answer was lost.
                self._remove_earlier(failure)
            case _:
                raise failure

    def _remove_half(self, failure: errors.VCenterError) -> None:
        """Remove an incomplete VM that one of our calls may have created.

        :raises VCenterError: ``failure``; a call may still be running
        """
        if self._unsettled:
            raise failure
        self._remove()

    def _remove_earlier(self, taken: errors.NameTaken) -> None:
        """Remove the VM of an earlier attempt at this volume.

        :raises NameTaken: the VM is not this volume's, or stays in use; neither is a fault of the
            template
        """
        try:
            if not self._remove(self._timeout_s):
                raise taken
        except errors.InUse as busy:
            raise taken from busy

    def _clone(self, request: template.CloneRequest) -> str:
        """One CloneVM_Task; the call stays unsettled unless vCenter refused it or it succeeded.

        The error may not be the task's own: the waiter fails all tasks when it can no longer watch
        them. Settling reads the task itself.
        """
        call = _Call(self._clock.monotonic())
        self._unsettled.append(call)
        try:
            try:
                call.task = template.start_clone(self._session, self._source.moref, request)
            finally:
                call.ended_at = self._clock.monotonic()
            moref = template.await_clone(
                self._session, self._waiter, call.task, timeout_s=self._timeout_s
            )
        except errors.VCenterError as failure:
            if call.task is None and not isinstance(failure, UNANSWERED):
                self._unsettled.remove(call)
            raise
        self._unsettled.remove(call)
        self._made.add(moref)
        return moref

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
                forbidden_attributes=[ATTRIBUTE],
                look=self._disk.look,
            ),
            attempts=ATTEMPTS,
            first_wait_s=1.0,
            clock=self._clock,
        )
        if grows_eagerly:
            self._extend_eagerly(moref)

    def _extend_eagerly(self, moref: str) -> None:
        """Extend the disk; after a lost answer, vCenter may still be zeroing it, which takes
        long."""

        def extend() -> None:
            virtual_disk.extend_eagerly(
                self._session,
                self._waiter,
                moref,
                self._place.datacenter,
                self._capacity_bytes,
                timeout_s=self._timeout_s,
            )

        within_s = 0.0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._outwait(extend, within_s, when=_is_busy)
                return
            except LOST:
                if attempt == ATTEMPTS:
                    raise
                within_s = self._timeout_s

    # -- settle and clean up ---------------------------------------------------------------------

    def _settle(self, timeout_s: float) -> None:
        """Wait until none of the unsettled calls is running, and record the VMs that they created.

        Calls that still run after ``timeout_s`` stay unsettled.
        """
        retry.poll(
            self._is_settled,
            until=bool,
            within_s=timeout_s,
            first_wait_s=POLL_S,
            clock=self._clock,
        )

    def _is_settled(self) -> bool:
        for call in list(self._unsettled):
            tasks = self._tasks_of(call)
            self._made |= {task.made for task in tasks if task.made is not None}
            if not any(task.is_under_way for task in tasks):
                self._unsettled.remove(call)
        return not self._unsettled

    def _tasks_of(self, call: _Call) -> list[CloneTask]:
        """The tasks that are, or may be, the task of the call."""
        if call.task is not None:
            return clone_task.known(self._session, call.task)
        if call.queued is None:
            call.queued = self._queued_between(call)
        tasks = clone_task.of_source(self._session, self._source.moref)
        return [task for task in tasks if call.may_be(task)]

    def _queued_between(self, call: _Call) -> tuple[datetime.datetime, datetime.datetime]:
        server_now = self._session.server_time()
        now = self._clock.monotonic()
        ended_at = now if call.ended_at is None else call.ended_at
        return (
            server_now - datetime.timedelta(seconds=now - call.began_at + CLOCK_SLACK_S),
            server_now - datetime.timedelta(seconds=now - ended_at - CLOCK_SLACK_S),
        )

    def _find(self) -> template.VmInfo | None:
        """The volume's VM, complete or not, regardless of its creator; None if there is none."""
        try:
            found = template.find_vm(
                self._session, self._request.folder, self._request.name, RECORD_KEY
            )
        except errors.ObjectNotFound:
            return None  # the folder itself is gone
        if found is None or (
            found.has_config and found.instance_uuid != self._volume.instance_uuid
        ):
            return None
        return found

    def _remove(self, within_s: float = 0.0) -> bool:
        """Remove the volume's VM; False if there is none that may be removed.

        :param within_s: how long to wait for a vCenter task that uses it
        """

        def work() -> bool:
            found = self._find()
            if found is None or not self._may_remove(found):
                return False
            if self._disk.is_sources(found.disks):
                template.unregister(self._session, found.moref)
            else:
                template.destroy(self._session, self._waiter, found.moref)
            return True

        return self._outwait(work, within_s)

    def _may_remove(self, found: template.VmInfo) -> bool:
        if found.moref in self._made or self._volume.is_being_created():
            return True
        LOG.warning(
            "VM %s (%s) is left alone: according to Cinder, this volume is not being created",
            quoted(found.name),
            found.moref,
        )
        return False

    def _outwait(
        self,
        work: Callable[[], bool | None],
        within_s: float,
        when: Callable[[BaseException], bool] = retry.is_retryable,
    ) -> bool:
        """Result of ``work``, which is tried again while a vCenter task is in the way.

        :param within_s: for how long; 0 means a few times
        """
        return bool(
            retry.call(
                work,
                attempts=None if within_s else BUSY_ATTEMPTS,
                within_s=within_s or None,
                when=when,
                first_wait_s=1.0,
                max_wait_s=BUSY_PAUSE_S,
                clock=self._clock,
            )
        )

    def _clean_up(self) -> None:
        try:
            self._settle(LET_GO_S)
            self._remove()
        except errors.VCenterError as failure:
            # The clone's own error matters more. Deleting the volume finds this VM by its uuid.
            LOG.warning(
                "Could not remove what the failed clone of %s left behind: %s",
                quoted(self._request.name),
                sentence(failure),
            )


def _is_busy(failure: BaseException) -> bool:
    """Whether a vCenter task holds the VM or its disk."""
    return isinstance(failure, errors.InUse | errors.FileLocked)

"""The disk of one volume's clone: the edit that CloneVM_Task is asked for, and its result.

cache/one_task.py describes the edit and its purpose.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator

from vmdk_cache import errors
from vmdk_cache.cache.one_task_trials import Trial, Trials
from vmdk_cache.vim import clone_spec, simulator, virtual_disk
from vmdk_cache.vim.clone_spec import CloneRequest, DiskEdit
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import VirtualDisk


def trials_of(session: Session) -> Trials:
    """The trials of the session's vCenter. govmomi's simulator is never asked for an edit: it would
    give the clone its source's own disk."""
    about = session.content.about
    return session.shared(
        ("one task", about.instanceUuid, about.version, about.build),
        lambda: Trials(may_ask=lambda: not simulator.is_simulator(session)),
    )


class DiskInClone:
    """See the module docstring.

    :param source: returns the template's only disk, None if it is not known now
    :param capacity_bytes: capacity that the volume's disk is to get
    :param uuid: uuid that the volume's disk is to get
    :ivar is_whole: the disk had both when it was first read
    """

    def __init__(
        self,
        trial: Trial,
        source: Callable[[], VirtualDisk | None],
        *,
        capacity_bytes: int,
        uuid: str | None,
    ) -> None:
        self._trial = trial
        self._source = source
        self._capacity_bytes = capacity_bytes
        self._uuid = uuid
        self._edit: DiskEdit | None = None
        self._was_read = False
        self.is_whole = False

    @classmethod
    @contextlib.contextmanager
    def of(
        cls,
        session: Session,
        request: CloneRequest,
        source: Callable[[], VirtualDisk | None],
        *,
        capacity_bytes: int,
        grows: bool,
    ) -> Iterator[DiskInClone]:
        """A context for as long as the volume is being created; see also :class:`VolumeClone`."""
        uuid = request.instance_uuid
        trials = trials_of(session)
        with trials.trial(uuid or "", request.disk_type, grows=grows) as trial:
            yield cls(trial, source, capacity_bytes=capacity_bytes, uuid=uuid)

    def in_request(self, request: CloneRequest) -> CloneRequest:
        """The request, with an edit of the disk if the trial asks for one."""
        if not self._trial.asks or self._uuid is None:
            return request
        source = None
        with contextlib.suppress(errors.VCenterError):  # the clone needs no edit
            source = self._source()
        if source is None or not clone_spec.is_editable(source):
            self._trial.asks = False
            return request
        self._edit = DiskEdit(source, self._capacity_bytes, self._uuid)
        return dataclasses.replace(request, disk_edit=self._edit)

    def may_be_why(self, failure: errors.VCenterError) -> bool:
        """Whether the clone may have failed because of the edit."""
        return self._trial.asks and clone_spec.may_be_about_spec(failure)

    def disturbed(self) -> None:
        """The clone failed, or its outcome is unknown: the next attempt omits the edit."""
        self._trial.disturbed()

    def refused(self) -> None:
        """A clone with the edit was refused, and one without it succeeded."""
        self._trial.refused()

    def look(self, disk: VirtualDisk) -> None:
        """Learn from the clone's disk.

        :raises TaskFailed: it is the template's own disk
        """
        is_sources = self.is_sources([disk])
        has_capacity = not is_sources and disk.capacity_bytes == self._capacity_bytes
        has_uuid = not is_sources and virtual_disk.is_same_uuid(disk.uuid, self._uuid)
        self._trial.read(has_capacity=has_capacity, has_uuid=has_uuid)
        if is_sources:
            raise errors.TaskFailed("vCenter gave the clone the template's own disk")
        if not self._was_read:
            self._was_read, self.is_whole = True, has_capacity and has_uuid

    def is_sources(self, disks: Iterable[VirtualDisk]) -> bool:
        """Whether one of the disks is the template's own, which must not be deleted with the clone.
        Only govmomi's simulator is known to do this."""
        edit = self._edit
        return edit is not None and any(d.file_name == edit.source.file_name for d in disks)

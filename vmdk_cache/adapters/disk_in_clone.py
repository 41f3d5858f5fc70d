"""Whether CloneVM_Task alone can make a volume: the edit that a clone asks for, and its result.

``CloneSpec.config`` may hold an edit of the disk: its capacity and its uuid. Whether vCenter makes
the edit, ignores it or refuses the clone is not documented (docs/assumptions.rst, A92 and A93), so
the cache tries it. A clone shows the answer for each of the two, and ``no`` is final:

    unknown   one clone at a time asks; the others do not wait for it and take two tasks
    yes       clones ask, and each is still checked
    no        no clone asks

A clone that asks saves a task only if vCenter does all of it, so a volume that grows asks for both
or for nothing. An eager-zeroed disk never asks: its new part would not be zeroed.

Each process remembers the answers in memory, for a vCenter of one version: a trial costs no more
than a volume.

- A trial that fails without an answer decides nothing, and another volume asks. But a vCenter may
  fail each clone that asks, with an error that does not name the edit: the third failed trial
  counts as a no.
- A volume whose clone asked and failed does not ask again, however often it is retried. So it has
  at least as many attempts as without the edit.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.vim import clone_spec, simulator, virtual_disk
from vmdk_cache.vim.clone_spec import CloneRequest, DiskEdit
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import VirtualDisk

LOG = logging.getLogger(__name__)

#: The types of disk that may ask; each has answers of its own.
DISK_TYPES = ("thin", "thick")
#: Volumes whose clones failed; the oldest are forgotten.
MAX_FAILED = 1000
#: Trials of one type of disk that may fail without an answer.
MAX_UNANSWERED = 3


class Answer(enum.StrEnum):
    """See the module's text."""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"


@dataclass(frozen=True)
class Answers:
    """What is known about a vCenter.

    :ivar capacity: whether a disk gets its capacity in CloneVM_Task
    :ivar uuid: whether it gets its uuid there
    """

    capacity: Answer = Answer.UNKNOWN
    uuid: Answer = Answer.UNKNOWN

    def for_volume(self, *, grows: bool) -> Answer:
        """Whether one task makes a volume.

        :param grows: it is larger than its image
        """
        needed = {self.capacity, self.uuid} if grows else {self.uuid}
        for answer in (Answer.NO, Answer.UNKNOWN):
            if answer in needed:
                return answer
        return Answer.YES

    def after_reading(self, *, grows: bool, has_capacity: bool, has_uuid: bool) -> Answers:
        """What is known after the disk of a clone that asked was read, before any other change."""
        return Answers(
            capacity=_proved(self.capacity, has_capacity) if grows else self.capacity,
            uuid=_proved(self.uuid, has_uuid),
        )

    def after_refusal(self, *, grows: bool) -> Answers:
        """What is known after vCenter refused a clone that asked, and made the same clone without.

        vCenter need not say which part it refused.
        """
        refused = dataclasses.replace(self, uuid=Answer.NO)
        return dataclasses.replace(refused, capacity=Answer.NO) if grows else refused


def _proved(before: Answer, is_done: bool) -> Answer:
    if before is Answer.NO or not is_done:
        return Answer.NO
    return Answer.YES


_Learn = Callable[[Callable[[Answers], Answers]], None]


class Trial:
    """One volume's part.

    :ivar asks: whether its next clone is to ask for capacity and uuid
    :ivar failed: a clone that asked did not show an answer
    """

    def __init__(self, learn: _Learn, *, grows: bool, asks: bool) -> None:
        self._learn = learn
        self._grows = grows
        self.asks = asks
        self.failed = False

    def read(self, *, has_capacity: bool, has_uuid: bool) -> None:
        """The disk was read; the first reading shows what CloneVM_Task did."""
        if self.asks:
            self.asks = False
            self._learn(
                lambda known: known.after_reading(
                    grows=self._grows, has_capacity=has_capacity, has_uuid=has_uuid
                )
            )

    def disturbed(self) -> None:
        """The clone failed, or its outcome is unknown: the next one does not ask, and later
        readings prove nothing."""
        self.failed = self.failed or self.asks
        self.asks = False

    def refused(self) -> None:
        """vCenter refused the clone that asked, and made the same clone without."""
        self._learn(lambda known: known.after_refusal(grows=self._grows))


class Trials:
    """Thread-safe; one for a vCenter.

    :param may_ask: called before the first trial; False: no clone ever asks
    """

    def __init__(self, may_ask: Callable[[], bool] = lambda: True) -> None:
        self._may_ask = may_ask
        self._lock = threading.Lock()
        self._answers = {disk_type: Answers() for disk_type in DISK_TYPES}
        self._trying: set[str] = set()  # disk types
        self._failed: collections.deque[str] = collections.deque(maxlen=MAX_FAILED)  # volumes
        self._unanswered: collections.Counter[str] = collections.Counter()  # trials, by disk type

    def answers(self, disk_type: str) -> Answers:
        """What is known now about disks of that type, one of :data:`DISK_TYPES`."""
        with self._lock:
            return self._answers[disk_type]

    @contextlib.contextmanager
    def trial(self, volume: str, disk_type: str, *, grows: bool) -> Iterator[Trial]:
        """A volume's part in the trials, while it is being made.

        :param volume: its uuid
        :param grows: it is larger than its image
        """

        def learn(after: Callable[[Answers], Answers]) -> None:
            self._learn(disk_type, after)

        with self._asking(volume, disk_type, grows) as asks:
            trial = Trial(learn, grows=grows, asks=asks)
            try:
                yield trial
            except BaseException:
                trial.disturbed()
                raise
            finally:
                if trial.failed:
                    self._note_failure(volume, disk_type, grows)

    @contextlib.contextmanager
    def _asking(self, volume: str, disk_type: str, grows: bool) -> Iterator[bool]:
        with self._lock:
            answer = self._answer(volume, disk_type, grows)
            if answer is Answer.UNKNOWN:
                self._trying.add(disk_type)
        if answer is not Answer.UNKNOWN:
            yield answer is Answer.YES
            return
        try:
            if self._may_ask():
                yield True
                return
            self._learn(disk_type, lambda known: known.after_refusal(grows=True))
            yield False
        finally:
            with self._lock:
                self._trying.discard(disk_type)

    def _note_failure(self, volume: str, disk_type: str, grows: bool) -> None:
        with self._lock:
            self._failed.append(volume)
            if self._answers[disk_type].for_volume(grows=grows) is not Answer.UNKNOWN:
                return
            self._unanswered[disk_type] += 1
            if self._unanswered[disk_type] < MAX_UNANSWERED:
                return
        self._learn(disk_type, lambda known: known.after_refusal(grows=grows))

    def _answer(self, volume: str, disk_type: str, grows: bool) -> Answer:
        """The answer for a volume; UNKNOWN: this volume makes the trial."""
        if disk_type not in self._answers or volume in self._failed:
            return Answer.NO
        answer = self._answers[disk_type].for_volume(grows=grows)
        if answer is Answer.UNKNOWN and disk_type in self._trying:
            return Answer.NO
        return answer

    def _learn(self, disk_type: str, after: Callable[[Answers], Answers]) -> None:
        with self._lock:
            before = self._answers[disk_type]
            now = self._answers[disk_type] = after(before)
        if now != before:
            LOG.info(
                "CloneVM_Task gives a %s disk its capacity: %s; its uuid: %s",
                disk_type, now.capacity, now.uuid,
            )  # fmt: skip


def trials_of(session: Session) -> Trials:
    """The trials of the session's vCenter. govmomi's simulator is never asked for an edit: it would
    give the clone its source's own disk."""
    about = session.content.about
    return session.shared(
        ("one task", about.instanceUuid, about.version, about.build),
        lambda: Trials(may_ask=lambda: not simulator.is_simulator(session)),
    )


class DiskInClone:
    """The disk of one volume's clone: the edit that CloneVM_Task is asked for, and its result.

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
        uuid: str,
    ) -> None:
        self.trial = trial
        self._source = source
        self._capacity_bytes = capacity_bytes
        self._uuid = uuid
        self._edit: DiskEdit | None = None
        self._was_read = False
        self.is_whole = False

    def in_request(self, request: CloneRequest) -> CloneRequest:
        """The request, with an edit of the disk if the trial asks for one."""
        if not self.trial.asks:
            return request
        source = None
        with contextlib.suppress(errors.VCenterError):  # the clone needs no edit
            source = self._source()
        if source is None or not clone_spec.is_editable(source):
            self.trial.asks = False
            return request
        self._edit = DiskEdit(source, self._capacity_bytes, self._uuid)
        return dataclasses.replace(request, disk_edit=self._edit)

    def may_be_why(self, failure: errors.VCenterError) -> bool:
        """Whether the clone may have failed because of the edit."""
        return self.trial.asks and clone_spec.may_be_about_spec(failure)

    def look(self, disk: VirtualDisk) -> None:
        """Learn from the clone's disk.

        :raises TaskFailed: it is the template's own disk
        """
        is_sources = self.is_sources([disk])
        has_capacity = not is_sources and disk.capacity_bytes == self._capacity_bytes
        has_uuid = not is_sources and virtual_disk.is_same_uuid(disk.uuid, self._uuid)
        self.trial.read(has_capacity=has_capacity, has_uuid=has_uuid)
        if is_sources:
            raise errors.TaskFailed("vCenter gave the clone the template's own disk")
        if not self._was_read:
            self._was_read, self.is_whole = True, has_capacity and has_uuid

    def is_sources(self, disks: Iterable[VirtualDisk]) -> bool:
        """Whether one of the disks is the template's own, which must not be deleted with the clone.
        Only govmomi's simulator is known to do this."""
        edit = self._edit
        return edit is not None and any(d.file_name == edit.source.file_name for d in disks)

"""What this process has learned about a vCenter: whether CloneVM_Task alone can make a volume.

cache/one_task.py decides; this module remembers, in memory, for a vCenter of one version. A trial
costs no more than a volume, so each process makes its own, and another after an upgrade of vCenter.

- While the answer is unknown, one volume asks. The others do not wait for it: they take two tasks.
- A trial that fails without an answer decides nothing, and another volume asks. But a vCenter may
  fail each clone that asks, with an error that does not name the edit: the third failed trial
  counts as a no.
- A volume whose clone asked and failed does not ask again, however often it is retried. So it has
  at least as many attempts as without this module.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator

from oslo_log import log as logging

from vmdk_cache.cache.one_task import DISK_TYPES, Answer, Answers

LOG = logging.getLogger(__name__)

#: Volumes whose clones failed; the oldest are forgotten.
MAX_FAILED = 1000
#: Trials of one type of disk that may fail without an answer.
MAX_UNANSWERED = 3

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

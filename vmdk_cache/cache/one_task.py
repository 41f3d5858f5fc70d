"""Whether CloneVM_Task alone can make a volume: when a clone asks for it, what its result proves.

``CloneSpec.config`` may hold an edit of the disk: its capacity and its uuid. Whether vCenter makes
the edit, ignores it or refuses the clone is not documented (docs/assumptions.rst, A92 and A93), so
the engine tries it. A clone shows the answer for each of the two, and ``no`` is final:

    unknown   one clone at a time asks; the others take two tasks
    yes       clones ask, and each is still checked
    no        no clone asks

A clone that asks saves a task only if vCenter does all of it, so a volume that grows asks for both
or for nothing. An eager-zeroed disk never asks: its new part would not be zeroed.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

#: The types of disk that may ask; each has answers of its own.
DISK_TYPES = ("thin", "thick")


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

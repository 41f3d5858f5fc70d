"""How long clones took lately, and so how long the next one is expected to run.

All times are those of a clone that has its datastore to itself. What was seen is divided by how
many there were to the same datastore at a time, what is expected is multiplied by it: so times in a
crowd and times of few can be compared.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

GIB = 1 << 30
#: Until both kinds of clone were seen, one between datastores is taken to last so many times as
#: long as one within: an array copies within by itself (VAAI), a host moves each byte across.
ACROSS_FACTOR = 3.0
#: Until any clone was seen: 100 MB/s, a host with 1 Gbit/s to its storage. What is compared then
#: are ratios, so that it need not be right.
FIRST_GUESS_S_PER_GIB = 10.0
#: Weight of all earlier clones beside the latest one, so that about the last five count.
MEMORY = 0.8


@dataclass(frozen=True)
class Speed:
    """Decaying sums over clones of one kind."""

    seconds: float = 0.0
    gib: float = 0.0

    def learned(self, seconds: float, size_bytes: int) -> Speed:
        return Speed(self.seconds * MEMORY + seconds, self.gib * MEMORY + size_bytes / GIB)

    @property
    def s_per_gib(self) -> float | None:
        """None if nothing is known."""
        return self.seconds / self.gib if self.gib > 0 else None


@dataclass(frozen=True)
class Pace:
    """Of clones within a datastore, and across."""

    within: Speed = Speed()
    across: Speed = Speed()

    def learned(self, near: bool, seconds: float, size_bytes: int) -> Pace:
        """After one more clone.

        :param near: it stayed on its datastore
        """
        if near:
            return dataclasses.replace(self, within=self.within.learned(seconds, size_bytes))
        return dataclasses.replace(self, across=self.across.learned(seconds, size_bytes))

    def seconds(self, near: bool, size_bytes: int) -> float:
        """How long a clone is expected to run, alone."""
        within, across = self.within.s_per_gib, self.across.s_per_gib
        if within is None:
            within = FIRST_GUESS_S_PER_GIB if across is None else across / ACROSS_FACTOR
        if across is None:
            across = within * ACROSS_FACTOR
        return (within if near else across) * size_bytes / GIB

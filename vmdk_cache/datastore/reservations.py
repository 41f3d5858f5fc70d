"""Space promised to work that has not taken it yet."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

Chosen = TypeVar("Chosen")


class Reservations:
    """Space and host load reserved by running requests; thread-safe.

    vCenter's free space shrinks only as the bytes arrive, and vCenter does not report the load of
    hosts. Without reservations, every request of a burst would select the same place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._promised: Counter[str] = Counter()

    @contextlib.contextmanager
    def claim(
        self,
        choose: Callable[[dict[str, int]], Chosen],
        cost_of: Callable[[Chosen], Mapping[str, int]],
    ) -> Iterator[Chosen]:
        """Choose a place and reserve it in one step, so that concurrent choices see each other.

        :param choose: receives the current reservations by moref; must be fast, it holds a lock
        :param cost_of: what the choice takes (>= 0) from which objects, by moref: bytes of a
            datastore, VMs of a host
        """
        with self._lock:
            chosen = choose(dict(self._promised))
            cost = Counter(cost_of(chosen))
            if min(cost.values(), default=0) < 0:
                raise ValueError(f"cannot reserve {dict(cost)}")
            self._promised += cost
        try:
            yield chosen
        finally:
            with self._lock:
                self._promised -= cost

"""Space promised to work that has not taken it yet."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

Chosen = TypeVar("Chosen")


class Reservations:
    """What is promised to creates that run; any thread may use it.

    vCenter's free space falls only as the bytes arrive, and its hosts tell nothing of their load,
    so that without this every create of a burst would see the same best place.
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
        """Choose and reserve in one step, so that of two choices one knows of the other.

        :param choose: is given what is promised now, by moref; must be quick, others wait for it
        :param cost_of: what the choice takes (>= 0) of which objects, by moref: bytes of a
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

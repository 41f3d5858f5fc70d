"""Waiting for what another thread, or the fake vCenter, brings about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Far more than a busy machine takes: only what never happens takes so long.
PATIENCE_S = 60.0


class NeverHappened(AssertionError):
    """The condition did not become true."""


def wait_until(
    condition: Callable[[], T | None],
    *,
    what: str = "the condition",
    timeout_s: float = PATIENCE_S,
    interval_s: float = 0.002,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """The first true answer of ``condition``, which is asked every ``interval_s``.

    :param what: what is awaited, for the error
    :param sleep: ``eventlet.sleep`` where the condition depends on green threads of this thread
    :raises NeverHappened: no true answer within ``timeout_s``
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise NeverHappened(f"after {timeout_s:g} s still waiting for {what}")
        sleep(interval_s)
    return answer

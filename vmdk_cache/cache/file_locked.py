"""Patience with a fresh template whose files vCenter keeps locked for a while.

Seen on vSphere 8.0 U1 and later, on the first clones of what was just imported; gone by itself
(reported to CloudStack as issues 11997 and 12328: docs/assumptions.rst, A74).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vmdk_cache import errors, retry
from vmdk_cache.clock import Clock

T = TypeVar("T")

ATTEMPTS = 6
MIN_WAIT_S = 10.0
MAX_WAIT_S = 40.0


def outwait(work: Callable[[], T], clock: Clock) -> T:
    """What ``work`` returns, tried again while it raises FileLocked.

    :raises FileLocked: it did to the last
    """
    return retry.call(
        work,
        attempts=ATTEMPTS,
        when=lambda failure: isinstance(failure, errors.FileLocked),
        min_wait_s=MIN_WAIT_S,
        max_wait_s=MAX_WAIT_S,
        clock=clock,
    )

"""Calling again what may succeed later: bounded, with jittered and growing pauses.

Whether an error is worth another try is written on its class (``VmdkCacheError.retryable``); a
caller may ask for less than that, never for more attempts than it bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.errors import VmdkCacheError

T = TypeVar("T")


def is_retryable(error: BaseException) -> bool:
    """What the error's class says; False for errors that are not ours."""
    return isinstance(error, VmdkCacheError) and error.retryable


def call(
    function: Callable[[], T],
    *,
    attempts: int,
    when: Callable[[BaseException], bool] = is_retryable,
    first_wait_s: float = 0.2,
    min_wait_s: float = 0.0,
    max_wait_s: float = 10.0,
    clock: Clock | None = None,
) -> T:
    """The function's result, after at most ``attempts`` calls.

    The pause before attempt n+1 is random, at most ``first_wait_s * 2**n`` and ``max_wait_s``, at
    least ``min_wait_s``.

    :param when: which errors are worth another try
    :raises BaseException: the last call's error, as it is
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(max(1, attempts)),
        wait=tenacity.wait_random_exponential(
            multiplier=first_wait_s, min=min_wait_s, max=max_wait_s
        ),
        retry=tenacity.retry_if_exception(when),
        sleep=(clock or SystemClock()).sleep,
        reraise=True,
    )
    return retrying(function)

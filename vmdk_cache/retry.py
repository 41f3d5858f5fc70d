"""Repeats calls that may succeed later and polls for changes, within bounds.

An error's class says whether a retry makes sense (``VmdkCacheError.retryable``). A caller may retry
fewer errors, and always limits the attempts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.errors import VmdkCacheError

T = TypeVar("T")


def is_retryable(error: BaseException) -> bool:
    """The ``retryable`` of the error's class; False for errors of other packages."""
    return isinstance(error, VmdkCacheError) and error.retryable


def call(
    function: Callable[[], T],
    *,
    attempts: int | None = None,
    when: Callable[[BaseException], bool] = is_retryable,
    first_wait_s: float = 0.2,
    min_wait_s: float = 0.0,
    max_wait_s: float = 10.0,
    within_s: float | None = None,
    clock: Clock | None = None,
) -> T:
    """Return the function's result, after at most ``attempts`` calls or ``within_s`` seconds.

    The pause before attempt n+1 is random, at most ``first_wait_s * 2**n`` and ``max_wait_s``, at
    least ``min_wait_s``.

    :param attempts: None: ``within_s`` alone bounds them
    :param when: which errors to retry
    :param within_s: an attempt that fails more than this after the first failure is the last
    :raises BaseException: the last call's error, as it is
    """
    assert attempts is not None or within_s is not None, "something ends the attempts"
    clock = clock or SystemClock()
    retrying = tenacity.Retrying(
        stop=_stop(attempts, within_s, clock),
        wait=tenacity.wait_random_exponential(
            multiplier=first_wait_s, min=min_wait_s, max=max_wait_s
        ),
        retry=tenacity.retry_if_exception(when),
        sleep=clock.sleep,
        reraise=True,
    )
    return retrying(function)


def poll(
    look: Callable[[], T],
    *,
    until: Callable[[T], bool],
    within_s: float,
    first_wait_s: float,
    max_wait_s: float | None = None,
    clock: Clock,
) -> T:
    """Call ``look`` until ``until`` accepts its result or ``within_s`` have passed; return the
    result.

    :param max_wait_s: pauses double up to this; None: each takes ``first_wait_s``
    """
    ends_at = clock.monotonic() + within_s
    pause_s = first_wait_s
    while not until(seen := look()) and clock.monotonic() < ends_at:
        clock.sleep(pause_s)
        pause_s = min(2 * pause_s, max_wait_s or first_wait_s)
    return seen


def _stop(
    attempts: int | None, within_s: float | None, clock: Clock
) -> Callable[[tenacity.RetryCallState], bool]:
    """Stop after this number of attempts, or of seconds since the first failure."""
    failed_at: float | None = None

    def stop(state: tenacity.RetryCallState) -> bool:
        nonlocal failed_at
        now = clock.monotonic()
        if failed_at is None:
            failed_at = now
        late = within_s is not None and now - failed_at >= within_s
        return late or (attempts is not None and state.attempt_number >= attempts)

    return stop

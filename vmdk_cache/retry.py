"""Trying again: bounded, jittered, by tenacity, in this one place.

Whether an error may be retried at all stands on its class (``retryable`` in vmdk_cache/errors.py);
whether the *call* is safe to repeat only its caller knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from vmdk_cache import errors
from vmdk_cache.clock import Clock

Result = TypeVar("Result")


@dataclass(frozen=True)
class Policy:
    """How often and how patiently.

    :ivar attempts: calls in all, the first included
    :ivar first_s: upper bound of the first pause; each further one doubles it
    :ivar cap_s: upper bound of any pause
    """

    attempts: int
    first_s: float
    cap_s: float


def call(
    work: Callable[[], Result],
    *,
    on: type[errors.VmdkCacheError] | tuple[type[errors.VmdkCacheError], ...],
    policy: Policy,
    clock: Clock,
    before_pause: Callable[[BaseException], None] | None = None,
) -> Result:
    """The result of ``work``, called again while it raises ``on`` and the error is retryable.

    :param before_pause: told the error before each pause
    :raises VmdkCacheError: the last attempt's error
    """

    def again(failure: BaseException) -> bool:
        return isinstance(failure, on) and failure.retryable

    def tell(state: tenacity.RetryCallState) -> None:
        if before_pause and state.outcome:
            failure = state.outcome.exception()
            if failure is not None:
                before_pause(failure)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(again),
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=tenacity.wait_random_exponential(multiplier=policy.first_s, max=policy.cap_s),
        sleep=clock.sleep,
        before_sleep=tell,
        reraise=True,
    )
    return retrying(work)

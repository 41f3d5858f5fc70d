"""How a fuzz test is run: how many inputs, the same ones or new ones, and how many it has tried."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

#: By name of the test: inputs that ran through it, those that shrink a failure included.
TALLY: Counter[str] = Counter()
#: How many more the profile ``long`` tries.
LONGER = 20


def fuzz(inputs: int, **given_: SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Run a test with so many inputs, drawn from the strategies of its parameters.

    :param inputs: in the default profile, where they are the same each time
    """

    def decorate(test: Callable[..., None]) -> Any:
        name = f"{test.__module__.rpartition('.')[2]}.{test.__name__}"

        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            TALLY[name] += 1
            test(*args, **kwargs)

        long = settings.get_current_profile_name() == "long"
        bounded = settings(
            max_examples=inputs * (LONGER if long else 1),
            derandomize=not long,
            database=None if not long else settings.default.database,  # type: ignore[attr-defined]
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        return bounded(given(**given_)(counted))

    return decorate

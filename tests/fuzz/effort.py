"""How much CPU time a parser may take for an input, and a way to hold it to that.

Users choose the bytes that a parser reads. A parser whose time grows with the square of them lets a
small file stop every thread of a cinder-volume. So the bound is one on time per byte, not on time.

The bound is generous: on a slow core the parsers stay below half of it. It tells linear from worse
all the same: the inputs are so large that a quadratic parser exceeds it many times.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MIB = 1 << 20
#: docs/reliability.rst states both numbers.
CPU_S_PER_MIB = 0.2
CPU_S_FIXED = 0.5


def bound_s(size_bytes: int) -> float:
    """CPU time that an input of so many bytes may cost."""
    return CPU_S_FIXED + CPU_S_PER_MIB * size_bytes / MIB


def check(parse: Callable[[], object], size_bytes: int, *, attempts: int = 3) -> None:
    """Fail if ``parse``, which reads so many bytes, takes more CPU time of this thread than it may.

    :param attempts: repeat a measurement that exceeds the bound: neighbours that evict caches
        inflate CPU time, and nothing deflates it
    """
    taken_s = []
    for _ in range(attempts):
        began = time.thread_time()
        parse()
        taken_s.append(time.thread_time() - began)
        if taken_s[-1] <= bound_s(size_bytes):
            return
    raise AssertionError(
        f"{size_bytes} bytes cost {min(taken_s):.2f} s of CPU, more than {bound_s(size_bytes):.2f}"
    )

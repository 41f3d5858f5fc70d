"""Where the CPU time of the hot path goes, by cProfile in every thread.

Each thread is profiled with its own CPU clock, so waiting (for vCenter, for other threads) counts
as nothing. The time of C functions counts for the Python file that called them.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from benchmarks.clients.cache import WARM_UP, create_at_once, new_volume, running_cache
from benchmarks.clients.stopwatch import stopwatch
from benchmarks.stream_image import StreamImage

#: The part that a file belongs to, by a piece of its path; the first match counts.
_PARTS = (
    ("vmdk_cache/", "this cache"),
    ("pyVmomi/", "pyVmomi"),
    ("xml/", "pyVmomi"),
    ("ssl.py", "HTTP and TLS"),
    ("http/", "HTTP and TLS"),
    ("socket.py", "HTTP and TLS"),
    ("email/", "HTTP and TLS"),
    ("urllib/", "HTTP and TLS"),
    ("threading.py", "threads and locks"),
    ("concurrent/", "threads and locks"),
    ("queue.py", "threads and locks"),
    ("selectors.py", "HTTP and TLS"),
)
_OTHER = "everything else"
_TOP = 15


class _Profiles:
    """A profile of every thread that starts from now on."""

    def __init__(self) -> None:
        self._profiles: list[cProfile.Profile] = []

    def watch_new_threads(self) -> None:
        threading.setprofile(self._begin)

    def _begin(self, frame: FrameType, event: str, argument: Any) -> None:
        sys.setprofile(None)
        profile = cProfile.Profile(time.thread_time)
        self._profiles.append(profile)
        profile.enable()

    def stats(self) -> pstats.Stats:
        """All profiles merged into one."""
        threading.setprofile(None)
        total = pstats.Stats(self._profiles[0])
        for profile in self._profiles[1:]:
            total.add(profile)
        return total


def create_volumes(
    go: Callable[[], None], *, endpoint: dict[str, Any], volumes: int
) -> dict[str, Any]:
    """Parallel hits under the profiler, which slows them down: shares count, seconds do not.

    :returns: cpu_shares by part, top functions, wall_s, cpu_s, waiting_share of the threads' time
    """
    stream = StreamImage(1 << 20)
    image = stream.image()
    profiles = _Profiles()
    profiles.watch_new_threads()  # before the task waiter's thread starts
    with running_cache(endpoint) as cache:
        cache.images.create_volume(image, new_volume(), stream)
        create_at_once(cache, image, stream, min(volumes, WARM_UP))
        go()
        with stopwatch() as elapsed:
            create_at_once(cache, image, stream, volumes)
        go()
    stats: dict[Any, Any] = profiles.stats().stats  # type: ignore[attr-defined]
    parts = _by_part(stats)
    total = sum(parts.values())
    return {
        "wall_s": elapsed.wall_s,
        "cpu_s": elapsed.cpu_s,
        "waiting_share": max(0.0, 1 - elapsed.cpu_s / elapsed.wall_s),
        "cpu_shares": {part: seconds / total for part, seconds in parts.most_common()},
        "top": _top(stats, total),
    }


def _by_part(stats: dict[Any, Any]) -> Counter[str]:
    parts: Counter[str] = Counter()
    for (file, _line, _name), (_, _, own_s, _, callers) in stats.items():
        if file != "~":
            parts[_part(file)] += own_s
            continue
        # A C function: each caller with the time spent in it.
        spent = {caller: numbers[2] for caller, numbers in callers.items()}
        for caller, seconds in spent.items():
            parts[_part(caller[0])] += seconds
        parts[_OTHER] += max(0.0, own_s - sum(spent.values()))
    return parts


def _part(file: str) -> str:
    return next((part for piece, part in _PARTS if piece in file), _OTHER)


def _top(stats: dict[Any, Any], total_s: float) -> list[dict[str, Any]]:
    """The functions with the most time of their own."""
    ordered = sorted(stats.items(), key=lambda item: -item[1][2])[:_TOP]
    return [
        {
            "function": name if file == "~" else f"{'/'.join(file.split('/')[-2:])}:{name}",
            "calls": numbers[1],
            "share": numbers[2] / total_s,
        }
        for (file, _line, name), numbers in ordered
    ]

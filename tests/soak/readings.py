"""What a process has taken at one moment, and whether that has grown.

Sizes are those of every list, dict, set and deque that the cache's own objects hold, found by going
through all their attributes: an index that somebody adds later is counted without being named.
"""

from __future__ import annotations

import collections
import gc
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmdk_cache.vim.endpoint import Endpoint

#: Connections that a session may keep for the next request; how many it does differs by reading.
KEPT_CONNECTIONS = Endpoint.pool_size
#: What may come and go between two readings.
SLACK = {
    "threads": 3, "descriptors": KEPT_CONNECTIONS, "sockets": KEPT_CONNECTIONS, "sessions": 1,
}  # fmt: skip
#: Beyond that, an object for every so many volumes would be a leak that shows in a year.
OBJECTS_PER_VOLUME = 0.5
OBJECTS_SLACK = 4000
#: Python's allocator and the C library's give back less than they are given.
RSS_SLACK_MIB = 12.0
SIZE_SLACK = 16


@dataclass(frozen=True)
class Reading:
    """:ivar volumes: created so far
    :ivar objects: that Python's garbage collector knows
    :ivar sizes: of the cache's containers, by their attributes' names
    """

    volumes: int
    rss_mib: float
    threads: int
    descriptors: int
    sockets: int
    sessions: int
    objects: int
    sizes: dict[str, int]


def read(volumes: int, sessions: int, cache: object) -> Reading:
    gc.collect()
    open_files = descriptors()
    return Reading(
        volumes,
        resident_mib(),
        threading.active_count(),
        len(open_files),
        sum(one.startswith("socket:") for one in open_files),
        sessions,
        len(gc.get_objects()),
        sizes(cache),
    )


def descriptors() -> list[str]:
    """What each open file descriptor of this process leads to (Linux, proc(5))."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(path))
        except FileNotFoundError:  # the one that lists them
            pass
    return found


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def sizes(root: object) -> dict[str, int]:
    """Items in the containers of ``root`` and of all objects of the package that it leads to."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for attribute, value in attributes(one).items():
            path = f"{type(one).__name__}.{attribute}"
            if isinstance(value, (dict, list, set, collections.deque)):
                found[path] = found.get(path, 0) + len(value)
                inside = list(value.values() if isinstance(value, dict) else value)
                waiting += [item for item in inside if is_ours(item)]
            elif is_ours(value):
                waiting.append(value)
    return found


def attributes(one: object) -> dict[str, Any]:
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    values = {name: getattr(one, name) for name in slots if hasattr(one, name)}
    return {**values, **getattr(one, "__dict__", {})}


def is_ours(one: object) -> bool:
    return type(one).__module__.startswith("vmdk_cache.")


def growth(readings: Sequence[Reading]) -> list[str]:
    """What has grown since the first quarter, by which all that is made once is there; in words."""
    first, last = readings[len(readings) // 4], readings[-1]
    complaints = [
        f"{name}: {getattr(first, name)} after {first.volumes} volumes, {getattr(last, name)} "
        f"after {last.volumes}"
        for name, slack in SLACK.items()
        if getattr(last, name) > getattr(first, name) + slack
    ]
    if last.rss_mib > first.rss_mib + RSS_SLACK_MIB:
        complaints.append(f"memory: {first.rss_mib:.1f} MiB, then {last.rss_mib:.1f} MiB")
    more = (last.volumes - first.volumes) * OBJECTS_PER_VOLUME + OBJECTS_SLACK
    if last.objects > first.objects + more:
        complaints.append(f"objects: {first.objects}, then {last.objects}")
    complaints += [
        f"{path}: {first.sizes.get(path, 0)} items, then {size}"
        for path, size in last.sizes.items()
        if size > first.sizes.get(path, 0) + SIZE_SLACK
    ]
    return complaints

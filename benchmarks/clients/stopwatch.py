"""Wall and CPU time of a piece of work in this process, and its memory."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets the peak resident set size
MIB = 1 << 20


@dataclass
class Elapsed:
    """Seconds; set when the block ends.

    :ivar cpu_s: of all threads of the process together
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Elapsed]:
    """Times its block."""
    elapsed = Elapsed()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield elapsed
    finally:
        elapsed.wall_s = time.perf_counter() - wall
        elapsed.cpu_s = time.process_time() - cpu


def resident_mib() -> float:
    """Memory that this process occupies now."""
    return _status_mib("VmRSS")


def peak_mib() -> float:
    """The highest memory use since :func:`reset_peak` or the process's start."""
    return _status_mib("VmHWM")


def reset_peak() -> None:
    """Start a new peak from the present memory use."""
    _CLEAR.write_text(_RESET_PEAK)


def _status_mib(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MIB
    raise RuntimeError(f"{_STATUS} has no {name}; these measurements need Linux")

"""Whether processes compute, seen from outside: CPU time used, and threads that want a CPU.

Both are needed. A thread that has used no CPU time may be waiting for its turn on a busy machine;
one that is runnable at the moment of the check may only be in a short periodic check of its own. On
systems without Linux's /proc, only this process's CPU time is known.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


class ProcessWatch:
    """Watches this process and the given others.

    :param others: process ids; a process that has ended counts as idle from then on
    """

    def __init__(self, others: Iterable[int] = ()) -> None:
        self._processes = [os.getpid(), *others]
        self._clocks = [time.CLOCK_PROCESS_CPUTIME_ID, *map(_cpu_clock, self._processes[1:])]

    def cpu_s(self) -> float:
        """CPU seconds that all of them have used so far."""
        return sum(map(_read_clock, self._clocks))

    def wants_cpu(self) -> bool:
        """Whether any thread runs or could run, except the calling one."""
        me = str(threading.get_native_id())
        return any(_is_runnable(process, me) for process in self._processes)


def _cpu_clock(process: int) -> int:
    """The id of another process's CPU clock (Linux, clock_getcpuclockid: its pid inverted, shifted
    by three bits, and the scheduler's clock).
    """
    return (~process << 3) | 2


def _read_clock(clock: int) -> float:
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


def _is_runnable(process: int, but_for: str) -> bool:
    try:
        threads = os.listdir(_PROC / str(process) / "task")
    except OSError:
        return False
    return any(_state(process, thread) == "R" for thread in threads if thread != but_for)


def _state(process: int, thread: str) -> str:
    """The state letter of proc(5): R runs or waits for a CPU, S sleeps ..."""
    try:
        line = (_PROC / str(process) / "task" / thread / "stat").read_text()
    except OSError:  # it has just ended
        return ""
    return line.rpartition(")")[2].split()[0]

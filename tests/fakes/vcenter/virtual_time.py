"""Virtual time: the fake's clock goes to the next timer by itself as soon as nobody is at work.

``Clock(scale=0)`` and ``with VirtualTime(vc.clock):`` make hundreds of clones of 20 GiB a matter of
seconds. Time stands still while a request or a task's step is at work (activity.py) and while a
client computes; else it jumps to the next timer that somebody awaits. Nothing awaited: it stands.

A client takes the time from the same clock and sleeps on it: `WaitingClock` (tests/fakes/clock.py).
What clients wait for in real time (answers, long polls, each other's locks) needs nothing; whoever
polls in real time (a file lock, oslo.vmware's task_poll_interval) lets the others' time pass
meanwhile, so let intervals be short, or be 0. `held` stops time while something is prepared.

That clients are busy is found out and not known: time jumps only when, for `quiet_s` real seconds,
nothing arrived, the process used next to no CPU time, none of its threads wants a CPU, and the
watching thread itself was woken in time (process_watch.py). So that nothing hangs for ever,
lateness no longer counts after `LATE_PATIENCE_S`, CPU time not after `CPU_PATIENCE_S` without any
request. Clients in other processes are watched if `processes` names them. A jump of which no
client was told needs no quiet of its own.

How repeatable that is: within one moment the order of requests is up to the threads, and with it
which clone waits for which; the bytes are not. Measured: 100 volumes of 20 GiB from one template
over 4 datastores and 8 hosts, a clone and a reconfiguration each, from 100 threads, ten runs on two
CPUs that others kept busy (load 5 to 6): 1829 to 1862 virtual seconds, a spread of 1.8 %, in 4 to 6
real seconds each; the bytes alone take 1825. Compare what differs by more than that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tests.fakes.vcenter.clock import Clock
from tests.fakes.vcenter.process_watch import ProcessWatch

QUIET_S = 0.01
LATE_PATIENCE_S = 0.5
CPU_PATIENCE_S = 10.0
_LOOK_S = 0.5
# Of a quiet time's length: what idle threads and this one's own looking may use, and how late it
# may be woken.
_CPU_SHARE = 0.3
_LATENESS = 0.5


class VirtualTime:
    """See the module's docstring; enter it with `with`.

    :param clock: of one vCenter, or of several that share it; must stand still by itself (scale 0)
    :param quiet_s: real seconds of quiet before a jump
    :param step_s: timers so close to each other run in one jump
    :param processes: ids of other processes whose clients are to be watched too
    :ivar jumps: how often time has jumped
    """

    def __init__(
        self,
        clock: Clock,
        *,
        quiet_s: float = QUIET_S,
        step_s: float = 0.001,
        processes: Iterable[int] = (),
    ) -> None:
        if clock.scale != 0:
            raise ValueError(f"virtual time needs Clock(scale=0), not scale={clock.scale}")
        self.clock = clock
        self.jumps = 0
        self._quiet_s = quiet_s
        self._step_s = step_s
        self._watch = ProcessWatch(processes)
        self._stopped = threading.Event()
        self._jumping = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> VirtualTime:
        self._thread = threading.Thread(target=self._run, name="virtual-time", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Time stands still for the block, whoever waits."""
        with self._jumping:
            yield
            self.clock.activity.note()

    def _run(self) -> None:
        activity = self.clock.activity
        # Since this event, and a jump straight before, nobody was told anything.
        quiet_since: int | None = None
        while not self._stopped.is_set():
            if quiet_since != activity.events:
                quiet_since = self._await_quiet()
            if not activity.wait_until_idle(_LOOK_S):
                continue
            with self._jumping:
                if activity.busy or quiet_since != activity.events:
                    continue
                due = self.clock.next_awaited()
                if due is not None:
                    self.jumps += 1
                    self.clock.advance_to(due + self._step_s)
            if due is None:
                quiet_since = None
                self._stopped.wait(self._quiet_s)

    def _await_quiet(self) -> int | None:
        """Block until fake and clients are quiet: the number of the last event until then; None
        when virtual time is stopped.
        """
        activity = self.clock.activity
        began = time.monotonic()
        while not self._stopped.is_set():
            if not activity.wait_until_idle(_LOOK_S):
                continue
            events, used_s, looked = activity.events, self._watch.cpu_s(), time.monotonic()
            self._stopped.wait(self._quiet_s)
            passed_s = time.monotonic() - looked
            if activity.busy or activity.events != events:
                began = time.monotonic()
                continue
            waited_s = time.monotonic() - began
            in_time = passed_s <= self._quiet_s * (1 + _LATENESS) or waited_s > LATE_PATIENCE_S
            idle = self._watch.cpu_s() - used_s <= passed_s * _CPU_SHARE
            if in_time and ((idle and not self._watch.wants_cpu()) or waited_s > CPU_PATIENCE_S):
                return events
        return None

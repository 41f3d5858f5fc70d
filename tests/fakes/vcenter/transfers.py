"""Transfers: bytes in transit, and the share of each resource that every transfer gets.

A fluid model: at any moment, the rates are max-min fair. An overloaded resource is divided equally
among its transfers; a transfer that is slower because of another limit leaves the rest of its share
to the others. The rates are computed again whenever a transfer starts or ends, so a later transfer
shares bandwidth only with the remaining bytes of earlier ones. (Bertsekas and Gallager, Data
Networks, 2nd edition, section 6.5.2: progressive filling.)

Life of a transfer: new -> running (`begin`) -> ended, when its bytes have passed or by `cancel`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.vcenter.clock import Clock, Timer

# Two ends closer than this are one event: rounding leaves fractions of a byte, which take no time.
_SAME_MOMENT_S = 1e-6
_REPORTS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Route:
    """The resources that a transfer uses. Unlimited resources are left out; no limit is infinity.

    :param resources: name to bandwidth in bytes per second, shared with other routes that name it
    :param limit: bytes per second that this transfer cannot exceed, even alone
    """

    resources: Mapping[str, float]
    limit: float = math.inf


class Transfer:
    """One copy; see `Transfers.new`."""

    def __init__(
        self,
        transfers: Transfers,
        size_bytes: float,
        route: Route,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.route = route
        self.size_bytes = size_bytes
        self.left_bytes = float(size_bytes)
        self.rate = 0.0
        self._transfers = transfers
        self._progress = progress
        self._reports = list(_REPORTS) if progress is not None else []
        self._ended: Callable[[], None] | None = None

    def begin(self, ended: Callable[[], None]) -> None:
        """Start; `ended` is called once, in a timer, when all bytes have passed. It is not called
        if the transfer is cancelled first.
        """
        self._ended = ended
        self._transfers.add(self)

    def cancel(self) -> None:
        """Stop the transfer and free its shares. Does nothing after the end, or if called again."""
        self._transfers.remove(self)

    def due_reports(self) -> Callable[[], None] | None:
        """A call that reports the progress that is due now, or None."""
        told = 0.0
        while self._reports and self._done_bytes(self._reports[0]) <= 0:
            told = self._reports.pop(0)
        progress = self._progress
        if not told or progress is None:
            return None
        return lambda: progress(int(told * 100))

    def left_s(self) -> float:
        """Seconds to the end or to the next report, at the present rate."""
        left = self._done_bytes(self._reports[0]) if self._reports else self.left_bytes
        return left / self.rate if self.rate > 0 else math.inf

    def end(self) -> None:
        """Notify the caller of `begin`."""
        if self._ended is not None:
            self._ended()

    def _done_bytes(self, share: float) -> float:
        """Bytes still to pass until this share of all has passed."""
        left = self.left_bytes - self.size_bytes * (1 - share)
        return left if left > self.rate * _SAME_MOMENT_S else 0.0


class Transfers:
    """All running transfers of one vCenter, on its clock. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[Transfer, None] = {}  # in the order of their start
        self._settled_at = 0.0
        self._timer: Timer | None = None

    def new(
        self, size_bytes: float, route: Route, progress: Callable[[int], None] | None = None
    ) -> Transfer:
        """A transfer that has not begun.

        :param progress: gets 25, 50 and 75 percent, in a timer
        """
        return Transfer(self, size_bytes, route, progress)

    def rates(self) -> dict[Transfer, float]:
        """Bytes per second of each running transfer, for tests."""
        with self._lock:
            return {transfer: transfer.rate for transfer in self._under_way}

    def add(self, transfer: Transfer) -> None:
        """Used by `Transfer.begin`."""
        with self._lock:
            self._settle()
            self._under_way[transfer] = None
            self._share()

    def remove(self, transfer: Transfer) -> None:
        """Used by `Transfer.cancel`."""
        with self._lock:
            if transfer in self._under_way:
                self._settle()
                del self._under_way[transfer]
                self._share()

    def stop(self) -> None:
        """End all running transfers at once; their waiting threads continue."""
        with self._lock:
            under_way, self._under_way = list(self._under_way), {}
        for one in under_way:
            one.end()

    def _on_time(self) -> None:
        with self._lock:
            self._timer = None
            self._settle()
            ended = [one for one in self._under_way if one.left_bytes <= one.rate * _SAME_MOMENT_S]
            reports = [
                report for one in self._under_way if (report := one.due_reports()) is not None
            ]
            for one in ended:
                del self._under_way[one]
            if ended:
                self._share()
            else:
                self._set_timer()
        for report in reports:
            report()
        for one in ended:
            one.end()

    def _settle(self) -> None:
        """Subtract what has passed since the rates were last computed."""
        now = self._clock.monotonic()
        passed_s, self._settled_at = now - self._settled_at, now
        for one in self._under_way:
            one.left_bytes = max(0.0, one.left_bytes - one.rate * passed_s)

    def _share(self) -> None:
        under_way = list(self._under_way)
        for one, rate in zip(under_way, fair_rates([o.route for o in under_way]), strict=True):
            if math.isinf(rate):  # no limit: it ends at this moment, as an event of its own
                one.left_bytes, rate = 0.0, 1.0
            one.rate = rate
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._under_way:
            next_s = min(one.left_s() for one in self._under_way)
            self._timer = self._clock.call_later(next_s, self._on_time)


def fair_rates(routes: Sequence[Route]) -> list[float]:
    """The max-min fair rate of each route, in bytes per second; infinity if nothing limits it.

    All rates grow together until a resource is full or a route reaches its own limit. The routes
    concerned keep their rate, and the others continue to grow.
    """
    rates = [math.inf] * len(routes)
    growing = set(range(len(routes)))
    left = {name: bandwidth for route in routes for name, bandwidth in route.resources.items()}
    while growing:
        users: dict[str, int] = {}
        for index in growing:
            for name in routes[index].resources:
                users[name] = users.get(name, 0) + 1
        level = min((left[name] / count for name, count in users.items()), default=math.inf)
        level = min(level, min(routes[index].limit for index in growing))
        if math.isinf(level):
            break
        full = {name for name, count in users.items() if left[name] / count <= level * (1 + 1e-12)}
        settled = {
            index
            for index in growing
            if routes[index].limit <= level or not full.isdisjoint(routes[index].resources)
        }
        for index in settled:
            rates[index] = level
            for name in routes[index].resources:
                left[name] = max(0.0, left[name] - level)
        growing -= settled
    return rates

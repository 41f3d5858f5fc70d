"""The model of shared bandwidth is fair; only the tests move time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from tests.fakes.vcenter import Clock
from tests.fakes.vcenter.transfers import Route, Transfer, Transfers, fair_rates

DISK = Route({"disk": 100.0})


@dataclass
class World:
    """Transfers on a clock that stands still, and the end time of each."""

    clock: Clock = field(default_factory=lambda: Clock(scale=0))
    ended: dict[str, float] = field(default_factory=dict)
    reports: list[tuple[str, int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transfers = Transfers(self.clock)

    def start(self, name: str, size_bytes: float, route: Route = DISK) -> Transfer:
        def progress(percent: int) -> None:
            self.reports.append((name, percent, self.clock.elapsed_s))

        transfer = self.transfers.new(size_bytes, route, progress)
        transfer.begin(lambda: self.ended.__setitem__(name, self.clock.elapsed_s))
        return transfer

    def end_times(self) -> dict[str, float]:
        """Advance until all transfers have ended; returns the end times, to the millisecond."""
        self.clock.advance(10_000)
        return {name: round(moment, 3) for name, moment in self.ended.items()}


@pytest.fixture
def world() -> World:
    return World()


def test_two_copies_on_one_datastore_share_its_bandwidth(world: World) -> None:
    world.start("a", 1000)
    world.start("b", 1000)
    assert world.end_times() == {"a": 20.0, "b": 20.0}


def test_a_late_copy_slows_only_the_remaining_bytes(world: World) -> None:
    world.start("early", 1000)
    world.clock.advance(5)
    world.start("late", 1000)
    # 500 bytes of the first are left: both get 50 per second for 10 s, then the second gets all.
    assert world.end_times() == {"early": 15.0, "late": 20.0}


def test_a_copy_that_ends_leaves_its_share_to_others(world: World) -> None:
    world.start("small", 100)
    world.start("large", 1000)
    assert world.end_times() == {"small": 2.0, "large": 11.0}


def test_a_cancelled_copy_frees_its_share(world: World) -> None:
    world.start("a", 1000)
    given_up = world.start("b", 1000)
    world.clock.advance(4)
    given_up.cancel()
    given_up.cancel()
    assert world.end_times() == {"a": 12.0}


def test_a_copy_slowed_elsewhere_leaves_the_rest_to_others(world: World) -> None:
    world.start("slow", 1000, Route({"disk": 100.0, "link": 20.0}))
    world.start("fast", 800)
    assert world.end_times() == {"slow": 50.0, "fast": 10.0}


def test_one_stream_alone_keeps_to_its_own_limit(world: World) -> None:
    world.start("stream", 1000, Route({"disk": 100.0}, limit=25.0))
    world.start("other", 750)
    assert world.end_times() == {"stream": 40.0, "other": 10.0}


def test_an_unlimited_transfer_takes_no_time(world: World) -> None:
    world.clock.advance(7)
    world.start("free", 1e15, Route({}))
    world.start("nothing", 0)
    world.clock.advance(0)
    assert world.ended == {"free": 7.0, "nothing": 7.0}


def test_progress_is_reported_once_and_on_time(world: World) -> None:
    world.start("a", 1000)
    world.clock.advance(4)
    world.start("b", 10)
    world.end_times()
    quarters = [(percent, round(at, 3)) for name, percent, at in world.reports if name == "a"]
    assert quarters == [(25, 2.5), (50, 5.1), (75, 7.6)]


def test_the_next_transfer_can_start_at_the_moment_when_one_ends(world: World) -> None:
    second = world.transfers.new(1000, DISK)
    first = world.transfers.new(1000, DISK)
    first.begin(lambda: second.begin(lambda: world.ended.update(b=world.clock.elapsed_s)))
    world.clock.advance(20)
    assert world.ended == {"b": pytest.approx(20.0)}


def test_a_stop_ends_all_waits(world: World) -> None:
    world.start("a", 1000)
    world.transfers.stop()
    assert world.ended == {"a": 0.0}


def test_many_copies_lose_no_bytes_to_rounding(world: World) -> None:
    for number in range(300):
        world.start(str(number), 7 * (number + 1))
    total_bytes = 7 * 300 * 301 / 2
    assert max(world.end_times().values()) == pytest.approx(total_bytes / 100, abs=0.01)
    assert len(world.ended) == 300


def test_a_resource_is_shared_completely_and_only_once() -> None:
    routes = [
        Route({"a": 10.0, "b": 6.0}),
        Route({"b": 6.0}),
        Route({"a": 10.0}),
        Route({"a": 10.0}, limit=1.0),
        Route({}),
    ]
    assert fair_rates(routes) == pytest.approx([3.0, 3.0, 6.0, 1.0, math.inf])
    assert fair_rates([]) == []

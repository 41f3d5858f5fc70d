"""Test clocks hide no time from the code under test."""

from __future__ import annotations

import threading

import pytest

from tests.fakes.clock import HastyClock, ManualClock, SharedClock, SharedHastyClock
from tests.fakes.vcenter import Clock
from vmdk_cache.clock import Clock as ClientClock

#: Far from 0: for code that takes 0.0 for "never", that is a time long ago.
LONG_S = 86400.0


@pytest.mark.parametrize(
    "clock",
    [
        ManualClock(),
        HastyClock(),
        SharedClock(Clock(scale=0)),
        SharedHastyClock(Clock(longest_pause_s=0.001)),
    ],
    ids=lambda clock: type(clock).__name__,
)
def test_a_sleep_moves_a_clock_by_its_whole_length(clock: ClientClock) -> None:
    began, began_at = clock.monotonic(), clock.now()
    clock.sleep(LONG_S)
    assert clock.monotonic() - began == pytest.approx(LONG_S, rel=0.01)
    assert (clock.now() - began_at).total_seconds() == pytest.approx(LONG_S, rel=0.01)


@pytest.mark.parametrize(
    "clock",
    [ManualClock(), SharedClock(Clock(scale=0)), SharedHastyClock(Clock(longest_pause_s=0.001))],
    ids=lambda clock: type(clock).__name__,
)
def test_a_test_clock_starts_far_from_zero(clock: ClientClock) -> None:
    assert clock.monotonic() >= 1_000_000.0


@pytest.mark.parametrize(
    "clock",
    [HastyClock(), SharedHastyClock(Clock(longest_pause_s=0.001))],
    ids=lambda clock: type(clock).__name__,
)
def test_threads_that_sleep_together_skip_the_time_together(clock: ClientClock) -> None:
    began = clock.monotonic()
    together = threading.Barrier(10)

    def sleep() -> None:
        together.wait(60)
        clock.sleep(LONG_S)

    threads = [threading.Thread(target=sleep) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert LONG_S <= clock.monotonic() - began < 2 * LONG_S

"""Simulated time keeps its order."""

from __future__ import annotations

import threading

import pytest

from tests.fakes.vcenter import Clock
from tests.fakes.vcenter.clock import Passing
from tests.waiting import wait_until


def test_timers_run_on_time_and_in_order() -> None:
    clock, seen = Clock(scale=0), []
    for delay_s in (30, 10, 20):
        clock.call_later(delay_s, lambda d=delay_s: seen.append((d, clock.elapsed_s)))
    clock.advance(25)
    assert seen == [(10, 10.0), (20, 20.0)]
    clock.advance(5)
    assert seen[-1] == (30, 30.0)


def test_timer_set_by_a_timer_runs_in_the_same_advance() -> None:
    clock, seen = Clock(scale=0), []
    clock.call_later(10, lambda: clock.call_later(10, lambda: seen.append(clock.elapsed_s)))
    clock.advance(30)
    assert seen == [20.0]


def test_cancelled_timer_does_not_run() -> None:
    clock, seen = Clock(scale=0), []
    clock.call_later(1, lambda: seen.append(1)).cancel()
    clock.advance(2)
    assert seen == []


def test_scaled_clock_shortens_sleeps_in_real_time() -> None:
    clock, done = Clock(scale=100_000), threading.Event()
    clock.call_later(3600, done.set)
    assert done.wait(60)
    clock.sleep(3600)
    assert clock.elapsed_s >= 7200
    clock.stop()


def test_stop_wakes_sleepers() -> None:
    clock = Clock(scale=0)
    sleeper = threading.Thread(target=clock.sleep, args=(10,), daemon=True)
    sleeper.start()
    wait_until(lambda: clock._timers)
    clock.stop()
    sleeper.join(60)
    assert not sleeper.is_alive()


@pytest.mark.parametrize("wrong", [-1])
def test_clock_refuses_to_go_backwards(wrong: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        Clock(scale=wrong)
    with pytest.raises(ValueError, match="backwards"):
        Clock().advance(wrong)


@pytest.mark.parametrize(
    "clock", [Clock(scale=0), Clock(longest_pause_s=0.001), Clock(scale=100_000)]
)
def test_passing_time_passes_by_itself(clock: Clock) -> None:
    clock.pass_time(60)
    assert clock.elapsed_s >= 60
    done = threading.Event()
    clock.call_later(Passing(60), done.set)
    assert done.wait(60)
    assert clock.elapsed_s >= 120
    clock.stop()


def test_other_delays_do_not_pass_on_a_clock_that_stands_still() -> None:
    clock, done, never = Clock(scale=0), threading.Event(), threading.Event()
    clock.call_later(5, never.set)
    clock.call_later(Passing(4), done.set)
    assert done.wait(60)
    assert clock.elapsed_s == 4
    assert not never.is_set()
    clock.stop()


def test_a_cancelled_delay_does_not_move_the_clock() -> None:
    clock, done = Clock(scale=0), threading.Event()
    clock.call_later(Passing(60), lambda: None).cancel()
    clock.call_later(Passing(1), done.set)
    assert done.wait(60)
    assert clock.elapsed_s == 1
    clock.stop()

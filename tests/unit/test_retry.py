"""Retries and polls: what ends them, and how long they pause."""

from __future__ import annotations

import itertools

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache import errors, retry


class Calls:
    """Fails with each of ``failures`` in turn, then returns the number of calls."""

    def __init__(self, *failures: BaseException) -> None:
        self._failures = iter(failures)
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        for failure in self._failures:
            raise failure
        return self.count


AWAY = errors.Unreachable("away")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_call_that_may_succeed_later_is_repeated(clock: ManualClock) -> None:
    assert retry.call(Calls(AWAY, AWAY), attempts=3, clock=clock) == 3
    assert len(clock.slept) == 2


def test_the_last_attempts_error_is_raised_as_it_is(clock: ManualClock) -> None:
    last = errors.InUse("busy")
    calls = Calls(AWAY, AWAY, last)
    with pytest.raises(errors.InUse) as raised:
        retry.call(calls, attempts=3, clock=clock)
    assert raised.value is last
    assert calls.count == 3


@pytest.mark.parametrize("failure", [errors.NoSpace("full"), ValueError("x"), KeyboardInterrupt()])
def test_an_error_that_stays_is_raised_at_once(clock: ManualClock, failure: BaseException) -> None:
    with pytest.raises(type(failure)):
        retry.call(Calls(failure), attempts=3, clock=clock)
    assert clock.slept == []


def test_the_caller_says_which_errors_are_worth_another_attempt(clock: ManualClock) -> None:
    full = errors.NoSpace("full")
    calls = Calls(full)
    assert retry.call(calls, attempts=2, when=lambda failure: failure is full, clock=clock) == 2


@pytest.mark.parametrize("attempts", [None, 10_000])
def test_time_bounds_the_attempts(clock: ManualClock, attempts: int | None) -> None:
    """Time counts from the first failure: a call may take long before it fails."""
    calls = Calls(*[AWAY] * 10_000)

    def slow() -> int:
        clock.advance(1000 if calls.count == 0 else 1)
        return calls()

    with pytest.raises(errors.Unreachable):
        retry.call(slow, attempts=attempts, within_s=60, max_wait_s=10, clock=clock)
    assert 1060 <= clock.elapsed_s < 1080


def test_pauses_grow_between_their_bounds(clock: ManualClock) -> None:
    with pytest.raises(errors.Unreachable):
        retry.call(
            Calls(*[AWAY] * 50),
            attempts=50,
            first_wait_s=1.0,
            min_wait_s=0.5,
            max_wait_s=8.0,
            clock=clock,
        )
    assert clock.slept[0] <= 1.0
    assert clock.slept[1] <= 2.0
    assert all(0.5 <= pause <= 8.0 for pause in clock.slept)
    assert max(clock.slept) > 2.0


def test_pauses_are_random_so_that_many_clients_do_not_call_at_once() -> None:
    pauses: set[float] = set()
    for clock in (ManualClock() for _ in range(5)):
        retry.call(Calls(*[AWAY] * 6), attempts=7, clock=clock)
        pauses.update(clock.slept)
    assert len(pauses) > 25


def test_a_poll_ends_with_its_result(clock: ManualClock) -> None:
    looks = itertools.count()
    seen = retry.poll(
        lambda: next(looks),
        until=lambda number: number == 5,
        within_s=60,
        first_wait_s=0.5,
        max_wait_s=2.0,
        clock=clock,
    )
    assert seen == 5
    assert clock.slept == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_poll_that_finds_it_at_once_does_not_pause(clock: ManualClock) -> None:
    assert retry.poll(lambda: 1, until=bool, within_s=60, first_wait_s=1, clock=clock) == 1
    assert clock.slept == []


def test_a_poll_looks_once_more_when_its_time_is_over(clock: ManualClock) -> None:
    seen = retry.poll(
        clock.monotonic, until=lambda now: False, within_s=10, first_wait_s=4, clock=clock
    )
    assert seen == clock.monotonic()
    assert clock.slept == [4, 4, 4]


def test_an_error_of_a_look_ends_the_poll(clock: ManualClock) -> None:
    with pytest.raises(errors.Unreachable):
        retry.poll(Calls(AWAY), until=bool, within_s=60, first_wait_s=1, clock=clock)
    assert clock.slept == []

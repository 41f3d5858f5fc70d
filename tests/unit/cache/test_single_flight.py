from __future__ import annotations

import concurrent.futures
import threading

import pytest

from vmdk_cache import errors
from vmdk_cache.cache.single_flight import SingleFlight


class Flight:
    """Work that starts when told and ends when told."""

    def __init__(self, ending: BaseException | str) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.ending = ending
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        self.started.set()
        assert self.release.wait(30)
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


def follow(flights: SingleFlight[str, str], work: Flight, followers: int = 1) -> list[object]:
    """The outcome of a leader and of followers that are waiting when its work ends."""
    with concurrent.futures.ThreadPoolExecutor(followers + 1) as pool:
        futures = [pool.submit(flights.run, "key", work, 30)]
        assert work.started.wait(30)
        waiting = threading.Barrier(followers + 1)

        def join() -> tuple[str, bool]:
            waiting.wait(30)
            return flights.run("key", work, 30)

        futures += [pool.submit(join) for _ in range(followers)]
        waiting.wait(30)
        # A follower that has passed the barrier and not yet joined would lead a flight of its own
        # and find its work already released: it gets the same outcome, so no test depends on it.
        work.release.set()
        return [future.exception() or future.result() for future in futures]


def test_followers_get_the_leaders_result() -> None:
    outcomes = follow(SingleFlight(), Flight("result"), followers=8)
    assert outcomes[0] == ("result", True)
    assert {result for result, _leads in outcomes} == {"result"}  # type: ignore[misc]


def test_followers_get_the_leaders_error() -> None:
    failure = errors.NoSpace("full")
    assert set(follow(SingleFlight(), Flight(failure), followers=8)) == {failure}


def test_an_interrupted_leader_does_not_interrupt_its_followers() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Flight(SystemExit())
    joined: list[BaseException | None] = []

    def follower() -> None:
        try:
            flights.run("key", lambda: "led itself", 30)
        except BaseException as failure:
            joined.append(failure)

    def leader() -> None:
        with pytest.raises(SystemExit):
            flights.run("key", work, 30)

    leading = threading.Thread(target=leader)
    leading.start()
    assert work.started.wait(30)
    following = threading.Thread(target=follower)
    following.start()
    work.release.set()
    leading.join()
    following.join()
    assert not any(isinstance(failure, SystemExit) for failure in joined)


def test_a_follower_does_not_wait_for_ever() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Flight("late")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        leader = pool.submit(flights.run, "key", work, 30)
        assert work.started.wait(30)
        with pytest.raises(errors.LockTimeout):
            flights.run("key", work, 0.01)
        work.release.set()
        assert leader.result() == ("late", True)


def test_the_next_caller_after_a_failure_leads_anew() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    with pytest.raises(errors.NoSpace):
        flights.run("key", _full, 30)
    assert flights.run("key", lambda: "fine", 30) == ("fine", True)


def _full() -> str:
    raise errors.NoSpace("full")

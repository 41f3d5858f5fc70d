from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import pytest

from tests.fakes.clock import ManualClock
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cache.single_flight import SingleFlight
from vmdk_cache.clock import Clock


class Flight:
    """Work that starts and ends when the test says so."""

    def __init__(self, ending: BaseException | str) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.ending = ending
        self.runs = 0

    def __call__(self) -> str:
        self.runs += 1
        self.started.set()
        assert self.release.wait(60)
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


def follow(flights: SingleFlight[str, str], work: Flight, followers: int = 1) -> list[object]:
    """The outcome of a leader and of followers that wait when its work ends."""
    with concurrent.futures.ThreadPoolExecutor(followers + 1) as pool:
        futures = [pool.submit(flights.run, "key", work, 30)]
        assert work.started.wait(60)
        waiting = threading.Barrier(followers + 1)

        def join() -> tuple[str, bool]:
            waiting.wait(60)
            return flights.run("key", work, 30)

        futures += [pool.submit(join) for _ in range(followers)]
        waiting.wait(60)
        # A follower that has passed the barrier but not yet joined would lead a flight of its own
        # and find its work already released. It gets the same outcome, so no test depends on it.
        work.release.set()
        return [future.exception() or future.result() for future in futures]


def test_followers_get_the_leaders_result() -> None:
    outcomes = follow(SingleFlight(), Flight("result"), followers=8)
    assert outcomes[0] == ("result", True)
    assert {result for result, _leads in outcomes} == {"result"}  # type: ignore[misc]


def test_followers_get_the_leaders_error() -> None:
    failure = errors.NoSpace("full")
    assert set(follow(SingleFlight(), Flight(failure), followers=8)) == {failure}


class Ending(BaseException):
    """Ends one thread, like eventlet.Timeout and GreenletExit: not a subclass of Exception."""


def refused_to_one_user(failure: Exception) -> bool:
    return isinstance(failure, errors.SourceRefused)


class Crew:
    """Callers of one flight: the work fails for the first ones, and succeeds for the next one."""

    def __init__(self, *failures: BaseException, clock: Clock | None = None) -> None:
        self.flights: SingleFlight[str, str] = SingleFlight(
            is_leaders_own=refused_to_one_user, clock=clock
        )
        self._failures = list(failures)
        self._lock = threading.Lock()
        self.outcomes: list[object] = []
        self.runs = 0
        self._callers = 0
        self.under_way = threading.Event()
        self.go_on = threading.Event()

    def _work(self) -> str:
        self.runs += 1
        self.under_way.set()
        assert self.go_on.wait(60)
        # Wait until all remaining callers have joined, so that each of them shares the outcome of
        # this run.
        while self.flights.waiting("key") < self._callers - self.runs:
            threading.Event().wait(0.001)
        if self._failures:
            raise self._failures.pop(0)
        return "result"

    def _call(self) -> None:
        try:
            outcome: object = self.flights.run("key", self._work, 30)
        except BaseException as failure:
            outcome = failure
        with self._lock:
            self.outcomes.append(outcome)

    def run(self, callers: int) -> None:
        self._callers = callers
        threads = [threading.Thread(target=self._call) for _ in range(callers)]
        threads[0].start()
        assert self.under_way.wait(60)
        for thread in threads[1:]:
            thread.start()
        self.go_on.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize("kind", [Ending, SystemExit, KeyboardInterrupt])
def test_the_end_of_the_leading_thread_ends_no_follower(kind: type[BaseException]) -> None:
    ending = kind("ends one thread")
    crew = Crew(ending)

    crew.run(callers=6)

    assert crew.outcomes.count(ending) == 1
    assert crew.outcomes.count(("result", True)) == 1
    assert crew.outcomes.count(("result", False)) == 4
    assert crew.runs == 2
    assert crew.flights.waiting("key") == 0


def test_an_image_that_is_refused_to_one_user_is_asked_for_by_the_next() -> None:
    refusals = [errors.SourceRefused("not yours"), errors.SourceRefused("nor yours")]
    crew = Crew(*refusals)

    crew.run(callers=5)

    assert crew.outcomes.count(refusals[0]) == 1
    assert crew.outcomes.count(refusals[1]) == 1
    assert crew.outcomes.count(("result", True)) == 1
    assert crew.outcomes.count(("result", False)) == 2
    assert crew.runs == 3


def test_an_image_that_is_refused_to_every_user_is_an_error_of_each() -> None:
    refusals = [errors.SourceRefused(f"refusal {number}") for number in range(4)]
    crew = Crew(*refusals)

    crew.run(callers=4)

    assert sorted(map(str, crew.outcomes)) == sorted(map(str, refusals))


def test_an_unreachable_source_is_an_error_of_all() -> None:
    failure = errors.SourceUnavailable("Glance is away")
    crew = Crew(failure)

    crew.run(callers=4)

    assert crew.outcomes == [failure] * 4
    assert crew.runs == 1


def test_a_timeout_as_the_leaders_error_is_shared_unchanged() -> None:
    failure = TimeoutError("the work's own")
    crew = Crew(failure)

    crew.run(callers=3)

    assert crew.outcomes == [failure] * 3


def test_a_follower_waits_no_longer_for_many_leaders_than_for_one() -> None:
    """Each flight ends for its leader alone; the time limit of a follower covers all of them."""
    clock = ManualClock()
    flights: SingleFlight[str, str] = SingleFlight(is_leaders_own=refused_to_one_user, clock=clock)
    leading, go_on, leading_next = (threading.Event() for _ in range(3))
    outcomes: list[object] = []

    def refused() -> str:
        leading.set()
        assert go_on.wait(60)
        clock.advance(601)
        raise errors.SourceRefused("not yours")

    def next_leader() -> str:
        leading_next.set()
        wait_until(lambda: any(isinstance(one, errors.LockTimeout) for one in outcomes))
        return "result"

    def call(work: Callable[[], str], timeout_s: float) -> None:
        try:
            outcomes.append(flights.run("key", work, timeout_s))
        except errors.VmdkCacheError as failure:
            outcomes.append(failure)

    threads = [threading.Thread(target=call, args=(refused, 600))]
    threads[0].start()
    assert leading.wait(60)
    for number in range(2):
        threads.append(threading.Thread(target=call, args=(next_leader, 600)))
        threads[-1].start()
        while flights.waiting("key") < number + 1:
            threading.Event().wait(0.001)
        assert flights.waiting("key") == number + 1
    go_on.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a follower waits longer than its limit"

    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "LockTimeout",
        "SourceRefused",
        "tuple",
    ]
    assert leading_next.is_set()


def test_a_follower_does_not_wait_forever() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    work = Flight("late")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        leader = pool.submit(flights.run, "key", work, 30)
        assert work.started.wait(60)
        with pytest.raises(errors.LockTimeout):
            flights.run("key", work, 0.01)
        work.release.set()
        assert leader.result() == ("late", True)


def test_an_error_is_shared_unless_it_is_the_leaders_own() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    failure = errors.NoSpace("full")
    work = Flight(failure)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        leader = pool.submit(flights.run, "key", work, 60)
        assert work.started.wait(60)
        follower = pool.submit(flights.run, "key", work, 60)
        while flights.waiting("key") < 1:
            threading.Event().wait(0.001)
        work.release.set()
        assert (leader.exception(30), follower.exception(30)) == (failure, failure)
    assert work.runs == 1


def test_the_next_caller_after_a_failure_leads_again() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    with pytest.raises(errors.NoSpace):
        flights.run("key", _full, 30)
    assert flights.run("key", lambda: "fine", 30) == ("fine", True)


def _full() -> str:
    raise errors.NoSpace("full")


def test_a_follower_that_no_longer_wants_the_outcome_leaves_alone() -> None:
    flights: SingleFlight[str, str] = SingleFlight(check_every_s=0.01)
    work = Flight("result")
    gone = threading.Event()
    looked = threading.Event()

    def deleted() -> None:
        looked.set()
        if gone.is_set():
            raise errors.VolumeDeleted("volume v1 was deleted")

    def never() -> None:
        raise AssertionError("a leader finishes its work")

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        leader = pool.submit(flights.run, "key", work, 60, never)
        assert work.started.wait(60)
        leaves = pool.submit(flights.run, "key", work, 60, deleted)
        stays = pool.submit(flights.run, "key", work, 60)
        assert looked.wait(60)
        while flights.waiting("key") < 2:
            threading.Event().wait(0.001)
        gone.set()
        with pytest.raises(errors.VolumeDeleted):
            leaves.result(30)
        assert not stays.done()
        work.release.set()
        assert leader.result(30) == ("result", True)
        assert stays.result(30) == ("result", False)
    assert work.runs == 1

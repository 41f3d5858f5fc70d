"""Requests of several threads, sent as one."""

from __future__ import annotations

import threading

import pytest

from tests.waiting import wait_until
from vmdk_cache.vim.batch import Batch


def test_a_lone_caller_is_served_alone() -> None:
    sent: list[list[str]] = []

    def send(keys: list[str]) -> dict[str, int]:
        sent.append(keys)
        return {key: len(key) for key in keys}

    batch = Batch(send)

    assert batch.ask("abc") == 3
    assert batch.ask("ab") == 2
    assert sent == [["abc"], ["ab"]]


def test_a_key_without_an_answer_has_none() -> None:
    assert Batch[str, int](lambda keys: {}).ask("a") is None


def test_callers_during_a_request_share_the_next_one() -> None:
    sent: list[list[int]] = []
    first_is_under_way = threading.Event()
    go_on = threading.Event()

    def send(keys: list[int]) -> dict[int, int]:
        sent.append(sorted(keys))
        if len(sent) == 1:
            first_is_under_way.set()
            assert go_on.wait(60)
        return {key: key * key for key in keys}

    batch = Batch(send)
    answers: dict[int, int | None] = {}

    def ask(key: int) -> None:
        answers[key] = batch.ask(key)

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    assert first_is_under_way.wait(60)
    others = [threading.Thread(target=ask, args=(key,)) for key in range(1, 20)]
    for thread in others:
        thread.start()
    while len(batch._queue) < len(others):
        threading.Event().wait(0.001)
    go_on.set()
    for thread in [first, *others]:
        thread.join(60)

    assert sent == [[0], list(range(1, 20))]
    assert answers == {key: key * key for key in range(20)}


def test_callers_that_arrive_before_the_request_join_it() -> None:
    sent: list[list[int]] = []
    gathering, go_on = threading.Event(), threading.Event()

    def send(keys: list[int]) -> dict[int, int]:
        sent.append(sorted(keys))
        return {}

    def gather() -> None:
        gathering.set()
        assert go_on.wait(60)

    batch = Batch(send, gather)
    threads = [threading.Thread(target=batch.ask, args=(key,)) for key in range(3)]
    threads[0].start()
    assert gathering.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(batch._queue) < len(threads):
        threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join(60)

    assert sent == [[0, 1, 2]]


def test_an_error_reaches_its_caller_and_the_next_request_goes_out() -> None:
    def send(keys: list[str]) -> dict[str, int]:
        if "bad" in keys:
            raise ValueError("bad key")
        return dict.fromkeys(keys, 1)

    batch = Batch(send)

    with pytest.raises(ValueError, match="bad key"):
        batch.ask("bad")
    assert batch.ask("good") == 1


class Ending(BaseException):
    """Ends one thread, like eventlet.Timeout and GreenletExit: not a subclass of Exception."""


@pytest.fixture(params=[Ending, KeyboardInterrupt, SystemExit])
def ending(request: pytest.FixtureRequest) -> BaseException:
    kind: type[BaseException] = request.param
    return kind("ends one thread")


class Callers:
    """Threads that use a batch: one of them sends for all while the others wait."""

    def __init__(self, first_ends_with: BaseException) -> None:
        self.sent: list[list[str]] = []
        self.first_is_under_way = threading.Event()
        self.go_on = threading.Event()
        self.outcomes: dict[str, object] = {}
        self.ending = first_ends_with
        self.batch: Batch[str, str] = Batch(self._send)
        self.late = threading.Thread(target=self.ask, args=("late",))

    def _send(self, keys: list[str]) -> dict[str, str]:
        self.sent.append(sorted(keys))
        if len(self.sent) == 1:
            self.first_is_under_way.set()
            assert self.go_on.wait(60)
            return {}
        if len(self.sent) == 2:
            self.late.start()
            wait_until(lambda: self.batch._queue)
            raise self.ending
        return {key: key.upper() for key in keys}

    def ask(self, key: str) -> None:
        try:
            self.outcomes[key] = self.batch.ask(key)
        except BaseException as failure:
            self.outcomes[key] = failure

    def run(self, others: int) -> None:
        """One request that runs, and this many callers that share the next one."""
        threads = [threading.Thread(target=self.ask, args=("first",))]
        threads[0].start()
        assert self.first_is_under_way.wait(60)
        threads += [threading.Thread(target=self.ask, args=(f"k{n}",)) for n in range(others)]
        for thread in threads[1:]:
            thread.start()
        while len(self.batch._queue) < others:
            threading.Event().wait(0.001)
        self.go_on.set()
        for thread in (*threads, self.late):
            thread.join(60)


def test_the_end_of_the_sending_thread_ends_no_other(ending: BaseException) -> None:
    callers = Callers(ending)

    callers.run(others=8)

    ended = [key for key, outcome in callers.outcomes.items() if outcome is ending]
    assert len(ended) == 1
    others = {key: value for key, value in callers.outcomes.items() if key not in (*ended, "first")}
    assert others == {key: key.upper() for key in others}
    assert callers.sent[1:] == [
        sorted({"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"}),
        sorted(others),
    ]
    assert callers.outcomes["late"] == "LATE", "it came while the request was under way"


def test_an_ordinary_error_is_shared_by_all_callers() -> None:
    failure = ValueError("refused")
    callers = Callers(failure)

    callers.run(others=4)

    assert [callers.outcomes[f"k{n}"] for n in range(4)] == [failure] * 4
    assert callers.sent[1:] == [["k0", "k1", "k2", "k3"], ["late"]]


def test_a_caller_that_ends_before_it_sends_leaves_no_key_behind(ending: BaseException) -> None:
    sent: list[list[str]] = []
    endings = [ending]

    def gather() -> None:
        if endings:
            raise endings.pop()

    def send(keys: list[str]) -> dict[str, str]:
        sent.append(keys)
        return {key: key.upper() for key in keys}

    batch = Batch(send, gather)

    with pytest.raises(type(ending)):
        batch.ask("ended")

    assert batch.ask("b") == "B"
    assert sent == [["b"]]

"""Requests of several threads, sent as one."""

from __future__ import annotations

import threading

import pytest

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


def test_those_who_come_while_a_request_is_under_way_share_the_next() -> None:
    sent: list[list[int]] = []
    first_is_under_way = threading.Event()
    go_on = threading.Event()

    def send(keys: list[int]) -> dict[int, int]:
        sent.append(sorted(keys))
        if len(sent) == 1:
            first_is_under_way.set()
            assert go_on.wait(30)
        return {key: key * key for key in keys}

    batch = Batch(send)
    answers: dict[int, int | None] = {}

    def ask(key: int) -> None:
        answers[key] = batch.ask(key)

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    assert first_is_under_way.wait(30)
    others = [threading.Thread(target=ask, args=(key,)) for key in range(1, 20)]
    for thread in others:
        thread.start()
    while len(batch._queue) < len(others):
        threading.Event().wait(0.001)
    go_on.set()
    for thread in [first, *others]:
        thread.join(30)

    assert sent == [[0], list(range(1, 20))]
    assert answers == {key: key * key for key in range(20)}


def test_those_who_come_while_callers_gather_are_on_board() -> None:
    sent: list[list[int]] = []
    gathering, go_on = threading.Event(), threading.Event()

    def send(keys: list[int]) -> dict[int, int]:
        sent.append(sorted(keys))
        return {}

    def gather() -> None:
        gathering.set()
        assert go_on.wait(30)

    batch = Batch(send, gather)
    threads = [threading.Thread(target=batch.ask, args=(key,)) for key in range(3)]
    threads[0].start()
    assert gathering.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(batch._queue) < len(threads):
        threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join(30)

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

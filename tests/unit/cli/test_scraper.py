"""Callers share looks and are never blocked, and a refused account gets a pause."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache import errors
from vmdk_cache.cache.ports import Space
from vmdk_cache.cli.scraper import REFUSED_PAUSE_S, Observer
from vmdk_cache.vim.account import LOGIN_REFUSED_PAUSE_S

#: Time limit for events in another thread that do happen.
SOON_S = 60.0


class Cache:
    """What an observer needs of a RunningCache.

    :ivar looks: number of looks
    :ivar gate: a look waits for it
    """

    def __init__(self) -> None:
        self.store = self.placement = self
        about = types.SimpleNamespace(version="8.0.3")
        self.session = types.SimpleNamespace(content=types.SimpleNamespace(about=about))
        self.looks = 0
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None

    def entries(self) -> list[Any]:
        self.looks += 1
        assert self.gate.wait(SOON_S)
        if self.failure is not None:
            raise self.failure
        return []

    def spaces(self) -> dict[str, Space]:
        return {"ds-1": Space(2, 1)}

    def datastore_names(self) -> dict[str, str]:
        return {"ds-1": "gold"}

    def close(self) -> None:
        self.closed += 1


class Connector:
    """Connects, or fails with the next of ``failures``."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.calls = 0
        self.failures: list[Exception] = []
        self.during: Callable[[], None] = lambda: None

    def __call__(self) -> Any:
        self.calls += 1
        self.during()
        if self.failures:
            raise self.failures.pop(0)
        return self.cache


@pytest.fixture
def connect() -> Connector:
    return Connector(Cache())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def observer(connect: Connector, clock: ManualClock) -> Observer:
    return Observer("b1", connect, clock)


def seen(observer: Observer) -> bool:
    return observer.answer(observer.look(), SOON_S) is not None


def test_nothing_is_connected_before_the_first_look(connect: Connector, observer: Observer) -> None:
    assert connect.calls == 0
    assert seen(observer) and seen(observer)
    assert (connect.calls, connect.cache.looks) == (1, 2)


def test_a_caller_during_a_look_shares_it(connect: Connector, observer: Observer) -> None:
    connect.cache.gate.clear()
    looks = [observer.look() for _ in range(20)]
    connect.cache.gate.set()
    assert all(observer.answer(look, SOON_S) for look in looks)
    assert connect.cache.looks == 1


def test_a_hanging_vcenter_blocks_no_caller_and_is_not_asked_twice(
    connect: Connector, observer: Observer
) -> None:
    connect.cache.gate.clear()
    first, second = observer.look(), observer.look()
    assert observer.answer(first, 0.0) is None
    assert observer.answer(second, -1.0) is None
    connect.cache.gate.set()
    assert observer.answer(second, SOON_S) is not None
    assert connect.cache.looks == 1


def test_a_vcenter_that_comes_up_later_is_found(connect: Connector, observer: Observer) -> None:
    connect.failures = [errors.Unreachable("connection refused")] * 2
    assert not seen(observer) and not seen(observer)
    assert seen(observer)


def test_a_look_that_fails_costs_no_connection(connect: Connector, observer: Observer) -> None:
    connect.cache.failure = errors.SessionExpired("vCenter restarts")
    assert not seen(observer)
    connect.cache.failure = None
    assert seen(observer)
    assert (connect.calls, connect.cache.closed) == (1, 0)


@pytest.mark.parametrize(
    "refusal", [errors.LoginRefused("wrong password"), errors.ConfigError("no such cluster")]
)
def test_scrapes_do_not_lock_an_account_that_was_refused(
    connect: Connector, clock: ManualClock, observer: Observer, refusal: Exception
) -> None:
    connect.failures = [refusal]
    assert not seen(observer)
    clock.advance(REFUSED_PAUSE_S - 1)
    assert not seen(observer)
    assert connect.calls == 1
    clock.advance(1)
    assert seen(observer)


def test_the_pause_after_a_refusal_begins_when_the_refusal_arrives(
    connect: Connector, clock: ManualClock, observer: Observer
) -> None:
    """A session counts its pause from then: an earlier attempt would only start a second pause."""
    connect.failures = [errors.LoginRefused("wrong password")]
    connect.during = lambda: clock.advance(60)
    assert not seen(observer)
    connect.during = lambda: None
    clock.advance(REFUSED_PAUSE_S - 1)
    assert not seen(observer)
    clock.advance(1)
    assert seen(observer)
    assert connect.calls == 2


def test_scrapes_pause_no_shorter_than_sessions() -> None:
    assert REFUSED_PAUSE_S == LOGIN_REFUSED_PAUSE_S >= 300


def test_a_defect_ends_one_look_and_not_all(connect: Connector, observer: Observer) -> None:
    connect.cache.failure = ZeroDivisionError()
    assert not seen(observer)
    connect.cache.failure = None
    assert seen(observer)


def test_one_scrape_without_a_free_thread_does_not_end_all_looks(
    observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert observer.answer(observer.look(), 0.0) is None
    assert seen(observer)


def test_the_log_says_once_that_it_is_away_and_once_that_it_is_back(
    connect: Connector, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vmdk_cache")
    connect.failures = [errors.Unreachable("connection refused")] * 3
    for _ in range(5):
        seen(observer)
    assert [record.getMessage() for record in caplog.records] == [
        "No vCenter metrics for backend b1: connection refused",
        "vCenter of backend b1 is answering again.",
    ]


def test_the_log_does_not_say_that_it_is_back_during_the_pause_after_a_refusal(
    connect: Connector, observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vmdk_cache")
    connect.failures = [errors.LoginRefused("wrong password")]
    assert not seen(observer) and not seen(observer)
    assert [record.getMessage() for record in caplog.records] == [
        "No vCenter metrics for backend b1: wrong password"
    ]


def test_a_connection_that_is_made_too_late_does_not_stay_open(
    connect: Connector, observer: Observer
) -> None:
    connect.during = observer.close
    assert not seen(observer)
    assert connect.cache.closed == 1
    assert not seen(observer)
    assert connect.calls == 1


def test_closing_logs_out(connect: Connector, observer: Observer) -> None:
    assert seen(observer)
    observer.close()
    observer.close()
    assert connect.cache.closed == 1

"""A backend's connection to its cache: repeatedly reopened, and never a delay for volumes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vmdk_cache import errors
from vmdk_cache.cinder.cache_connection import CacheConnection

PATIENCE_S = 60.0


class StubCache:
    """A running cache; ``closed`` counts."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Attempts:
    """Builds a cache: each attempt gets the next of ``answers``, later ones the last answer."""

    def __init__(self, *answers: StubCache | Exception) -> None:
        self.answers = list(answers)
        self.made = 0

    def __call__(self) -> Any:
        self.made += 1
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def connection() -> CacheConnection:
    return CacheConnection("vmware1")


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_a_cache_is_opened_once(connection: CacheConnection) -> None:
    attempts = Attempts(cache := StubCache())
    connection.start(attempts, lambda: True)
    connection.open()
    assert connection.cache is cache
    assert connection.failure is None
    assert attempts.made == 1


@pytest.mark.parametrize("defect", [RuntimeError("can't start new thread"), OSError(24, "files")])
def test_a_defect_does_not_prevent_a_backend_from_starting(
    connection: CacheConnection, defect: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    connection.start(Attempts(defect, cache := StubCache()), lambda: True)
    assert connection.cache is None
    assert type(defect).__name__ in str(connection.failure)
    (line,) = logged(caplog, logging.ERROR)
    assert "bug in the image cache" in line
    connection.open()
    assert (connection.cache, connection.failure) == (cache, None)


def test_a_cause_is_logged_once(
    connection: CacheConnection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    connection.start(
        Attempts(
            errors.LoginRefused("vCenter refused the log-in"),
            errors.LoginRefused("vCenter refused the log-in; not tried again for 240 s"),
            errors.LoginRefused("vCenter refused the log-in; not tried again for 180 s"),
            errors.ConfigError("there is no cluster a"),
            errors.ConfigError("there is no cluster a"),
            errors.ConfigError("there is no cluster b"),
            StubCache(),
        ),
        lambda: True,
    )
    for _ in range(6):
        connection.open()
    lines = logged(caplog, logging.ERROR)
    assert [line.split(": ")[1].split(".")[0] for line in lines] == [
        "vCenter refused the log-in",
        "there is no cluster a",
        "there is no cluster b",
    ]
    assert ["available again" in line for line in logged(caplog, logging.INFO)] == [True]


def test_a_backend_without_the_cache_warns_of_left_over_templates_only(
    connection: CacheConnection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.start(Attempts(errors.Unreachable("vCenter is away")), lambda: False)
    assert logged(caplog, logging.ERROR) == []
    (line,) = logged(caplog, logging.WARNING)
    assert "neither counted nor purged: vCenter is away" in line


def test_a_second_start_closes_the_first_cache(connection: CacheConnection) -> None:
    connection.start(Attempts(first := StubCache()), lambda: True)
    connection.start(Attempts(second := StubCache()), lambda: True)
    assert connection.cache is second
    assert (first.closed, second.closed) == (1, 0)


def test_a_closed_connection_stays_closed(connection: CacheConnection) -> None:
    connection.open()
    connection.start(attempts := Attempts(cache := StubCache()), lambda: True)
    connection.close()
    connection.close()
    connection.open()
    assert connection.cache is None
    assert (cache.closed, attempts.made) == (1, 1)


def under_way(
    connection: CacheConnection, answer: Any
) -> tuple[threading.Thread, Callable[[], None]]:
    """Start another attempt, which waits for vCenter; returns it and a function that ends it."""
    begun, go_on = threading.Event(), threading.Event()

    def build() -> Any:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return answer

    connection._build = build
    thread = threading.Thread(target=connection.open)
    thread.start()
    assert begun.wait(PATIENCE_S)
    return thread, go_on.set


def test_the_failure_is_known_while_another_attempt_waits_for_vcenter(
    connection: CacheConnection,
) -> None:
    """Volumes requested meanwhile report at once why they continue without the cache."""
    failure = errors.Unreachable("vCenter is away")
    connection.start(Attempts(failure), lambda: True)
    thread, go_on = under_way(connection, cache := StubCache())
    assert (connection.cache, connection.failure) == (None, failure)
    go_on()
    thread.join()
    assert (connection.cache, connection.failure) == (cache, None)


def test_a_cache_that_opens_during_close_is_closed(connection: CacheConnection) -> None:
    connection.start(Attempts(errors.Unreachable("vCenter is away")), lambda: True)
    opening, go_on = under_way(connection, cache := StubCache())
    closing = threading.Thread(target=connection.close)
    closing.start()
    go_on()
    opening.join()
    closing.join()
    connection.close()
    assert connection.cache is None
    assert cache.closed == 1

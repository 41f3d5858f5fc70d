"""The number of cinder-volume's workers, and how many of them import without the cache."""

from __future__ import annotations

import concurrent.futures
import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.waiting import wait_until
from vmdk_cache.cinder.workers import BURST, OPTION, Workers
from vmdk_cache.preflight import configuration

PATIENCE_S = 60.0
USUAL = 64


@pytest.fixture
def configured(tmp_path: pathlib.Path) -> Callable[[str], cfg.ConfigOpts]:
    def make(text: str) -> cfg.ConfigOpts:
        """Options of a service that was started with these lines in [DEFAULT]."""
        file = tmp_path / "cinder.conf"
        file.write_text(f"[DEFAULT]\n{text}\n")
        conf = cfg.ConfigOpts()
        conf(["--config-file", str(file)])
        return conf

    return make


class Endpoint:
    """Requests that all wait in their workers.

    :ivar under_way: number of requests being served now
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.go_on = threading.Event()
        self.under_way = 0

    def wait(self, context: Any) -> None:
        with self._lock:
            self.under_way += 1
        self.go_on.wait(PATIENCE_S)


@pytest.fixture
def service() -> Iterator[cfg.ConfigOpts]:
    """Options of this process, because oslo.messaging reads some of them nowhere else."""
    cfg.CONF.register_opt(Workers().option)
    cfg.CONF.clear_default(OPTION)
    yield cfg.CONF
    cfg.CONF.clear_default(OPTION)
    cfg.CONF.clear_override(OPTION)


@contextlib.contextmanager
def served(conf: cfg.ConfigOpts, requests: int) -> Iterator[Endpoint]:
    """An RPC server as Cinder makes them, after this number of requests."""
    endpoint = Endpoint()
    transport = oslo_messaging.get_rpc_transport(conf, url="fake://")
    target = oslo_messaging.Target(topic="cinder-volume", server="lab")
    server = oslo_messaging.get_rpc_server(transport, target, [endpoint], executor="threading")
    server.start()
    try:
        client = oslo_messaging.get_rpc_client(transport, target)
        for _ in range(requests):
            client.cast({}, "wait")
        yield endpoint
    finally:
        endpoint.go_on.set()
        server.stop()
        server.wait()
        transport.cleanup()


def test_a_usual_service_has_as_many_workers_as_we_believe(service: cfg.ConfigOpts) -> None:
    assert Workers().usual == USUAL
    with served(service, USUAL + 1) as endpoint:
        wait_until(lambda: endpoint.under_way == USUAL)


def test_servers_that_are_made_later_have_more_workers(service: cfg.ConfigOpts) -> None:
    Workers().provide(service)
    with served(service, USUAL + 20) as endpoint:
        wait_until(lambda: endpoint.under_way == USUAL + 20)


def test_servers_have_no_more_workers_than_the_operator_wants(service: cfg.ConfigOpts) -> None:
    service.set_override(OPTION, 3)
    Workers().provide(service)
    with served(service, 4) as endpoint:
        wait_until(lambda: endpoint.under_way == 3)


def test_workers_suffice_for_a_burst_and_everything_else(
    configured: Callable[[str], cfg.ConfigOpts], caplog: pytest.LogCaptureFixture
) -> None:
    conf, workers = configured(""), Workers()
    workers.provide(conf)
    assert workers.wanted == conf[OPTION] == BURST + USUAL
    assert caplog.messages == []


@pytest.mark.parametrize("name", [OPTION, "rpc_thread_pool_size"])
def test_the_operators_number_wins_and_one_that_is_too_small_is_named(
    configured: Callable[[str], cfg.ConfigOpts], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    conf = configured(f"{name} = 3")
    Workers().provide(conf)
    assert conf[OPTION] == 3
    (line,) = (r for r in caplog.records if r.name == "vmdk_cache.cinder.workers")
    assert line.levelname == "WARNING"
    assert f"{OPTION} is 3." in line.getMessage()
    assert f"{BURST + USUAL} or more" in line.getMessage()


@pytest.mark.parametrize("number", [BURST + USUAL, 2000])
def test_a_number_that_is_large_enough_is_not_logged(
    configured: Callable[[str], cfg.ConfigOpts], number: int, caplog: pytest.LogCaptureFixture
) -> None:
    conf = configured(f"{OPTION} = {number}")
    Workers().provide(conf)
    assert (conf[OPTION], caplog.messages) == (number, [])


def test_a_cache_that_is_enabled_later_uses_the_existing_workers(
    configured: Callable[[str], cfg.ConfigOpts], caplog: pytest.LogCaptureFixture
) -> None:
    conf, workers = configured(""), Workers()
    for _ in range(2):
        workers.limit(conf)
    assert conf[OPTION] == USUAL
    (line,) = caplog.messages
    assert f"{OPTION} is {USUAL}." in line
    assert "restart" in line


def test_a_second_set_up_and_a_second_backend_change_nothing(
    configured: Callable[[str], cfg.ConfigOpts],
) -> None:
    conf = configured("")
    first = Workers()
    for workers in (first, first, Workers()):
        workers.provide(conf)
        assert conf[OPTION] == BURST + USUAL


def test_an_option_that_another_oslo_messaging_defines_differently_is_no_error(
    configured: Callable[[str], cfg.ConfigOpts],
) -> None:
    conf = configured("")
    conf.register_opt(cfg.IntOpt(OPTION, default=10, help="another text"))
    Workers().provide(conf)
    assert conf[OPTION] == BURST + USUAL


class Import:
    """An import without the cache, in its own thread, until the test ends it."""

    def __init__(self, workers: Workers, pool: concurrent.futures.Executor) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self._workers = workers
        self.ended = pool.submit(self._run)

    def _run(self) -> None:
        with self._workers.importing():
            self.begun.set()
            assert self.go_on.wait(PATIENCE_S)


def test_no_more_volumes_are_imported_at_a_time_than_a_usual_service_has_workers(
    configured: Callable[[str], cfg.ConfigOpts],
) -> None:
    workers = Workers()
    workers.provide(configured(""))
    with concurrent.futures.ThreadPoolExecutor(USUAL + 2) as pool:
        imports = [Import(workers, pool) for _ in range(USUAL + 2)]
        wait_until(lambda: sum(one.begun.is_set() for one in imports) == USUAL)
        waiting = [one for one in imports if not one.begun.is_set()]
        assert len(waiting) == 2
        under_way = [one for one in imports if one.begun.is_set()]
        under_way[0].go_on.set()
        under_way[0].ended.result(PATIENCE_S)
        wait_until(lambda: any(one.begun.is_set() for one in waiting))
        assert not all(one.begun.is_set() for one in waiting)
        for one in imports:
            one.go_on.set()


def test_an_import_that_fails_gives_its_turn_back(
    configured: Callable[[str], cfg.ConfigOpts],
) -> None:
    workers = Workers()
    workers.provide(configured(""))
    for _ in range(USUAL + 1):
        with pytest.raises(KeyError), workers.importing():
            raise KeyError


def test_without_the_cache_nothing_is_limited_or_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers = Workers()
    with contextlib.ExitStack() as many:
        for _ in range(USUAL + BURST + 1):
            many.enter_context(workers.creating())
            many.enter_context(workers.importing())
    assert caplog.messages == []


def test_a_lack_of_workers_is_logged_once_per_burst(
    configured: Callable[[str], cfg.ConfigOpts], caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers()
    workers.provide(configured(f"{OPTION} = 3"))
    caplog.clear()

    def burst(volumes: int) -> int:
        """How often the message was logged."""
        with contextlib.ExitStack() as many:
            for _ in range(volumes):
                many.enter_context(workers.creating())
        found = sum(OPTION in message for message in caplog.messages)
        caplog.clear()
        return found

    assert [burst(volumes) for volumes in (3, 2, 5, 3)] == [1, 0, 1, 1]


def test_the_preflight_advises_the_number_that_the_driver_provides() -> None:
    provided = Workers()
    assert provided.wanted == configuration.WORKERS
    assert provided.usual == configuration.USUAL_WORKERS

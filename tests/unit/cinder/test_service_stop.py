"""What a backend does when its service stops, with services that stop like Cinder's."""

from __future__ import annotations

import inspect
import sys
import threading
from types import SimpleNamespace

import pytest
from cinder import service as cinder_service
from oslo_service.backend import BackendType

from tests.fakes.clock import ManualClock
from vmdk_cache.cinder.service_stop import ServiceStop, is_on_green_threads

HOST = "controller@vmware1"
PATIENCE_S = 60.0


def services() -> type:
    """A separate class of services, because it is changed permanently."""

    class Service:
        """:ivar under_way: ends when the last request has ended"""

        def __init__(self, host: str = HOST) -> None:
            self.host = host
            self.did: list[str] = []
            self.under_way = threading.Event()
            self.under_way.set()
            self.awaited = threading.Event()
            self.fault: Exception | None = None

        def stop(self) -> None:
            self.did.append("stop")

        def wait(self) -> None:
            self.awaited.set()
            assert self.under_way.wait(PATIENCE_S)
            self.did.append("wait")
            if self.fault is not None:
                raise self.fault

    return Service


def test_cinders_service_stops_and_waits_without_arguments_and_has_a_host() -> None:
    for name in ("stop", "wait"):
        assert list(inspect.signature(vars(cinder_service.Service)[name]).parameters) == ["self"]
    assert "host" in inspect.signature(cinder_service.Service.__init__).parameters


def test_the_actions_come_after_the_last_request() -> None:
    kind = services()
    service = kind()
    service.under_way.clear()
    ServiceStop(kind, lambda: True).after_last_request(HOST, lambda: service.did.append("log out"))
    stopping = threading.Thread(target=service.stop)
    stopping.start()
    assert service.awaited.wait(PATIENCE_S)
    assert service.did == ["stop"]
    service.under_way.set()
    stopping.join(PATIENCE_S)
    assert service.did == ["stop", "wait", "log out"]


def test_where_the_process_does_not_wait_for_requests_neither_do_the_actions() -> None:
    """On native threads, where the wait may never end."""
    kind = services()
    service = kind()
    service.under_way.clear()
    at_stop = ServiceStop(kind, lambda: False)
    at_stop.after_last_request(HOST, lambda: service.did.append("log out"))
    service.stop()  # returns
    assert service.did == ["stop", "log out"]


@pytest.mark.parametrize(
    ("kind", "is_green"),
    [(None, True), (BackendType.EVENTLET, True), (BackendType.THREADING, False)],
)
def test_the_kind_of_threads_is_oslo_services(
    monkeypatch: pytest.MonkeyPatch, kind: BackendType | None, is_green: bool
) -> None:
    chosen = SimpleNamespace(get_backend_type=lambda: kind, BackendType=BackendType)
    monkeypatch.setitem(sys.modules, "oslo_service.backend", chosen)
    assert is_on_green_threads() is is_green


def test_an_oslo_service_that_knows_no_other_threads_has_green_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "oslo_service.backend", None)
    assert is_on_green_threads()


def test_the_stop_waits_for_the_actions_in_threads_that_hold_up_no_exit() -> None:
    kind = services()
    service = kind()
    began, goes_on = threading.Event(), threading.Event()

    def log_out() -> None:
        service.did.append(f"daemon={threading.current_thread().daemon}")
        began.set()
        assert goes_on.wait(PATIENCE_S)

    def stop() -> None:
        service.stop()
        service.did.append(f"ended={goes_on.is_set()}")

    ServiceStop(kind, lambda: True, within_s=PATIENCE_S).after_last_request(HOST, log_out)
    stopping = threading.Thread(target=stop)
    stopping.start()
    assert began.wait(PATIENCE_S)
    stopping.join(0.2)  # enough time to return, for a stop that does not wait
    goes_on.set()
    stopping.join(PATIENCE_S)
    assert service.did == ["stop", "wait", "daemon=True", "ended=True"]


def test_a_second_stop_does_not_wait_for_the_first() -> None:
    kind = services()
    service = kind()
    service.under_way.clear()
    ServiceStop(kind, lambda: True).after_last_request(HOST, lambda: service.did.append("log out"))
    first = threading.Thread(target=service.stop)
    first.start()
    assert service.awaited.wait(PATIENCE_S)
    service.stop()  # returns
    assert service.did == ["stop", "stop"]
    service.under_way.set()
    first.join(PATIENCE_S)
    assert service.did == ["stop", "stop", "wait", "log out"]


def test_an_unresponsive_vcenter_does_not_block_a_stop() -> None:
    kind = services()
    service = kind()
    answers = threading.Event()
    ServiceStop(kind, lambda: True, within_s=0.05).after_last_request(
        HOST, lambda: answers.wait(PATIENCE_S) and None, lambda: service.did.append("log out")
    )
    service.stop()  # returns
    assert not answers.is_set()
    answers.set()
    assert service.did == ["stop", "wait", "log out"]


def test_each_hanging_action_delays_the_stop_again() -> None:
    kind, clock, answers = services(), ManualClock(), threading.Event()
    service = kind()

    def hang() -> None:
        answers.wait(2.0)
        service.did.append("waited for")

    ServiceStop(kind, lambda: True, PATIENCE_S, clock).after_last_request(
        HOST, lambda: clock.advance(PATIENCE_S), hang
    )
    service.stop()
    assert service.did == ["stop", "wait"]
    answers.set()


def test_a_failing_action_blocks_neither_the_others_nor_the_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kind = services()
    service = kind()
    service.fault = RuntimeError("the broker is gone")

    def fail() -> None:
        raise RuntimeError("vCenter is gone")

    ServiceStop(kind, lambda: True).after_last_request(
        HOST, fail, lambda: service.did.append("log out")
    )
    with caplog.at_level("INFO"):
        service.stop()
    assert service.did == ["stop", "wait", "log out"]
    assert "the broker is gone" in caplog.text
    assert "vCenter is gone" in caplog.text


def test_a_stop_that_fails_fails_and_the_actions_are_run() -> None:
    class Failing(services()):  # type: ignore[misc]
        def stop(self) -> None:
            raise RuntimeError("a defect")

    service = Failing()
    ServiceStop(Failing, lambda: True).after_last_request(
        HOST, lambda: service.did.append("log out")
    )
    with pytest.raises(RuntimeError, match="a defect"):
        service.stop()
    assert service.did == ["wait", "log out"]


def test_a_second_set_up_takes_the_place_of_the_first_and_other_services_are_left_alone() -> None:
    kind = services()
    service, other = kind(), kind("controller@lvm")
    at_stop = ServiceStop(kind, lambda: True)
    at_stop.after_last_request(HOST, lambda: service.did.append("first"))
    wrapped = kind.stop  # type: ignore[attr-defined]
    at_stop.after_last_request(HOST, lambda: service.did.append("second"))
    assert kind.stop is wrapped, "wrapped once"  # type: ignore[attr-defined]
    other.stop()
    service.stop()
    assert service.did == ["stop", "wait", "second"]
    assert other.did == ["stop"]

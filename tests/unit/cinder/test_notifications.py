"""What listeners on Cinder's notification bus get, through oslo.messaging's own fake transport."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import oslo_messaging as messaging
import pytest
from cinder import rpc
from cinder.context import RequestContext
from oslo_config import cfg
from oslo_context import context as oslo_context

from vmdk_cache.cache import events
from vmdk_cache.cinder import upstream
from vmdk_cache.cinder.notifications import _NAMES, Notifications

HOST = "lab@vmware1"
TEMPLATE = "vmware1_image_cache (image-1)"
EVENTS: list[events.Event] = [
    events.Hit("vmware1", "image-1", "volume-1", "ds1", 1.5, 0.5, 1.0, 3000),
    events.Miss("vmware1", "image-1", "volume-1", "ds1", 1.5, 0.5, 1.0),
    events.Bypassed("vmware1", "image-1", "volume-1", events.Reason.NO_ROOM),
    events.Evicted("vmware1", "image-1", TEMPLATE, events.Rule.EXPIRED, "old", 1 << 30),
    events.ImportStarted("vmware1", "image-1", TEMPLATE, "ds1"),
    events.Imported("vmware1", "image-1", TEMPLATE, "ds1", 1 << 30, 3000, 9.0),
    events.ImportFailed("vmware1", "image-1", "NoSpace", 2.0),
    events.Replicated("vmware1", "image-1", TEMPLATE, "ds2", 4.0),
]


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Cinder's RPC, initialized with the test's notification drivers."""
    rpc.TRANSPORT = rpc.NOTIFICATION_TRANSPORT = rpc.NOTIFIER = None
    messaging.get_notification_transport(cfg.CONF, url="fake:///")  # registers the options
    cfg.CONF.set_override("transport_url", "fake:///")
    cfg.CONF.set_override("driver", request.param, group="oslo_messaging_notifications")
    rpc.init(cfg.CONF)
    try:
        yield rpc.NOTIFICATION_TRANSPORT
    finally:
        rpc.cleanup()
        cfg.CONF.clear_override("driver", group="oslo_messaging_notifications")
        cfg.CONF.clear_override("transport_url")


class Subscriber:
    """A subscriber on the bus, such as a billing service."""

    def __init__(self, transport: Any) -> None:
        self.heard: queue.Queue[tuple[str, str, str, Any]] = queue.Queue()
        self.listener = messaging.get_notification_listener(
            transport, [messaging.Target(topic="notifications")], [self], executor="threading"
        )

    def info(self, context: Any, publisher: str, kind: str, payload: Any, _: Any) -> None:
        self.heard.put(("INFO", publisher, kind, payload))

    def error(self, context: Any, publisher: str, kind: str, payload: Any, _: Any) -> None:
        self.heard.put(("ERROR", publisher, kind, payload))


@pytest.mark.parametrize("bus", [["messagingv2"]], indirect=True)
def test_each_event_reaches_the_bus_under_its_name_with_all_that_it_tells(bus: Any) -> None:
    subscriber = Subscriber(bus)
    subscriber.listener.start()
    try:
        for event in EVENTS:
            Notifications(HOST)(event)
        heard = [subscriber.heard.get(timeout=20) for _ in EVENTS]
    finally:
        subscriber.listener.stop()
        subscriber.listener.wait()
    assert {publisher for _, publisher, _, _ in heard} == {f"volume.{HOST}"}
    told = {kind: (level, payload) for level, _, kind, payload in heard}
    assert {kind.removeprefix("image_volume_cache.") for kind in told} == {
        "hit", "miss", "bypass", "evict", "import.start", "import.end", "import.error",
        "replica.end",
    }  # fmt: skip
    assert [level for level, _ in told.values()].count("ERROR") == 1
    assert told["image_volume_cache.import.error"][0] == "ERROR"
    for _, payload in told.values():
        assert (payload["image_id"], payload["host"]) == ("image-1", HOST)
    assert told["image_volume_cache.hit"][1] == {
        "image_id": "image-1", "host": HOST, "backend": "vmware1", "volume_id": "volume-1",
        "datastore": "ds1", "seconds": 1.5, "queued_s": 0.5, "cloned_s": 1.0, "saved_bytes": 3000,
        "in_one_task": False,
    }  # fmt: skip
    assert told["image_volume_cache.evict"][1]["rule"] == "expired"


@pytest.mark.parametrize("bus", [[], ["noop"]], indirect=True)
def test_nothing_is_sent_and_nothing_fails_where_notifications_are_off(
    bus: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for event in EVENTS:
        Notifications(HOST)(event)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_before_cinder_has_a_bus_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    assert not rpc.initialized()
    Notifications(HOST)(EVENTS[0])
    assert caplog.records == []


@pytest.mark.parametrize("bus", [["messagingv2"]], indirect=True)
def test_a_failing_bus_fails_no_volume(bus: Any, caplog: pytest.LogCaptureFixture) -> None:
    rpc.NOTIFIER.transport.cleanup()
    rpc.NOTIFIER._driver_mgr.extensions[0].obj.transport = None
    Notifications(HOST)(EVENTS[0])
    assert any(record.levelname in ("WARNING", "ERROR") for record in caplog.records)


def test_every_event_is_notified_except_failed_volumes_and_what_recurs() -> None:
    without = {events.VolumeFailed, events.NotKeptWarm, events.PurgeEnded}
    assert {*events.Event.__subclasses__()} - _NAMES.keys() == without
    assert {type(event) for event in EVENTS} == _NAMES.keys()


@pytest.fixture
def no_context() -> Iterator[None]:
    """A thread that serves no request, as after a service's start."""
    with upstream.thread_context_kept():
        if oslo_context.get_current() is not None:
            del oslo_context._request_store.context
        yield


@pytest.mark.parametrize("bus", [["messagingv2", "log"]], indirect=True)
def test_the_thread_keeps_the_context_of_its_request(bus: Any, no_context: None) -> None:
    """Each of its log lines has the id of the request, for which operators search."""
    request = RequestContext("user-1", "project-1", is_admin=False)
    assert oslo_context.get_current() is request
    for event in EVENTS:
        Notifications(HOST)(event)
        assert oslo_context.get_current() is request


@pytest.mark.parametrize("bus", [["messagingv2"]], indirect=True)
def test_a_thread_without_a_request_gets_none(bus: Any, no_context: None) -> None:
    Notifications(HOST)(EVENTS[0])
    assert oslo_context.get_current() is None


@pytest.mark.parametrize("bus", [["messagingv2"]], indirect=True)
def test_a_failing_bus_leaves_the_context_unchanged(bus: Any, no_context: None) -> None:
    request = RequestContext("user-1", "project-1", is_admin=False)
    rpc.NOTIFIER.transport.cleanup()
    rpc.NOTIFIER._driver_mgr.extensions[0].obj.transport = None
    Notifications(HOST)(EVENTS[0])
    assert oslo_context.get_current() is request

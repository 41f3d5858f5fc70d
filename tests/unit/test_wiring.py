"""A cache is assembled without a connection, connected as a whole, and leaves nothing when closed
or refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.clock import HastyClock
from tests.fakes.images import FakeImageSource, as_stream_optimized, noise
from tests.fakes.memory import MemoryLocks
from tests.fakes.vcenter import Model, VCenter
from tests.scenario.conftest import FOLDER, volume
from tests.waiting import wait_until
from vmdk_cache import errors, wiring
from vmdk_cache.cache.events import Event, Hit, Miss, Reason
from vmdk_cache.conf import LiveSettings, Settings
from vmdk_cache.image import Image
from vmdk_cache.vim.session import Endpoint

IMAGE = as_stream_optimized(noise(1 << 20))


class Lab:
    """One vCenter, and caches on it.

    :ivar events: what the caches reported
    """

    def __init__(self, vcenter: VCenter) -> None:
        self.vcenter = vcenter
        self.events: list[Event] = []

    def build(
        self, settings: Settings | LiveSettings | None = None, *, marked: Any = None, **changes: Any
    ) -> wiring.RunningCache:
        """:param changes: of the backend or, for ``user`` and ``password``, of its endpoint"""
        endpoint = Endpoint(
            host=self.vcenter.host,
            port=self.vcenter.port,
            user=changes.pop("user", self.vcenter.user),
            password=changes.pop("password", self.vcenter.password),
            ca_file=str(self.vcenter.ca_file),
            api_retry_count=1,
        )
        return wiring.build(
            settings or Settings(enabled=True),
            wiring.Backend(**{"name": "b1", "endpoint": endpoint, "folder": FOLDER, **changes}),
            MemoryLocks(),
            events=self.events.append,
            marked=marked,
            clock=HastyClock(),
        )

    def sessions(self) -> int:
        return len(self.vcenter.sessions.active())


@pytest.fixture
def lab() -> Iterator[Lab]:
    with VCenter(Model(hosts_per_cluster=2, datastores=2)) as running:
        yield Lab(running)
        assert running.errors == []


#: Prefixes of the names of a cache's threads.
THREADS = ("vcenter-task-waiter", "lease-", "read-image-", "image-cache-replica")


def at_work() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(THREADS)]


def create(cache: wiring.RunningCache, number: int) -> bool:
    """Create a volume; returns whether it was a hit."""
    return cache.images.create_volume(IMAGE.image(), volume(number), FakeImageSource(IMAGE)).hit


def test_a_closed_cache_leaves_no_session_and_no_thread(lab: Lab) -> None:
    sessions = lab.sessions()
    cache = lab.build()
    assert lab.sessions() == sessions + 1
    assert [create(cache, number) for number in (1, 2)] == [False, True]
    assert at_work()
    cache.close()
    assert lab.sessions() == sessions
    wait_until(lambda: not at_work(), what="the threads to end")
    cache.close()


@pytest.mark.parametrize(
    ("changes", "failure", "named"),
    [
        ({"password": "wrong"}, errors.LoginRefused, "vmware_host_password"),
        ({"clusters": ("elsewhere",)}, errors.ConfigError, "vmware_cluster_name"),
        ({"datastore_regex": "("}, errors.ConfigError, "vmware_datastore_regex"),
    ],
)
def test_a_wrong_option_is_named_and_leaves_no_session(
    lab: Lab, changes: dict[str, Any], failure: type[Exception], named: str
) -> None:
    before = lab.sessions()
    with pytest.raises(failure, match=named):
        lab.build(**changes)
    assert lab.sessions() == before


def test_all_parts_tell_the_same_listener_under_the_backends_name(lab: Lab) -> None:
    cache = lab.build()
    try:
        create(cache, 1)
        create(cache, 2)
        assert {event.backend for event in lab.events} == {"b1"}
        assert {Miss, Hit} <= {type(event) for event in lab.events}
        (entry,) = cache.store.entries()
        assert [(one.templates, one.provisioned_bytes) for one in cache.capacity()] == [
            (1, entry.size_bytes)
        ]
    finally:
        cache.close()


def test_settings_that_change_are_in_force_with_the_next_volume(lab: Lab) -> None:
    live = LiveSettings(Settings(enabled=True))
    cache = lab.build(live)
    try:
        create(cache, 1)
        live.change(Settings(enabled=False))
        with pytest.raises(errors.NotCacheable) as refused:
            create(cache, 2)
        assert refused.value.reason == Reason.DISABLED
        live.change(Settings(enabled=True, age_s=1))
        lab.vcenter.clock.advance(10)
        assert len(cache.purge.run()) == 1
    finally:
        cache.close()


class Marked:
    """MarkedImages: none."""

    def marked(self) -> list[Image]:
        return []


@pytest.mark.parametrize("marked", [None, Marked()])
def test_images_are_kept_warm_only_where_there_is_a_glance_to_ask(lab: Lab, marked: Any) -> None:
    cache = lab.build(marked=marked)
    try:
        assert (cache.warm_up is None) == (marked is None)
        assert cache.kept() == frozenset()
    finally:
        cache.close()

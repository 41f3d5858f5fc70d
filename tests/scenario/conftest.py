"""The whole engine on the fake vCenter: nothing between but HTTPS."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.clock import HastyClock, SharedHastyClock
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from vmdk_cache import wiring
from vmdk_cache.cache.events import Event
from vmdk_cache.cache.ports import Catalog, Volume
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.clock import Clock
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.image import Image
from vmdk_cache.locks import ToozLocks, coordinator
from vmdk_cache.vim.session import Endpoint

MIB = 1 << 20
GIB = 1 << 30
#: Replicas are made in the background, at a time of their own: tests/scenario/test_25_replicas.py.
SETTINGS = Settings(enabled=True, replicas=REPLICAS_OFF)
FOLDER = ("OpenStack", "Project (b1_image_cache)", "Volumes")


@pytest.fixture(scope="session")
def disk_image() -> FakeImage:
    """A real file system of 16 MiB in a streamOptimized VMDK."""
    return as_stream_optimized(filesystem_disk(16 * MIB))


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    with busy_vcenter(Model(hosts_per_cluster=2, datastores=2)) as running:
        yield running
        assert running.errors == []


def volume(number: int = 1, **changes: object) -> Volume:
    made = Volume(
        id=f"00000000-0000-4000-8000-{number:012}",
        name=f"volume-00000000-0000-4000-8000-{number:012}",
        instance_uuid=f"00000000-0000-4000-8000-{number:012}",
        size_bytes=GIB,
        disk_type="thin",
        adapter_type="lsiLogic",
        storage_profile=None,
        folder=("OpenStack", "Project (p1)", "Volumes"),
        extra_config={"cinder.volume.id": f"00000000-0000-4000-8000-{number:012}"},
        managed_by=("org.openstack.storage", "volume"),
        is_being_created=lambda: True,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@contextlib.contextmanager
def running_cache(
    endpoint: Endpoint,
    locks_url: str,
    events: Callable[[Event], None],
    settings: Settings | None = None,
    clock: Clock | None = None,
    catalog: Catalog | None = None,
    **backend: object,
) -> Iterator[wiring.RunningCache]:
    """A cache as a process of its own would run it.

    :param clock: one of its own by default
    """
    with coordinator(locks_url) as get_lock:
        cache = wiring.build(
            settings or SETTINGS,
            wiring.Backend(**{"name": "b1", "endpoint": endpoint, "folder": FOLDER, **backend}),  # type: ignore[arg-type]
            ToozLocks(get_lock, f"fake/{backend.get('name', 'b1')}", lambda: locks_url),
            events=events,
            catalog=catalog,
            clock=clock or HastyClock(),
        )
        try:
            yield cache
        finally:
            cache.close()


class Lab:
    """One vCenter, one image, one cache, and what a test asks of them."""

    def __init__(self, vcenter: VCenter, disk_image: FakeImage, path: pathlib.Path) -> None:
        self.vcenter = vcenter
        self.disk_image = disk_image
        self.image: Image = disk_image.image()
        self.source = FakeImageSource(disk_image)
        self.events: list[Event] = []
        self.locks_url = f"file://{path}"
        self.clock: Clock = SharedHastyClock(vcenter.clock)
        self.stack = contextlib.ExitStack()
        self.cache = self.process()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(
            host=self.vcenter.host,
            port=self.vcenter.port,
            user=self.vcenter.user,
            password=self.vcenter.password,
            ca_file=str(self.vcenter.ca_file),
            api_retry_count=3,
        )

    def process(
        self, settings: Settings | None = None, catalog: Catalog | None = None, **backend: object
    ) -> wiring.RunningCache:
        return self.stack.enter_context(
            running_cache(
                self.endpoint,
                self.locks_url,
                self.events.append,
                settings,
                self.clock,
                catalog,
                **backend,
            )
        )

    def create(self, number: int = 1, **changes: object) -> bool:
        """Whether the volume's creation was a hit."""
        return self.cache.images.create_volume(
            self.image, volume(number, **changes), self.source
        ).hit

    def templates(self) -> list[str]:
        return [vm.name for vm in self.vcenter.vms() if vm.config.template]

    def eventually(self, check: Callable[[], None], advancing_s: float = 0.0) -> None:
        """``check`` holds at last; what vCenter does by itself takes a moment of its own."""
        deadline = time.monotonic() + 20
        while True:
            self.vcenter.clock.advance(advancing_s)
            try:
                check()
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def assert_nothing_left(self) -> None:
        """No VM, no file, no lease, no bytes."""
        assert [vm.name for vm in self.vcenter.vms()] == []
        assert self.vcenter.leases() == []
        for name in ("DC0_DS0", "DC0_DS1"):
            assert self.vcenter.datastore(name).files() == {}
            assert self.vcenter.datastore(name).used_bytes == 0


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    made = Lab(vcenter, disk_image, tmp_path)
    with made.stack:
        yield made


__all__ = [
    "FOLDER",
    "GIB",
    "MIB",
    "RECORD_KEY",
    "SETTINGS",
    "Lab",
    "running_cache",
    "volume",
]

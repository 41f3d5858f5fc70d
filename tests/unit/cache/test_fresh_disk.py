"""A stream that has waited is opened again; any other stream is not."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import MemoryTransfer
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.events import Imported
from vmdk_cache.cache.fresh_disk import WAITS_S, FreshDisk
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image

PROXY_CUTS_AFTER_S = 60.0


class ProxiedSource:
    """An ImageSource behind a proxy that cuts idle connections.

    :ivar opened: how often it was opened
    :ivar closed: number of streams that were closed before their last byte
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.opened = 0
        self.closed = 0

    def open(self, image: Image) -> Iterator[bytes]:
        self.opened += 1
        return self._chunks(self._clock.monotonic())

    def _chunks(self, read_at: float) -> Iterator[bytes]:
        for chunk in (b"di", b"sk"):
            if self._clock.monotonic() - read_at >= PROXY_CUTS_AFTER_S:
                raise errors.SourceUnavailable("the proxy closed the connection")
            read_at = self._clock.monotonic()
            yield chunk


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def read_all(disk: FreshDisk) -> bytes:
    return b"".join(iter(disk.read, b""))


@pytest.mark.parametrize(("waited_s", "opened"), [(0, 1), (WAITS_S, 1), (WAITS_S + 1, 2), (700, 2)])
def test_a_stream_is_opened_again_after_a_wait(
    clock: ManualClock, waited_s: float, opened: int
) -> None:
    source = ProxiedSource(clock)
    with contextlib.closing(FreshDisk(MemoryTransfer(GIB), IMAGE, source, clock)) as disk:
        assert (disk.capacity_bytes, disk.length, disk.bytes_read) == (GIB, 4, 0)
        clock.advance(waited_s)
        assert read_all(disk) == b"disk"
        assert disk.bytes_read == 4
        disk.finish()
    assert source.opened == opened


def test_a_slow_upload_opens_no_second_stream(clock: ManualClock) -> None:
    source = ProxiedSource(clock)
    with contextlib.closing(FreshDisk(MemoryTransfer(GIB), IMAGE, source, clock)) as disk:
        assert disk.read() == b"di"
        clock.advance(PROXY_CUTS_AFTER_S - 1)
        assert disk.read() == b"sk"
    assert source.opened == 1


def test_an_image_that_changed_meanwhile_is_refused(clock: ManualClock) -> None:
    transfer = MemoryTransfer(GIB)
    with contextlib.closing(FreshDisk(transfer, IMAGE, ProxiedSource(clock), clock)) as disk:
        transfer.capacity_bytes = 2 * GIB
        clock.advance(WAITS_S + 1)
        with pytest.raises(errors.ImageCorrupt, match="another disk"):
            disk.read()


def test_every_stream_is_closed(clock: ManualClock) -> None:
    transfer = MemoryTransfer(GIB)
    with contextlib.closing(FreshDisk(transfer, IMAGE, ProxiedSource(clock), clock)) as disk:
        clock.advance(WAITS_S + 1)
        disk.read()
        assert transfer.open == 1
    assert transfer.open == 0


@pytest.mark.parametrize("wait", ["entries", "upload"])
def test_a_wait_for_room_or_for_vcenter_fails_no_import(world: World, wait: str) -> None:
    source = ProxiedSource(world.clock)
    engine = world.process(Settings(enabled=True, max_count=5))
    world.store.during[wait] = lambda: world.clock.advance(700)
    assert not engine.create_volume(IMAGE, volume(1), source).hit
    assert source.opened == 2
    (imported,) = (event for event in world.events if isinstance(event, Imported))
    assert imported.bytes_read == 4


def test_an_import_without_a_wait_downloads_once(world: World) -> None:
    source = ProxiedSource(world.clock)
    engine = world.process(Settings(enabled=True, max_count=5))
    assert not engine.create_volume(IMAGE, volume(1), source).hit
    assert source.opened == 1


@pytest.mark.parametrize("waited_s", [0, WAITS_S + 1])
def test_the_bytes_are_checked_at_the_end(clock: ManualClock, waited_s: float) -> None:
    image = dataclasses.replace(IMAGE, checksum="0" * 32)
    with contextlib.closing(
        FreshDisk(MemoryTransfer(GIB), image, ProxiedSource(clock), clock)
    ) as disk:
        clock.advance(waited_s)
        read_all(disk)
        with pytest.raises(errors.ImageCorrupt, match="other bytes"):
            disk.finish()

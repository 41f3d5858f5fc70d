"""An import whose data the receiving host refuses: is the image damaged, or is it the host?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.fakes.memory import MemorySource
from tests.unit.cache.conftest import IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.events import ImportFailed
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image


class SlowSource(MemorySource):
    """Takes an hour of the world's clock for each chunk."""

    def __init__(self, world: World) -> None:
        super().__init__(*[b"disk"] * 100)
        self._world = world
        self.chunks = 0

    def open(self, image: Image) -> Iterator[bytes]:
        for chunk in super().open(image):
            self._world.clock.advance(3600)
            self.chunks += 1
            yield chunk


def refused(world: World) -> None:
    """Let the next import be refused before it has read a byte."""
    world.store.faults["upload"] = [errors.UploadRefused("HTTP 400")]


def import_errors(world: World) -> list[str]:
    return [event.error for event in world.events if isinstance(event, ImportFailed)]


def test_a_refused_image_that_is_damaged_is_in_error(world: World) -> None:
    refused(world)
    world.transfer.damage = errors.ImageCorrupt("a grain is damaged")
    with pytest.raises(errors.ImageCorrupt, match="a grain"):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert import_errors(world) == ["ImageCorrupt"]
    assert world.store.vms == {}


def test_a_refused_image_is_read_to_its_end_before_it_is_thought_good(world: World) -> None:
    refused(world)
    with pytest.raises(errors.ImageCorrupt, match="other bytes than promised"):
        world.engine.create_volume(
            dataclasses.replace(IMAGE, checksum="0" * 32), volume(1), world.source
        )


def test_a_refused_image_that_is_whole_is_the_hosts_fault(world: World) -> None:
    refused(world)
    with pytest.raises(errors.UploadRefused):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.source.opened == 1, "the image was not checked"
    assert import_errors(world) == ["UploadRefused"]


@pytest.mark.parametrize(
    "failure", [errors.SourceUnavailable("gone"), errors.NotCacheable("unusual-format", "odd")]
)
def test_a_refused_image_that_cannot_be_checked_is_the_hosts_fault(
    world: World, failure: Exception
) -> None:
    refused(world)
    world.transfer.damage = failure
    with pytest.raises(errors.UploadRefused):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert import_errors(world) == ["UploadRefused"]


def test_a_check_that_takes_too_long_is_given_up(world: World) -> None:
    refused(world)
    source = SlowSource(world)
    with pytest.raises(errors.UploadRefused):
        world.engine.create_volume(IMAGE, volume(1), source)
    assert source.chunks == Settings().lock_timeout_s // 3600 + 1


def test_another_failure_of_an_import_checks_no_image(world: World) -> None:
    world.store.faults["upload"] = [errors.TaskFailed("HTTP 503")]
    world.transfer.damage = errors.ImageCorrupt("a grain is damaged")
    with pytest.raises(errors.TaskFailed):
        world.engine.create_volume(IMAGE, volume(1), world.source)
    assert world.source.opened == 0

"""What a run of ``verify`` says about disks that no usual vCenter sends."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.entries import entry
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise, truncated
from vmdk_cache.cache.key import fingerprint
from vmdk_cache.cli.progress import Progress
from vmdk_cache.cli.verify_run import Status, Target, VerifyRun
from vmdk_cache.image import Image

MIB = 1 << 20
IMAGE = as_stream_optimized(noise(MIB))


class Glance(FakeImageSource):
    """Has the image."""

    def describe(self, image_id: str) -> Image | None:
        return IMAGE.image(image_id)


class Exported:
    """A disk as a host sends it."""

    def __init__(self, file: bytes) -> None:
        self._chunks = iter([file[at : at + 5000] for at in range(0, len(file), 5000)])
        self.percents: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def progress(self, percent: int) -> None:
        self.percents.append(percent)


class Export:
    """Exports each template as the same disk."""

    def __init__(self, image: FakeImage) -> None:
        self.disk = Exported(image.file_bytes)

    @contextlib.contextmanager
    def open(self, entry: object) -> Iterator[Exported]:
        yield self.disk


class Shown(Progress):
    """Records the messages that it receives."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []

    def read(self, what: str, bytes_read: int, size_bytes: int) -> None:
        if "Glance" not in what:
            self.places.append((bytes_read, size_bytes))


def target(export: Export, image_fingerprint: str | None = None) -> Target:
    made = fingerprint(IMAGE.image()) if image_fingerprint is None else image_fingerprint
    template = entry("vm-1", image=IMAGE.image().id, fingerprint=made)
    template = dataclasses.replace(template, size_bytes=MIB)
    cache: Any = SimpleNamespace(export=export)
    return Target(cache, "vmware1", template, "debian", "DS1", "DS1")


def verified(copy: FakeImage, progress: Progress | None = None) -> Target:
    """The outcome for a template with that disk."""
    one = target(Export(copy))
    glance = Glance(IMAGE)
    run = VerifyRun([one], glance, progress=progress or Progress(), clock=ManualClock())
    assert run.run()
    return one


def test_zeros_beyond_the_images_end_make_no_difference() -> None:
    """vCenter rounds capacities up."""
    done = verified(as_stream_optimized(IMAGE.disk, capacity_bytes=2 * MIB))
    assert (done.status, done.detail) == (Status.OK, "")


def test_data_beyond_the_images_end_are_a_difference() -> None:
    done = verified(as_stream_optimized(IMAGE.disk + b"more" * 1024))
    assert (done.status, done.detail) == (
        Status.DIFFERS,
        f"first between byte {MIB} and byte {MIB + 65536}",
    )


def test_a_smaller_disk_is_a_difference() -> None:
    done = verified(as_stream_optimized(IMAGE.disk[: MIB // 2]))
    assert (done.status, done.detail) == (
        Status.DIFFERS,
        f"the disk has {MIB // 2} bytes, the image's disk {MIB}",
    )


@pytest.mark.parametrize(
    "copy",
    [truncated(IMAGE), FakeImage(b"<html>an error page</html>", MIB)],
    ids=["truncated", "no VMDK"],
)
def test_a_file_that_is_no_disk_is_no_difference(copy: FakeImage) -> None:
    done = verified(copy)
    assert done.status is Status.NOT_VERIFIED
    assert done.detail.startswith("what vCenter exports cannot be read: ")


def test_a_template_of_other_data_than_glance_has_now_is_not_read() -> None:
    export = Export(IMAGE)
    one = target(export, "of-another-upload")
    glance = Glance(IMAGE)
    assert VerifyRun([one], glance, progress=Progress(), clock=ManualClock()).run()
    assert one.status is Status.NOT_VERIFIED
    assert "has changed in Glance" in one.detail
    assert (export.disk.percents, glance.opened) == ([], 0)


def test_the_progress_of_a_copy_is_the_place_on_its_disk() -> None:
    """The number of bytes that the host will send is unknown."""
    shown = Shown()
    verified(IMAGE, shown)
    assert shown.places[0] == (0, MIB)
    assert shown.places == sorted(shown.places)
    assert shown.places[-1] == (MIB, MIB)

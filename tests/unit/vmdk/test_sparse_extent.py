"""A VMDK's header is checked field by field before it is believed, and so is each grain."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest

from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise
from vmdk_cache.errors import ImageCorrupt, ImageFormatError, NotCacheable
from vmdk_cache.vmdk.sparse_extent import GrainTally, SparseHeader
from vmdk_cache.vmdk.transfer import open_disk

DISK = b"data".ljust(1 << 20, b"\0")
STREAM = as_stream_optimized(DISK)
HEADER = SparseHeader.parse(STREAM.file_bytes)
LABEL = {"vmware_disktype": "streamOptimized"}


def with_field(offset: int, layout: str, value: object) -> FakeImage:
    data = bytearray(STREAM.file_bytes)
    struct.pack_into(layout, data, offset, value)
    return FakeImage(bytes(data), len(DISK), DISK, LABEL)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "match"),
    [
        (4, "<I", 0, "version 0"),
        (4, "<I", 4, "version 4"),
        (8, "<I", 0x20001, "markers without compression"),
        (12, "<Q", 0, "62 TiB"),
        (12, "<Q", (62 << 31) + 1, "62 TiB"),
        (12, "<Q", 1 << 63, "62 TiB"),
        (20, "<Q", 0, "power of two"),
        (20, "<Q", 4, "power of two"),
        (20, "<Q", 100, "power of two"),
        (20, "<Q", 1 << 60, "power of two"),
        (44, "<I", 0, "tables of 0 entries"),
        (73, "4s", b"\n \n\n", "text mode"),
    ],
)
def test_an_impossible_header_is_refused(
    offset: int, layout: str, value: object, match: str
) -> None:
    image = with_field(offset, layout, value)
    with pytest.raises(ImageFormatError, match=match):
        open_disk(image.image(), FakeImageSource(image))


@pytest.mark.parametrize(
    ("offset", "layout", "value", "match"),
    [
        (8, "<I", 0x10001, "compressed grains without markers"),
        (28, "<Q", 0, "no descriptor of up to 128 KiB at sector 1"),
        (28, "<Q", 2, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 0, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 256, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 1 << 40, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 128, "overlap"),
        (44, "<I", 1024, "tables of 1024 entries"),
        (20, "<Q", 256, "grains of 131072 bytes"),
        (20, "<Q", 2048, "grains of 1048576 bytes"),
        (56, "<Q", 1 << 63, "grain directory at sector"),
        (64, "<Q", 1 << 63, "data at sector"),
        (64, "<Q", 0, "overlap"),
        (77, "<H", 0, "compressed by method 0"),
    ],
)
def test_an_unusual_header_is_left_to_the_plain_import(
    offset: int, layout: str, value: object, match: str
) -> None:
    image = with_field(offset, layout, value)
    with pytest.raises(NotCacheable, match=match) as caught:
        open_disk(image.image(), FakeImageSource(image))
    assert caught.value.reason == "unusual-format"


# Grains


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        zlib.compress(bytes(65536))[:4],
        zlib.compress(bytes(65536))[:-1],
        zlib.compress(bytes(65537)),
        zlib.compress(bytes(64 << 20)),
        zlib.compress(b""),
        b"not deflated" * 9,
    ],
    ids=["nothing", "a byte", "4 bytes", "cut off", "a byte too many", "64 MiB", "empty", "text"],
)
def test_an_invalid_grain_is_damaged(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageCorrupt, match="grain at byte 512 is damaged"):
            HEADER.inflated(data, 512)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 512, 65536])
def test_a_grain_may_be_shorter_than_others(size: int) -> None:
    assert HEADER.inflated(zlib.compress(noise(size)), 512) == noise(size)


def test_the_tally_tells_grains_at_other_places_apart() -> None:
    tables, same, other = GrainTally(), GrainTally(), GrainTally()
    for tally, sectors in ((tables, (128, 300)), (same, (300, 128)), (other, (128, 301))):
        for index, sector in enumerate(sectors):
            tally.add(index, sector)
    assert tables.first_offset == same.first_offset == 128 * 512
    tables.check(same)
    with pytest.raises(ImageCorrupt, match="name 2 grains, but the file has 2 or different ones"):
        tables.check(other)

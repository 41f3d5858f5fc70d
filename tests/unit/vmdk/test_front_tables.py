"""VMDKs whose tables precede their grains: read in one pass, or left to the plain import."""

from __future__ import annotations

import inspect
import struct
import tracemalloc
from dataclasses import replace

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_monolithic_sparse,
    filesystem_disk,
    out_of_order_sparse,
    tables_in_front,
)
from vmdk_cache.errors import ImageCorrupt, NotCacheable
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.front_tables import GrainMap, read_tables
from vmdk_cache.vmdk.sparse_extent import SparseHeader
from vmdk_cache.vmdk.transfer import open_disk

DISK = filesystem_disk(40 << 20)
GRAIN = 64 << 10
SECTOR = 512
#: The directory is at sector 2, after a descriptor of one sector.
HEADER = SparseHeader(
    capacity_bytes=2 * 512 * GRAIN,
    grain_bytes=GRAIN,
    compressed=False,
    zero_grains=False,
    descriptor_offset=SECTOR,
    descriptor_bytes=SECTOR,
    directory_offset=2 * SECTOR,
    redundant_offset=None,
    data_offset=0,
)


def grains_in(
    entries: dict[int, int],
    header: SparseHeader = HEADER,
    *,
    directory: tuple[int, int] = (3, 7),
    keep_bytes: int | None = None,
) -> list[tuple[int, int]]:
    """(grain, byte of the file) as read from two tables with these entries, at sectors 3 and 7."""
    tables = [entries.get(index, 0) for index in range(2 * 512)]
    file = bytes(2 * SECTOR) + struct.pack("<2I", *directory).ljust(SECTOR, b"\0")
    file += struct.pack("<1024I", *tables)
    stream = ByteStream(iter([file[:keep_bytes]]))
    stream.skip_to(2 * SECTOR)
    grains = GrainMap(GRAIN)
    read_tables(stream, header, grains)
    return list(grains)


def test_tables_say_where_each_grain_is() -> None:
    found = grains_in({0: 128, 1: 256, 600: 384, 601: 600})
    assert found == [(0, 128 * SECTOR), (1, 256 * SECTOR), (600, 384 * SECTOR), (601, 600 * SECTOR)]


@pytest.mark.parametrize(
    ("directory", "copy"), [(None, 1024), (0, 1024), (1 << 40, 1024), (1024, 1 << 40), (1024, None)]
)
def test_either_copy_of_the_directory_suffices(directory: int | None, copy: int | None) -> None:
    header = replace(HEADER, directory_offset=directory, redundant_offset=copy)
    assert grains_in({5: 128}, header) == [(5, 128 * SECTOR)]


def test_an_entry_of_1_is_a_grain_of_zeros_if_the_header_says_so() -> None:
    assert grains_in({4: 1, 5: 128}, replace(HEADER, zero_grains=True)) == [(5, 128 * SECTOR)]
    with pytest.raises(NotCacheable, match="a grain within its header"):
        grains_in({4: 1, 5: 128})


@pytest.mark.parametrize(
    ("entries", "changes", "why"),
    [
        ({0: 256, 1: 128}, {}, "its grains are not in the order of the disk"),
        ({0: 128, 1: 200}, {}, "its grains are not in the order of the disk"),
        ({0: 4}, {}, "its grain tables come after its data"),
        ({0: 128}, {"directory": (7, 3)}, "its grain tables are not in the order of the disk"),
        (
            {0: 128},
            {"header": replace(HEADER, directory_offset=None)},
            "it has no grain directory in front of its data",
        ),
        (
            {0: 128},
            {"header": replace(HEADER, capacity_bytes=62 << 40, grain_bytes=8 * SECTOR)},
            "its grain directory has 32505856 entries",
        ),
    ],
)
def test_tables_that_need_seeking_are_left_to_the_plain_import(
    entries: dict[int, int], changes: dict[str, object], why: str
) -> None:
    with pytest.raises(NotCacheable, match=f"one pass: {why}") as caught:
        grains_in(entries, **changes)  # type: ignore[arg-type]
    assert caught.value.reason == "sparse-not-streamable"


def test_a_grain_beyond_the_end_of_the_disk_is_corrupt() -> None:
    header = replace(HEADER, capacity_bytes=601 * GRAIN)
    assert grains_in({600: 128}, header) == [(600, 128 * SECTOR)]
    with pytest.raises(ImageCorrupt, match="beyond the disk's end"):
        grains_in({601: 128}, header)


@pytest.mark.parametrize(
    ("keep_bytes", "part"), [(2 * SECTOR + 7, "grain directory"), (5 * SECTOR, "grain table")]
)
def test_tables_that_are_cut_off_are_corrupt(keep_bytes: int, part: str) -> None:
    with pytest.raises(ImageCorrupt, match=f"ends at byte {keep_bytes}, within or before a {part}"):
        grains_in({0: 128}, keep_bytes=keep_bytes)


@pytest.mark.parametrize(
    "image",
    [out_of_order_sparse(DISK), as_monolithic_sparse(DISK, tables_at_end=True)],
    ids=["grains in falling order", "tables behind the data"],
)
def test_a_sparse_file_that_needs_seeking_is_left_to_the_plain_import(image: FakeImage) -> None:
    source = FakeImageSource(image)
    with pytest.raises(NotCacheable, match="one pass") as caught:
        open_disk(image.image(), source)
    assert caught.value.reason == "sparse-not-streamable"
    assert source.closed == 1


def test_each_grain_behind_its_tables_can_be_checked() -> None:
    image = tables_in_front(DISK[: 3 << 20])
    data = bytearray(image.file_bytes)
    data[GRAIN + 60] ^= 0xFF
    damaged = replace(image, file_bytes=bytes(data))
    with open_disk(damaged.image(), FakeImageSource(damaged)) as disk:
        assert b"".join(disk)
        disk.finish()
    with (
        open_disk(damaged.image(), FakeImageSource(damaged), check_grains=True) as disk,
        pytest.raises(ImageCorrupt, match=f"grain at byte {GRAIN} is damaged"),
    ):
        b"".join(disk)


def test_a_file_of_too_many_runs_is_left_to_the_plain_import() -> None:
    grains = GrainMap(GRAIN)
    with pytest.raises(NotCacheable, match="too fragmented"):
        for index in range((1 << 20) + 1):
            grains.add(2 * index, 128 + 128 * index)
    assert sum(1 for _ in grains) == 1 << 20


def test_the_map_of_an_unfragmented_file_stays_small() -> None:
    tracemalloc.start()
    try:
        grains = GrainMap(GRAIN)
        for index in range(1 << 16):
            grains.add(index, 128 + 128 * index)
        # Threads that other tests have left behind may allocate meanwhile.
        mine = tracemalloc.Filter(True, inspect.getfile(GrainMap))
        traced = tracemalloc.take_snapshot().filter_traces([mine]).traces
    finally:
        tracemalloc.stop()
    assert 0 < sum(trace.size for trace in traced) < 16 << 10
    assert sum(1 for _ in grains) == 1 << 16

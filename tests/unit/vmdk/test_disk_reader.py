"""A disk that is read back is the one that was written, or the stream is refused."""

from __future__ import annotations

import pytest

from tests.fakes.images import (
    FakeImage,
    as_monolithic_sparse,
    as_stream_optimized,
    bit_flipped,
    filesystem_disk,
    truncated,
)
from vmdk_cache import errors
from vmdk_cache.vmdk.disk_reader import read_disk

MIB = 1 << 20


def read(image: FakeImage, chunk_bytes: int = 10_000) -> bytes:
    file = image.file_bytes
    disk = bytearray()

    def found(offset: int, data: bytes) -> None:
        disk.extend(bytes(max(0, offset + len(data) - len(disk))))
        disk[offset : offset + len(data)] = data

    chunks = (file[at : at + chunk_bytes] for at in range(0, len(file), chunk_bytes))
    capacity = read_disk(chunks, found)
    return bytes(disk).ljust(capacity, b"\0")


@pytest.mark.parametrize("tables", ["per-table", "end"])
@pytest.mark.parametrize("chunk_bytes", [1, 511, 1 << 20])
def test_the_disk_comes_back(tables: str, chunk_bytes: int) -> None:
    disk = filesystem_disk(4 * MIB)
    image = as_stream_optimized(disk, capacity_bytes=64 * MIB, tables=tables)
    assert read(image, chunk_bytes) == disk.ljust(64 * MIB, b"\0")


@pytest.mark.parametrize(
    "spoiled",
    [
        truncated(as_stream_optimized(filesystem_disk(4 * MIB))),
        bit_flipped(as_stream_optimized(filesystem_disk(4 * MIB))),
    ],
    ids=["cut-off", "damaged"],
)
def test_a_damaged_stream_is_refused(spoiled: FakeImage) -> None:
    with pytest.raises(errors.ImageError):
        read(spoiled)


def test_another_kind_of_vmdk_is_refused() -> None:
    with pytest.raises(errors.ImageFormatError, match="not streamOptimized"):
        read(as_monolithic_sparse(filesystem_disk(4 * MIB)))

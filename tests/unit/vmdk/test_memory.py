"""Memory use stays flat, however large the image: a generator makes gigabytes and keeps none."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.fakes.images import FakeImageSource, noise
from vmdk_cache.image import Image
from vmdk_cache.vmdk.disk_digest import DiskDigest, segment_bytes
from vmdk_cache.vmdk.transfer import open_disk

GIB = 1 << 30
CHUNK = bytes(1 << 20)
NOISE = noise(64 << 10)
READ_AHEAD_BYTES = 4 << 20
LIMIT_BYTES = READ_AHEAD_BYTES + (12 << 20)


def flat_chunks() -> Iterator[bytes]:
    """2 GiB of raw disk: one grain of noise in every MiB."""
    for _ in range(2048):
        yield NOISE + CHUNK[len(NOISE) :]


def sparse_chunks() -> Iterator[bytes]:
    """The same disk as a monolithicSparse VMDK: 2,048 grains, each a separate run."""
    tables = 2 * GIB // (64 << 10) // 512
    first_table = 22
    first_grain = 512
    head = struct.pack(
        "<4sIIQQQQIQQQB4sH433x", b"KDMV", 1, 1, 2 * GIB // 512, 128, 1, 20, 512, 0, 21,
        first_grain, 0, b"\n \r\n", 0,
    )  # fmt: skip
    text = (
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        f'createType="monolithicSparse"\nRW {2 * GIB // 512} SPARSE "disk.vmdk"\n'
    )
    head += text.encode().ljust(20 * 512, b"\0")
    directory = [first_table + 4 * number for number in range(tables)]
    head += struct.pack(f"<{tables}I", *directory).ljust(512, b"\0")
    entries = [0] * (tables * 512)
    for grain in range(2048):
        entries[grain * 16] = first_grain + 128 * grain
    head += struct.pack(f"<{len(entries)}I", *entries)
    yield head.ljust(first_grain * 512, b"\0")
    for _ in range(2048):
        yield NOISE


@pytest.mark.parametrize(
    ("chunks", "disk_type"), [(flat_chunks, "preallocated"), (sparse_chunks, "sparse")]
)
def test_converting_2_gib_takes_a_few_mib(chunks: object, disk_type: str) -> None:
    size_bytes = sum(len(chunk) for chunk in chunks())  # type: ignore[operator]
    image = Image("an-image", size_bytes, "vmdk", "bare", disk_type)
    source = FakeImageSource(chunks)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        with open_disk(image, source, read_ahead_bytes=READ_AHEAD_BYTES) as disk:
            assert disk.capacity_bytes == 2 * GIB
            sent = sum(len(piece) for piece in disk)
            disk.finish()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent > 2048 * len(NOISE), "the disk's data must have passed"
    assert peak_bytes < LIMIT_BYTES


@pytest.mark.parametrize(
    ("chunks", "disk_type"), [(flat_chunks, "preallocated"), (sparse_chunks, "sparse")]
)
def test_so_does_the_digest_of_2_gib(chunks: object, disk_type: str) -> None:
    size_bytes = sum(len(chunk) for chunk in chunks())  # type: ignore[operator]
    image = Image("an-image", size_bytes, "vmdk", "bare", disk_type)
    source = FakeImageSource(chunks)  # type: ignore[arg-type]
    digest, other = DiskDigest(segment_bytes(2 * GIB)), DiskDigest(segment_bytes(2 * GIB))
    tracemalloc.start()
    try:
        with open_disk(image, source, read_ahead_bytes=READ_AHEAD_BYTES) as disk:
            disk.read_content(digest.add)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for number in range(2048):
        other.add(number << 20, NOISE)
    assert digest.first_difference(other) is None
    assert peak_bytes < LIMIT_BYTES

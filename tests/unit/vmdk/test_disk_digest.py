"""Two files with the same disk have the same digest; one bit more or less, and they have not."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_flat,
    as_monolithic_sparse,
    as_ova,
    as_stream_optimized,
    damaged,
    filesystem_disk,
    tables_in_front,
    truncated,
)
from vmdk_cache.errors import ImageCorrupt, UnusualFormat
from vmdk_cache.vmdk.disk_digest import (
    BLOCK_BYTES,
    MAX_SEGMENTS,
    DiskDigest,
    Range,
    segment_bytes,
)
from vmdk_cache.vmdk.stream_optimized import read_disk
from vmdk_cache.vmdk.transfer import open_disk

KIB, MIB = 1 << 10, 1 << 20
BLOCKS = 12
CAPACITY = BLOCKS * BLOCK_BYTES


def disk_with(*numbers: int) -> bytes:
    """A disk whose blocks of these numbers hold data, each of its own, and the others zeros."""
    return b"".join(
        (number.to_bytes(2, "big") * BLOCK_BYTES)[:BLOCK_BYTES]
        if number - 1 in numbers
        else bytes(BLOCK_BYTES)
        for number in range(1, BLOCKS + 1)
    )


def digest_of(parts: list[tuple[int, bytes]], segment: int = 2 * BLOCK_BYTES) -> DiskDigest:
    made = DiskDigest(segment)
    for offset, data in parts:
        made.add(offset, data)
    return made


def cut(disk: bytes, size: int) -> list[tuple[int, bytes]]:
    return [(at, disk[at : at + size]) for at in range(0, len(disk), size)]


disks = st.sets(st.integers(0, BLOCKS - 1)).map(lambda numbers: disk_with(*numbers))
grain_sizes = st.sampled_from([4 * KIB, 8 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 1 * MIB])


@given(disks, grain_sizes, grain_sizes)
def test_the_size_of_the_grains_makes_no_difference(disk: bytes, one: int, other: int) -> None:
    assert digest_of(cut(disk, one)).first_difference(digest_of(cut(disk, other))) is None


@given(disks, st.randoms(use_true_random=False))
def test_neither_does_the_order_of_grains_of_64_kib_nor_whether_zeros_are_stored(
    disk: bytes, chance: random.Random
) -> None:
    parts = cut(disk, BLOCK_BYTES)
    stored = [(at, data) for at, data in parts if any(data)]
    chance.shuffle(stored)
    assert digest_of(parts).first_difference(digest_of(stored)) is None


@given(disks, st.integers(0, CAPACITY - 1), st.integers(1, 255), grain_sizes)
def test_one_changed_byte_is_found_in_its_segment(
    disk: bytes, at: int, change: int, grain: int
) -> None:
    changed = bytearray(disk)
    changed[at] ^= change
    found = digest_of(cut(disk, BLOCK_BYTES)).first_difference(
        digest_of(cut(bytes(changed), grain))
    )
    assert found is not None
    assert found.offset <= at < found.offset + found.size_bytes
    assert found.size_bytes == 2 * BLOCK_BYTES


def test_the_first_of_several_differences_is_reported() -> None:
    assert digest_of(cut(disk_with(1, 5, 9), BLOCK_BYTES)).first_difference(
        digest_of(cut(disk_with(1, 4, 8), BLOCK_BYTES))
    ) == Range(4 * BLOCK_BYTES, 2 * BLOCK_BYTES)


def test_two_blocks_that_changed_places_are_a_difference() -> None:
    disk = disk_with(2, 3)
    swapped = disk[: 2 * BLOCK_BYTES] + disk[3 * BLOCK_BYTES : 4 * BLOCK_BYTES]
    swapped += disk[2 * BLOCK_BYTES : 3 * BLOCK_BYTES] + disk[4 * BLOCK_BYTES :]
    assert digest_of(cut(disk, BLOCK_BYTES)).first_difference(
        digest_of(cut(swapped, BLOCK_BYTES))
    ) == Range(2 * BLOCK_BYTES, 2 * BLOCK_BYTES)


def test_a_short_last_grain_equals_a_padded_one() -> None:
    tail = b"tail" * 128
    short, padded = [(0, tail)], [(0, tail.ljust(BLOCK_BYTES, b"\0"))]
    assert digest_of(short).first_difference(digest_of(padded)) is None


def test_small_grains_in_another_order_than_the_disks_are_refused() -> None:
    made = DiskDigest(BLOCK_BYTES)
    made.add(BLOCK_BYTES, b"later" * 100)
    with pytest.raises(UnusualFormat, match="not in the order of the disk"):
        made.add(0, b"earlier")


@pytest.mark.parametrize("capacity", [1, 20 << 30, 62 << 40])
def test_a_disk_has_a_bounded_number_of_segments(capacity: int) -> None:
    length = segment_bytes(capacity)
    assert length % BLOCK_BYTES == 0
    assert -(-capacity // length) <= MAX_SEGMENTS


# -- images, however they store their disk

DISK = filesystem_disk(8 * MIB)
STORED = {
    "streamOptimized": as_stream_optimized(DISK),
    "streamOptimized, another level, tables at the end": as_stream_optimized(
        DISK, level=1, tables="end"
    ),
    "streamOptimized, tables in front": tables_in_front(DISK),
    "monolithicSparse": as_monolithic_sparse(DISK),
    "monolithicSparse, small grains": as_monolithic_sparse(DISK, grain_sectors=8),
    "raw": as_flat(DISK),
    "OVA": as_ova(as_stream_optimized(DISK)),
    "OVA of a sparse disk": as_ova(as_monolithic_sparse(DISK)),
}


def content_of(image: FakeImage) -> DiskDigest:
    made = DiskDigest(segment_bytes(len(DISK)))
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        assert disk.capacity_bytes == len(DISK)
        disk.read_content(made.add)
    return made


def raw(disk: bytes) -> DiskDigest:
    return digest_of(cut(disk, BLOCK_BYTES), segment_bytes(len(disk)))


@pytest.mark.parametrize("image", STORED.values(), ids=STORED.keys())
def test_every_form_of_an_image_has_the_digest_of_its_disk(image: FakeImage) -> None:
    assert content_of(image).first_difference(raw(DISK)) is None


@pytest.mark.parametrize("image", STORED.values(), ids=STORED.keys())
def test_the_disk_that_an_import_would_upload_has_the_same_digest(image: FakeImage) -> None:
    """An export sends such a stream back."""
    uploaded = DiskDigest(segment_bytes(len(DISK)))
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        read_disk(iter(disk), uploaded.add)
        disk.finish()
    assert content_of(image).first_difference(uploaded) is None


@pytest.mark.skipif(
    shutil.which("qemu-img") is None and os.environ.get("VMDK_CACHE_REQUIRE_ALL") != "1",
    reason="qemu-img is not installed (Debian: qemu-utils)",
)
@pytest.mark.parametrize("subformat", ["streamOptimized", "monolithicSparse"])
def test_files_of_qemu_have_the_digest_of_their_disk(subformat: str, tmp_path: Path) -> None:
    source, file = tmp_path / "disk.raw", tmp_path / "disk.vmdk"
    source.write_bytes(DISK)
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk"]
    subprocess.run([*command, "-o", f"subformat={subformat}", source, file], check=True)
    kind = {"streamOptimized": "streamOptimized", "monolithicSparse": "sparse"}[subformat]
    made = FakeImage(
        file.read_bytes(), len(DISK), DISK, glance_properties={"vmware_disktype": kind}
    )
    assert content_of(made).first_difference(raw(DISK)) is None


def test_an_image_that_differs_from_glances_hash_has_no_digest() -> None:
    image = as_stream_optimized(DISK)
    with (
        open_disk(image.image(os_hash_value="0" * 128), FakeImageSource(image)) as disk,
        pytest.raises(ImageCorrupt, match="Glance promised sha"),
    ):
        disk.read_content(lambda offset, data: None)


@pytest.mark.parametrize(
    "image",
    [truncated(as_stream_optimized(DISK)), damaged(as_stream_optimized(DISK))],
    ids=["truncated", "damaged grain"],
)
def test_a_damaged_image_has_no_digest(image: FakeImage) -> None:
    with (
        open_disk(image.image(), FakeImageSource(image)) as disk,
        pytest.raises(ImageCorrupt),
    ):
        disk.read_content(lambda offset, data: None)

"""Any disk survives every conversion, and garbage raises only our own errors."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_flat,
    as_monolithic_sparse,
    as_ova,
    as_stream_optimized,
    descriptor_pointing_at,
    noise,
    read_stream_optimized,
)
from vmdk_cache.errors import VmdkCacheError
from vmdk_cache.vmdk.stream_optimized import GRAIN_BYTES, compressed, written
from vmdk_cache.vmdk.transfer import open_disk

NO_PROMISE = {"os_hash_algo": None, "os_hash_value": None, "checksum": None}
PATIENT = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def disks(draw: st.DrawFn) -> bytes:
    """A disk of up to 300 grains, mostly zeros, with data in odd places."""
    size = 512 * draw(st.integers(1, 300 * 128))
    disk = bytearray(size)
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, size - 1))
        length = draw(st.integers(1, 200_000))
        data = noise(length, seed=start.to_bytes(8, "big"))
        disk[start : start + length] = data[: size - start]
    return bytes(disk)


@PATIENT
@given(
    disk=disks(),
    chunk_bytes=st.integers(100, 200_000),
    grain_sectors=st.sampled_from([8, 16, 64, 128]),
    redundant=st.booleans(),
    gap_sectors=st.integers(0, 3),
)
def test_sparse_to_stream_keeps_every_byte(
    disk: bytes, chunk_bytes: int, grain_sectors: int, redundant: bool, gap_sectors: int
) -> None:
    image = as_monolithic_sparse(
        disk, grain_sectors=grain_sectors, redundant=redundant, gap_sectors=gap_sectors
    )
    assert read_stream_optimized(_received(image, chunk_bytes)) == disk


@PATIENT
@given(disk=disks(), chunk_bytes=st.integers(100, 200_000))
def test_flat_to_stream_keeps_every_byte(disk: bytes, chunk_bytes: int) -> None:
    assert read_stream_optimized(_received(as_flat(disk), chunk_bytes)) == disk


@PATIENT
@given(disk=disks(), chunk_bytes=st.integers(1, 200_000), tables=st.sampled_from(["end", "table"]))
def test_stream_passes_whatever_the_chunks(disk: bytes, chunk_bytes: int, tables: str) -> None:
    image = as_stream_optimized(disk, tables="end" if tables == "end" else "per-table", level=1)
    assert _received(image, max(chunk_bytes, len(image.file_bytes) // 5000)) == image.file_bytes


@PATIENT
@given(
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 150_000)), max_size=8),
    st.integers(0, 100),
)
def test_pieces_of_any_size_and_place_become_grains(
    steps: list[tuple[int, int]], extra_sectors: int
) -> None:
    pieces, position = [], 0
    for gap, length in steps:
        pieces.append((position + gap, noise(length, seed=bytes([len(pieces)]))))
        position += gap + length
    capacity = -(-max(position, 1) // 512) * 512 + extra_sectors * 512
    disk = bytearray(capacity)
    for at, data in pieces:
        disk[at : at + len(data)] = data
    file = b"".join(written(capacity, compressed(pieces)))
    assert read_stream_optimized(file) == bytes(disk)


SMALL = bytes(3 * GRAIN_BYTES) + noise(5 * GRAIN_BYTES) + bytes(GRAIN_BYTES)
VALID = {
    "stream": as_stream_optimized(SMALL),
    "sparse": as_monolithic_sparse(SMALL),
    "ova": as_ova(as_stream_optimized(SMALL)),
    "ova of sparse": as_ova(as_monolithic_sparse(SMALL)),
    "descriptor": descriptor_pointing_at(),
}


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), changes=st.integers(1, 6), head_only=st.booleans())
def test_a_damaged_image_raises_our_errors_or_passes(
    name: str, seed: int, changes: int, head_only: bool
) -> None:
    rng = random.Random(seed)
    data = bytearray(VALID[name].file_bytes)
    for _ in range(changes):
        # Damage to headers, tables and markers is the interesting kind.
        end = rng.choice([80, 600, 20_000]) if head_only else len(data)
        width = rng.choice([1, 1, 4, 8])
        at = rng.randrange(max(1, end - width))
        data[at : at + width] = rng.choice([rng.randbytes(width), b"\xff" * width, bytes(width)])
    _survives(bytes(data), container_format=VALID[name].container_format)


@PATIENT
@given(
    start=st.sampled_from([b"", b"KDMV", b"KDMV\3\0\0\0\1\0\3\0", b"# Disk DescriptorFile\n"]),
    rest=st.binary(max_size=3000),
    disk_type=st.sampled_from([None, "preallocated", "sparse", "nonsense"]),
    container=st.sampled_from(["bare", "ova"]),
)
def test_garbage_raises_our_errors_or_passes(
    start: bytes, rest: bytes, disk_type: str | None, container: str
) -> None:
    _survives(start + rest, disk_type=disk_type, container_format=container)


def _received(image: FakeImage, chunk_bytes: int = 64 << 10) -> bytes:
    source = FakeImageSource(image, chunk_bytes=chunk_bytes)
    with open_disk(image.image(), source) as disk:
        assert disk.capacity_bytes == image.capacity_bytes
        file = b"".join(disk)
        disk.finish()
    return file


def _survives(data: bytes, **changes: object) -> None:
    image = FakeImage(data, 0).image(**NO_PROMISE, **changes)
    try:
        with open_disk(image, FakeImageSource(data)) as disk:
            for _ in disk:
                pass
            disk.finish()
    except VmdkCacheError as error:
        assert image.id in str(error)
        assert "\n" not in str(error)

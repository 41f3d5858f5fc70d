"""An image's stream as a disk: every kind of image, and every way in which it can be wrong."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_flat,
    as_monolithic_sparse,
    as_ova,
    as_stream_optimized,
    bit_flipped,
    damaged,
    descriptor_pointing_at,
    filesystem_disk,
    not_a_vmdk,
    read_files,
    read_stream_optimized,
    sparse_bomb,
    tables_in_front,
    truncated,
    with_markers,
)
from vmdk_cache.errors import (
    ImageCorrupt,
    ImageDataMissing,
    ImageError,
    ImageFormatError,
    NotCacheable,
    SourceUnavailable,
    VmdkCacheError,
)
from vmdk_cache.vmdk.transfer import open_disk

DISK = filesystem_disk(40 << 20)
STREAM = as_stream_optimized(DISK)
LABEL = {"vmware_disktype": "streamOptimized"}
SPARSE = as_monolithic_sparse(DISK)

CONVERTED = {
    "sparse": SPARSE,
    "sparse without redundant tables": as_monolithic_sparse(DISK, redundant=False),
    "sparse with small grains": as_monolithic_sparse(DISK, grain_sectors=8),
    "sparse with gaps between grains": as_monolithic_sparse(DISK, gap_sectors=3),
    "sparse whose labels lie": FakeImage(
        SPARSE.file_bytes, len(DISK), DISK, {"vmware_disktype": "preallocated"}
    ),
    "preallocated": as_flat(DISK),
    "thin": as_flat(DISK, disk_type="thin"),
    "preallocated, which is the default": replace(as_flat(DISK), glance_properties={}),
    "sparse in an OVA": as_ova(SPARSE),
    "disk of an odd number of sectors": as_flat(DISK[: 33 * 512]),
    "sparse with an odd number of sectors": as_monolithic_sparse(DISK[: (1 << 20) + 7 * 512]),
}


def received(image: FakeImage, check: bool = False, **changes: object) -> bytes:
    with open_disk(image.image(**changes), FakeImageSource(image), check_grains=check) as disk:
        data = b"".join(disk)
        disk.finish()
    return data


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("tables", ["per-table", "end"])
def test_stream_optimized_passes_unchanged(tables: str) -> None:
    image = as_stream_optimized(DISK, tables=tables)
    with open_disk(image.image(), FakeImageSource(image, chunk_bytes=777)) as disk:
        assert disk.capacity_bytes == len(DISK)
        assert disk.length == len(image.file_bytes)
        assert b"".join(disk) == image.file_bytes
        disk.finish()
        assert disk.bytes_read == len(image.file_bytes)
        assert disk.read() == b""


@pytest.mark.parametrize("image", CONVERTED.values(), ids=CONVERTED.keys())
def test_other_formats_become_stream_optimized(image: FakeImage) -> None:
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        assert disk.length is None
        assert disk.capacity_bytes == image.capacity_bytes
        file = b"".join(disk)
        disk.finish()
    assert read_stream_optimized(file) == image.disk


def test_the_file_system_on_the_disk_survives() -> None:
    disk = read_stream_optimized(received(as_flat(DISK)))
    assert read_files(disk) == read_files(DISK)
    assert hashlib.sha256(disk).hexdigest() == as_flat(DISK).disk_sha256


def test_an_empty_part_of_the_disk_costs_nothing() -> None:
    image = as_monolithic_sparse(DISK, capacity_bytes=20 << 30)
    assert len(received(image)) < len(received(SPARSE)) + (64 << 10)


@pytest.mark.parametrize("image", [as_stream_optimized, as_monolithic_sparse, as_flat])
def test_a_disk_of_zeros_is_a_disk(image: object) -> None:
    empty = image(bytes(1 << 20))  # type: ignore[operator]
    assert read_stream_optimized(received(empty)) == bytes(1 << 20)


def test_the_disk_of_an_ova_passes_unchanged() -> None:
    ova = as_ova(STREAM, extra_members=(("note.txt", b"after the disk" * 9999),))
    with open_disk(ova.image(), FakeImageSource(ova)) as disk:
        assert disk.length == len(STREAM.file_bytes)
        assert b"".join(disk) == STREAM.file_bytes
        disk.finish()
        assert disk.bytes_read == len(ova.file_bytes), "the hash must cover the whole file"


@pytest.mark.parametrize("size", [1, 512, 1000, 1 << 20])
def test_read_gives_what_was_asked_for(size: int) -> None:
    image = as_stream_optimized(DISK[: 1 << 18])
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        pieces = []
        while piece := disk.read(size):
            pieces.append(piece)
    assert {len(piece) for piece in pieces[:-1]} <= {size}
    assert b"".join(pieces) == image.file_bytes


@pytest.mark.parametrize("value", [0, 7, 1 << 40], ids=["no value", "a few", "many"])
def test_markers_of_progress_pass_unchanged(value: int) -> None:
    """They are one sector each, whatever their value is."""
    marker = struct.pack("<QIIQ", value, 0, 4, 128).ljust(512, b"\0")
    image = replace(STREAM, file_bytes=with_markers(STREAM.file_bytes, marker * 4))
    assert received(image) == image.file_bytes
    assert received(image, check=True) == image.file_bytes


@pytest.mark.parametrize("kind", [5, 6, 1 << 31])
def test_a_marker_of_an_unknown_type_is_corrupt(kind: int) -> None:
    marker = struct.pack("<QII", 0, 0, kind).ljust(512, b"\0")
    image = replace(STREAM, file_bytes=with_markers(STREAM.file_bytes, marker))
    with pytest.raises(ImageCorrupt, match=f"impossible marker .type {kind}"):
        received(image)


def test_bytes_behind_the_end_of_the_stream_are_read_and_hashed() -> None:
    padded = FakeImage(STREAM.file_bytes + bytes(5000), len(DISK))
    assert received(padded) == padded.file_bytes


# What Glance promised and what it sent


@pytest.mark.parametrize("image", [STREAM, SPARSE, as_flat(DISK), as_ova(STREAM)],
                         ids=["stream", "sparse", "flat", "ova"])  # fmt: skip
def test_a_flipped_bit_never_reaches_the_end(image: FakeImage) -> None:
    promised, sent = image.image(), bit_flipped(image)
    digest = hashlib.sha512(sent.file_bytes).hexdigest()
    with (
        pytest.raises(ImageCorrupt, match=f"{promised.os_hash_value}.*{digest}"),
        open_disk(promised, FakeImageSource(sent)) as disk,
    ):
        for _ in disk:
            pass
        disk.finish()


def test_of_a_corrupt_stream_the_last_bytes_are_withheld() -> None:
    handed_out = 0
    sent = bit_flipped(STREAM)
    with open_disk(sent.image(), FakeImageSource(sent)) as disk, pytest.raises(ImageCorrupt):
        for piece in disk:
            handed_out += len(piece)
    assert disk.length is not None
    assert 0 < handed_out < disk.length


def test_an_unknown_size_is_fine_where_the_file_knows_its_own() -> None:
    with open_disk(STREAM.image(size_bytes=0), FakeImageSource(STREAM)) as disk:
        assert disk.length is None
        assert b"".join(disk) == STREAM.file_bytes
        disk.finish()
    with pytest.raises(NotCacheable, match="does not report its size"):
        received(as_flat(DISK), size_bytes=0)


@pytest.mark.parametrize("image", [STREAM, SPARSE, as_flat(DISK), as_ova(STREAM)],
                         ids=["stream", "sparse", "flat", "ova"])  # fmt: skip
def test_an_image_without_any_byte_is_missing(image: FakeImage) -> None:
    lengths = f"promised {len(image.file_bytes)} bytes but sent none"
    with pytest.raises(ImageDataMissing, match=lengths):
        received(truncated(image, keep_bytes=0))


@pytest.mark.parametrize("image", [STREAM, SPARSE, as_flat(DISK), as_ova(STREAM)],
                         ids=["stream", "sparse", "flat", "ova"])  # fmt: skip
@pytest.mark.parametrize("keep", [1, 100, 700, 30_000, -1, -600, -70_000])
def test_a_truncated_file_names_both_lengths(image: FakeImage, keep: int) -> None:
    cut = truncated(image, keep_bytes=keep % len(image.file_bytes))
    lengths = f"promised {len(image.file_bytes)} bytes but sent {len(cut.file_bytes)}"
    with pytest.raises(ImageCorrupt, match=lengths):
        received(cut)


NO_PROMISE = {"size_bytes": 0, "os_hash_algo": None, "os_hash_value": None, "checksum": None}


@pytest.mark.parametrize("keep", [700, 65_000, 70_000, -1, -512, -1024, -2048, -70_000])
@pytest.mark.parametrize("image", [STREAM, as_stream_optimized(DISK, tables="end")],
                         ids=["per-table", "end"])  # fmt: skip
def test_a_truncated_stream_is_noticed_without_any_promise(image: FakeImage, keep: int) -> None:
    with pytest.raises(ImageError):
        received(truncated(image, keep_bytes=keep % len(image.file_bytes)), **NO_PROMISE)


def test_a_disk_of_an_ova_cut_behind_its_last_grain_is_noticed_without_any_promise() -> None:
    disk = replace(SPARSE, file_bytes=SPARSE.file_bytes + bytes(8 << 10))
    ova = as_ova(disk)
    end = ova.file_bytes.index(disk.file_bytes) + len(disk.file_bytes)
    with pytest.raises(ImageCorrupt, match="ends within its member"):
        received(truncated(ova, keep_bytes=end - (4 << 10)), **NO_PROMISE)


def test_a_missing_grain_is_noticed_without_any_promise() -> None:
    file = STREAM.file_bytes
    size = 12 + int.from_bytes(file[65536 + 8 : 65536 + 12], "little")
    size += -size % 512
    without = FakeImage(file[:65536] + file[65536 + size :], len(DISK), DISK, LABEL)
    with pytest.raises(ImageCorrupt, match="tables name"):
        received(without, **NO_PROMISE)


# A check of each grain, after a host has refused the data


WHOLE = {
    "stream": STREAM,
    "tables at its end": as_stream_optimized(DISK, tables="end"),
    "level 0": as_stream_optimized(DISK, level=0),
    "OVA": as_ova(STREAM),
    "sparse": SPARSE,
    "flat": as_flat(DISK),
    "as qemu-img writes it": tables_in_front(DISK[: 3 << 20]),
    "odd end": as_stream_optimized(DISK[: (1 << 20) + 7 * 512]),
}


@pytest.mark.parametrize(
    "chunk_bytes",
    [pytest.param(1, marks=pytest.mark.slow(reason="a byte at a time")), 13, 700, 64 << 10],
)
@pytest.mark.parametrize("image", WHOLE.values(), ids=WHOLE.keys())
def test_a_look_into_the_grains_changes_nothing(image: FakeImage, chunk_bytes: int) -> None:
    if chunk_bytes < 700:
        image = replace(image, file_bytes=image.file_bytes[: 200 << 10])
    pieces = []
    for check in (False, True):
        source = FakeImageSource(image, chunk_bytes=chunk_bytes)
        promised = image.image(disk_type="streamOptimized")
        made: list[bytes] = []
        try:
            with open_disk(promised, source, check_grains=check) as disk:
                made.extend(disk)
                disk.finish()
        except ImageError as error:
            made.append(str(error).encode())
        pieces.append(b"".join(made))
    assert pieces[0] == pieces[1]


@pytest.mark.parametrize("grain", [0, 1, 17])
@pytest.mark.parametrize("wrap", [lambda image: image, as_ova], ids=["bare", "OVA"])
def test_a_look_into_the_grains_finds_a_damaged_one(
    grain: int, wrap: Callable[[FakeImage], FakeImage]
) -> None:
    image = wrap(damaged(STREAM, grain=grain))
    received(image)
    with pytest.raises(ImageCorrupt, match=r"grain at byte \d+ is damaged"):
        received(image, check=True)


def test_a_grain_that_ends_within_its_marker_is_damaged() -> None:
    """Four bytes of it are part of what is read as a marker."""
    for size in (1, 3, 4):
        file = bytearray(STREAM.file_bytes)
        struct.pack_into("<I", file, 65536 + 8, size)
        image = replace(STREAM, file_bytes=bytes(file))
        with pytest.raises(ImageCorrupt, match="grain at byte 65536 is damaged"):
            received(image, check=True)


# What is refused before the first byte goes out


def refused(image: FakeImage, error: type[VmdkCacheError], match: str, **changes: object) -> None:
    source = FakeImageSource(image)
    with pytest.raises(error, match=match) as caught:
        open_disk(image.image(**changes), source)
    assert image.image().id in str(caught.value), "which image?"
    assert source.closed == source.opened == 1


def test_a_descriptor_that_names_other_files_is_refused() -> None:
    for label in ("streamOptimized", "sparse"):
        refused(descriptor_pointing_at(), ImageFormatError, "text descriptor.*qemu-img convert",
                disk_type=label)  # fmt: skip
    refused(descriptor_pointing_at(embedded=True), ImageFormatError, "names another file")


@pytest.mark.parametrize("label", ["streamOptimized", "sparse", "nonsense"])
def test_another_format_is_refused_where_a_vmdk_is_promised(label: str) -> None:
    refused(not_a_vmdk(), ImageFormatError, "qcow2.*qemu-img convert", disk_type=label)
    refused(as_flat(DISK), ImageFormatError, "not a VMDK, although vmware_disktype=.*preallocated",
            disk_type=label)  # fmt: skip


@pytest.mark.parametrize("label", [None, "preallocated", "thin"])
@pytest.mark.parametrize(
    "image",
    [not_a_vmdk(), descriptor_pointing_at(), descriptor_pointing_at(embedded=True),
     as_ova(as_flat(DISK)), FakeImage(b"", 0)],
    ids=["qcow2", "text", "embedded text", "OVA of raw bytes", "empty"],
)  # fmt: skip
def test_where_raw_bytes_are_promised_no_file_is_refused(
    image: FakeImage, label: str | None
) -> None:
    refused(image, NotCacheable, f"vmware_disktype is {repr(label) if label else 'not set'}",
            disk_type=label)  # fmt: skip


def test_a_vmdk_that_turns_out_damaged_is_refused_only_where_a_vmdk_is_promised() -> None:
    half = replace(truncated(STREAM), promised_bytes=None)
    with pytest.raises(ImageCorrupt, match="without its footer"):
        received(half)
    with pytest.raises(NotCacheable, match=r"without its footer.*vmware_disktype is not set"):
        received(half, disk_type=None)


def test_a_broken_promise_is_corrupt_whatever_the_label() -> None:
    with pytest.raises(ImageCorrupt, match="promised"):
        received(truncated(STREAM), disk_type=None)
    with pytest.raises(ImageCorrupt, match="promised sha512"):
        received(bit_flipped(as_flat(DISK)), disk_type=None)


def test_raw_bytes_that_are_no_whole_sectors_are_left_to_the_plain_import() -> None:
    refused(as_flat(DISK[:1000]), NotCacheable, "a raw disk of 1000 bytes, not a multiple of 512")


def test_more_raw_bytes_than_a_disk_can_have_are_left_to_the_plain_import() -> None:
    refused(as_flat(DISK), NotCacheable, "62 TiB", size_bytes=(62 << 40) + 512)
    largest = as_flat(DISK).image(size_bytes=62 << 40)
    with open_disk(largest, FakeImageSource(as_flat(DISK))) as disk:
        assert disk.capacity_bytes == 62 << 40


def test_an_empty_file_is_refused() -> None:
    refused(FakeImage(b"", 0), ImageFormatError, "is empty", disk_type="streamOptimized")


def test_a_sparse_bomb_shows_its_size_before_anything_is_read() -> None:
    bomb = sparse_bomb()
    gate = threading.Event()
    source = FakeImageSource(bomb, gate=gate, gate_after_bytes=1 << 20)
    with open_disk(bomb.image(), source) as disk:
        assert disk.capacity_bytes == 62 << 40
        gate.set()


# The end of the stream


def test_an_error_stays() -> None:
    source = FakeImageSource(SPARSE, fail_after_bytes=1 << 20)
    with open_disk(SPARSE.image(), source) as disk:
        for attempt in (lambda: b"".join(disk), lambda: disk.read(1), disk.finish):
            with pytest.raises(SourceUnavailable):
                attempt()


def test_finish_before_the_end_is_a_mistake_of_the_caller() -> None:
    with open_disk(STREAM.image(), FakeImageSource(STREAM)) as disk:
        disk.read(1000)
        with pytest.raises(RuntimeError, match="before the last byte"):
            disk.finish()

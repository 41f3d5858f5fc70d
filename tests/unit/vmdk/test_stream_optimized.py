"""Writing, checking and reading streamOptimized VMDKs: sizes, tables, markers, compression."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.fakes.images import (
    GRAIN,
    SECTOR,
    FakeImage,
    as_monolithic_sparse,
    as_stream_optimized,
    bit_flipped,
    filesystem_disk,
    noise,
    read_stream_optimized,
    tables_in_front,
    truncated,
)
from vmdk_cache.errors import ImageCorrupt, ImageError, ImageFormatError, NotCacheable
from vmdk_cache.vmdk import stream_optimized
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.sparse_extent import SparseHeader
from vmdk_cache.vmdk.stream_optimized import checked, compressed, read_disk, written

TEXT = (b"a text that shrinks, " * 4000)[:GRAIN]
TABLE_SPAN = 512 * GRAIN


def check(file: bytes, chunk_bytes: int = 1 << 20, *, inflate: bool = False) -> bytes:
    chunks = (file[at : at + chunk_bytes] for at in range(0, len(file), chunk_bytes))
    return b"".join(checked(ByteStream(chunks), SparseHeader.parse(file), inflate=inflate))


def written_file(pieces: list[tuple[int, bytes]], capacity_bytes: int) -> bytes:
    return b"".join(written(capacity_bytes, compressed(pieces)))


# Compression


def test_data_that_shrink_are_compressed() -> None:
    ((at, data),) = compressed([(0, TEXT)])
    assert at == 0
    assert data == zlib.compress(TEXT, 1)
    assert len(data) < len(TEXT) // 20


def test_data_that_do_not_shrink_are_stored() -> None:
    grain = noise(GRAIN)
    assert list(compressed([(0, grain)])) == [(0, zlib.compress(grain, 0))]


@pytest.mark.parametrize("part", range(4))
def test_a_quarter_that_shrinks_is_worth_the_time(part: int) -> None:
    grain = bytearray(noise(GRAIN))
    grain[part * GRAIN // 4 : (part + 1) * GRAIN // 4] = TEXT[: GRAIN // 4]
    ((_, data),) = compressed([(0, bytes(grain))])
    assert data == zlib.compress(bytes(grain), 1)


def test_grains_of_zeros_are_left_out() -> None:
    pieces = [(0, bytes(GRAIN)), (GRAIN, TEXT), (2 * GRAIN, bytes(GRAIN - 1) + b"1")]
    assert [at for at, _ in compressed(pieces)] == [GRAIN, 2 * GRAIN]


@pytest.mark.parametrize(
    "pieces",
    [
        [(0, TEXT[:1000]), (1000, TEXT[1000:])],
        [(GRAIN, TEXT[:1000]), (GRAIN + 1000, TEXT[1000:])],
        [(0, TEXT[:512]), (GRAIN, TEXT)],
        [(512, TEXT[512:])],
        [(0, TEXT[:-512])],
        [(0, TEXT), (GRAIN, TEXT[:512])],
        [(512, TEXT[:512]), (GRAIN + 512, TEXT), (3 * GRAIN, TEXT)],
        [(0, TEXT * 3)],
        [(512, (TEXT * 3)[: 2 * GRAIN])],
    ],
)
def test_pieces_become_whole_grains(pieces: list[tuple[int, bytes]]) -> None:
    disk = bytearray(4 * GRAIN)
    for at, data in pieces:
        disk[at : at + len(data)] = data
    last = -1
    for at, data in compressed(pieces):
        assert at > last, "grains rise with their place on the disk"
        last = at
        grain = zlib.decompress(data)
        assert len(grain) == GRAIN
        assert grain == disk[at : at + GRAIN]
        disk[at : at + GRAIN] = bytes(GRAIN)
    assert not disk.strip(b"\0"), "a piece is lost"


# Writing


@pytest.mark.parametrize("capacity_bytes", [SECTOR, GRAIN, TABLE_SPAN, TABLE_SPAN + SECTOR])
def test_a_disk_of_any_capacity_has_all_its_tables(capacity_bytes: int) -> None:
    last = capacity_bytes - SECTOR
    file = written_file([(0, b"1" * SECTOR), (last, b"2" * SECTOR)] if last else [(0, b"1" * 512)],
                        capacity_bytes)  # fmt: skip
    disk = read_stream_optimized(file)
    assert len(disk) == capacity_bytes
    assert disk[:SECTOR].strip(b"1") == b""
    assert not last or disk[-SECTOR:].strip(b"2") == b""
    assert check(file) == file


def test_tables_follow_their_grains_and_empty_ones_are_left_out() -> None:
    pieces = [
        (0, TEXT),
        (2 * TABLE_SPAN, TEXT),
        (2 * TABLE_SPAN + GRAIN, TEXT),
        (5 * TABLE_SPAN, TEXT),
    ]
    file = written_file(pieces, 6 * TABLE_SPAN)
    assert [kind for kind, _ in markers(file)] == [
        "grain",
        1,
        "grain",
        "grain",
        1,
        "grain",
        1,
        2,
        3,
        0,
    ]
    (directory_at,) = struct.unpack_from("<Q", file, len(file) - 1024 + 56)
    directory = struct.unpack_from("<6I", file, directory_at * SECTOR)
    assert [bool(entry) for entry in directory] == [True, False, True, False, False, True]
    disk = read_stream_optimized(file)
    for at, data in pieces:
        assert disk[at : at + GRAIN] == data


def test_a_disk_without_data_has_no_table() -> None:
    file = written_file([], TABLE_SPAN)
    assert [kind for kind, _ in markers(file)] == [2, 3, 0]
    assert check(file) == file


def test_more_data_than_a_sparse_vmdk_can_hold_is_left_to_the_plain_import() -> None:
    """Its tables number sectors in 32 bits; writing 2 TiB first would take a test too long."""
    assert stream_optimized._entry((1 << 41) - 512) == (1 << 32) - 1
    with pytest.raises(NotCacheable, match="2 TiB") as caught:
        stream_optimized._entry(1 << 41)
    assert caught.value.reason == "unusual-format"


@pytest.mark.parametrize("capacity_bytes", [0, -SECTOR, SECTOR + 1, (62 << 40) + SECTOR])
def test_an_impossible_capacity_is_a_mistake_of_the_caller(capacity_bytes: int) -> None:
    with pytest.raises(AssertionError):
        next(written(capacity_bytes, []))


def test_the_largest_disk_can_be_written() -> None:
    head = next(written(62 << 40, []))
    assert SparseHeader.parse(head).capacity_bytes == 62 << 40


def test_the_adapter_is_named_in_the_descriptor() -> None:
    assert b'ddb.adapterType = "ide"' in b"".join(written(GRAIN, [], adapter="ide"))


# Checking


DISK = TEXT + bytes(GRAIN) + noise(GRAIN) + TEXT[: 5 * SECTOR]
FILE = as_stream_optimized(DISK).file_bytes


def markers(file: bytes) -> list[tuple[object, int]]:
    """(type or "grain", byte) of each marker."""
    found: list[tuple[object, int]] = []
    position = GRAIN
    while position < len(file):
        value, size, kind = struct.unpack_from("<QII", file, position)
        found.append(("grain" if size else kind, position))
        position += -(-(12 + size) // SECTOR) * SECTOR if size else SECTOR * (1 + value)
        if not size and not kind:
            break
    return found


def at_of(kind: object) -> int:
    return next(at for found, at in markers(FILE) if found == kind)


def changed(at: int, layout: str, *values: int) -> bytes:
    data = bytearray(FILE)
    struct.pack_into(layout, data, at, *values)
    return bytes(data)


def refused(file: bytes, match: str) -> None:
    for chunk_bytes in (1 << 20, 700):
        with pytest.raises(ImageCorrupt, match=match):
            check(file, chunk_bytes)


@pytest.mark.parametrize("inflate", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 11, 512, 1 << 20])
@pytest.mark.parametrize("tables", ["per-table", "end"])
def test_a_whole_file_passes(tables: str, chunk_bytes: int, inflate: bool) -> None:
    file = as_stream_optimized(DISK[:GRAIN] if chunk_bytes == 1 else DISK, tables=tables).file_bytes
    assert check(file, chunk_bytes, inflate=inflate) == file


def test_a_grain_at_the_end_of_the_disk_is_possible_and_one_behind_is_not() -> None:
    grains = [at for kind, at in markers(FILE) if kind == "grain"]
    last = len(DISK) // GRAIN * GRAIN // SECTOR
    assert struct.unpack_from("<Q", FILE, grains[-1]) == (last,)
    refused(changed(grains[-1], "<Q", last + 128), rf"impossible grain \(sector {last + 128} ")
    refused(changed(grains[-1], "<Q", last + 1), "impossible grain")
    refused(changed(grains[0], "<I", 1), "impossible grain")


def test_a_compressed_grain_is_at_most_twice_as_large_as_a_grain() -> None:
    for size_bytes, match in (
        (2 * GRAIN, "is truncated|ends after"),
        (2 * GRAIN + 1, "impossible grain"),
    ):
        refused(changed(GRAIN + 8, "<I", size_bytes)[: GRAIN + 100], match)


def test_tables_have_one_size() -> None:
    refused(changed(at_of(1), "<Q", 5), r"impossible marker \(type 1, 5 sectors\)")
    refused(changed(at_of(1), "<Q", 3), r"impossible marker \(type 1, 3 sectors\)")


def test_a_directory_is_no_larger_than_its_disk_wants() -> None:
    refused(changed(at_of(2), "<Q", 2), rf"type 2, 2 sectors\) at byte {at_of(2)}$")


def test_a_footer_has_one_sector() -> None:
    refused(changed(at_of(3), "<Q", 2), r"type 3, 2 sectors\)")


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [(12, "<Q", 4096), (20, "<Q", 64), (28, "<Q", 2), (56, "<Q", (1 << 64) - 1)],
)
def test_a_footer_repeats_the_header(offset: int, layout: str, value: int) -> None:
    refused(changed(at_of(3) + SECTOR + offset, layout, value), "contradicts")


def test_a_file_without_footer_or_end_is_cut_off() -> None:
    end = "without its footer and end-of-stream marker"
    refused(FILE[:-SECTOR], end)
    footer = at_of(3)
    refused(FILE[:footer] + FILE[footer + 2 * SECTOR :], end)
    refused(FILE[: GRAIN // 2], end)


def test_a_directory_in_front_asks_for_no_footer() -> None:
    """Its grains and their end are still checked."""
    file = tables_in_front(DISK).file_bytes
    assert SparseHeader.parse(file).directory_offset is not None
    assert check(file) == file
    assert check(file[:-SECTOR]) == file[:-SECTOR]
    for cut in (SECTOR - 12, SECTOR - 20, SECTOR - 1):  # within its last grain, which is short
        with pytest.raises(ImageCorrupt, match="is truncated"):
            check(file[: -SECTOR - cut])


def test_an_end_of_stream_is_a_whole_sector() -> None:
    file = changed(
        56, "<Q", 21
    )  # with a directory in front no end is asked for, but whole it must be
    assert check(file) == file
    refused(file[:-1], f"is truncated after {len(FILE) - 1} bytes")


def test_tables_name_the_grains_that_came() -> None:
    table = at_of(1) + SECTOR
    first, _, third = struct.unpack_from("<3I", FILE, table)
    refused(changed(table, "<I", 0), "tables name 2 grains, but the file has 3 or different ones")
    refused(
        changed(table, "<I", first + 1),
        "tables name 3 grains, but the file has 3 or different ones",
    )
    refused(changed(table + 4, "<I", third), "tables name 4 grains, but the file has 3")
    assert check(changed(table + 4, "<I", 1)) != b"", "1 stands for a grain of zeros"


def test_bytes_after_the_end_of_stream_are_ignored() -> None:
    file = FILE + struct.pack("<QII", 7, 0, 9).ljust(SECTOR, b"\0")
    assert check(file) == file


def test_a_grain_is_found_where_its_marker_says() -> None:
    """Sizes around whole sectors, with and without a check of each grain."""
    for size_bytes in range(495, 520):
        packed = zlib.compress(noise(size_bytes - 11), 0)
        file = with_grain(packed)
        for inflate in (False, True):
            assert check(file, inflate=inflate) == file


def with_grain(packed: bytes) -> bytes:
    """A file of one grain with this compressed data."""
    return b"".join(written(GRAIN, [(0, packed)]))


def test_our_own_files_pass_with_a_look_into_each_grain() -> None:
    image = FakeImage(written_file([(0, DISK)], len(DISK)), len(DISK))
    assert check(image.file_bytes, 333, inflate=True) == image.file_bytes


# Reading back


def disk_of(image: FakeImage, chunk_bytes: int = 10_000) -> bytes:
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
    disk = filesystem_disk(4 << 20)
    image = as_stream_optimized(disk, capacity_bytes=64 << 20, tables=tables)
    assert disk_of(image, chunk_bytes) == disk.ljust(64 << 20, b"\0")


@pytest.mark.parametrize(
    "spoiled",
    [
        truncated(as_stream_optimized(filesystem_disk(4 << 20))),
        bit_flipped(as_stream_optimized(filesystem_disk(4 << 20))),
    ],
    ids=["cut-off", "damaged"],
)
def test_a_damaged_stream_is_refused(spoiled: FakeImage) -> None:
    with pytest.raises(ImageError):
        disk_of(spoiled)


def test_another_kind_of_vmdk_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="not streamOptimized"):
        disk_of(as_monolithic_sparse(filesystem_disk(4 << 20)))

"""The fake reads and writes VMDK files correctly."""

from __future__ import annotations

import os
import random
import struct
import zlib

import pytest
from oslo_utils.imageutils import format_inspector

from tests.fakes.vcenter import vmdk
from tests.fakes.vcenter.disk import GRAIN_BYTES, DiskContent


def _disk() -> DiskContent:
    disk = DiskContent(3 * 512 * GRAIN_BYTES // 2 + 512)
    disk.write(0, b"boot" * 1000)
    disk.write(600 * GRAIN_BYTES + 17, os.urandom(3 * GRAIN_BYTES))
    disk.write(disk.size_bytes - 4, b"last")
    return disk


def _parse(data: bytes, rng: random.Random | None = None) -> vmdk.StreamOptimizedParser:
    parser = vmdk.StreamOptimizedParser()
    position = 0
    while position < len(data):
        step = rng.randrange(1, 9000) if rng else len(data)
        parser.feed(data[position : position + step])
        position += step
    return parser


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_an_export_comes_back_as_the_same_disk(seed: int | None) -> None:
    disk = _disk()
    data = b"".join(vmdk.stream_optimized(disk))
    parser = _parse(data, random.Random(seed) if seed else None)
    assert parser.complete
    assert parser.content is not None
    assert parser.content.size_bytes == disk.size_bytes
    assert parser.content.sha256() == disk.sha256()
    assert vmdk.open_extent(DiskContent.of(data)).sha256() == disk.sha256()


def test_glance_accepts_an_export() -> None:
    disk = _disk()
    inspector = format_inspector.get_inspector("vmdk")()
    for piece in vmdk.stream_optimized(disk):
        inspector.eat_chunk(piece)
    inspector.finish()
    assert inspector.format_match
    assert inspector.virtual_size == disk.size_bytes
    inspector.safety_check()


def test_the_grain_directory_of_an_export_is_valid() -> None:
    disk = _disk()
    data = b"".join(vmdk.stream_optimized(disk))
    footer = vmdk.ExtentHeader.parse(data[-1024:-512])
    assert footer.directory_offset is not None
    found = DiskContent(disk.size_bytes)
    for table in range(2):
        (sector,) = struct.unpack_from("<I", data, footer.directory_offset + 4 * table)
        for index, entry in enumerate(struct.unpack_from("<512I", data, sector * 512)):
            if entry:
                lba, size = struct.unpack_from("<QI", data, entry * 512)
                assert lba * 512 == (table * 512 + index) * GRAIN_BYTES
                grain = zlib.decompress(data[entry * 512 + 12 :][:size])
                found.write(lba * 512, grain[: disk.size_bytes - lba * 512])
    assert found.sha256() == disk.sha256()


def test_a_truncated_stream_is_not_complete() -> None:
    data = b"".join(vmdk.stream_optimized(_disk()))
    parser = _parse(data[: len(data) // 2])
    assert not parser.complete
    with pytest.raises(vmdk.VmdkError, match="ends before"):
        vmdk.open_extent(DiskContent.of(data[: len(data) // 2]))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [(0, b"QFI\xfb", "KDMV"), (64 * 1024 + 12, b"\xff" * 9, "inflate"), (8, b"\0\0\0\0", "stream")],
)
def test_damage_is_noticed(offset: int, value: bytes, reason: str) -> None:
    data = bytearray(b"".join(vmdk.stream_optimized(_disk())))
    data[offset : offset + len(value)] = value
    with pytest.raises(vmdk.VmdkError, match=reason):
        _parse(bytes(data))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (12, bytes(8), "0 sectors"),
        (12, struct.pack("<Q", (62 << 31) + 1), "sectors is not possible"),
        (73, b"\n \n\n", "converted in transit"),
    ],
)
def test_an_impossible_header_is_refused(offset: int, value: bytes, reason: str) -> None:
    data = bytearray(b"".join(vmdk.stream_optimized(_disk())))
    data[offset : offset + len(value)] = value
    with pytest.raises(vmdk.VmdkError, match=reason):
        _parse(bytes(data))


def test_a_progress_marker_neither_ends_the_stream_nor_hides_a_grain() -> None:
    disk = _disk()
    data = b"".join(vmdk.stream_optimized(disk))
    marker = struct.pack("<QIIQ", 5, 0, 4, 128).ljust(512, b"\0")
    parser = _parse(data[: 128 * 512] + marker * 4 + data[128 * 512 :])
    assert parser.complete
    assert parser.content is not None
    assert parser.content.sha256() == disk.sha256()


def test_a_grain_cannot_inflate_without_bound() -> None:
    data = bytearray(b"".join(vmdk.stream_optimized(DiskContent.of(b"x" * GRAIN_BYTES))))
    bomb = zlib.compress(bytes(100_000_000), 9)[:60000]
    data[64 * 1024 :] = struct.pack("<QI", 0, len(bomb)) + bomb
    with pytest.raises(vmdk.VmdkError, match="more than its size"):
        _parse(bytes(data) + bytes(512))


def test_a_monolithic_sparse_file_is_read() -> None:
    grain = os.urandom(GRAIN_BYTES)
    header = struct.pack(
        "<4sIIQQQQIQQQB4sH433x",
        b"KDMV", 1, 3, 200 * 128, 128, 1, 20, 512, 21, 26, 128, 0, b"\n \r\n", 0,
    )  # fmt: skip
    file = bytearray(256 * 512)
    file[:512] = header
    file[26 * 512 : 26 * 512 + 4] = struct.pack("<I", 27)
    file[27 * 512 + 4 * 199 : 27 * 512 + 4 * 200] = struct.pack("<I", 128)
    file[128 * 512 : 256 * 512] = grain
    disk = vmdk.open_extent(DiskContent.of(bytes(file)))
    assert disk.size_bytes == 200 * GRAIN_BYTES
    assert disk.read(199 * GRAIN_BYTES) == grain
    assert disk.written_bytes == GRAIN_BYTES


def test_a_descriptor_keeps_its_content() -> None:
    one = vmdk.Descriptor("vmfs", [(1 << 30, "VMFS", "x-flat.vmdk")], None, {"ddb.uuid": "60 00"})
    assert vmdk.Descriptor.parse(one.text()) == one
    with pytest.raises(vmdk.VmdkError, match="DescriptorFile"):
        vmdk.Descriptor.parse(b"\0" * 100)

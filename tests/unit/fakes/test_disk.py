"""The fake's disks neither mix up nor lose bytes."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from tests.fakes.vcenter.disk import GRAIN_BYTES, RAM_LIMIT_BYTES, DiskContent


def test_unwritten_bytes_are_zero() -> None:
    disk = DiskContent(1 << 40)
    disk.write((1 << 40) - 3, b"end")
    assert disk.read(0, 10) == bytes(10)
    assert disk.read((1 << 40) - 4, 100) == b"\0end"
    assert disk.written_bytes == GRAIN_BYTES


def test_unaligned_writes_leave_their_neighbours_alone() -> None:
    rng = random.Random(7)
    disk, mirror = DiskContent(5 * GRAIN_BYTES + 100), bytearray(5 * GRAIN_BYTES + 100)
    copies = []
    for _ in range(200):
        offset = rng.randrange(len(mirror))
        data = rng.choice([bytes, rng.randbytes])(rng.randrange(1, 2 * GRAIN_BYTES))
        data = data[: len(mirror) - offset]
        disk.write(offset, data)
        mirror[offset : offset + len(data)] = data
        if rng.random() < 0.1:
            copies.append((disk.copy(), bytes(mirror)))
    assert disk.read() == bytes(mirror)
    for copy, expected in copies:
        assert copy.read() == expected
    assert disk.sha256() == hashlib.sha256(mirror).hexdigest()


def test_a_copy_does_not_see_later_writes_to_its_source() -> None:
    source = DiskContent.of(b"template" * 10000)
    copy = source.copy()
    source.write(0, b"TEMPLATE")
    copy.write(8, b"clone---")
    assert copy.read(0, 16) == b"templateclone---"
    assert source.read(0, 16) == b"TEMPLATEtemplate"


def test_a_copy_counts_only_what_it_wrote_as_delta() -> None:
    source = DiskContent.of(os.urandom(10 * GRAIN_BYTES))
    copy = source.copy()
    assert (copy.written_bytes, copy.delta_bytes) == (10 * GRAIN_BYTES, 0)
    copy.write(0, b"changed")
    assert (copy.written_bytes, copy.delta_bytes) == (10 * GRAIN_BYTES, GRAIN_BYTES)


def test_zeros_written_over_data_hide_the_data() -> None:
    source = DiskContent.of(b"x" * GRAIN_BYTES * 2)
    copy = source.copy()
    copy.write(0, bytes(GRAIN_BYTES))
    assert copy.read(0, 5) == bytes(5)
    assert copy.written_bytes == GRAIN_BYTES
    assert source.read(0, 5) == b"xxxxx"
    copy.write(0, b"again")
    assert copy.written_bytes == 2 * GRAIN_BYTES


def test_large_content_survives_outside_of_ram() -> None:
    data = os.urandom(RAM_LIMIT_BYTES + 10 * GRAIN_BYTES)
    disk = DiskContent.of(data)
    copy = disk.copy()
    disk.write(RAM_LIMIT_BYTES + GRAIN_BYTES, b"short")
    disk.write(RAM_LIMIT_BYTES + GRAIN_BYTES, b"overwritten")
    assert copy.read() == data
    assert disk.read(RAM_LIMIT_BYTES + GRAIN_BYTES, 11) == b"overwritten"
    assert dict(copy.grains())[0] == data[:GRAIN_BYTES]


def test_a_write_past_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="disk of 10 bytes"):
        DiskContent(10).write(8, b"abc")
    with pytest.raises(ValueError, match="shrink"):
        DiskContent(10).extend(9)


def test_an_upload_of_unknown_length_grows_the_file() -> None:
    file = DiskContent()
    file.append(b"ab")
    file.append(bytes(70000))
    file.append(b"c")
    assert file.size_bytes == 70003
    assert file.read(70000, 9) == b"\0\0c"

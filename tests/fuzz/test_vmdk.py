"""VMDKs with numbers that lie, parts that are missing and tables that point anywhere.

Beside tests/unit/datastore, which names the lies: here nobody thought of them.
"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterator

from hypothesis import strategies as st

from tests.fakes.images import (
    FakeImageSource,
    as_monolithic_sparse,
    as_stream_optimized,
    noise,
    read_stream_optimized,
    tables_in_front,
)
from tests.fuzz.imports import IMAGE_ID, imported
from tests.fuzz.mutation import SECTOR, Field, mutated, numbers
from tests.fuzz.tally import fuzz
from vmdk_cache.errors import ImageError, NotCacheable
from vmdk_cache.image import Image
from vmdk_cache.vmdk.transfer import open_disk

GRAIN = 128 * SECTOR
#: Three grains, of which one is not there.
DISK = b"first".ljust(GRAIN, b"\1") + bytes(GRAIN) + noise(GRAIN)
STREAM = as_stream_optimized(DISK).file_bytes
STREAM_TABLES_LAST = as_stream_optimized(DISK, tables="end").file_bytes
SPARSE = as_monolithic_sparse(DISK).file_bytes
SPARSE_ONE_COPY = as_monolithic_sparse(DISK, redundant=False, gap_sectors=8).file_bytes


_COMPRESSED = 1 << 16
FRONT = tables_in_front(DISK).file_bytes
SEEDS = (STREAM, STREAM_TABLES_LAST, SPARSE, SPARSE_ONE_COPY, FRONT)

#: Version, flags, capacity, grain, descriptor and its size, entries of a table, both directories,
#: where data begins, method of compression.
HEADER = [
    Field(4, 4), Field(8, 4), Field(12, 8), Field(20, 8), Field(28, 8), Field(36, 8), Field(44, 4),
    Field(48, 8), Field(56, 8), Field(64, 8), Field(77, 2),
]  # fmt: skip
#: Entries of directories and tables, as the sparse seeds have them.
TABLES = [Field(at, 4) for at in range(21 * SECTOR, 32 * SECTOR, 4 * 61)]


def test_the_seeds_are_valid() -> None:
    for seed in SEEDS:
        made = imported(seed)
        assert made.error is None
        assert read_stream_optimized(made.data)[: len(DISK)] == DISK


@fuzz(600, file=mutated(SEEDS, HEADER))
def test_a_changed_vmdk_is_imported_or_refused(file: bytes) -> None:
    check(file)


@fuzz(400, file=mutated([SPARSE, SPARSE_ONE_COPY, FRONT], [*TABLES, *HEADER]))
def test_tables_that_point_anywhere_are_followed_forward_or_not_at_all(file: bytes) -> None:
    check(file)


def _markers(file: bytes) -> list[Field]:
    """Numbers of all markers of a streamOptimized VMDK: place or size, size of data, kind."""
    fields, position = [], GRAIN
    while position < len(file):
        value, size, kind = struct.unpack_from("<QII", file, position)
        fields += [Field(position, 8), Field(position + 8, 4), Field(position + 12, 4)]
        position += -(-(12 + size) // SECTOR) * SECTOR if size else SECTOR * (1 + value)
        if not size and not kind:
            break
    return fields


@fuzz(400, file=mutated([STREAM], _markers(STREAM)))
def test_markers_that_lie_are_followed_forward_or_not_at_all(file: bytes) -> None:
    check(file)


@fuzz(300, tail=st.binary(max_size=4 * SECTOR), head=st.binary(min_size=0, max_size=80))
def test_noise_is_no_image(head: bytes, tail: bytes) -> None:
    for disk_type in (None, "sparse", "streamOptimized"):
        assert imported(b"KDMV" + head + tail, disk_type=disk_type).error is not None
        imported(head + tail, disk_type=disk_type, container_format="ova")


def check(file: bytes) -> None:
    made = imported(file)
    if made.error is None and not made.passed_on and made.capacity_bytes <= 64 << 20:
        # What was written here is read by a stricter reader, which inflates every grain; grains
        # that came compressed are passed on as they are, and vCenter's to judge.
        try:
            read_stream_optimized(made.data)
        except (zlib.error, AssertionError) as failure:
            assert struct.unpack_from("<I", file, 8)[0] & _COMPRESSED, failure


DESCRIPTOR_LINES = [
    "# Disk DescriptorFile", "version=1", "CID=12345678", "parentCID=ffffffff",
    'createType="streamOptimized"', 'createType="monolithicSparse"', 'RW 384 SPARSE "disk.vmdk"',
    'ddb.adapterType = "lsilogic"', 'parentFileNameHint="base.vmdk"', 'changeTrackPath="x"',
    'digestFilename="x"', 'RW 384 FLAT "/etc/passwd" 0', 'RDONLY 384 ZERO', "parentCID=1",
    'ddb.deletable = "true"', "encoding=UTF-8", 'RW 384 VMFS "other.vmdk"', "",
]  # fmt: skip
ODD = st.text(st.characters(max_codepoint=0x2FF), max_size=40)


@fuzz(
    600,
    lines=st.lists(st.one_of(st.sampled_from(DESCRIPTOR_LINES), ODD), max_size=14),
    ending=st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\x0b", "\x85", "\x1c", "\0"]),
    whole=st.booleans(),
)
def test_a_descriptor_of_any_lines_names_no_other_file(
    lines: list[str], ending: str, whole: bool
) -> None:
    if whole:
        lines = [*DESCRIPTOR_LINES[:5], DESCRIPTOR_LINES[6], *lines]
    text = ending.join(lines).encode("utf-8", "surrogatepass")[: 127 * SECTOR]
    file = STREAM[:SECTOR] + text.ljust(127 * SECTOR, b"\0") + STREAM[128 * SECTOR :]
    file = file[:28] + struct.pack("<QQ", 1, 127) + file[44:]
    made = imported(file)
    if made.error is None:
        low = text.partition(b"\0")[0].lower()
        for word in (b'hint="base', b"passwd", b"other.vmdk", b"zero", b'path="x', b'filename="x'):
            assert word not in low.replace(b"# ", b""), "another reader may open that file"


@fuzz(
    60,
    values=st.fixed_dictionaries(
        {},
        optional={field: numbers(field.width) for field in HEADER[1:]},
    ),
    seed=st.sampled_from([STREAM, SPARSE, FRONT]),
    fill=st.sampled_from([b"\0", b"\1", b"\xff", b"\1\0\0\0"]),
)
def test_no_header_takes_memory_or_reads_on_once_it_is_refused(
    values: dict[Field, int], seed: bytes, fill: bytes
) -> None:
    """The file goes on for 48 MiB of which nothing is kept by the source."""
    data = bytearray(seed)
    for field, value in values.items():
        data[field.offset : field.offset + field.width] = value.to_bytes(field.width, "little")
    chunk = fill * ((1 << 20) // len(fill))

    def chunks() -> Iterator[bytes]:
        yield bytes(data)
        for _ in range(48):
            yield chunk

    source = FakeImageSource(chunks)
    image = Image(IMAGE_ID, 0, "vmdk", "bare")
    tracemalloc.start()
    try:
        with open_disk(image, source) as disk:
            for _ in disk:
                pass
            disk.finish()
    except (ImageError, NotCacheable):
        pass
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert source.closed == 1
    assert peak_bytes < 64 << 20, "memory is promised to be flat"

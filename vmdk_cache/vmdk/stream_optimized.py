"""streamOptimized VMDKs, the only format that vCenter accepts over an NFC lease.

    header, descriptor | grains, each after a marker | tables | directory | footer | end of stream

`checked` passes a VMDK on unchanged while it checks that it is complete; `read_disk` reads one
back. `written` creates one from a disk's data in one pass: it writes a grain table right after the
table's last grain, so that only one table and the directory (4 bytes per 32 MiB of disk) are in
memory.

Source: VMware "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents".
"""

from __future__ import annotations

import itertools
import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from vmdk_cache.errors import ImageCorrupt, ImageFormatError, UnusualFormat
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.descriptor import stream_descriptor
from vmdk_cache.vmdk.sparse_extent import (
    GRAIN_MARKER,
    HEADER_BYTES,
    MAX_CAPACITY_BYTES,
    SECTOR,
    TABLE_BYTES,
    TABLE_ENTRIES,
    GrainTally,
    SparseHeader,
    stream_header,
)

GRAIN_BYTES: Final = 128 * SECTOR
COMPRESSION_LEVEL: Final = 1
"""The fastest level: a higher one would usually be slower than the network to the host."""

_END_OF_STREAM, _TABLE, _DIRECTORY, _FOOTER, _PROGRESS = range(5)
_MARKER: Final = struct.Struct("<QII")
_DATA_OFFSET: Final = GRAIN_BYTES
_SAMPLE_BYTES: Final = 1 << 10
_ZEROS: Final = bytes(GRAIN_BYTES)
_MAX_ENTRY: Final = (1 << 32) - 1


def checked(
    stream: ByteStream,
    header: SparseHeader,
    *,
    inflate: bool = False,
    found: Callable[[int, bytes], None] = lambda offset, data: None,
) -> Iterator[bytes]:
    """The stream's bytes, unchanged, from the header on.

    Tables may be anywhere after their grains.

    :param inflate: inflate each grain to check it for damage
    :param found: with ``inflate``, called with the byte offset on the disk and the data of each
        grain
    :raises ImageCorrupt: (at the end at the latest) parts are missing or impossible
    """
    named, seen = GrainTally(), GrainTally()
    has_footer = has_end = False
    yield from stream.pieces_to(header.data_offset)
    while not has_end and (marker := stream.peek(_MARKER.size)):
        start = stream.position
        if len(marker) < _MARKER.size:
            raise _truncated(header, start + len(marker))
        value, size, kind = _MARKER.unpack(marker)
        if size:  # a grain, whose data begins within what was read as a marker
            offset = header.disk_offset(marker[: GRAIN_MARKER.size], start)
            end = GRAIN_MARKER.size + size
            part = stream.read(_padded(end))
            if len(part) < end:  # the last one's padding may be missing
                raise _truncated(header, stream.position)
            if inflate:
                found(offset, header.inflated(part[GRAIN_MARKER.size : end], start))
            seen.add(offset // header.grain_bytes, start // SECTOR)
            yield part
        elif kind == _TABLE and value * SECTOR == TABLE_BYTES:
            part = _whole(stream, header, SECTOR + TABLE_BYTES)
            entries = struct.unpack_from(f"<{TABLE_ENTRIES}I", part, SECTOR)
            sectors = [entry for entry in entries if entry > 1]
            named.count += len(sectors)
            named.sum_of_sectors += sum(sectors)
            yield part
        elif kind == _DIRECTORY and value <= header.table_count:
            yield from stream.pieces_to(start + SECTOR * (1 + value))
        elif kind == _FOOTER and value == 1:
            part = _whole(stream, header, SECTOR + HEADER_BYTES)
            _check_footer(part[SECTOR:], header)
            has_footer = True
            yield part
        elif kind == _PROGRESS:
            # Always one sector: VMware's exporters write such markers into long streams, and their
            # reader skips them. They are not in the published format.
            yield _whole(stream, header, SECTOR)
        elif kind == _END_OF_STREAM:
            yield _whole(stream, header, SECTOR)
            has_end = True
        else:
            raise ImageCorrupt(
                f"the VMDK has an impossible marker (type {kind}, {value} sectors) at byte {start}"
            )
    while piece := stream.read_some():
        yield piece
    if header.directory_offset is None and not (has_footer and has_end):
        raise _truncated(header, stream.position)
    if named.count:
        named.check(seen)


def _whole(stream: ByteStream, header: SparseHeader, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise _truncated(header, stream.position)
    return data


def _truncated(header: SparseHeader, position: int) -> ImageCorrupt:
    if header.directory_offset is None:
        return ImageCorrupt(
            f"the streamOptimized VMDK ends after {position} bytes, "
            "without its footer and end-of-stream marker"
        )
    return ImageCorrupt(f"the VMDK is truncated after {position} bytes")


def _check_footer(data: bytes, header: SparseHeader) -> None:
    footer = SparseHeader.parse(data)
    same = (footer.capacity_bytes, footer.grain_bytes, footer.descriptor_offset) == (
        header.capacity_bytes, header.grain_bytes, header.descriptor_offset,
    )  # fmt: skip
    if not same or footer.directory_offset is None:
        raise ImageCorrupt("the VMDK's footer contradicts its header")


def read_disk(chunks: Iterator[bytes], found: Callable[[int, bytes], None]) -> int:
    """Read the disk back; return its capacity in bytes. Made for comparison, not for speed.

    :param chunks: chunks of the VMDK
    :param found: called with the byte offset on the disk and the data of each grain present;
        everything else is zeros
    :raises ImageFormatError: not a streamOptimized VMDK
    :raises ImageCorrupt: damaged or truncated
    """
    stream = ByteStream(chunks)
    header = SparseHeader.parse(stream.peek(HEADER_BYTES))
    if not header.compressed:
        raise ImageFormatError("the VMDK is not streamOptimized")
    for _ in checked(stream, header, inflate=True, found=found):
        pass
    return header.capacity_bytes


def compressed(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """(byte offset, compressed data) of each grain of GRAIN_BYTES that is not all zeros.

    :param pieces: (byte offset, data) of parts of the disk, by rising offset, without overlaps; the
        gaps are zeros
    """
    for offset, data in _grains(pieces):
        if data != _ZEROS:
            yield offset, zlib.compress(data, COMPRESSION_LEVEL if _compressible(data) else 0)


def _compressible(grain: bytes) -> bool:
    """Whether samples of it shrink; compressing all compressed or encrypted data would take 10 x as
    long."""
    step = len(grain) // 4
    sample = b"".join(grain[at : at + _SAMPLE_BYTES] for at in range(0, len(grain), step))
    return len(zlib.compress(sample, COMPRESSION_LEVEL)) < len(sample) * 31 // 32


def written(
    capacity_bytes: int,
    grains: Iterable[tuple[int, bytes]],
    *,
    grain_bytes: int = GRAIN_BYTES,
    adapter: str | None = None,
) -> Iterator[bytes]:
    """A streamOptimized VMDK, in pieces.

    :param grains: (byte offset on the disk, compressed data), by rising offset
    :param adapter: ``vmware_adaptertype`` for its descriptor
    :raises NotCacheable: the data is too large for the format
    """
    assert 0 < capacity_bytes <= MAX_CAPACITY_BYTES, capacity_bytes
    assert capacity_bytes % SECTOR == 0, capacity_bytes
    table_span = grain_bytes * TABLE_ENTRIES
    directory = array("I", bytes(4 * -(-capacity_bytes // table_span)))
    room = _DATA_OFFSET - HEADER_BYTES
    yield stream_header(capacity_bytes, grain_bytes, room, _DATA_OFFSET, None)
    yield stream_descriptor(capacity_bytes, adapter).ljust(room, b"\0")
    position = _DATA_OFFSET
    for number, in_one_table in itertools.groupby(grains, lambda grain: grain[0] // table_span):
        table = [0] * TABLE_ENTRIES
        for offset, data in in_one_table:
            table[offset % table_span // grain_bytes] = _entry(position)
            grain = _pad(GRAIN_MARKER.pack(offset // SECTOR, len(data)) + data)
            yield grain
            position += len(grain)
        directory[number] = _entry(position + SECTOR)
        yield _marker(TABLE_BYTES // SECTOR, _TABLE) + struct.pack(f"<{TABLE_ENTRIES}I", *table)
        position += SECTOR + TABLE_BYTES

    packed = _pad(struct.pack(f"<{len(directory)}I", *directory))
    yield _marker(len(packed) // SECTOR, _DIRECTORY) + packed
    yield _marker(1, _FOOTER)
    yield stream_header(capacity_bytes, grain_bytes, room, _DATA_OFFSET, position + SECTOR)
    yield _marker(0, _END_OF_STREAM)


def _grains(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The pieces, cut and joined to whole grains; grains without any piece are omitted."""
    for number, parts in itertools.groupby(_cut(pieces), lambda part: part[0] // GRAIN_BYTES):
        start, grain = number * GRAIN_BYTES, b""
        for at, data in parts:  # most often a single one, which neither + nor ljust copies
            grain = grain.ljust(at - start, b"\0") + data
        yield start, grain.ljust(GRAIN_BYTES, b"\0")


def _cut(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The pieces, cut where a grain ends."""
    for at, data in pieces:
        begin = 0
        while begin < len(data):
            end = begin + GRAIN_BYTES - (at + begin) % GRAIN_BYTES
            yield at + begin, data[begin:end]
            begin = end


def _entry(position: int) -> int:
    sector = position // SECTOR
    if sector > _MAX_ENTRY:
        raise UnusualFormat("the image's data exceeds 2 TiB, the maximum of a sparse VMDK")
    return sector


def _marker(sectors: int, kind: int) -> bytes:
    return _MARKER.pack(sectors, 0, kind).ljust(SECTOR, b"\0")


def _padded(size: int) -> int:
    return -(-size // SECTOR) * SECTOR


def _pad(data: bytes) -> bytes:
    return data.ljust(_padded(len(data)), b"\0")

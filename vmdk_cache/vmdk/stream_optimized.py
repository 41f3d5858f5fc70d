"""streamOptimized VMDKs, the only format that vCenter accepts over an NFC lease.

    header, descriptor | grains, each after a marker | tables | directory | footer | end of stream

`checked` passes a VMDK on unchanged while it checks that it is complete. `written` creates one from
a disk's data in one pass: it writes a grain table right after the table's last grain, so that only
one table and the directory (4 bytes per 32 MiB of disk) are in memory.

Source: VMware "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents".
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from vmdk_cache.errors import ImageCorrupt
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.descriptor import stream_descriptor
from vmdk_cache.vmdk.grain import check_grain
from vmdk_cache.vmdk.sparse_header import (
    HEADER_BYTES,
    MAX_CAPACITY_BYTES,
    SECTOR,
    TABLE_BYTES,
    TABLE_ENTRIES,
    SparseHeader,
    stream_header,
)
from vmdk_cache.vmdk.unusual import unusual

GRAIN_BYTES: Final = 128 * SECTOR
COMPRESSION_LEVEL: Final = 1
"""The fastest level: a higher one would usually be slower than the network to the host."""

_END_OF_STREAM, _TABLE, _DIRECTORY, _FOOTER, _PROGRESS = range(5)
_GRAIN_MARKER: Final = struct.Struct("<QI")
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

    :param inflate: inflate each grain to check it for damage
    :param found: with ``inflate``, called with the byte offset on the disk and the data of each
        grain
    :raises ImageCorrupt: (at the end at the latest) parts are missing or impossible
    """
    check = _StreamCheck(header, inflate, found)
    while chunk := stream.read_some():
        check.feed(chunk)
        yield chunk
    check.end()


class _StreamCheck:
    """Walks the markers of a stream in chunks of any size; copies grains only to inflate them.

    Tables may be anywhere after their grains. They are compared with the grains by count and by the
    sum of the sectors, which needs neither memory nor order.
    """

    def __init__(
        self, header: SparseHeader, inflate: bool, found: Callable[[int, bytes], None]
    ) -> None:
        self._header = header
        self._inflate = inflate
        self._found = found
        self._disk_offset = 0
        self._grain_at = 0
        self._position = 0
        self._skip = header.data_offset
        self._partial = bytearray()
        self._want = _MARKER.size
        self._then: Callable[[bytes], None] = self._marker
        self._grains_seen = self._sectors_seen = 0
        self._grains_named = self._sectors_named = 0
        self._data_end = 0
        self._footer_seen = False
        self._ended = False

    def feed(self, chunk: bytes) -> None:
        start = self._position
        self._position += len(chunk)
        offset = 0
        while offset < len(chunk) and not self._ended:
            if self._skip:
                step = min(self._skip, len(chunk) - offset)
                self._skip -= step
                offset += step
                continue
            piece = chunk[offset : offset + self._want - len(self._partial)]
            self._partial += piece
            offset += len(piece)
            if len(self._partial) == self._want:
                part, self._partial = bytes(self._partial), bytearray()
                self._part_end = start + offset
                self._then(part)

    def end(self) -> None:
        if self._header.directory_offset is None and not (self._ended and self._footer_seen):
            raise ImageCorrupt(
                f"the streamOptimized VMDK ends after {self._position} bytes, "
                f"without its footer and end-of-stream marker"
            )
        if self._position < self._data_end or self._partial:
            raise ImageCorrupt(f"the VMDK is truncated after {self._position} bytes")
        named = (self._grains_named, self._sectors_named)
        if self._grains_named and named != (self._grains_seen, self._sectors_seen):
            raise ImageCorrupt(
                f"the VMDK's tables name {self._grains_named} grains, but the file has "
                f"{self._grains_seen} or different ones"
            )

    def _marker(self, part: bytes) -> None:
        value, size, kind = _MARKER.unpack(part)
        rest = SECTOR - _MARKER.size
        if size:
            self._grain(value, size, part)
        elif kind == _END_OF_STREAM:
            self._data_end = self._part_end + rest
            self._ended = True
        elif kind == _TABLE and value * SECTOR == TABLE_BYTES:
            self._skip, self._want, self._then = rest, TABLE_BYTES, self._table
        elif kind == _DIRECTORY and value <= self._header.table_count:
            self._skip = rest + value * SECTOR
        elif kind == _PROGRESS:
            # Always one sector: VMware's exporters write such markers into long streams, and their
            # reader skips them. They are not in the published format.
            self._skip = rest
        elif kind == _FOOTER and value == 1:
            self._skip, self._want, self._then = rest, HEADER_BYTES, self._footer
        else:
            raise ImageCorrupt(
                f"the VMDK has an impossible marker (type {kind}, {value} sectors) "
                f"at byte {self._part_end - _MARKER.size}"
            )

    def _grain(self, sector: int, size: int, part: bytes) -> None:
        start = self._part_end - _MARKER.size
        at, grain_bytes = sector * SECTOR, self._header.grain_bytes
        if at % grain_bytes or at >= self._header.capacity_bytes or size > 2 * grain_bytes:
            raise ImageCorrupt(
                f"the VMDK has an impossible grain (sector {sector} of the disk, {size} bytes "
                f"compressed) at byte {start}"
            )
        self._grains_seen += 1
        self._sectors_seen += start // SECTOR
        self._data_end = start + _GRAIN_MARKER.size + size
        self._skip = _padded(_GRAIN_MARKER.size + size) - _MARKER.size
        if self._inflate:
            self._skip = 0
            self._disk_offset = at
            # The marker of a grain is shorter than others: this one already contains data of the
            # grain.
            self._partial = bytearray(part[_GRAIN_MARKER.size :])
            self._want, self._then, self._grain_at = size, self._grain_data, start
            if size <= len(self._partial):
                raise ImageCorrupt(f"the VMDK's grain at byte {start} is damaged: {size} bytes")

    def _grain_data(self, part: bytes) -> None:
        data = check_grain(part, self._header.grain_bytes, self._grain_at)
        self._found(self._disk_offset, data)
        self._skip = -(_GRAIN_MARKER.size + len(part)) % SECTOR
        self._want, self._then = _MARKER.size, self._marker

    def _table(self, part: bytes) -> None:
        named = [entry for entry in struct.unpack(f"<{TABLE_ENTRIES}I", part) if entry > 1]
        self._grains_named += len(named)
        self._sectors_named += sum(named)
        self._want, self._then = _MARKER.size, self._marker

    def _footer(self, part: bytes) -> None:
        footer = SparseHeader.parse(part)
        same = (footer.capacity_bytes, footer.grain_bytes, footer.descriptor_offset) == (
            self._header.capacity_bytes, self._header.grain_bytes, self._header.descriptor_offset,
        )  # fmt: skip
        if not same or footer.directory_offset is None:
            raise ImageCorrupt("the VMDK's footer contradicts its header")
        self._footer_seen = True
        self._want, self._then = _MARKER.size, self._marker


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
    table, number = [0] * TABLE_ENTRIES, 0

    for offset, data in grains:
        if offset // table_span != number:
            if any(table):
                yield _table_of(table, directory, number, position)
                position += SECTOR + TABLE_BYTES
            table, number = [0] * TABLE_ENTRIES, offset // table_span
        table[offset % table_span // grain_bytes] = _entry(position)
        grain = _pad(_GRAIN_MARKER.pack(offset // SECTOR, len(data)) + data)
        yield grain
        position += len(grain)
    if any(table):
        yield _table_of(table, directory, number, position)
        position += SECTOR + TABLE_BYTES

    packed = _pad(struct.pack(f"<{len(directory)}I", *directory))
    yield _marker(len(packed) // SECTOR, _DIRECTORY) + packed
    yield _marker(1, _FOOTER)
    yield stream_header(capacity_bytes, grain_bytes, room, _DATA_OFFSET, position + SECTOR)
    yield _marker(0, _END_OF_STREAM)


def _grains(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The pieces, cut and joined to whole grains; grains without any piece are omitted."""
    start, grain = 0, bytearray()
    for at, data in pieces:
        if not grain and at % GRAIN_BYTES == 0 and len(data) == GRAIN_BYTES:
            yield at, data  # the common case: nothing to cut, nothing to copy
            continue
        while data:
            if grain and at - start >= GRAIN_BYTES:
                yield start, bytes(grain).ljust(GRAIN_BYTES, b"\0")
                grain = bytearray()
            if not grain:
                start = at - at % GRAIN_BYTES
            grain += bytes(at - start - len(grain))
            step = min(len(data), start + GRAIN_BYTES - at)
            grain += data[:step]
            at, data = at + step, data[step:]
            if len(grain) == GRAIN_BYTES:
                yield start, bytes(grain)
                grain = bytearray()
    if grain:
        yield start, bytes(grain).ljust(GRAIN_BYTES, b"\0")


def _table_of(table: list[int], directory: array[int], number: int, position: int) -> bytes:
    """The table with its marker; also enters it into the directory."""
    directory[number] = _entry(position + SECTOR)
    return _marker(TABLE_BYTES // SECTOR, _TABLE) + struct.pack(f"<{TABLE_ENTRIES}I", *table)


def _entry(position: int) -> int:
    sector = position // SECTOR
    if sector > _MAX_ENTRY:
        raise unusual("the image's data exceeds 2 TiB, the maximum of a sparse VMDK")
    return sector


def _marker(sectors: int, kind: int) -> bytes:
    return _MARKER.pack(sectors, 0, kind).ljust(SECTOR, b"\0")


def _padded(size: int) -> int:
    return -(-size // SECTOR) * SECTOR


def _pad(data: bytes) -> bytes:
    return data.ljust(_padded(len(data)), b"\0")

"""Reads the grains of a VMDK whose tables precede them, in one pass.

monolithicSparse VMDKs have this layout, and so do streamOptimized ones written by qemu-img. The
grain directory points to grain tables, whose entries are the sectors of the grains. The format
allows any order, a stream only one: directory, tables, then grains by rising sector. `read_tables`
accepts a monolithicSparse file whose grains are in the order of the disk, as all common tools write
them, and refuses others as not streamable (the plain import, which uploads the file first, can
handle those). Compressed grains contain their own position; of their tables only a tally is kept.

Source: VMware "Virtual Disk Format 5.0", "Grain Directory" and "Grain Table".
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from typing import Final

from vmdk_cache.errors import ImageCorrupt, NotCacheable
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.descriptor import CONVERT
from vmdk_cache.vmdk.sparse_extent import (
    GRAIN_MARKER,
    SECTOR,
    TABLE_BYTES,
    TABLE_ENTRIES,
    GrainTally,
    SparseHeader,
)

NOT_STREAMABLE: Final = "sparse-not-streamable"

_MAX_DIRECTORY_ENTRIES: Final = 1 << 21  # 62 TiB at the usual grain of 64 KiB; 8 MiB of memory
_MAX_RUNS: Final = 1 << 20  # 24 MiB of memory, for a file as fragmented as that
_NO_GRAINS: Final = bytes(TABLE_BYTES)


class GrainMap:
    """Maps grains to file offsets, as runs of grains that are adjacent on the disk and in the
    file."""

    def __init__(self, grain_bytes: int) -> None:
        self._step = grain_bytes // SECTOR
        self._index, self._sector, self._count = array("Q"), array("Q"), array("Q")
        self._end_sector = self._next_index = 0

    def add(self, index: int, sector: int) -> None:
        """Grain number `index` of the disk begins at `sector` of the file.

        :raises NotCacheable: it does not follow the previous grain
        """
        if sector < self._end_sector:
            raise _not_streamable("its grains are not in the order of the disk")
        if sector == self._end_sector and index == self._next_index:
            self._count[-1] += 1
        else:
            if len(self._index) >= _MAX_RUNS:
                raise _not_streamable("it is too fragmented")
            self._index.append(index)
            self._sector.append(sector)
            self._count.append(1)
        self._next_index = index + 1
        self._end_sector = sector + self._step

    @property
    def first_offset(self) -> int | None:
        """Byte of the file at which the first grain begins, None without grains."""
        return self._sector[0] * SECTOR if self._sector else None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(grain number, byte offset in the file) by rising offset."""
        for index, sector, count in zip(self._index, self._sector, self._count, strict=True):
            for step in range(count):
                yield index + step, (sector + step * self._step) * SECTOR


def read_tables(stream: ByteStream, header: SparseHeader, grains: GrainMap | GrainTally) -> None:
    """Fill `grains` from a file whose header and descriptor have been read from `stream`.

    Leaves the stream after the last table. Either copy of the tables suffices.

    :raises NotCacheable: the file is valid, but cannot be read in one pass
    :raises ImageCorrupt: the tables are impossible
    """
    copies = (header.directory_offset, header.redundant_offset)
    offset = min((at for at in copies if at and at >= stream.position), default=None)
    if offset is None:
        raise _not_streamable("it has no grain directory in front of its data")
    if header.table_count > _MAX_DIRECTORY_ENTRIES:
        raise _not_streamable(f"its grain directory has {header.table_count} entries")
    stream.skip_to(offset)
    directory = _entries(_exactly(stream, header.table_count * 4, "grain directory"))
    for number, sector in enumerate(directory):
        if not sector:
            continue
        if sector * SECTOR < stream.position:
            raise _not_streamable("its grain tables are not in the order of the disk")
        stream.skip_to(sector * SECTOR)
        table = _exactly(stream, TABLE_BYTES, "grain table")
        if table != _NO_GRAINS:
            _add_table(grains, header, number, table)
        if grains.first_offset is not None and grains.first_offset < stream.position:
            raise _not_streamable("its grain tables come after its data")


def uncompressed_grains(
    stream: ByteStream, header: SparseHeader, grains: GrainMap
) -> Iterator[tuple[int, bytes]]:
    """(byte offset on the disk, data) of each grain of a monolithicSparse file.

    :raises ImageCorrupt: the file ends before the end of its last grain
    """
    for index, offset in grains:
        stream.skip_to(offset)
        at = index * header.grain_bytes
        # Some tools end the file at the disk's end, within the last grain.
        size = min(header.grain_bytes, header.capacity_bytes - at)
        yield at, _exactly(stream, size, "grain")


def compressed_grains(
    stream: ByteStream, header: SparseHeader, tally: GrainTally, *, inflate: bool = False
) -> Iterator[tuple[int, bytes]]:
    """(byte offset on the disk, compressed data) of each grain of a streamOptimized file.

    :param tally: tally of the tables
    :param inflate: inflate each grain to check it for damage
    :raises ImageCorrupt: the file ends within its last grain, or tables and grains differ
    :raises NotCacheable: the grains are not in the order of the disk
    """
    if header.data_offset < stream.position:
        raise _not_streamable("its grain tables reach into its data")
    stream.skip_to(header.data_offset)
    seen = GrainTally()
    last = -1
    while len(marker := stream.peek(GRAIN_MARKER.size)) == GRAIN_MARKER.size:
        start = stream.position
        _, size = GRAIN_MARKER.unpack(marker)
        if not size:
            break  # a marker for something else, and that is the end of stream
        at = header.disk_offset(marker, start)
        if at <= last:
            raise _not_streamable("its grains are not in the order of the disk")
        stream.skip_to(start + GRAIN_MARKER.size)
        data = _exactly(stream, size, "grain")
        if inflate:
            header.inflated(data, start)
        yield at, data
        stream.skip_to(-(-stream.position // SECTOR) * SECTOR)
        seen.add(at // header.grain_bytes, start // SECTOR)
        last = at
    tally.check(seen)


def _add_table(
    grains: GrainMap | GrainTally, header: SparseHeader, number: int, table: bytes
) -> None:
    first = number * TABLE_ENTRIES
    last = -(-header.capacity_bytes // header.grain_bytes)
    first_sector = (header.descriptor_offset + header.descriptor_bytes) // SECTOR
    for index, sector in enumerate(_entries(table), first):
        if not sector or (sector == 1 and header.zero_grains):
            continue
        if index >= last:
            raise ImageCorrupt("the VMDK's grain tables name a grain beyond the disk's end")
        if sector < first_sector:
            raise _not_streamable("its grain tables name a grain within its header")
        grains.add(index, sector)


def _entries(data: bytes) -> array[int]:
    entries = array("I")
    entries.frombytes(data)
    if sys.byteorder == "big":
        entries.byteswap()
    return entries


def _exactly(stream: ByteStream, size: int, what: str) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ImageCorrupt(f"the VMDK ends at byte {stream.position}, within or before a {what}")
    return data


def _not_streamable(why: str) -> NotCacheable:
    return NotCacheable(
        NOT_STREAMABLE,
        f"the sparse VMDK cannot be imported in one pass: {why}; to make it cacheable, {CONVERT}",
    )

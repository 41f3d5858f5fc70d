"""The parts of a sparse extent: its header, one compressed grain, and a tally of its grains.

streamOptimized and monolithicSparse VMDKs are sparse extents.
Source: VMware "Virtual Disk Format 5.0", "Hosted Sparse Extent Header" and "Stream-Optimized
Compressed Sparse Extents". Its offsets are in sectors of 512 bytes; here they are in bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vmdk_cache.errors import ImageCorrupt, ImageFormatError
from vmdk_cache.quoting import sentence

SECTOR: Final = 512
MAGIC: Final = b"KDMV"
HEADER_BYTES: Final = SECTOR
TABLE_ENTRIES: Final = 512
"""Entries of a grain table; the format defines no other number, although the header has a field."""
TABLE_BYTES: Final = TABLE_ENTRIES * 4
MAX_CAPACITY_BYTES: Final = 62 << 40
"""The largest virtual disk of vSphere (VMware Configuration Maximums)."""
MIN_GRAIN_BYTES: Final = 8 * SECTOR
MAX_GRAIN_BYTES: Final = 128 * SECTOR
"""The largest grain that this package reads; the format's only limit is the disk's size."""
GRAIN_MARKER: Final = struct.Struct("<QI")
"""In front of a compressed grain: its sector on the disk, the size of its data in bytes."""

_LAYOUT: Final = struct.Struct("<4sIIQQQQIQQQB4sH433x")
_VALID_NEWLINES: Final = 1
_REDUNDANT_TABLES: Final = 1 << 1
_ZERO_GRAINS: Final = 1 << 2
_COMPRESSED: Final = 1 << 16
_MARKERS: Final = 1 << 17
_DEFLATE: Final = 1
_AT_END: Final = 0xFFFFFFFFFFFFFFFF
_NEWLINES: Final = b"\n \r\n"
_MAX_OFFSET_BYTES: Final = 1 << 62


@dataclass(frozen=True)
class SparseHeader:
    """The header of a sparse extent, checked to be possible.

    :ivar compressed: grains are compressed and follow markers: a streamOptimized VMDK
    :ivar zero_grains: a table entry of 1 means a grain of zeros
    :ivar directory_offset: of the grain directory, None if only the footer has it
    :ivar redundant_offset: of its copy, None without one
    :ivar data_offset: where tables or grains may begin
    :ivar unusual: features that this package does not read, though others may; None: none
    """

    capacity_bytes: int
    grain_bytes: int
    compressed: bool
    zero_grains: bool
    descriptor_offset: int
    descriptor_bytes: int
    directory_offset: int | None
    redundant_offset: int | None
    data_offset: int
    unusual: str | None = None

    @property
    def table_count(self) -> int:
        """Entries of the grain directory."""
        return -(-self.capacity_bytes // (self.grain_bytes * TABLE_ENTRIES))

    @classmethod
    def parse(cls, data: bytes) -> SparseHeader:
        """The header in the first 512 bytes of `data`.

        :raises ImageFormatError: not a VMDK header, or its numbers are impossible
        """
        if len(data) < HEADER_BYTES or data[:4] != MAGIC:
            raise ImageFormatError("the file has no VMDK header")
        (
            _, version, flags, capacity, grain, descriptor, descriptor_size, entries,
            redundant, directory, overhead, _, newlines, algorithm,
        ) = _LAYOUT.unpack_from(data)  # fmt: skip
        _check(version, flags, capacity, grain, entries, newlines)
        oddities = list(_oddities(flags, entries, grain * SECTOR, algorithm))
        for name, sectors in (
            ("descriptor", descriptor),
            ("redundant grain directory", redundant),
            ("grain directory", 0 if directory == _AT_END else directory),
            ("data", overhead),
        ):
            if sectors * SECTOR > _MAX_OFFSET_BYTES:
                oddities.append(f"its {name} at sector {sectors}")
        has_copy = bool(flags & _REDUNDANT_TABLES) and redundant
        return cls(
            capacity_bytes=capacity * SECTOR,
            grain_bytes=grain * SECTOR,
            compressed=bool(flags & _COMPRESSED),
            zero_grains=bool(flags & _ZERO_GRAINS),
            descriptor_offset=descriptor * SECTOR,
            descriptor_bytes=descriptor_size * SECTOR,
            directory_offset=None if directory == _AT_END else directory * SECTOR,
            redundant_offset=redundant * SECTOR if has_copy else None,
            data_offset=overhead * SECTOR,
            unusual=", ".join(oddities) or None,
        )

    def disk_offset(self, marker: bytes, position: int) -> int:
        """The byte of the disk at which the compressed grain with that marker begins.

        :param position: byte offset of the marker in the file, for the error
        :raises ImageCorrupt: the marker is impossible
        """
        sector, size = GRAIN_MARKER.unpack(marker)
        offset: int = sector * SECTOR
        if (
            offset % self.grain_bytes
            or offset >= self.capacity_bytes
            or size > 2 * self.grain_bytes
        ):
            raise ImageCorrupt(
                f"the VMDK has an impossible grain (sector {sector} of the disk, {size} bytes "
                f"compressed) at byte {position}"
            )
        return offset

    def inflated(self, data: bytes, position: int) -> bytes:
        """The data of a compressed grain; the last grain of a disk may be shorter than others.

        :param position: byte offset of its marker in the file, for the error
        :raises ImageCorrupt: the grain is damaged
        """
        inflater = zlib.decompressobj()
        try:
            grain = inflater.decompress(data, self.grain_bytes + 1)
        except zlib.error as exc:
            raise ImageCorrupt(
                f"the VMDK's grain at byte {position} is damaged: {sentence(exc)}"
            ) from exc
        if not inflater.eof or not 0 < len(grain) <= self.grain_bytes:
            raise ImageCorrupt(
                f"the VMDK's grain at byte {position} is damaged: its data is too short or too long"
            )
        return grain


def stream_header(
    capacity_bytes: int, grain_bytes: int, descriptor_bytes: int, data_offset: int,
    directory_offset: int | None,
) -> bytes:  # fmt: skip
    """The 512 bytes of a streamOptimized VMDK's header, or of its footer if the offset is known."""
    return _LAYOUT.pack(
        MAGIC, 3, _VALID_NEWLINES | _COMPRESSED | _MARKERS, capacity_bytes // SECTOR,
        grain_bytes // SECTOR, 1, descriptor_bytes // SECTOR, TABLE_ENTRIES, 0,
        _AT_END if directory_offset is None else directory_offset // SECTOR,
        data_offset // SECTOR, 0, _NEWLINES, _DEFLATE,
    )  # fmt: skip


def _check(
    version: int, flags: int, capacity: int, grain: int, entries: int, newlines: bytes
) -> None:
    """:raises ImageFormatError: a number of the header is impossible"""
    if version not in (1, 2, 3):
        raise ImageFormatError(f"the VMDK header has version {version}; supported are 1, 2 and 3")
    if flags & _VALID_NEWLINES and newlines != _NEWLINES:
        raise ImageFormatError("the VMDK was damaged by a transfer in text mode: copy it as binary")
    if not entries:
        raise ImageFormatError("the VMDK header has grain tables of 0 entries")
    if flags & _MARKERS and not flags & _COMPRESSED:
        raise ImageFormatError("the VMDK header claims markers without compression")
    if not 0 < capacity * SECTOR <= MAX_CAPACITY_BYTES:
        raise ImageFormatError(
            f"the VMDK header claims a disk of {capacity} sectors; "
            f"want 1 to {MAX_CAPACITY_BYTES // SECTOR} (62 TiB)"
        )
    if not MIN_GRAIN_BYTES <= grain * SECTOR <= MAX_CAPACITY_BYTES or grain & (grain - 1):
        raise ImageFormatError(
            f"the VMDK header has grains of {grain} sectors; want a power of two, 8 or more"
        )


def _oddities(flags: int, entries: int, grain_bytes: int, algorithm: int) -> Iterator[str]:
    """Features of the header that this package does not read."""
    if flags & _COMPRESSED and not flags & _MARKERS:
        yield "compressed grains without markers"
    if flags & _COMPRESSED and algorithm != _DEFLATE:
        yield f"grains compressed by method {algorithm}"
    if entries != TABLE_ENTRIES:
        yield f"grain tables of {entries} entries, not {TABLE_ENTRIES}"
    if grain_bytes > MAX_GRAIN_BYTES:
        yield f"grains of {grain_bytes} bytes, more than {MAX_GRAIN_BYTES}"


@dataclass
class GrainTally:
    """The number of grains and the sum of their sectors in the file: enough to notice that tables
    and grains differ, without memory and in any order.

    :ivar first_offset: the lowest byte of the file at which a grain begins; None without grains
    """

    count: int = 0
    sum_of_sectors: int = 0
    first_offset: int | None = None

    def add(self, index: int, sector: int) -> None:
        """Grain number `index` of the disk begins at `sector` of the file."""
        self.count += 1
        self.sum_of_sectors += sector
        self.first_offset = min(self.first_offset or sector * SECTOR, sector * SECTOR)

    def check(self, seen: GrainTally) -> None:
        """:raises ImageCorrupt: the tables, tallied here, name other grains than were seen"""
        if (self.count, self.sum_of_sectors) != (seen.count, seen.sum_of_sectors):
            raise ImageCorrupt(
                f"the VMDK's tables name {self.count} grains, but the file has {seen.count} or "
                "different ones"
            )

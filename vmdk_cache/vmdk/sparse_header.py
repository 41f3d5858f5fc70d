"""The header of a sparse extent, at the start of streamOptimized and monolithicSparse VMDKs.

Source: VMware "Virtual Disk Format 5.0", "Hosted Sparse Extent Header" and "Stream-Optimized
Compressed Sparse Extents". Its offsets are in sectors of 512 bytes; here they are in bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vmdk_cache.errors import ImageFormatError

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
        _check_layout(version, flags, entries, newlines)
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
            capacity_bytes=_checked_capacity(capacity),
            grain_bytes=_checked_grain(grain),
            compressed=bool(flags & _COMPRESSED),
            zero_grains=bool(flags & _ZERO_GRAINS),
            descriptor_offset=descriptor * SECTOR,
            descriptor_bytes=descriptor_size * SECTOR,
            directory_offset=None if directory == _AT_END else directory * SECTOR,
            redundant_offset=redundant * SECTOR if has_copy else None,
            data_offset=overhead * SECTOR,
            unusual=", ".join(oddities) or None,
        )


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


def _check_layout(version: int, flags: int, entries: int, newlines: bytes) -> None:
    if version not in (1, 2, 3):
        raise ImageFormatError(f"the VMDK header has version {version}; supported are 1, 2 and 3")
    if flags & _VALID_NEWLINES and newlines != _NEWLINES:
        raise ImageFormatError("the VMDK was damaged by a transfer in text mode: copy it as binary")
    if not entries:
        raise ImageFormatError("the VMDK header has grain tables of 0 entries")
    if flags & _MARKERS and not flags & _COMPRESSED:
        raise ImageFormatError("the VMDK header claims markers without compression")


def _checked_capacity(sectors: int) -> int:
    if not 0 < sectors * SECTOR <= MAX_CAPACITY_BYTES:
        raise ImageFormatError(
            f"the VMDK header claims a disk of {sectors} sectors; "
            f"want 1 to {MAX_CAPACITY_BYTES // SECTOR} (62 TiB)"
        )
    return sectors * SECTOR


def _checked_grain(sectors: int) -> int:
    size_bytes = sectors * SECTOR
    if not MIN_GRAIN_BYTES <= size_bytes <= MAX_CAPACITY_BYTES or sectors & (sectors - 1):
        raise ImageFormatError(
            f"the VMDK header has grains of {sectors} sectors; want a power of two, 8 or more"
        )
    return size_bytes


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

"""A digest of a disk's content: equal for two disks that read the same to a guest.

It does not depend on how a file stores the disk: on the order and the size of its grains, on their
compression, or on whether zeros are stored. Memory and time per byte are bounded.

The disk is cut into blocks of 64 KiB, and blocks of zeros are skipped. The hashes of the blocks of
a segment are combined by multiplication modulo a prime, in any order. This is MuHash (Bellare and
Micciancio, "A New Paradigm for Collision-free Hashing: Incrementality at Reduced Cost", 1997), with
the prime of Bitcoin Core's MuHash3072: another content with the same digest cannot be found, not
even on purpose. A disk has at most a few thousand segments, so two digests also show where the
disks differ first, to within one segment.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from vmdk_cache.errors import UnusualFormat

BLOCK_BYTES: Final = 64 << 10
MAX_SEGMENTS: Final = 4096
"""Of one disk; a segment takes 384 bytes of memory."""

_PRIME: Final = (1 << 3072) - 1103717
_HASH_BYTES: Final = 3072 // 8
_ZEROS: Final = bytes(BLOCK_BYTES)


class Range(NamedTuple):
    """Bytes of a disk."""

    offset: int
    size_bytes: int


def segment_bytes(capacity_bytes: int) -> int:
    """The length of the segments of a disk with that capacity: whole blocks."""
    return -(-max(1, capacity_bytes) // (BLOCK_BYTES * MAX_SEGMENTS)) * BLOCK_BYTES


class DiskDigest:
    """The digest of one disk; :meth:`add` every part of it that may differ from zeros.

    :param segment_bytes: length of a segment; equal in digests that are compared
    """

    def __init__(self, segment_bytes: int) -> None:
        assert segment_bytes > 0 and segment_bytes % BLOCK_BYTES == 0, segment_bytes
        self._segment_bytes = segment_bytes
        self._segments: dict[int, int] = {}
        self._block = -1  # the block that _parts belong to
        self._parts = bytearray()

    def add(self, offset: int, data: bytes) -> None:
        """Add a part of the disk, once.

        :param offset: byte offset on the disk
        :raises UnusualFormat: it is less than a block, and an earlier part was of a later block
        """
        begin = 0
        while begin < len(data):
            at = offset + begin
            end = begin + BLOCK_BYTES - at % BLOCK_BYTES
            self._add(at, data[begin:end] if begin or end < len(data) else data)
            begin = end

    def first_difference(self, other: DiskDigest) -> Range | None:
        """The first segment in which the two disks differ; None if they are equal."""
        assert self._segment_bytes == other._segment_bytes
        self._close_block()
        other._close_block()
        numbers = self._segments.keys() | other._segments.keys()
        wrong = [each for each in numbers if self._segments.get(each) != other._segments.get(each)]
        return Range(min(wrong) * self._segment_bytes, self._segment_bytes) if wrong else None

    def _add(self, offset: int, part: bytes) -> None:
        """Add a part that lies within one block."""
        number, at = divmod(offset, BLOCK_BYTES)
        if len(part) == BLOCK_BYTES:
            self._fold(number, part)
            return
        if number != self._block:
            if number < self._block:
                raise UnusualFormat(
                    f"its grains are smaller than {BLOCK_BYTES >> 10} KiB, and not in the order of "
                    "the disk"
                )
            self._close_block()
            self._block = number
        self._parts.extend(bytes(max(0, at + len(part) - len(self._parts))))
        self._parts[at : at + len(part)] = part

    def _close_block(self) -> None:
        if self._parts:
            self._fold(self._block, bytes(self._parts).ljust(BLOCK_BYTES, b"\0"))
            self._parts.clear()

    def _fold(self, number: int, block: bytes) -> None:
        if block == _ZEROS:
            return
        item = number.to_bytes(8, "little") + hashlib.sha256(block).digest()
        hashed = int.from_bytes(hashlib.shake_256(item).digest(_HASH_BYTES), "little")
        segment = number * BLOCK_BYTES // self._segment_bytes
        self._segments[segment] = self._segments.get(segment, 1) * hashed % _PRIME

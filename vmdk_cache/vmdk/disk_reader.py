"""Reads the disk inside a streamOptimized VMDK; made for comparison, not for speed.

It uses the check that every import passes (vmdk_cache/vmdk/stream_optimized.py) to walk the markers
and inflate the grains, so a damaged or truncated stream is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vmdk_cache.errors import ImageFormatError
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.sparse_header import HEADER_BYTES, SparseHeader
from vmdk_cache.vmdk.stream_optimized import checked


def read_disk(chunks: Iterator[bytes], found: Callable[[int, bytes], None]) -> int:
    """Read the disk; return its capacity in bytes.

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

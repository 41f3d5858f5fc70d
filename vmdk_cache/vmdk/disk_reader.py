"""The disk inside a streamOptimized VMDK, read back: for comparison, not for speed.

The markers are walked and the grains inflated by the check that every import passes
(vmdk_cache/vmdk/stream_optimized.py), so a stream that is damaged or cut off is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vmdk_cache.errors import ImageFormatError
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.sparse_header import HEADER_BYTES, SparseHeader
from vmdk_cache.vmdk.stream_optimized import checked


def read_disk(chunks: Iterator[bytes], found: Callable[[int, bytes], None]) -> int:
    """Capacity of the disk, in bytes.

    :param chunks: of the VMDK
    :param found: called with the byte offset on the disk and the data of each grain that is there;
        all else reads as zeros
    :raises ImageFormatError: no streamOptimized VMDK
    :raises ImageCorrupt: it is damaged or cut off
    """
    stream = ByteStream(chunks)
    header = SparseHeader.parse(stream.peek(HEADER_BYTES))
    if not header.compressed:
        raise ImageFormatError("the VMDK is not streamOptimized")
    for _ in checked(stream, header, inflate=True, found=found):
        pass
    return header.capacity_bytes

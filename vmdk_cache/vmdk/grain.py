"""Checks one compressed grain."""

from __future__ import annotations

import zlib

from vmdk_cache.errors import ImageCorrupt
from vmdk_cache.quoting import sentence


def check_grain(data: bytes, grain_bytes: int, position: int) -> bytes:
    """Inflate a grain, up to the size of a grain; return its data.

    :param grain_bytes: the size of a grain; the last one of a disk may be shorter
    :param position: byte offset of its marker in the file, for the error
    :raises ImageCorrupt: the grain is damaged
    """
    inflater = zlib.decompressobj()
    try:
        grain = inflater.decompress(data, grain_bytes + 1)
    except zlib.error as exc:
        raise ImageCorrupt(
            f"the VMDK's grain at byte {position} is damaged: {sentence(exc)}"
        ) from exc
    if not inflater.eof or not 0 < len(grain) <= grain_bytes:
        raise ImageCorrupt(
            f"the VMDK's grain at byte {position} is damaged: its data is too short or too long"
        )
    return grain

"""A genuine streamOptimized VMDK of any size, generated while it is read; no copy is kept.

Every grain holds the same 64 KiB of noise, compressed once, so generating it costs almost nothing
and its length is known beforehand. (VMware, "Virtual Disk Format 5.0".)
"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cached_property

from vmdk_cache.image import Image

SECTOR = 512
GRAIN_SECTORS = 128
GRAIN_BYTES = GRAIN_SECTORS * SECTOR
_ENTRIES = 512  # of a grain table
_DESCRIPTOR_SECTORS = 20
_AT_END = 0xFFFFFFFFFFFFFFFF
_FLAGS = 1 | 1 << 16 | 1 << 17  # valid newlines, compressed, markers
IMAGE_ID = "a0000000-0000-4000-8000-000000000001"


class StreamImage:
    """An image file of about ``file_bytes``; also an ImageSource that reads it.

    :ivar opened: how often it was read
    """

    def __init__(self, file_bytes: int) -> None:
        noise = random.Random(1).randbytes(GRAIN_BYTES)  # noqa: S311 - no secret
        self._packed = zlib.compress(noise, 1)
        self._grains = max(1, file_bytes // GRAIN_BYTES)
        self.opened = 0

    @property
    def capacity_bytes(self) -> int:
        """Capacity of the disk inside: its grains, rounded to whole MiB."""
        return -(-self._grains * GRAIN_BYTES // (1 << 20)) << 20

    def image(self) -> Image:
        """The image as Glance describes it."""
        size_bytes, digest = self._facts
        return Image(
            id=IMAGE_ID,
            size_bytes=size_bytes,
            disk_format="vmdk",
            container_format="bare",
            disk_type="streamOptimized",
            adapter_type="lsiLogic",
            os_hash_algo="sha512",
            os_hash_value=digest,
            updated_at="2024-01-01T00:00:00Z",
        )

    def open(self, image: Image) -> Iterator[bytes]:
        """The method of an ImageSource."""
        self.opened += 1
        return self.chunks()

    def chunks(self) -> Iterator[bytes]:
        """The file, a grain at a time."""
        at = 0
        tables: list[int] = []
        entries: list[int] = []
        head = self._header(_AT_END) + _descriptor(self.capacity_bytes)
        head = head.ljust(GRAIN_BYTES, b"\0")
        yield head
        at += len(head) // SECTOR
        for number in range(self._grains):
            entries.append(at)
            grain = _padded(struct.pack("<QI", number * GRAIN_SECTORS, len(self._packed))
                            + self._packed)  # fmt: skip
            at += len(grain) // SECTOR
            yield grain
            if len(entries) == _ENTRIES or number == self._grains - 1:
                table = struct.pack(f"<{_ENTRIES}I", *entries, *[0] * (_ENTRIES - len(entries)))
                yield _marker(len(table) // SECTOR, 1) + table
                tables.append(at + 1)
                at += 1 + len(table) // SECTOR
                entries = []
        count = -(-self.capacity_bytes // (GRAIN_BYTES * _ENTRIES))
        directory = _padded(struct.pack(f"<{count}I", *tables, *[0] * (count - len(tables))))
        yield (
            _marker(len(directory) // SECTOR, 2)
            + directory
            + _marker(1, 3)
            + self._header(at + 1)
            + _marker(0, 0)
        )

    @cached_property
    def _facts(self) -> tuple[int, str]:
        digest, size_bytes = hashlib.sha512(), 0
        for chunk in self.chunks():
            digest.update(chunk)
            size_bytes += len(chunk)
        return size_bytes, digest.hexdigest()

    def _header(self, directory_at: int) -> bytes:
        return struct.pack(
            "<4sIIQQQQIQQQB4sH433x", b"KDMV", 3, _FLAGS, self.capacity_bytes // SECTOR,
            GRAIN_SECTORS, 1, _DESCRIPTOR_SECTORS, _ENTRIES, 0, directory_at, GRAIN_SECTORS, 0,
            b"\n \r\n", 1,
        )  # fmt: skip


def _descriptor(capacity_bytes: int) -> bytes:
    sectors = capacity_bytes // SECTOR
    text = (
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        f'createType="streamOptimized"\nRDONLY {sectors} SPARSE "image.vmdk"\n'
        'ddb.adapterType = "lsilogic"\nddb.geometry.cylinders = "1"\n'
        'ddb.geometry.heads = "255"\nddb.geometry.sectors = "63"\nddb.virtualHWVersion = "8"\n'
    )
    return text.encode().ljust(_DESCRIPTOR_SECTORS * SECTOR, b"\0")


def _marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")

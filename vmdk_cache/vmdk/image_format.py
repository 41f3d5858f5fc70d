"""Decides from its first bytes whether a file is accepted as a disk, and whether it is safe.

    streamOptimized VMDK     as it is
    monolithicSparse VMDK    converted as it passes (see front_tables.py for the required order)
    raw bytes of a disk      if vmware_disktype is preallocated (the default) or thin
    OVA                      the one disk in it, a VMDK as above

The header of a VMDK decides, whatever ``vmware_disktype`` claims. All checks run before a byte goes
to vCenter.

An image that Cinder's own driver can make a volume from must become a volume: ImageError is only
for files that this driver refuses as well, or that name other files. Everything else that is not
read here falls back to the plain import (NotCacheable). See docs/images.rst.
"""

from __future__ import annotations

import enum
from typing import Final

from vmdk_cache.errors import ImageCorrupt, ImageFormatError, UnusualFormat
from vmdk_cache.image import Image
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.descriptor import CONVERT, MAX_DESCRIPTOR_BYTES, TEXT_MAGIC, Descriptor
from vmdk_cache.vmdk.sparse_extent import HEADER_BYTES, MAGIC, SECTOR, SparseHeader

FLAT_DISK_TYPES: Final = frozenset({None, "preallocated", "thin"})
"""``vmware_disktype`` values with which Cinder's own driver uses the file as raw disk, whatever it
contains; preallocated is the default."""

_OTHER_FORMATS: Final = (
    (0, b"QFI\xfb", "a qcow2 image"),
    (0, b"QED\0", "a QED image"),
    (0, b"COWD", "a VMDK of ESX's own sparse kind"),
    (0, b"conectix", "a VHD image"),
    (0, b"vhdxfile", "a VHDX image"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"\xfd7zXZ\0", "compressed by xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"PK\x03\x04", "a ZIP archive"),
)


class Format(enum.Enum):
    """The format of an image's file; FLAT are the raw bytes of a disk."""

    VMDK = enum.auto()
    FLAT = enum.auto()
    OVA = enum.auto()


def sniff(prefix: bytes, image: Image) -> Format:
    """The format of the file that begins with `prefix` (HEADER_BYTES; fewer if it is shorter).

    :raises ImageFormatError: the format is not accepted
    """
    if not prefix:
        raise ImageFormatError(f"{image} is empty")
    if prefix.startswith(MAGIC):
        return Format.VMDK
    if prefix.lstrip().startswith(TEXT_MAGIC):
        raise ImageFormatError(
            f"{image} is the text descriptor of a VMDK whose data is in other files: {CONVERT}"
        )
    for offset, magic, name in _OTHER_FORMATS:
        if prefix.startswith(magic, offset):
            raise ImageFormatError(f"{image} is {name}, not a VMDK: {CONVERT}")
    if image.container_format == "ova" or prefix.startswith(b"ustar", 257):
        return Format.OVA
    if image.disk_type in FLAT_DISK_TYPES:
        return Format.FLAT
    raise ImageFormatError(
        f"{image} is not a VMDK, although vmware_disktype={quoted(image.disk_type)}: {CONVERT}, "
        "or, if it holds the raw bytes of a disk, set vmware_disktype=preallocated"
    )


def read_head(stream: ByteStream) -> tuple[SparseHeader, Descriptor]:
    """The checked head of the sparse VMDK at the start of `stream`, which is not advanced.

    :raises ImageFormatError: the head is impossible, or names another file
    :raises ImageCorrupt: the head is truncated
    :raises NotCacheable: the head is unusual
    """
    header = SparseHeader.parse(stream.peek(HEADER_BYTES))
    # oslo's inspector and qemu look for it only at sector 1.
    if header.descriptor_offset != SECTOR or not (
        0 < header.descriptor_bytes < MAX_DESCRIPTOR_BYTES
    ):
        raise UnusualFormat(
            f"the VMDK has no descriptor of up to {MAX_DESCRIPTOR_BYTES >> 10} KiB at sector 1 "
            f"(but {header.descriptor_bytes} bytes at byte {header.descriptor_offset}): {CONVERT}"
        )
    end = header.descriptor_offset + header.descriptor_bytes
    if header.data_offset < end and header.compressed:
        raise UnusualFormat(f"the VMDK's data and descriptor overlap: {CONVERT}")
    head = stream.peek(end)
    if len(head) < end:
        raise ImageCorrupt(f"the VMDK ends after {len(head)} bytes, within its descriptor")
    descriptor = Descriptor.parse(head[header.descriptor_offset :])
    descriptor.check(header.capacity_bytes, header.grain_bytes)
    _inspect(head)
    if header.unusual:
        raise UnusualFormat(f"the VMDK has {header.unusual}: {CONVERT}")
    return header, descriptor


def _inspect(head: bytes) -> None:
    """Run oslo.utils' inspector as well, which also rejects lines that it does not know."""
    # Imported here because it takes a quarter of the start-up time, and few processes need it.
    from oslo_utils.imageutils import format_inspector

    inspector = format_inspector.VMDKInspector()
    try:
        inspector.eat_chunk(head)
        inspector.check_descriptor()
    except (format_inspector.ImageFormatError, format_inspector.SafetyViolation) as exc:
        raise UnusualFormat(
            f"oslo.utils rejects the VMDK's descriptor: {sentence(exc)}; {CONVERT}"
        ) from exc

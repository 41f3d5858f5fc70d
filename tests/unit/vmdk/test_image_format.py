"""The first bytes of a file decide its format, whatever its labels claim."""

from __future__ import annotations

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_monolithic_sparse,
    as_stream_optimized,
)
from vmdk_cache.errors import ImageCorrupt, ImageFormatError
from vmdk_cache.vmdk.image_format import Format, sniff
from vmdk_cache.vmdk.transfer import open_disk

DISK = b"data".ljust(1 << 20, b"\0")
STREAM = as_stream_optimized(DISK)


LABEL = {"vmware_disktype": "streamOptimized"}


@pytest.mark.parametrize(
    ("offset", "magic", "name"),
    [
        (0, b"QFI\xfb", "a qcow2 image"),
        (0, b"QED\0", "a QED image"),
        (0, b"COWD", "ESX's own sparse kind"),
        (0, b"conectix", "a VHD image"),
        (0, b"vhdxfile", "a VHDX image"),
        (64, b"\x7f\x10\xda\xbe", "a VDI image"),
        (0, b"\x1f\x8b", "gzip"),
        (0, b"\xfd7zXZ\0", "xz"),
        (0, b"\x28\xb5\x2f\xfd", "zstd"),
        (0, b"PK\x03\x04", "a ZIP archive"),
    ],
)
def test_another_format_is_named(offset: int, magic: bytes, name: str) -> None:
    prefix = (bytes(offset) + magic).ljust(512, b"\1")
    with pytest.raises(ImageFormatError, match=f"is .*{name}.*not a VMDK"):
        sniff(prefix, STREAM.image())
    with pytest.raises(ImageFormatError, match="is not a VMDK"):
        sniff(b"\1" + prefix[:-1], STREAM.image())


@pytest.mark.parametrize("before", [b"", b"\n", b"  \r\n\t"])
def test_a_text_descriptor_is_named(before: bytes) -> None:
    with pytest.raises(ImageFormatError, match="text descriptor"):
        sniff(before + b"# Disk DescriptorFile\nversion=1\n", STREAM.image())


@pytest.mark.parametrize("keep", [512, 700, 2000, 21 * 512 - 1])
def test_a_file_that_ends_within_its_descriptor_is_corrupt(keep: int) -> None:
    image = FakeImage(STREAM.file_bytes[:keep], len(DISK), DISK, LABEL)
    with pytest.raises(ImageCorrupt, match=f"ends after {keep} bytes, within its descriptor"):
        open_disk(image.image(), FakeImageSource(image))


@pytest.mark.parametrize("label", [None, "preallocated", "thin", "streamOptimized"])
def test_a_vmdk_is_one_whatever_the_label(label: str | None) -> None:
    for image in (STREAM, as_monolithic_sparse(DISK)):
        assert sniff(image.file_bytes[:512], image.image(disk_type=label)) is Format.VMDK


@pytest.mark.parametrize("label", [None, "preallocated", "thin"])
def test_other_bytes_are_a_raw_disk_if_the_label_says_so(label: str | None) -> None:
    assert sniff(DISK[:512], STREAM.image(disk_type=label)) is Format.FLAT


def test_a_tar_is_an_archive_even_without_its_label() -> None:
    tar = b"image.ovf".ljust(257, b"\0") + b"ustar"
    image = STREAM.image(disk_type=None, container_format="bare")
    assert sniff(tar.ljust(512, b"\0"), image) is Format.OVA

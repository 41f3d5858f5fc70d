"""Every field of a VMDK is checked before it is trusted."""

from __future__ import annotations

import struct

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_monolithic_sparse,
    as_stream_optimized,
)
from vmdk_cache.errors import ImageCorrupt, ImageError, ImageFormatError, NotCacheable
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.descriptor import MAX_LINES, Descriptor, stream_descriptor
from vmdk_cache.vmdk.image_format import Format, read_head, sniff
from vmdk_cache.vmdk.transfer import open_disk

DISK = b"data".ljust(1 << 20, b"\0")
STREAM = as_stream_optimized(DISK)
CAPACITY = 2048

DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="streamOptimized"
RW 2048 SPARSE "disk.vmdk"
ddb.adapterType = "lsilogic"
"""


LABEL = {"vmware_disktype": "streamOptimized"}


def with_field(offset: int, layout: str, value: object) -> FakeImage:
    data = bytearray(STREAM.file_bytes)
    struct.pack_into(layout, data, offset, value)
    return FakeImage(bytes(data), len(DISK), DISK, LABEL)


def with_line(old: str, new: str) -> FakeImage:
    assert old in DESCRIPTOR
    return as_stream_optimized(DISK, descriptor=DESCRIPTOR.replace(old, new).encode())


@pytest.mark.parametrize(
    ("offset", "layout", "value", "match"),
    [
        (4, "<I", 0, "version 0"),
        (4, "<I", 4, "version 4"),
        (8, "<I", 0x20001, "markers without compression"),
        (12, "<Q", 0, "62 TiB"),
        (12, "<Q", (62 << 31) + 1, "62 TiB"),
        (12, "<Q", 1 << 63, "62 TiB"),
        (20, "<Q", 0, "power of two"),
        (20, "<Q", 4, "power of two"),
        (20, "<Q", 100, "power of two"),
        (20, "<Q", 1 << 60, "power of two"),
        (44, "<I", 0, "tables of 0 entries"),
        (73, "4s", b"\n \n\n", "text mode"),
    ],
)
def test_an_impossible_header_is_refused(
    offset: int, layout: str, value: object, match: str
) -> None:
    image = with_field(offset, layout, value)
    with pytest.raises(ImageFormatError, match=match):
        open_disk(image.image(), FakeImageSource(image))


@pytest.mark.parametrize(
    ("offset", "layout", "value", "match"),
    [
        (8, "<I", 0x10001, "compressed grains without markers"),
        (28, "<Q", 0, "no descriptor of up to 128 KiB at sector 1"),
        (28, "<Q", 2, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 0, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 256, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 1 << 40, "no descriptor of up to 128 KiB at sector 1"),
        (36, "<Q", 128, "overlap"),
        (44, "<I", 1024, "tables of 1024 entries"),
        (20, "<Q", 256, "grains of 131072 bytes"),
        (20, "<Q", 2048, "grains of 1048576 bytes"),
        (56, "<Q", 1 << 63, "grain directory at sector"),
        (64, "<Q", 1 << 63, "data at sector"),
        (64, "<Q", 0, "overlap"),
        (77, "<H", 0, "compressed by method 0"),
    ],
)
def test_an_unusual_header_is_left_to_the_plain_import(
    offset: int, layout: str, value: object, match: str
) -> None:
    image = with_field(offset, layout, value)
    with pytest.raises(NotCacheable, match=match) as caught:
        open_disk(image.image(), FakeImageSource(image))
    assert caught.value.reason == "unusual-format"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("CID=12345678", 'parentFileNameHint="base.vmdk"', "parentfilenamehint"),
        ("CID=12345678", 'changeTrackPath="disk-ctk.vmdk"', "changetrackpath"),
        ('CID=12345678', 'parentFileNameHint = base.vmdk', "parentfilenamehint"),
        ('CID=12345678', 'CID=1 parentFileNameHint="base.vmdk"', "parentfilenamehint"),
        ('CID=12345678', 'x="y"\rparentFileNameHint="base.vmdk"', "parentfilenamehint"),
        ('CID=12345678', 'x="y"\rRW 1 FLAT "/etc/passwd" 0', "names another file, FLAT"),
        ('RW 2048 SPARSE "disk.vmdk"', 'RW\t2048 SPARSE\t"/dev/sda"', "names another file"),
        ('"disk.vmdk"', '"/etc/passwd"', "names another file"),
        ('"disk.vmdk"', r'"..\\other.vmdk"', "names another file"),
        ('"disk.vmdk"', '"../other.vmdk"', "names another file"),
        ('"disk.vmdk"', '""', "names another file"),
        ('SPARSE "disk.vmdk"', 'FLAT "disk.vmdk" 0', "names another file, FLAT"),
        ('SPARSE "disk.vmdk"', 'VMFS "disk.vmdk"', "names another file, VMFS"),
        ('RW 2048 SPARSE "disk.vmdk"',
         'RW 1024 SPARSE "disk.vmdk"\nRW 1024 SPARSE "b.vmdk"', "2 extents, so names other files"),
    ],
)  # fmt: skip
def test_an_unsafe_descriptor_is_refused(old: str, new: str, match: str) -> None:
    image = with_line(old, new)
    with pytest.raises(ImageFormatError, match=match):
        open_disk(image.image(), FakeImageSource(image))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('createType="streamOptimized"', 'createType="vmfs"', "createType"),
        ('createType="streamOptimized"', 'createType="monolithicFlat"', "createType"),
        ('createType="streamOptimized"\n', "", "createType"),
        ("parentCID=ffffffff", "parentCID=12345678", "snapshot"),
        ("parentCID=ffffffff\n", "", "snapshot"),
        ("CID=12345678", 'x="y"\x0bRW 1 FLAT "/etc/passwd" 0', "strange line"),
        ("CID=12345678", "parentCID=00000001", "two values of parentCID"),
        ("CID=12345678", 'createType="vmfs"', "two values of createType"),
        ('RW 2048 SPARSE "disk.vmdk"\n', "", "no extent"),
        ("RW 2048 ", "RW 2049 ", "claims 2049 sectors"),
        ("version=1", "RW and so on", "strange line"),
        ("version=1", 'rw 2048 sparse "disk.vmdk" and so on', "strange line"),
        ("version=1", "something else", "oslo.utils"),
        ("version=1", "ddb.comment=\xe9", "oslo.utils"),
        ("version=1", "x=1\n" * 2000, "lines"),
    ],
)
def test_an_unusual_descriptor_is_left_to_the_plain_import(old: str, new: str, match: str) -> None:
    image = with_line(old, new)
    with pytest.raises(NotCacheable, match=match) as caught:
        open_disk(image.image(), FakeImageSource(image))
    assert caught.value.reason == "unusual-format"


def test_as_many_lines_as_are_read_are_taken() -> None:
    others = DESCRIPTOR.count("\n") - 1 + 1  # one is replaced, and one ends the text
    image = with_line("version=1\n", "x=1\n" * (MAX_LINES - others))
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        assert disk.capacity_bytes == len(DISK)


@pytest.mark.parametrize(
    "line",
    [
        "version=1",
        "encoding=windows-1252 and more",
        'toolsVersion="10.0"  # of the guest',
        "ddb.comment = made by hand, on a Sunday",
        'ddb.toolsInstallType = "4" "5"',
        'ddb.uuid.image="1" // of VirtualBox',
        'parentFileNameHint=""',
        "changeTrackPath=",
        "rw=1",
        "version=1\r",
    ],
)
def test_a_descriptor_with_harmless_lines_is_taken(line: str) -> None:
    text = DESCRIPTOR.replace("version=1", line)
    image = as_stream_optimized(DISK, descriptor=text.encode())
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        assert disk.capacity_bytes == len(DISK)


def test_what_is_unusual_and_unsafe_is_refused() -> None:
    text = DESCRIPTOR.replace("disk.vmdk", "/etc/passwd")
    data = bytearray(as_stream_optimized(DISK, descriptor=text.encode()).file_bytes)
    struct.pack_into("<I", data, 44, 1024)
    image = FakeImage(bytes(data), len(DISK), DISK, LABEL)
    with pytest.raises(ImageFormatError, match="names another file"):
        open_disk(image.image(), FakeImageSource(image))


def test_our_own_descriptor_passes_our_own_check() -> None:
    for adapter in (None, "lsiLogic", "busLogic", "lsiLogicsas", "paraVirtual", "ide"):
        descriptor = Descriptor.parse(stream_descriptor(1 << 20, adapter))
        descriptor.check(1 << 20, 64 << 10)
        assert descriptor.adapter == (adapter or "lsiLogic")


@pytest.mark.parametrize("name", ["lsilogic", "LSILOGIC", "nonsense"])
def test_the_adapter_is_named_in_cinders_terms_or_not_at_all(name: str) -> None:
    image = as_monolithic_sparse(DISK, adapter_type=name)
    head = read_head(ByteStream(iter([image.file_bytes])))
    assert head.descriptor.adapter == (None if name == "nonsense" else "lsiLogic")


def test_the_image_says_which_adapter_a_written_disk_names() -> None:
    image = as_monolithic_sparse(DISK, adapter_type="ide")
    with open_disk(image.image(adapter_type="paraVirtual"), FakeImageSource(image)) as disk:
        assert b'ddb.adapterType = "pvscsi"' in b"".join(disk)


def test_a_footer_that_contradicts_its_header_is_corrupt() -> None:
    data = bytearray(STREAM.file_bytes)
    struct.pack_into("<Q", data, len(data) - 1024 + 12, 4096)
    image = FakeImage(bytes(data), len(DISK), DISK, LABEL)
    with (
        pytest.raises(ImageError, match="contradicts"),
        open_disk(image.image(), FakeImageSource(image)) as disk,
    ):
        for _ in disk:
            pass


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


def test_the_header_says_which_kind_of_vmdk_it_is() -> None:
    assert sniff(STREAM.file_bytes[:512], STREAM.image()) is Format.STREAM_OPTIMIZED
    sparse = as_monolithic_sparse(DISK)
    assert sniff(sparse.file_bytes[:512], sparse.image()) is Format.MONOLITHIC_SPARSE
    for label in (None, "preallocated", "thin"):
        assert sniff(DISK[:512], STREAM.image(disk_type=label)) is Format.FLAT


def test_a_tar_is_an_archive_even_without_its_label() -> None:
    tar = b"image.ovf".ljust(257, b"\0") + b"ustar"
    image = STREAM.image(disk_type=None, container_format="bare")
    assert sniff(tar.ljust(512, b"\0"), image) is Format.OVA

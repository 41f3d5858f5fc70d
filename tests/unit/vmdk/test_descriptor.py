"""The text inside a VMDK: files that it names are refused, odd lines left to the plain import."""

from __future__ import annotations

import struct

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_monolithic_sparse,
    as_stream_optimized,
)
from vmdk_cache.errors import ImageFormatError, NotCacheable
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.descriptor import MAX_LINES, Descriptor, stream_descriptor
from vmdk_cache.vmdk.image_format import read_head
from vmdk_cache.vmdk.transfer import open_disk

DISK = b"data".ljust(1 << 20, b"\0")
LABEL = {"vmware_disktype": "streamOptimized"}
DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="streamOptimized"
RW 2048 SPARSE "disk.vmdk"
ddb.adapterType = "lsilogic"
"""


def with_line(old: str, new: str) -> FakeImage:
    assert old in DESCRIPTOR
    return as_stream_optimized(DISK, descriptor=DESCRIPTOR.replace(old, new).encode())


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


def test_an_unusual_and_unsafe_descriptor_is_refused() -> None:
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
    _, descriptor = read_head(ByteStream(iter([image.file_bytes])))
    assert descriptor.adapter == (None if name == "nonsense" else "lsiLogic")


def test_the_image_says_which_adapter_a_written_disk_names() -> None:
    image = as_monolithic_sparse(DISK, adapter_type="ide")
    with open_disk(image.image(adapter_type="paraVirtual"), FakeImageSource(image)) as disk:
        assert b'ddb.adapterType = "pvscsi"' in b"".join(disk)

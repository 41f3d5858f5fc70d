"""OVAs: the one disk in them, and archives that try something else."""

from __future__ import annotations

import io
import tarfile

import pytest

from tests.fakes.images import FakeImage, FakeImageSource, as_flat, as_ova, as_stream_optimized
from vmdk_cache.errors import ImageCorrupt, ImageError, ImageFormatError
from vmdk_cache.vmdk.transfer import open_disk

DISK = b"data".ljust(1 << 20, b"\0")
STREAM = as_stream_optimized(DISK)
#: Without it, Cinder's own driver takes the archive's bytes for the disk's, so nothing is refused.
LABELS = {"disk_type": "streamOptimized"}


def received(image: FakeImage, **changes: object) -> bytes:
    with open_disk(image.image(**(LABELS | changes)), FakeImageSource(image)) as disk:
        data = b"".join(disk)
        disk.finish()
    return data


def refused(image: FakeImage, match: str, error: type[ImageError] = ImageFormatError) -> None:
    source = FakeImageSource(image)
    with pytest.raises(error, match=match):
        open_disk(image.image(**LABELS), source)
    assert source.closed == 1


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
@pytest.mark.parametrize("name", ["disk.vmdk", "d" * 150 + "/disk.vmdk", "größe.VMDK"])
def test_names_of_every_tar_dialect(tar_format: int, name: str) -> None:
    ova = as_ova(STREAM, disk_name=name, tar_format=tar_format)
    assert received(ova) == STREAM.file_bytes


def test_two_disks_in_the_descriptor_are_refused() -> None:
    ovf = b"""<Envelope><References><File id="a" href="a.vmdk"/><File id="b" href="b.vmdk"/>
        </References><DiskSection><Disk fileRef="a"/><Disk fileRef="b"/></DiskSection></Envelope>"""
    refused(as_ova(STREAM, ovf=ovf), "2 disks")


def test_a_second_disk_in_the_archive_is_refused_once_it_is_seen() -> None:
    ova = as_ova(STREAM, extra_members=(("second.vmdk", STREAM.file_bytes),))
    with pytest.raises(ImageFormatError, match=r"second disk, 'second\.vmdk'"):
        received(ova)


@pytest.mark.parametrize("attributes", ['ovf:compression="gzip"', 'ovf:chunkSize="100"'])
def test_compressed_and_chunked_disks_are_refused(attributes: str) -> None:
    refused(as_ova(STREAM, file_attributes=attributes), "compressed or in chunks")


def test_a_disk_that_is_no_vmdk_is_refused() -> None:
    refused(as_ova(as_flat(DISK)), "not a VMDK")
    gzipped = FakeImage(b"\x1f\x8b" + bytes(2000), 512)
    refused(as_ova(gzipped), "gzip")
    refused(as_ova(STREAM, disk_name="disk.img"), r"not a \.vmdk")


def test_an_archive_in_an_archive_is_refused() -> None:
    refused(as_ova(as_ova(STREAM)), "is an archive")


def test_the_descriptor_comes_first() -> None:
    refused(as_ova(STREAM, ovf_first=False), "first file")


def test_a_descriptor_with_entities_is_refused() -> None:
    refused(as_ova(STREAM, ovf=b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'), "DTD")
    hidden = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
    refused(as_ova(STREAM, ovf=hidden.encode("utf-16")), "DTD")
    refused(as_ova(STREAM, ovf=b"<x>\xff</x>"), "not XML in UTF-8")
    refused(as_ova(STREAM, ovf=b"<x>"), "not XML")


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "..\\up"])
def test_a_member_that_points_outside_is_refused(name: str) -> None:
    ova = as_ova(STREAM, extra_members=((name, b"x"),))
    with pytest.raises(ImageFormatError, match="points outside"):
        received(ova)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_refused(kind: bytes) -> None:
    member = tarfile.TarInfo("disk.vmdk")
    member.type, member.linkname = kind, "/etc/passwd"
    refused(archive(_ovf_member(), (member, b"")), "not a regular file")


def test_directories_are_passed_over() -> None:
    directory = tarfile.TarInfo("images")
    directory.type = tarfile.DIRTYPE
    disk = tarfile.TarInfo("./image-disk1.vmdk")
    ova = archive((directory, b""), _ovf_member(), (disk, STREAM.file_bytes))
    assert received(ova) == STREAM.file_bytes


def test_an_extended_header_cannot_take_all_memory() -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    data = header.tobuf(tarfile.USTAR_FORMAT if header.size < 1 << 33 else tarfile.GNU_FORMAT)
    refused(FakeImage(data + bytes(10240), 0, container_format="ova"), "extended header")


def extended(kind: bytes, record: bytes) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo("pax")
    header.type = kind
    return header, record


def test_a_size_for_the_next_member_is_not_taken_for_an_extended_headers() -> None:
    """Otherwise the walk would go back, and take bytes of the header for a member."""
    size = extended(tarfile.XHDTYPE, b"10 size=0\n")
    name = extended(tarfile.XHDTYPE, b"2000 path=../".ljust(1999, b"x") + b"\n")
    refused(archive(_ovf_member(), size, name, (tarfile.TarInfo("x"), b"")), "points outside")


@pytest.mark.parametrize(
    "records",
    [
        b"1 " * 1000,
        b"12 path=a.b",
        b"13 path=a.b\n",
        b"11 path=a.b\n",
        b"12 path=a.b\n\n",
        b"12 path:a.b\n",
        b"5 =a\n",
        b" 12 path=a.b\n",
        b"-12 path=a.b\n",
        b"12path=a.b\n",
        b"00000012 path=a.b\n",
        b"00000031 path=image-disk1.vmdk\n",
        "\u0661\u0662 path=a.b\n".encode(),
    ],
)
def test_records_that_do_not_follow_their_lengths_are_corrupt(records: bytes) -> None:
    disk = (tarfile.TarInfo("image-disk1.vmdk"), STREAM.file_bytes)
    image = archive(_ovf_member(), extended(tarfile.XHDTYPE, records), disk)
    refused(image, "broken record", ImageCorrupt)


@pytest.mark.parametrize(
    "records",
    [
        b"25 path=image-disk1.vmdk\n",
        b"15 comment=a=b\n25 path=image-disk1.vmdk\n",
        b"15 comment=1 \n\n25 path=image-disk1.vmdk\n",
        b"9 path=x\n25 path=image-disk1.vmdk\n",
        b"0000030 path=image-disk1.vmdk\n",
        b"25 path=image-disk1.vmdk\n\0\0\0",
        b"",
    ],
)
def test_records_are_found_by_their_lengths(records: bytes) -> None:
    disk = tarfile.TarInfo("other.bin" if records else "image-disk1.vmdk")
    image = archive(_ovf_member(), extended(tarfile.XHDTYPE, records), (disk, STREAM.file_bytes))
    assert received(image) == STREAM.file_bytes


@pytest.mark.parametrize("size", ["-1", "", "1e3", "9" * 20, "\u0661"])
def test_an_impossible_size_in_an_extended_header_is_corrupt(size: str) -> None:
    record = f" size={size}\n".encode()
    record = str(len(record) + (1 if len(record) < 9 else 2)).encode() + record
    disk = (tarfile.TarInfo("image-disk1.vmdk"), STREAM.file_bytes)
    image = archive(_ovf_member(), extended(tarfile.XHDTYPE, record), disk)
    refused(image, "impossible size", ImageCorrupt)


def test_extended_headers_of_one_member_are_bounded() -> None:
    disk = (tarfile.TarInfo("image-disk1.vmdk"), STREAM.file_bytes)
    one = extended(tarfile.XHDTYPE, b"13 comment=x\n")
    assert received(archive(one, _ovf_member(), *[one] * 4, disk)) == STREAM.file_bytes
    refused(archive(_ovf_member(), *[one] * 5, disk), "more than 4 extended headers")


def test_members_are_bounded() -> None:
    directory = tarfile.TarInfo("images")
    directory.type = tarfile.DIRTYPE
    disk = (tarfile.TarInfo("image-disk1.vmdk"), STREAM.file_bytes)
    most = archive(_ovf_member(), *[(directory, b"")] * 998, disk)
    assert received(most) == STREAM.file_bytes
    refused(archive(_ovf_member(), *[(directory, b"")] * 999, disk), "more than 1000 members")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_extended_header_is_as_large_as_it_may_be(kind: bytes) -> None:
    disk = (tarfile.TarInfo("image-disk1.vmdk"), STREAM.file_bytes)
    body = b"65536 comment=".ljust(65535, b"x") + b"\n"
    if kind == tarfile.GNUTYPE_LONGNAME:
        body = b"image-disk1.vmdk".ljust(65536, b"\0")
    assert received(archive(_ovf_member(), extended(kind, body), disk)) == STREAM.file_bytes
    larger = archive(_ovf_member(), extended(kind, body + b"\0"), disk)
    refused(larger, "extended header of 65537 bytes")


def test_a_descriptor_is_as_large_as_it_may_be() -> None:
    ovf = _ovf_member()[1]
    fits = ovf + b" " * ((256 << 10) - len(ovf))
    assert received(as_ova(STREAM, ovf=fits)) == STREAM.file_bytes
    refused(as_ova(STREAM, ovf=fits + b" "), "the limit is 262144")


def test_names_are_read_whatever_their_prefix() -> None:
    ovf = _ovf_member()[1].decode()
    for changed in (ovf.replace("ovf:", ""), ovf.replace("<File", "<ovf:File"), "\ufeff" + ovf):
        assert received(as_ova(STREAM, ovf=changed.encode())) == STREAM.file_bytes


@pytest.mark.parametrize("record", [b"10 size=0\n", b"15 path=a.vmdk\n"])
def test_global_headers_hide_no_member(record: bytes) -> None:
    disk = (tarfile.TarInfo("image-disk1.vmdk"), STREAM.file_bytes)
    refused(archive(extended(tarfile.XGLTYPE, record), _ovf_member(), disk), "all its members")


def test_a_directory_hides_no_member() -> None:
    directory = tarfile.TarInfo("images")
    directory.type = tarfile.DIRTYPE
    refused(archive(_ovf_member(), (directory, b"x" * 512)), "directory 'images' has a size")


def test_a_long_name_does_not_fill_the_log() -> None:
    disk = (tarfile.TarInfo("n" * 3000), b"")
    disk[0].type = tarfile.SYMTYPE
    ova = archive(_ovf_member(), disk, tar_format=tarfile.GNU_FORMAT)
    with pytest.raises(ImageFormatError, match="not a regular file") as caught:
        received(ova)
    assert len(str(caught.value)) < 300


def test_a_missing_disk_is_named() -> None:
    ovf = as_ova(STREAM, disk_name="other.vmdk").file_bytes
    size = int(ovf[124:135], 8)
    refused(as_ova(STREAM, ovf=ovf[512 : 512 + size]), r"does not name")
    empty = archive(_ovf_member())
    refused(empty, r"does not contain the disk 'image-disk1\.vmdk'")


def test_text_labelled_ova_is_refused() -> None:
    refused(FakeImage(b"hello" * 500, 0, container_format="ova"), "not a tar")


def test_a_bare_vmdk_labelled_ova_is_read_as_a_vmdk() -> None:
    assert received(STREAM, container_format="ova") == STREAM.file_bytes


def test_an_archive_cut_within_the_disk_is_corrupt() -> None:
    whole = as_ova(STREAM)
    cut = FakeImage(whole.file_bytes[: len(whole.file_bytes) // 2], 0, container_format="ova")
    with pytest.raises(ImageCorrupt, match=r"within its member 'image-disk1\.vmdk'"):
        received(cut)


def archive(
    *members: tuple[tarfile.TarInfo, bytes], tar_format: int = tarfile.USTAR_FORMAT
) -> FakeImage:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return FakeImage(file.getvalue(), len(DISK), DISK, {}, container_format="ova")


def _ovf_member() -> tuple[tarfile.TarInfo, bytes]:
    ova = as_ova(STREAM).file_bytes
    size = int(ova[124:135], 8)
    return tarfile.TarInfo("image.ovf"), ova[512 : 512 + size]

"""OVAs: tars whose members lie about what and how large they are, and descriptors that lie of them.

Nothing is unpacked to a file, so what a member's name could do is to confuse: the disk that is
imported must be the one that every reader of the archive would take.
"""

from __future__ import annotations

import io
import tarfile
import tracemalloc

from hypothesis import strategies as st

from tests.fakes.images import FakeImageSource, as_ova, as_stream_optimized
from tests.fuzz.imports import IMAGE_ID, imported
from tests.fuzz.mutation import mutated
from tests.fuzz.tally import fuzz
from vmdk_cache.errors import ImageError, ImageFormatError
from vmdk_cache.image import Image
from vmdk_cache.vmdk.ova import disk_file
from vmdk_cache.vmdk.transfer import open_disk

INNER = as_stream_optimized(b"data".ljust(1 << 17, b"\0"))
DISK = INNER.file_bytes
OVA = as_ova(INNER).file_bytes
OVF = OVA[512 : 512 + int(OVA[124:135], 8)]
PAX = as_ova(INNER, disk_name="d" * 120 + ".vmdk", tar_format=tarfile.PAX_FORMAT).file_bytes
GNU = as_ova(INNER, disk_name="d" * 120 + ".vmdk", tar_format=tarfile.GNU_FORMAT).file_bytes

NAMES = st.one_of(
    st.sampled_from(
        ["image.ovf", "image-disk1.vmdk", "./image-disk1.vmdk", "IMAGE-DISK1.VMDK", "image.mf",
         "../image-disk1.vmdk", "/image-disk1.vmdk", "a/../image-disk1.vmdk", "second.vmdk",
         "C:\\image-disk1.vmdk", "", ".", "image-disk1.vmdk\0.txt", "image-disk1.vmdk\n",
         "n" * 3000 + ".vmdk"]
    ),
    st.text(max_size=120),
)  # fmt: skip
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 6 + [tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE,
     tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_LONGNAME,
     tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z"]
)  # fmt: skip
CONTENTS = st.one_of(
    st.sampled_from([DISK, OVF, b"", b"25 path=image-disk1.vmdk\n", b"12 size=0\n",
                     b"14 size=9999\n", b"30 size=99999999999999999999\n", b"13 size=-1\n"]),
    st.binary(max_size=600),
)  # fmt: skip


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Members of all kinds after a good descriptor, perhaps with sizes that are not theirs."""
    file = io.BytesIO()
    members = draw(st.lists(st.tuples(NAMES, KINDS, CONTENTS), max_size=5))
    members.insert(draw(st.sampled_from([0, 0, 0, 1])), ("image.ovf", tarfile.REGTYPE, OVF))
    if draw(st.booleans()):
        at = draw(st.integers(1, len(members)))
        members.insert(at, ("image-disk1.vmdk", tarfile.REGTYPE, DISK))
    for name, kind, content in members:
        member = tarfile.TarInfo(name)
        member.type = kind
        lies = draw(st.integers(0, 9)) == 0
        member.size = draw(st.integers(0, 1 << 40)) if lies else len(content)
        header = member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        file.write(header + content.ljust(-(-len(content) // 512) * 512, b"\0"))
    return file.getvalue() + bytes(1024)


@fuzz(500, file=archives())
def test_an_archive_of_any_members_gives_the_disk_that_all_would_take(file: bytes) -> None:
    made = imported(file, container_format="ova")
    if made.error is not None:
        return
    assert made.data == DISK
    try:
        with tarfile.open(fileobj=io.BytesIO(file)) as tar:
            disks = [one for one in tar if one.name.lower().endswith(".vmdk") and not one.isdir()]
            read = [tar.extractfile(one) for one in disks if one.isfile()]
            found = [one.read() for one in read if one]
    except tarfile.ReadError:
        return  # behind the disk there is what others do not read at all
    assert found == [DISK], "others would take another disk"


@fuzz(500, file=mutated([OVA, PAX, GNU]))
def test_a_changed_archive_is_imported_or_refused(file: bytes) -> None:
    imported(file, container_format="ova")


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["ovf:id", "id", "ovf:href", "href", "ovf:fileRef", "fileRef", "ovf:size",
                     "ovf:compression", "ovf:chunkSize"]),
    st.one_of(
        st.sampled_from(["file1", "image-disk1.vmdk", "..%2fimage-disk1.vmdk", "file:///etc/passwd",
                         "http://127.0.0.1/x.vmdk", "%00.vmdk", "gzip", "identity", "-1", ""]),
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    ),
    max_size=4,
)  # fmt: skip
ELEMENTS = st.lists(
    st.tuples(
        st.sampled_from(["File", "Disk", "ovf:File", "ovf:Disk", "References", "Item"]), ATTRIBUTES
    ),
    max_size=6,
)


def xml(elements: list[tuple[str, dict[str, str]]]) -> bytes:
    def quoted(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")

    lines = [
        f"<{name} "
        + " ".join(f'{key}="{quoted(value)}"' for key, value in attributes.items())
        + "/>"
        for name, attributes in elements
    ]
    namespace = 'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"'
    return f"<Envelope {namespace}>{''.join(lines)}</Envelope>".encode()


@fuzz(400, elements=ELEMENTS)
def test_a_descriptor_names_a_file_of_the_archive_or_is_refused(
    elements: list[tuple[str, dict[str, str]]],
) -> None:
    described(xml(elements))


@fuzz(400, ovf=mutated([OVF]))
def test_a_changed_descriptor_is_read_or_refused(ovf: bytes) -> None:
    described(ovf)


def described(ovf: bytes) -> None:
    try:
        assert disk_file(ovf).lower().endswith(".vmdk")
    except ImageFormatError as refused:
        assert len(str(refused)) < 1000 and str(refused).isprintable()
    # Whatever it names, an archive of one good disk gives that or nothing.
    made = imported(as_ova(INNER, ovf=ovf or b" ").file_bytes, container_format="ova")
    assert made.error is not None or made.data == DISK


@fuzz(
    12,
    piece=st.sampled_from(
        [
            b"<a/>",
            b"<a>",
            b'<a b=""/>',
            b"<File id='%d'/>",
            b"\xc3\xa4",
            b"&amp;",
            b"<!--x-->",
            b" ",
        ]
    ),
    closed=st.booleans(),
    size_mib=st.sampled_from([1, 4, 80]),
)
def test_no_descriptor_takes_memory(piece: bytes, closed: bool, size_mib: int) -> None:
    """As large as one may be, and larger, or claiming to be."""
    size_bytes = size_mib << 20
    ovf = b"<Envelope>" + piece * (size_bytes // len(piece) - 10)
    ovf = (ovf + b"</Envelope>" if closed else ovf)[:size_bytes]
    file = as_ova(INNER, ovf=ovf).file_bytes
    image = Image(IMAGE_ID, len(file), "vmdk", "ova", disk_type="streamOptimized")
    tracemalloc.start()
    try:
        open_disk(image, FakeImageSource(file)).close()
    except ImageError:
        pass
    finally:
        grown_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert grown_bytes < 64 << 20, "memory is promised to be flat"

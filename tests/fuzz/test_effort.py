"""Inputs that cost far more time than their size suggests: a small file must not stop a service.

Each parser of bytes or text that a user controls reads an input made of one repeated piece, which
is what finds regular expressions and loops that go over the same bytes again and again. The bound
stands in tests/fuzz/effort.py and in docs/reliability.rst.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
from collections.abc import Sequence

import pytest
from hypothesis import strategies as st

from tests.fakes.images import FakeImageSource, as_monolithic_sparse, as_ova, as_stream_optimized
from tests.fuzz import effort
from tests.fuzz.tally import fuzz
from tests.fuzz.test_texts import ID, RECORD
from vmdk_cache.cache import admission
from vmdk_cache.cache.key import CacheKey, image_id_in, is_copy_name, lock_name, template_name
from vmdk_cache.cache.record import Notes, Record
from vmdk_cache.cinder.opt_in import asked
from vmdk_cache.conf import Settings
from vmdk_cache.errors import ImageError, NotCacheable
from vmdk_cache.image import Image, describe
from vmdk_cache.quoting import identifier, quoted, sentence
from vmdk_cache.vim.reference import escape_name, unescape_name
from vmdk_cache.vmdk.transfer import open_disk

KIB, SECTOR = 1 << 10, 512
#: Twice the largest part that a parser takes into memory as a whole, and more.
SIZES = st.sampled_from([60 * KIB, 64 * KIB, 120 * KIB, 256 * KIB])
BYTES = st.binary(min_size=1, max_size=6)
INNER = as_stream_optimized(b"data".ljust(1 << 17, b"\0"))
STREAM = INNER.file_bytes
OVA = as_ova(INNER).file_bytes
OVF = OVA[512 : 512 + int(OVA[124:135], 8)]


def pieces(known: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """What an input is a repetition of: one or two known pieces, or anything."""
    one = st.one_of(st.sampled_from(list(known)), BYTES)
    return st.one_of(one, st.tuples(one, one).map(b"".join))


def repeated(piece: bytes, size_bytes: int) -> bytes:
    return (piece * (size_bytes // len(piece) + 1))[:size_bytes]


def read(file: bytes, container_format: str = "bare", check_grains: bool = False) -> None:
    """Import the file to its end, or to its refusal, and hold that to the bound."""
    image = Image(ID, len(file), "vmdk", container_format, disk_type="streamOptimized")

    def parse() -> None:
        try:
            with open_disk(image, FakeImageSource(file), check_grains=check_grains) as disk:
                for _ in disk:
                    pass
                disk.finish()
        except (ImageError, NotCacheable):
            pass

    effort.check(parse, len(file))


PAX = (
    b"1 ",
    b"1 1 ",
    b"9 ",
    b"=",
    b"\n",
    b"1 =",
    b"6 a=b\n",
    b"1 a=\n",
    b"\0",
    b" ",
    b"10 size=0\n",
)


def extended(kind: bytes, body: bytes) -> bytes:
    header = tarfile.TarInfo("extended")
    header.type, header.size = kind, len(body)
    return header.tobuf(tarfile.USTAR_FORMAT) + body.ljust(-(-len(body) // 512) * 512, b"\0")


@fuzz(
    80,
    piece=pieces(PAX),
    front=st.sampled_from([b"", b"9 ", b"65536 a=", b"0" * 5000]),
    kind=st.sampled_from([tarfile.XHDTYPE] * 3 + [tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME]),
    size_bytes=SIZES,
    times=st.sampled_from([1, 4, 40]),
)
def test_no_extended_header_of_an_ova_takes_time(
    piece: bytes, front: bytes, kind: bytes, size_bytes: int, times: int
) -> None:
    body = front + repeated(piece, size_bytes - len(front))
    read(extended(kind, body) * times + OVA, "ova")
    read(OVA[: 512 + -(-len(OVF) // 512) * 512] + extended(kind, body) * times, "ova")


@fuzz(
    40,
    names=st.lists(st.text(st.characters(codec="utf-8"), max_size=90), min_size=1, max_size=3),
    kind=st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE, b"Z"]),
)
def test_no_number_of_members_takes_time(names: list[str], kind: bytes) -> None:
    members = io.BytesIO()
    for number in range(4000):
        member = tarfile.TarInfo(names[number % len(names)])
        member.type = kind
        members.write(member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    read(OVA[: 512 + -(-len(OVF) // 512) * 512] + members.getvalue(), "ova")


XML = (
    b"<a/>", b"<a>", b"</a>", b"<File id='1'/>", b"<Disk fileRef='1'/>", b"<a:b/>", b"<!--", b"-->",
    b"&amp;", b"&#65;", b"<![CDATA[", b"]]>", b"<?x ?>", b" a='1'", b"'", b'"', b"<", b">", b"=",
    b" xmlns:a='b'", b"\xc3\xa4", b" ",
)  # fmt: skip
XML_FRONTS = (
    b"<E>", b"<E ", b"<E a='", b"<!--", b"<E><![CDATA[", b"<E xmlns:a='" + b"u" * 100_000 + b"'>",
    b"<" + b"e" * 100_000 + b">", b"<E " + b"a" * 100_000 + b"='1'>", b"",
)  # fmt: skip


@fuzz(150, piece=pieces(XML), front=st.sampled_from(XML_FRONTS), size_bytes=SIZES)
def test_no_descriptor_of_an_ova_takes_time(piece: bytes, front: bytes, size_bytes: int) -> None:
    read(as_ova(INNER, ovf=front + repeated(piece, size_bytes)).file_bytes, "ova")


@pytest.mark.parametrize("attribute", ["a{}='' ", "xmlns:a{}='b' ", "x:a{}='' "])
def test_no_number_of_attributes_takes_time(attribute: str) -> None:
    """Names that differ, which a repetition does not make."""
    text = "<E " + "".join(attribute.format(number) for number in range(15_000)) + "/>"
    read(as_ova(INNER, ovf=text.encode()).file_bytes, "ova")


LINES = (
    b"a", b"a\n", b"\n", b"\r", b"#", b"=", b" ", b"\t", b'"', b"1", b"RW ", b"rw 1 ",
    b"RW 1 SPARSE ", b"a=", b"a =", b"a= ", b"ddb.", b"ddb.a=1\n", b"parentFileNameHint",
    b"changeTrackPath=\n",
    b'RW 1 SPARSE "a"\n', b"\x0b", b"\xff", b".", b"-",
)  # fmt: skip


@fuzz(
    150,
    piece=pieces(LINES),
    front=st.sampled_from(
        [b"# Disk DescriptorFile\n", b"", b"a", b"RW ", b'RW 1 SPARSE "', b"a ="]
    ),
    whole=st.booleans(),
    size_bytes=SIZES,
)
def test_no_descriptor_of_a_vmdk_takes_time(
    piece: bytes, front: bytes, whole: bool, size_bytes: int
) -> None:
    good = STREAM[SECTOR : 21 * SECTOR].rstrip(b"\0") if whole else b""
    text = (good + front + repeated(piece, size_bytes)).ljust(-(-size_bytes // SECTOR) * SECTOR)
    sectors = len(text) // SECTOR
    data_at = 1 + sectors
    head = STREAM[:28] + struct.pack("<QQ", 1, sectors) + STREAM[44:64]
    head += struct.pack("<Q", data_at) + STREAM[72:SECTOR]
    read(head + text[: sectors * SECTOR] + STREAM[128 * SECTOR :])


NUMBERS = st.sampled_from([0, 1, 4, 127, 128, 256, 512, 1 << 20, 1 << 31, (1 << 32) - 1])


@fuzz(
    80,
    value=NUMBERS,
    size=st.sampled_from([0, 0, 0, 1, 8, 500, 65_536]),
    kind=st.integers(0, 5),
    fill=st.sampled_from([b"\0", b"\1", b"\xff", b"\x78\x9c"]),
    check_grains=st.booleans(),
)
def test_no_markers_take_time(
    value: int, size: int, kind: int, fill: bytes, check_grains: bool
) -> None:
    length = -(-(12 + size) // SECTOR) * SECTOR if size else SECTOR * (1 + min(value, 4))
    marker = struct.pack("<QII", value, size, kind)
    marker += repeated(fill, length - len(marker))
    read(STREAM[: 128 * SECTOR] + repeated(marker, 1 << 20), check_grains=check_grains)


@fuzz(
    40,
    entries=st.lists(NUMBERS, min_size=1, max_size=4),
    step=st.sampled_from([0, 1, 127, 128, 129, 256]),
    compressed=st.booleans(),
    in_line=st.booleans(),
)
def test_no_tables_take_time(
    entries: list[int], step: int, compressed: bool, in_line: bool
) -> None:
    """Tables in front of the data, as many as 1 MiB holds, with whatever entries."""
    count = 512
    table_at = 22 + count * 4 // SECTOR
    seed = as_monolithic_sparse(b"", capacity_bytes=count * 512 * 65_536).file_bytes
    head = bytearray(seed[: 21 * SECTOR])
    flags = 1 | (3 << 16 if compressed else 0)
    data_at = table_at + 4 * count if in_line else 22
    struct.pack_into("<I", head, 8, flags)
    struct.pack_into("<QQQ", head, 48, 0, 22, data_at)
    struct.pack_into("<H", head, 77, int(compressed))
    directory = struct.pack(f"<{count}I", *range(table_at, table_at + 4 * count, 4))
    first = table_at + 4 * count
    tables = [
        (entries[number % len(entries)] + first + number * step) & 0xFFFFFFFF
        for number in range(512 * count)
    ]
    file = bytes(head).ljust(22 * SECTOR, b"\0") + directory
    read(file + struct.pack(f"<{len(tables)}I", *tables))


TEXTS = (
    b"a", b" ", b"\n", b"'", b'"', b"\\", b"%", b"%2f", b"/", b"[", b"]", b"_image_cache (", b"_",
    b"1", b"-", b"\x1b[", b"<is> ", b"true", b"b1_image_cache (" + ID.encode() + b")", b"{",
    b"[1,", b"1e",
    b"\xc3\xa9", b'{"a":', b'"\\u0000', b"\xf0\x9f\x98\x80",
)  # fmt: skip


@fuzz(150, piece=pieces(TEXTS), front=st.sampled_from([b"", b"[ds] ", b'"', b"0."]), size=SIZES)
def test_no_property_metadata_record_or_name_takes_time(
    piece: bytes, front: bytes, size: int
) -> None:
    text = (front + repeated(piece, size)).decode("utf-8", "replace")

    def parse() -> None:
        meta = dict.fromkeys(
            ("size", "virtual_size", "disk_format", "container_format", "checksum", "os_hash_algo",
             "os_hash_value", "updated_at", "status", "vmware_disktype", "vmware_adaptertype",
             "use_image_cache", "image_cache_warm"), text,
        )  # fmt: skip
        image = describe({**meta, "id": text})
        for changes in ({}, {"disk_format": "vmdk", "status": "active"}):
            try:
                admission.check_image(describe({**meta, "id": text, **changes}), Settings(True))
            except (ImageError, NotCacheable):
                pass
        key = CacheKey.of(image, image.adapter_type or "lsiLogic")
        lock_name(template_name("b1", key))
        image_id_in(text, "b1"), is_copy_name(text, "b1", key)
        asked(
            frozenset(["metadata", "volume_type", "image"]),
            metadata={"use_image_cache": text}, extra_spec=text,
            image_properties={"use_image_cache": text},
        )  # fmt: skip
        quoted(text), identifier(text), sentence(text)
        unescape_name(text), escape_name(text)

    def parse_records() -> None:
        Record.from_json(text), Notes.from_json(text)
        for name in RECORD:
            Record.from_json(json.dumps(RECORD | {name: text}))
        for name in ("used_at", "warmed_at", "ready_vm", "content_id"):
            Notes.from_json(json.dumps({name: text}))

    effort.check(parse, 13 * len(text))
    effort.check(parse_records, 13 * len(text))


def test_the_bound_tells_linear_from_quadratic() -> None:
    """A regular expression that looks for a record's end from each byte where one may begin."""
    record = re.compile(rb"\d+ ([^=]+)=([^\n]*)\n")
    data = b"1 " * (20 * KIB)
    with pytest.raises(AssertionError, match="s of CPU, more than"):
        effort.check(lambda: record.findall(data), len(data), attempts=1)

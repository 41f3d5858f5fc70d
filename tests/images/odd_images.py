"""Images that users upload by intent, by mistake or out of malice: the rows of docs/images.rst."""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.fakes.images import (
    GRAIN,
    SECTOR,
    FakeImage,
    as_flat,
    as_monolithic_sparse,
    as_ova,
    as_stream_optimized,
    damaged,
    descriptor_pointing_at,
    noise,
    not_a_vmdk,
    tables_in_front,
    truncated,
    with_markers,
)

#: A grain of text, one of zeros, some that do not shrink, and an end within a grain.
DISK = b"first".ljust(GRAIN, b"\1") + bytes(GRAIN) + noise(3 * GRAIN + 7 * SECTOR)
STREAM = as_stream_optimized(DISK)
SPARSE = as_monolithic_sparse(DISK)
FLAT = as_flat(DISK)
UNLABELLED = "not set"


@dataclass(frozen=True)
class OddImage:
    """A row.

    :ivar name: what is odd about it
    :ivar on_purpose: why it is in error although Cinder's own driver makes a volume of it; empty
        if it is not
    """

    name: str
    image: FakeImage
    on_purpose: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def disk_type(self) -> str:
        return self.labels.get("vmware_disktype", UNLABELLED)


def odd_images() -> Iterator[OddImage]:
    """All of them; every name once for a label."""
    yield from _streams()
    yield from _labels()
    yield from _sparse()
    yield from _raw()
    yield from _others()
    yield from _ovas()


def _row(name: str, image: FakeImage, label: str | None = "streamOptimized", why: str = "",
         **labels: str) -> OddImage:  # fmt: skip
    return OddImage(
        name, image, why, labels | ({} if label is None else {"vmware_disktype": label})
    )


def _streams() -> Iterator[OddImage]:
    yield _row("streamOptimized, as VMware's tools write it", STREAM)
    yield _row("its tables behind all grains", as_stream_optimized(DISK, tables="end"))
    yield _row("its tables in front, without a footer, as qemu-img writes it",
               tables_in_front(DISK))  # fmt: skip
    yield _row("its grains stored, not compressed", as_stream_optimized(DISK, level=0))
    yield _row("a disk of zeros", as_stream_optimized(bytes(1 << 20)))
    progress = struct.pack("<QIIQ", 0, 0, 4, 128).ljust(SECTOR, b"\0")
    yield _row("markers of progress (type 4)", _file(with_markers(STREAM.file_bytes, progress * 4)))
    unknown = struct.pack("<QII", 0, 0, 7).ljust(SECTOR, b"\0")
    yield _row("a marker of an unknown type", _file(with_markers(STREAM.file_bytes, unknown)))
    yield _row("bytes behind its end", _file(STREAM.file_bytes + bytes(3000)))
    yield _row("grains of 1 MiB", _large_grains())
    yield _row("grain tables of 1024 entries", _field(44, "<I", 1024))
    yield _row("grains without the flag of markers", _field(8, "<I", 0x10001))
    yield _row("an unknown method of compression", _field(77, "<H", 9))
    yield _row("a grain directory at an impossible sector", _field(56, "<Q", 1 << 63))
    yield _row("no descriptor", _field(28, "<QQ", 0, 0))
    yield _row("its descriptor at sector 2", _field(28, "<Q", 2))
    yield _row("a descriptor of 120 KiB", _field(36, "<Q", 240))
    yield _row("an unknown version", _field(4, "<I", 4))
    yield _row("newlines converted by a transfer in text mode", _field(73, "4s", b"\n \n\n"))
    yield _row("a disk of 0 bytes", _field(12, "<Q", 0))
    yield _row("a disk of more than 62 TiB", _field(12, "<Q", (62 << 31) + 1))
    yield _row("grains of 3 sectors", _field(20, "<Q", 3))
    yield _row("a strange line in its descriptor", _line("version=1", "something else"))
    yield _row("a line of control characters in it", _line("version=1", "a=\x0bb"))
    yield _row("letters beyond ASCII in it", _line("version=1", 'ddb.comment = "gr\xfcn"'))
    yield _row("an unknown createType", _line('"streamOptimized"', '"custom"'))
    yield _row("no createType", _line('createType="streamOptimized"', "#"))
    yield _row("no extent", _line("RW ", "# RW "))
    yield _row("a descriptor that claims a larger disk", _line("RW ", "RW 9"))
    yield _row("a snapshot of another disk", _line("parentCID=ffffffff", "parentCID=12345678"))
    yield _row("a descriptor that names another file", descriptor_pointing_at(embedded=True),
               why="it names another file")  # fmt: skip
    yield _row("a disk larger than the volume",
               as_stream_optimized(DISK, capacity_bytes=2 << 30),
               why="the volume would be larger than its quota")  # fmt: skip
    yield _row("cut off", _file(truncated(STREAM).file_bytes))
    yield _row("cut off before its end of stream", _file(STREAM.file_bytes[:-SECTOR]))
    yield _row("a damaged grain", damaged(STREAM))
    yield _row("a missing grain", _without_a_grain())


def _labels() -> Iterator[OddImage]:
    for label in ("sparse", "preallocated", "thin", "nonsense", None):
        yield _row("streamOptimized, labelled otherwise", STREAM, label)
    yield _row("streamOptimized, cut off, labelled otherwise",
               _file(truncated(STREAM).file_bytes), None)  # fmt: skip
    yield _row("an unknown adapter", STREAM, vmware_adaptertype="nonsense")
    yield _row("another container", replace(STREAM, container_format="docker"))
    yield _row("another disk format", replace(STREAM, disk_format="qcow2"))


def _sparse() -> Iterator[OddImage]:
    yield _row("monolithicSparse", SPARSE, "sparse")
    yield _row("its tables once", as_monolithic_sparse(DISK, redundant=False), "sparse")
    yield _row("grains of 4 KiB", as_monolithic_sparse(DISK, grain_sectors=8), "sparse")
    yield _row("gaps between its grains", as_monolithic_sparse(DISK, gap_sectors=8), "sparse")
    yield _row("its grains in falling order", as_monolithic_sparse(DISK, reverse=True), "sparse")
    yield _row("its tables behind the data", as_monolithic_sparse(DISK, tables_at_end=True),
               "sparse")  # fmt: skip
    yield _row("monolithicSparse, cut off", _file(SPARSE.file_bytes[: 40 * SECTOR]), "sparse")
    for label in ("streamOptimized", "thin", None):
        yield _row("monolithicSparse, labelled otherwise", SPARSE, label)


def _raw() -> Iterator[OddImage]:
    for label in ("preallocated", "thin", None):
        yield _row("raw bytes", FLAT, label)
        yield _row("raw bytes, not a multiple of 1 KiB", as_flat(DISK[: 33 * SECTOR]), label)
    yield _row("raw bytes, not whole sectors", as_flat(DISK[:10_000]), None)
    yield _row("an empty file", FakeImage(b"", 0), None)
    for label in ("sparse", "streamOptimized", "nonsense"):
        yield _row("raw bytes, labelled otherwise", FLAT, label)


def _others() -> Iterator[OddImage]:
    texts = {
        "a text descriptor": descriptor_pointing_at("image-flat.vmdk"),
        "a text descriptor that points outside": descriptor_pointing_at("/vmfs/volumes/1/a.vmdk"),
        "a qcow2 image": not_a_vmdk(),
        "a compressed file": FakeImage(b"\x1f\x8b" + noise(20 * SECTOR - 2), 0),
    }
    for name, image in texts.items():
        for label in (None, "sparse", "streamOptimized"):
            yield _row(name, image, label)


def _ovas() -> Iterator[OddImage]:
    yield _row("an OVA", as_ova(STREAM))
    yield _row("an OVA", as_ova(STREAM), None)
    yield _row("an OVA, labelled bare", replace(as_ova(STREAM), container_format="bare"))
    yield _row("an OVA with a monolithicSparse disk", as_ova(SPARSE))
    yield _row("an OVA with long names", as_ova(STREAM, disk_name="d" * 120 + ".vmdk",
                                                tar_format=tarfile.PAX_FORMAT))  # fmt: skip
    yield _row("an OVA with two disks",
               as_ova(STREAM, extra_members=(("second.vmdk", STREAM.file_bytes),)))  # fmt: skip
    yield _row("an OVA with two disks",
               as_ova(STREAM, extra_members=(("second.vmdk", STREAM.file_bytes),)),
               None)  # fmt: skip
    yield _row("an OVA whose descriptor comes last", as_ova(STREAM, ovf_first=False))
    yield _row("an OVA with a compressed disk",
               as_ova(STREAM, file_attributes='ovf:compression="gzip"'))  # fmt: skip
    yield _row("an OVA, damaged", as_ova(damaged(STREAM)))
    yield _row("a VMDK, labelled OVA", replace(STREAM, container_format="ova"))


def _file(data: bytes) -> FakeImage:
    return FakeImage(data, STREAM.capacity_bytes, DISK)


def _field(offset: int, layout: str, *values: object) -> FakeImage:
    """The stream with another number in its header, and in its footer, which must agree."""
    data = bytearray(STREAM.file_bytes)
    struct.pack_into(layout, data, offset, *values)
    if offset != 56:
        struct.pack_into(layout, data, len(data) - 1024 + offset, *values)
    return _file(bytes(data))


def _line(old: str, new: str) -> FakeImage:
    """The stream with a changed descriptor."""
    data = STREAM.file_bytes
    text = data[SECTOR : 21 * SECTOR].rstrip(b"\0")
    assert old.encode() in text
    changed = text.replace(old.encode(), new.encode("latin-1"), 1).ljust(20 * SECTOR, b"\0")
    return _file(data[:SECTOR] + changed + data[21 * SECTOR :])


def _without_a_grain() -> FakeImage:
    data = STREAM.file_bytes
    (size,) = struct.unpack_from("<I", data, GRAIN + 8)
    return _file(data[:GRAIN] + data[GRAIN + -(-(12 + size) // SECTOR) * SECTOR :])


def _large_grains() -> FakeImage:
    """One grain of 1 MiB, behind the header of a disk of that size."""
    grain_bytes = 1 << 20
    disk = DISK.ljust(grain_bytes, b"\0")
    data = bytearray(as_stream_optimized(bytes(grain_bytes)).file_bytes)
    for at in (0, len(data) - 1024):
        struct.pack_into("<Q", data, at + 20, grain_bytes // SECTOR)
    packed = zlib.compress(disk)
    grain = struct.pack("<QI", 0, len(packed)) + packed
    grain += bytes(-len(grain) % SECTOR)
    moved = len(grain) // SECTOR
    (directory,) = struct.unpack_from("<Q", data, len(data) - 1024 + 56)
    struct.pack_into("<Q", data, len(data) - 1024 + 56, directory + moved)
    return FakeImage(bytes(data[:GRAIN]) + grain + bytes(data[GRAIN:]), grain_bytes, disk)

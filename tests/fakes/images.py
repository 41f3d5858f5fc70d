"""Genuine images to import, broken ones, and a Glance that serves them.

Written from VMware's "Virtual Disk Format 5.0" and independently of vmdk_cache, whose reader and
writer are tested against it. Each builder returns a FakeImage: the file as Glance stores it, the
disk inside, and the properties that an operator would set.

    disk = filesystem_disk(32 << 20)
    image = as_stream_optimized(disk, capacity_bytes=20 << 30)     # the rest of the disk is zeros
    glance = FakeImageSource(image)
    open_disk(image.image(), glance)
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from tests.fakes.fat_disk import filesystem_disk, noise, read_files
from vmdk_cache.errors import SourceUnavailable
from vmdk_cache.image import Image

__all__ = [
    "FakeImage",
    "FakeImageSource",
    "as_flat",
    "as_monolithic_sparse",
    "as_ova",
    "as_stream_optimized",
    "bit_flipped",
    "damaged",
    "descriptor_pointing_at",
    "filesystem_disk",
    "noise",
    "not_a_vmdk",
    "out_of_order_sparse",
    "read_files",
    "read_stream_optimized",
    "sparse_bomb",
    "tables_in_front",
    "truncated",
    "with_markers",
]

SECTOR = 512
GRAIN_SECTORS = 128
GRAIN = GRAIN_SECTORS * SECTOR
_GTES = 512
_AT_END = 0xFFFFFFFFFFFFFFFF
_VALID_NEWLINES, _REDUNDANT, _COMPRESSED, _MARKERS = 1, 2, 1 << 16, 1 << 17


@dataclass(frozen=True)
class FakeImage:
    """An image file and the disk that it contains.

    :ivar file_bytes: the file as Glance stores it
    :ivar capacity_bytes: size of the disk; everything after `disk` reads as zeros
    :ivar disk: the first bytes of the disk (all of them, or up to the last that matters)
    :ivar glance_properties: ``vmware_disktype`` and others, as for ``glance image-create``
    :ivar promised_bytes: the file that Glance's size and hashes describe, if it is a different one
    """

    file_bytes: bytes = field(repr=False)
    capacity_bytes: int
    disk: bytes = field(default=b"", repr=False)
    glance_properties: dict[str, str] = field(default_factory=dict)
    container_format: str = "bare"
    disk_format: str = "vmdk"
    promised_bytes: bytes | None = field(default=None, repr=False)

    @cached_property
    def disk_sha256(self) -> str:
        """Hex digest of the whole virtual disk (takes a second per GiB of capacity)."""
        digest = hashlib.sha256(self.disk[: self.capacity_bytes])
        zeros, left = bytes(1 << 20), self.capacity_bytes - len(self.disk)
        while left > 0:
            digest.update(zeros[:left])
            left -= len(zeros)
        return digest.hexdigest()

    def image(self, image_id: str = "a0000000-0000-4000-8000-000000000001", **changes) -> Image:
        """The image as Glance describes it; `changes` override fields of vmdk_cache.image.Image."""
        promised = self.file_bytes if self.promised_bytes is None else self.promised_bytes
        described = Image(
            id=image_id,
            size_bytes=len(promised),
            disk_format=self.disk_format,
            container_format=self.container_format,
            disk_type=self.glance_properties.get("vmware_disktype"),
            adapter_type=self.glance_properties.get("vmware_adaptertype"),
            os_hash_algo="sha512",
            os_hash_value=hashlib.sha512(promised).hexdigest(),
            checksum=hashlib.md5(promised, usedforsecurity=False).hexdigest(),
            updated_at="2024-01-01T00:00:00Z",
        )
        return replace(described, **changes)


class FakeImageSource:
    """An ImageSource that serves one FakeImage, bytes, or the chunks that a function generates.

    :param fail_after_bytes: raise SourceUnavailable (or `error`) after this many bytes
    :param gate: chunks after `gate_after_bytes` wait until this event is set
    :ivar opened: number of downloads started; `closed`: number of downloads ended, successful or
        not
    :ivar bytes_sent: by all downloads together
    """

    def __init__(
        self,
        content: FakeImage | bytes | Callable[[], Iterator[bytes]],
        *,
        chunk_bytes: int = 64 << 10,
        fail_after_bytes: int | None = None,
        error: Exception | None = None,
        gate: threading.Event | None = None,
        gate_after_bytes: int = 0,
    ) -> None:
        self._content = content.file_bytes if isinstance(content, FakeImage) else content
        self._chunk_bytes = chunk_bytes
        self._fail_after_bytes = fail_after_bytes
        self._error = error or SourceUnavailable("Glance closed the connection")
        self._gate, self._gate_after_bytes = gate, gate_after_bytes
        self.opened = self.closed = self.bytes_sent = 0

    def open(self, image: Image) -> Iterator[bytes]:
        self.opened += 1
        return self._download()

    def _download(self) -> Iterator[bytes]:
        sent = 0
        try:
            for chunk in self._chunks():
                if self._fail_after_bytes is not None:
                    chunk = chunk[: self._fail_after_bytes - sent]
                if self._gate is not None and sent + len(chunk) > self._gate_after_bytes:
                    self._gate.wait()
                sent += len(chunk)
                self.bytes_sent += len(chunk)
                if chunk:
                    yield chunk
                if self._fail_after_bytes is not None and sent >= self._fail_after_bytes:
                    raise self._error
        finally:
            self.closed += 1

    def _chunks(self) -> Iterator[bytes]:
        if not isinstance(self._content, bytes):
            yield from self._content()
            return
        for offset in range(0, len(self._content), self._chunk_bytes):
            yield self._content[offset : offset + self._chunk_bytes]


def as_stream_optimized(
    disk: bytes,
    *,
    capacity_bytes: int | None = None,
    adapter_type: str = "lsilogic",
    tables: str = "per-table",
    level: int = 6,
    descriptor: bytes | None = None,
) -> FakeImage:
    """The disk as a streamOptimized VMDK.

    :param tables: ``per-table``: a grain table follows its grains, as VMware's tools write it;
        ``end``: all tables follow the last grain
    """
    capacity = _capacity_sectors(disk, capacity_bytes)
    descriptor = descriptor or _descriptor("streamOptimized", capacity, adapter_type)
    flags = _VALID_NEWLINES | _COMPRESSED | _MARKERS
    file = io.BytesIO()
    file.write(_header(3, flags, capacity, 0, _AT_END, GRAIN_SECTORS, compressed=True))
    file.write(descriptor.ljust((GRAIN_SECTORS - 1) * SECTOR, b"\0"))
    entries: dict[int, list[int]] = {}
    directory = [0] * -(-capacity // (GRAIN_SECTORS * _GTES))

    def write_table(number: int) -> None:
        file.write(_marker(_GTES * 4 // SECTOR, 1))
        directory[number] = file.tell() // SECTOR
        file.write(struct.pack(f"<{_GTES}I", *entries.pop(number)))

    for index, grain in _used_grains(disk):
        if tables == "per-table" and entries and index // _GTES not in entries:
            write_table(*entries)
        entries.setdefault(index // _GTES, [0] * _GTES)[index % _GTES] = file.tell() // SECTOR
        packed = zlib.compress(grain, level)
        file.write(_pad(struct.pack("<QI", index * GRAIN_SECTORS, len(packed)) + packed))
    for number in sorted(entries):
        write_table(number)
    packed_directory = _pad(struct.pack(f"<{len(directory)}I", *directory))
    file.write(_marker(len(packed_directory) // SECTOR, 2))
    at = file.tell() // SECTOR
    file.write(packed_directory)
    file.write(_marker(1, 3) + _header(3, flags, capacity, 0, at, GRAIN_SECTORS, compressed=True))
    file.write(_marker(0, 0))
    properties = {"vmware_disktype": "streamOptimized", "vmware_adaptertype": "lsiLogic"}
    return FakeImage(file.getvalue(), capacity * SECTOR, disk, properties)


def as_monolithic_sparse(
    disk: bytes,
    *,
    capacity_bytes: int | None = None,
    adapter_type: str = "lsilogic",
    grain_sectors: int = GRAIN_SECTORS,
    redundant: bool = True,
    tables_at_end: bool = False,
    reverse: bool = False,
    gap_sectors: int = 0,
) -> FakeImage:
    """The disk as a monolithicSparse VMDK: descriptor, tables (twice), then the allocated grains.

    :param tables_at_end: put the tables behind the grains, where a streaming reader cannot use them
    :param reverse: write the grains in descending order of their position on the disk
    :param gap_sectors: unused sectors between one grain and the next
    """
    capacity = _capacity_sectors(disk, capacity_bytes)
    grain_bytes = grain_sectors * SECTOR
    table_count = -(-capacity // (grain_sectors * _GTES))
    directory_sectors = -(-table_count * 4 // SECTOR)
    table_sectors = _GTES * 4 // SECTOR
    tables_sectors = directory_sectors + table_count * table_sectors
    copies = 2 if redundant else 1
    grains = list(_used_grains(disk, grain_bytes))
    if reverse:
        grains.reverse()
    first_table = 1 + 20
    first_grain = first_table + (0 if tables_at_end else copies * tables_sectors)
    first_grain = -(-first_grain // grain_sectors) * grain_sectors
    step = grain_sectors + gap_sectors
    if tables_at_end:
        first_table = first_grain + len(grains) * step
    entries = [0] * (table_count * _GTES)
    for position, (index, _) in enumerate(grains):
        entries[index] = first_grain + position * step
    starts = [first_table + copy * tables_sectors for copy in range(copies)]
    flags = _VALID_NEWLINES | (_REDUNDANT if redundant else 0)
    file = io.BytesIO()
    file.write(
        _header(1, flags, capacity, starts[0] if redundant else 0, starts[-1], grain_sectors,
                overhead=first_grain)
    )  # fmt: skip
    file.write(_descriptor("monolithicSparse", capacity, adapter_type))
    for start in starts:
        file.seek(start * SECTOR)
        directory = [start + directory_sectors + n * table_sectors for n in range(table_count)]
        file.write(_pad(struct.pack(f"<{table_count}I", *directory)))
        file.write(struct.pack(f"<{len(entries)}I", *entries))
    for position, (_, grain) in enumerate(grains):
        file.seek((first_grain + position * step) * SECTOR)
        file.write(grain)
    if tables_at_end or not grains:
        file.seek(0, io.SEEK_END)
        file.write(bytes(-file.tell() % grain_bytes))
    properties = {"vmware_disktype": "sparse", "vmware_adaptertype": "lsiLogic"}
    return FakeImage(file.getvalue(), capacity * SECTOR, disk, properties)


def tables_in_front(disk: bytes, *, capacity_bytes: int | None = None) -> FakeImage:
    """The disk as a streamOptimized VMDK as qemu-img writes it: no footer, tables before the
    grains.
    """
    capacity = _capacity_sectors(disk, capacity_bytes)
    count = -(-capacity // (GRAIN_SECTORS * _GTES))
    directory_at = 21
    table_at = directory_at + -(-count * 4 // SECTOR)
    data_at = -(-(table_at + 4 * count) // GRAIN_SECTORS) * GRAIN_SECTORS
    header = struct.pack(
        "<4sIIQQQQIQQQB4sH433x", b"KDMV", 3, _VALID_NEWLINES | _COMPRESSED | _MARKERS, capacity,
        GRAIN_SECTORS, 1, 20, _GTES, 0, directory_at, data_at, 0, b"\n \r\n", 1,
    )  # fmt: skip
    entries, grains = [0] * (count * _GTES), bytearray()
    for index, grain in _used_grains(disk):
        entries[index] = data_at + len(grains) // SECTOR
        packed = zlib.compress(grain)
        grains += _pad(struct.pack("<QI", index * GRAIN_SECTORS, len(packed)) + packed)
    tables = struct.pack(f"<{count}I", *range(table_at, table_at + 4 * count, 4))
    front = header + _descriptor("streamOptimized", capacity, "lsilogic") + _pad(tables)
    front += struct.pack(f"<{len(entries)}I", *entries)
    properties = {"vmware_disktype": "streamOptimized", "vmware_adaptertype": "lsiLogic"}
    file = front.ljust(data_at * SECTOR, b"\0") + grains + bytes(SECTOR)
    return FakeImage(bytes(file), capacity * SECTOR, disk, properties)


def as_flat(disk: bytes, *, disk_type: str = "preallocated") -> FakeImage:
    """The disk's raw bytes, as the -flat.vmdk file of a preallocated disk."""
    properties = {"vmware_disktype": disk_type, "vmware_adaptertype": "lsiLogic"}
    return FakeImage(disk, len(disk), disk, properties)


def as_ova(
    inner: FakeImage,
    *,
    disk_name: str = "image-disk1.vmdk",
    file_attributes: str = "",
    extra_members: tuple[tuple[str, bytes], ...] = (),
    ovf: bytes | None = None,
    ovf_first: bool = True,
    tar_format: int = tarfile.USTAR_FORMAT,
) -> FakeImage:
    """An OVA: a tar of the OVF descriptor, a manifest and the disk, then `extra_members`."""
    ovf = ovf or _OVF.format(
        href=disk_name, size=len(inner.file_bytes), capacity=inner.capacity_bytes,
        attributes=file_attributes,
    ).encode()  # fmt: skip
    manifest = "".join(
        f"SHA256({name})= {hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("image.ovf", ovf), (disk_name, inner.file_bytes))
    )
    members = [
        ("image.ovf", ovf),
        ("image.mf", manifest.encode()),
        (disk_name, inner.file_bytes),
        *extra_members,
    ]
    if not ovf_first:
        members.append(members.pop(0))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return replace(inner, file_bytes=file.getvalue(), container_format="ova")


def read_stream_optimized(file: bytes) -> bytes:
    """The disk inside a streamOptimized VMDK, read strictly by its footer, directory and tables.

    A walk along the markers must find every grain as well, and no bytes may be left over.
    """
    assert file[-512:] == bytes(512), "no end-of-stream marker at the end"
    assert file[-1536:-1024] == _marker(1, 3), "no footer marker before the footer"
    head, footer = file[:512], file[-1024:-512]
    assert head[:56] == footer[:56], "header and footer differ before gdOffset"
    capacity, grain_sectors = struct.unpack_from("<QQ", footer, 12)
    (at,) = struct.unpack_from("<Q", footer, 56)
    (overhead,) = struct.unpack_from("<Q", footer, 64)
    span = grain_sectors * _GTES
    directory = struct.unpack_from(f"<{-(-capacity // span)}I", file, at * SECTOR)
    disk = bytearray(capacity * SECTOR)
    by_table = {}
    for number, table in enumerate(directory):
        entries = struct.unpack_from(f"<{_GTES}I", file, table * SECTOR) if table else ()
        for entry, sector in enumerate(entries):
            if sector:
                by_table[sector] = number * span + entry * grain_sectors
    by_marker, position = {}, overhead * SECTOR
    while True:
        lba, size, kind = struct.unpack_from("<QII", file, position)
        if size:
            by_marker[position // SECTOR] = lba
            grain = zlib.decompress(file[position + 12 : position + 12 + size])
            assert len(grain) == grain_sectors * SECTOR, "a grain of another size"
            room = len(disk) - lba * SECTOR
            disk[lba * SECTOR : lba * SECTOR + len(grain)] = grain[:room]
            position += len(_pad(bytes(12 + size)))
        elif kind == 0:
            break
        else:
            position += SECTOR * (1 + lba)
    assert position == len(file) - SECTOR, "bytes behind the end-of-stream marker"
    assert by_marker == by_table, "tables and markers name different grains"
    return bytes(disk)


def truncated(image: FakeImage, *, keep_bytes: int | None = None) -> FakeImage:
    """The first keep_bytes of the image's file (by default, half of it); Glance promises all of
    it.
    """
    keep = len(image.file_bytes) // 2 if keep_bytes is None else keep_bytes
    return replace(image, file_bytes=image.file_bytes[:keep], promised_bytes=image.file_bytes)


def bit_flipped(image: FakeImage, *, at_byte: int | None = None) -> FakeImage:
    """The image with one bit flipped, by default in the middle; Glance promises the original."""
    data = bytearray(image.file_bytes)
    data[len(data) // 2 if at_byte is None else at_byte] ^= 1
    return replace(image, file_bytes=bytes(data), promised_bytes=image.file_bytes)


def damaged(image: FakeImage, *, grain: int = 0) -> FakeImage:
    """A streamOptimized VMDK with a damaged grain; Glance promises the damaged file."""
    data, position = bytearray(image.file_bytes), GRAIN
    while True:
        value, size, kind = struct.unpack_from("<QII", data, position)
        assert size or kind, "there is no such grain"
        if size and not grain:
            break
        grain -= bool(size)
        position += len(_pad(bytes(12 + size))) if size else SECTOR * (1 + value)
    middle = position + 12 + size // 2
    data[middle : middle + 4] = bytes(byte ^ 0xFF for byte in data[middle : middle + 4])
    return replace(image, file_bytes=bytes(data), promised_bytes=None)


def with_markers(file: bytes, marker: bytes) -> bytes:
    """A streamOptimized VMDK with a marker before each of its grains, and adjusted tables."""
    made, moved, position = bytearray(file[:65536]), {}, 65536
    while True:
        value, size, kind = struct.unpack_from("<QII", file, position)
        length = -(-(12 + size) // 512) * 512 if size else 512 * (1 + value)
        piece = bytearray(file[position : position + length])
        if size:
            made += marker
            moved[position // 512] = len(made) // 512
        elif kind == 1:
            entries = struct.unpack_from("<512I", piece, 512)
            struct.pack_into("<512I", piece, 512, *(moved.get(entry, entry) for entry in entries))
        made += piece
        position += length
        if not size and not kind:
            return bytes(made) + file[position:]


def descriptor_pointing_at(path: str = "/etc/passwd", *, embedded: bool = False) -> FakeImage:
    """A VMDK whose extent is another file: a text descriptor, or one inside a sparse header."""
    capacity = 2048
    text = _descriptor("monolithicFlat", capacity, "lsilogic", f'RW {capacity} FLAT "{path}" 0')
    if not embedded:
        return FakeImage(text.rstrip(b"\0"), capacity * SECTOR)
    text = _descriptor("streamOptimized", capacity, "lsilogic", f'RW {capacity} SPARSE "{path}"')
    return as_stream_optimized(bytes(capacity * SECTOR), descriptor=text)


def not_a_vmdk() -> FakeImage:
    """A qcow2 header followed by noise, as when a user uploads with the wrong --disk-format.

    Cinder's own driver would write these bytes to a disk if nothing said that they are qcow2.
    """
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 0, 0, 1, 0, 0)
    properties = {"vmware_disktype": "streamOptimized"}
    return FakeImage(header.ljust(64 << 10, b"\0") + noise(64 << 10), 1 << 20, b"", properties)


def sparse_bomb(capacity_bytes: int = 62 << 40) -> FakeImage:
    """A file of a few sectors that claims to be a disk of 62 TiB."""
    capacity = capacity_bytes // SECTOR
    flags = _VALID_NEWLINES | _COMPRESSED | _MARKERS
    data = _header(3, flags, capacity, 0, _AT_END, GRAIN_SECTORS, compressed=True)
    data += _descriptor("streamOptimized", capacity, "lsilogic")
    data = data.ljust(GRAIN, b"\0")
    directory = bytes(-(-capacity // (GRAIN_SECTORS * _GTES)) * 4)
    data += _marker(-(-len(directory) // SECTOR), 2)
    at = len(data) // SECTOR
    data += _pad(directory) + _marker(1, 3)
    data += _header(3, flags, capacity, 0, at, GRAIN_SECTORS, compressed=True) + _marker(0, 0)
    properties = {"vmware_disktype": "streamOptimized"}
    return FakeImage(data, capacity_bytes, b"", properties)


def out_of_order_sparse(disk: bytes) -> FakeImage:
    """A valid monolithicSparse VMDK that cannot be converted in one pass."""
    return as_monolithic_sparse(disk, reverse=True)


def _capacity_sectors(disk: bytes, capacity_bytes: int | None) -> int:
    capacity_bytes = len(disk) if capacity_bytes is None else capacity_bytes
    if capacity_bytes % SECTOR or capacity_bytes < len(disk):
        raise ValueError(f"capacity_bytes={capacity_bytes}: want a multiple of 512 >= {len(disk)}")
    return capacity_bytes // SECTOR


def _used_grains(disk: bytes, grain_bytes: int = GRAIN) -> Iterator[tuple[int, bytes]]:
    zeros = bytes(grain_bytes)
    for offset in range(0, len(disk), grain_bytes):
        grain = disk[offset : offset + grain_bytes].ljust(grain_bytes, b"\0")
        if grain != zeros:
            yield offset // grain_bytes, grain


def _header(
    version: int, flags: int, capacity: int, rgd: int, gd: int, grain: int,
    *, overhead: int = GRAIN_SECTORS, compressed: bool = False,
) -> bytes:  # fmt: skip
    return struct.pack(
        "<4sIIQQQQIQQQB4sH433x", b"KDMV", version, flags, capacity, grain, 1, 20, _GTES, rgd, gd,
        overhead, 0, b"\n \r\n", 1 if compressed else 0,
    )  # fmt: skip


def _descriptor(
    create_type: str, capacity: int, adapter_type: str, extent: str | None = None
) -> bytes:
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=12345678",
        "parentCID=ffffffff",
        f'createType="{create_type}"',
        "",
        "# Extent description",
        extent or f'RW {capacity} SPARSE "image-disk1.vmdk"',
        "",
        "# The Disk Data Base",
        "#DDB",
        "",
        f'ddb.adapterType = "{adapter_type}"',
        f'ddb.geometry.cylinders = "{max(1, capacity // (255 * 63))}"',
        'ddb.geometry.heads = "255"',
        'ddb.geometry.sectors = "63"',
        'ddb.virtualHWVersion = "4"',
        "",
    ]
    return "\n".join(lines).encode().ljust(20 * SECTOR, b"\0")


def _marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def _pad(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")


_OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References>
    <File ovf:href="{href}" ovf:id="file1" ovf:size="{size}" {attributes}/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:diskId="vmdisk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="image"><Info>One disk</Info></VirtualSystem>
</Envelope>
"""

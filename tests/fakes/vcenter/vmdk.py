"""The VMDK formats, as bytes: streamOptimized and sparse extents, and text descriptors.

Written from the VMware "Virtual Disk Format 5.0" note, independently of the package under test: the
fake is a second opinion on the format. Sectors are always 512 bytes.

`StreamOptimizedParser` takes an upload in pieces of any size and fills a `DiskContent`;
`stream_optimized` writes one; `open_extent` turns a complete uploaded file into a disk's content.
Bytes that are not in the claimed format are a `VmdkError` with the reason.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.vcenter.disk import GRAIN_BYTES, DiskContent

SECTOR = 512
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
_MAGIC = b"KDMV"
_COMPRESSED = 1 << 16
_GD_AT_END = 0xFFFFFFFFFFFFFFFF
_GTES = 512
_MAX_GRAIN_BYTES = 1 << 20
_EOS, _TABLE, _DIRECTORY, _FOOTER, _PROGRESS = 0, 1, 2, 3, 4
_VALID_NEWLINES = 1
_NEWLINES = b"\n \r\n"
_MAX_CAPACITY_BYTES = 62 << 40


class VmdkError(ValueError):
    """The bytes are not a VMDK of the expected kind; the text says why."""


@dataclass(frozen=True)
class ExtentHeader:
    """The SparseExtentHeader; sizes and offsets in bytes."""

    capacity_bytes: int
    grain_bytes: int
    gtes_per_table: int
    directory_offset: int | None
    data_offset: int
    compressed: bool
    version: int = 3

    @classmethod
    def parse(cls, data: bytes) -> ExtentHeader:
        if len(data) < SECTOR or data[:4] != _MAGIC:
            raise VmdkError("no sparse extent header: the magic KDMV is missing")
        (_, version, flags, capacity, grain, _, _, gtes, _, directory, overhead, _, newlines, _) = (
            _HEADER.unpack(data[:SECTOR])
        )
        if version not in (1, 2, 3):
            raise VmdkError(f"sparse extent version {version} is not known")
        if flags & _VALID_NEWLINES and newlines != _NEWLINES:
            # The check of getSparseExtentHeader in VMware's open-vmdk (vmdk/sparse.c).
            raise VmdkError("the newlines of the header were converted in transit")
        if not 0 < capacity * SECTOR <= _MAX_CAPACITY_BYTES:
            # VMware Configuration Maximums: virtual disk size 62 TB. 0: unconfirmed.
            raise VmdkError(f"a disk of {capacity} sectors is not possible")
        grain_bytes = grain * SECTOR
        if not 0 < grain_bytes <= _MAX_GRAIN_BYTES or grain & (grain - 1):
            raise VmdkError(f"a grain of {grain} sectors is not possible")
        if not gtes:
            raise VmdkError("grain tables without entries")
        return cls(
            capacity_bytes=capacity * SECTOR,
            grain_bytes=grain_bytes,
            gtes_per_table=gtes,
            directory_offset=None if directory == _GD_AT_END else directory * SECTOR,
            data_offset=max(1, overhead) * SECTOR,
            compressed=bool(flags & _COMPRESSED),
            version=version,
        )


class StreamOptimizedParser:
    """Fills `content` from a streamOptimized VMDK that arrives in pieces.

    `content` is None until the header has arrived. `complete` turns true at the end-of-stream
    marker, which is a sector of zeros; bytes after it are ignored, as ESXi does. feed() raises
    VmdkError on what cannot be parsed, and on a header older than `oldest_version`.
    """

    def __init__(self, oldest_version: int = 1) -> None:
        self.oldest_version = oldest_version
        self.header: ExtentHeader | None = None
        self.content: DiskContent | None = None
        self.complete = False
        self._pending = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> None:
        if self.complete:
            return
        self._pending += data
        while not self.complete and self._step():
            pass

    @property
    def is_between_grains(self) -> bool:
        """Whether only the end-of-stream marker is missing."""
        return self.header is not None and not self._skip and not self._pending

    def _step(self) -> bool:
        """Consume one item from the pending bytes; False if it needs more bytes."""
        if self._skip:
            skipped = min(self._skip, len(self._pending))
            del self._pending[:skipped]
            self._skip -= skipped
            return not self._skip and bool(self._pending)
        if len(self._pending) < SECTOR:
            return False
        if self.header is None:
            self.header = ExtentHeader.parse(bytes(self._pending[:SECTOR]))
            if not self.header.compressed:
                raise VmdkError("a sparse VMDK without compressed grains cannot be streamed")
            if self.header.version < self.oldest_version:
                raise VmdkError("not a supported disk format (sparse VMDK version too old)")
            self.content = DiskContent(self.header.capacity_bytes)
            self._skip = self.header.data_offset
            return True
        value, size, kind = struct.unpack_from("<QII", self._pending)
        if size:
            return self._grain(value * SECTOR, size)
        if kind == _EOS:
            self.complete = True
            self._pending.clear()
        elif kind in (_TABLE, _DIRECTORY, _FOOTER):
            self._skip = SECTOR * (1 + value)
        elif kind == _PROGRESS:
            # One sector, which VMware's and VirtualBox's stream readers skip. VMware's exporters
            # write it: GRAIN_MARKER_PROGRESS in open-vmdk's vmdk/vmware_vmdk.h.
            self._skip = SECTOR
        else:
            raise VmdkError(f"marker type {kind} is not known")
        return True

    def _grain(self, offset: int, size: int) -> bool:
        assert self.header is not None and self.content is not None
        if size > 2 * self.header.grain_bytes:
            raise VmdkError(f"a compressed grain of {size} bytes is larger than any grain")
        padded = -(-(12 + size) // SECTOR) * SECTOR
        if len(self._pending) < padded:
            return False
        grain = _inflate(bytes(self._pending[12 : 12 + size]), self.header.grain_bytes)
        del self._pending[:padded]
        _put_grain(self.content, offset, grain)
        return True


def _inflate(data: bytes, grain_bytes: int) -> bytes:
    """Decompress one grain; more bytes than a grain has mean a damaged or hostile file."""
    inflater = zlib.decompressobj()
    try:
        grain = inflater.decompress(data, grain_bytes + 1)
    except zlib.error as exc:
        raise VmdkError(f"a grain does not inflate: {exc}") from exc
    if len(grain) > grain_bytes or not inflater.eof:
        raise VmdkError("a grain inflates to more than its size, or is cut off")
    return grain


def _put_grain(content: DiskContent, offset: int, grain: bytes) -> None:
    if offset >= content.size_bytes:
        raise VmdkError(f"a grain at byte {offset} of a disk of {content.size_bytes} bytes")
    content.write(offset, grain[: content.size_bytes - offset])


def open_extent(file: DiskContent) -> DiskContent:
    """The disk inside a complete sparse or streamOptimized file."""
    header = ExtentHeader.parse(file.read(0, SECTOR))
    if header.compressed:
        parser = StreamOptimizedParser()
        for offset in range(0, file.size_bytes, 1 << 20):
            parser.feed(file.read(offset, 1 << 20))
        if not parser.complete or parser.content is None:
            raise VmdkError("the streamOptimized VMDK ends before its end-of-stream marker")
        return parser.content
    return _open_sparse(file, header)


def is_sparse_extent(file: DiskContent) -> bool:
    """Whether the file starts like a sparse extent."""
    return file.read(0, 4) == _MAGIC


def _open_sparse(file: DiskContent, header: ExtentHeader) -> DiskContent:
    if header.directory_offset is None:
        raise VmdkError("a sparse VMDK without a grain directory")
    content = DiskContent(header.capacity_bytes)
    table_span = header.grain_bytes * header.gtes_per_table
    for table in range(-(-header.capacity_bytes // table_span)):
        entry = file.read(header.directory_offset + 4 * table, 4)
        if len(entry) < 4:
            raise VmdkError("the grain directory lies beyond the end of the file")
        (sector,) = struct.unpack("<I", entry)
        if not sector:
            continue
        entries = file.read(sector * SECTOR, 4 * header.gtes_per_table)
        if len(entries) < 4 * header.gtes_per_table:
            raise VmdkError("a grain table lies beyond the end of the file")
        for index, (grain,) in enumerate(struct.iter_unpack("<I", entries)):
            if grain > 1:
                data = file.read(grain * SECTOR, header.grain_bytes)
                if not data:
                    raise VmdkError("a grain lies beyond the end of the file")
                _put_grain(content, table * table_span + index * header.grain_bytes, data)
    return content


@dataclass(frozen=True)
class Descriptor:
    """A text descriptor: the properties of the disk, and the extents."""

    create_type: str
    extents: list[tuple[int, str, str]]  # size in bytes, type, file name
    parent_hint: str | None = None
    ddb: dict[str, str] = field(default_factory=dict)

    @property
    def capacity_bytes(self) -> int:
        return sum(size for size, _, _ in self.extents)

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        text = data.rstrip(b"\0").decode("utf-8", "replace")
        if not text.startswith("# Disk DescriptorFile"):
            raise VmdkError("no VMDK descriptor: the line '# Disk DescriptorFile' is missing")
        values = dict(re.findall(r'^([\w.]+)\s*=\s*"?(.*?)"?\s*$', text, re.MULTILINE))
        extents = [
            (int(sectors) * SECTOR, kind, name)
            for sectors, kind, name in re.findall(
                r'^RW\s+(\d+)\s+(\w+)\s+"(.*?)"', text, re.MULTILINE
            )
        ]
        return cls(
            create_type=values.get("createType", ""),
            extents=extents,
            parent_hint=values.get("parentFileNameHint"),
            ddb={key: value for key, value in values.items() if key.startswith("ddb.")},
        )

    def text(self) -> bytes:
        lines = ["# Disk DescriptorFile", "version=1", 'encoding="UTF-8"', "CID=fffffffe"]
        lines.append(f"parentCID={'fffffffe' if self.parent_hint else 'ffffffff'}")
        lines.append(f'createType="{self.create_type}"')
        if self.parent_hint:
            lines.append(f'parentFileNameHint="{self.parent_hint}"')
        lines += ["", "# Extent description"]
        lines += [f'RW {size // SECTOR} {kind} "{name}"' for size, kind, name in self.extents]
        lines += ["", "# The Disk Data Base", "#DDB", ""]
        lines += [f'{key} = "{value}"' for key, value in sorted(self.ddb.items())]
        return ("\n".join(lines) + "\n").encode()


def geometry(capacity_bytes: int) -> tuple[int, int, int]:
    """(cylinders, heads, sectors) that ESXi gives a SCSI disk of this capacity."""
    heads, sectors = (255, 63) if capacity_bytes >= 1 << 30 else (64, 32)
    return max(1, capacity_bytes // SECTOR // (heads * sectors)), heads, sectors


def stream_optimized(
    content: DiskContent, name: str = "disk", adapter_type: str = "lsilogic"
) -> Iterator[bytes]:
    """The disk as a valid streamOptimized VMDK, in pieces; zero grains are left out."""
    capacity = -(-content.size_bytes // SECTOR)
    grain_sectors = GRAIN_BYTES // SECTOR
    cylinders, heads, sectors = geometry(content.size_bytes)
    descriptor = Descriptor(
        create_type="streamOptimized",
        extents=[(capacity * SECTOR, "SPARSE", f"{name}.vmdk")],
        ddb={
            "ddb.adapterType": adapter_type,
            "ddb.geometry.cylinders": str(cylinders),
            "ddb.geometry.heads": str(heads),
            "ddb.geometry.sectors": str(sectors),
            "ddb.virtualHWVersion": "4",
        },
    ).text()
    overhead = grain_sectors
    room = (overhead - 1) * SECTOR
    yield _header(capacity, _GD_AT_END, overhead, room // SECTOR)
    yield descriptor.ljust(room, b"\0")
    position = overhead
    tables: dict[int, list[int]] = {}
    for offset, data in content.grains():
        compressed = zlib.compress(data.ljust(GRAIN_BYTES, b"\0"), 1)
        piece = _pad(struct.pack("<QI", offset // SECTOR, len(compressed)) + compressed)
        table, entry = divmod(offset // GRAIN_BYTES, _GTES)
        tables.setdefault(table, [0] * _GTES)[entry] = position
        position += len(piece) // SECTOR
        yield piece
    directory = [0] * -(-content.size_bytes // (GRAIN_BYTES * _GTES))
    for table, entries in sorted(tables.items()):
        yield _marker(_GTES * 4 // SECTOR, _TABLE) + struct.pack(f"<{_GTES}I", *entries)
        directory[table] = position + 1
        position += 1 + _GTES * 4 // SECTOR
    packed = _pad(struct.pack(f"<{len(directory)}I", *directory))
    yield _marker(len(packed) // SECTOR, _DIRECTORY) + packed
    footer = _header(capacity, position + 1, overhead, room // SECTOR)
    yield _marker(1, _FOOTER) + footer + _marker(0, _EOS)


def _header(capacity: int, directory: int, overhead: int, descriptor_sectors: int) -> bytes:
    flags = 0x3 | _COMPRESSED | 1 << 17
    return _HEADER.pack(
        _MAGIC, 3, flags, capacity, GRAIN_BYTES // SECTOR, 1, descriptor_sectors, _GTES,
        0, directory, overhead, 0, b"\n \r\n", 1,
    )  # fmt: skip


def _marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def _pad(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")

"""Turns every kind of image into the VMDK that vCenter accepts, as a stream.

    Glance -> reader thread: count, hash (read_ahead.py)
           -> detect the format, check it (image_format.py), unpack an OVA (ova.py)
           -> a streamOptimized VMDK: as it is, or written on the fly -> upload

vCenter imports only streamOptimized VMDKs over an NFC lease, so other formats are converted as they
pass; their length is then unknown in advance and the upload is chunked, as in VMware's own sample
OVFManagerImportLocalVApp. One pass, constant memory, no file on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from vmdk_cache.errors import (
    ImageCorrupt,
    ImageError,
    ImageFormatError,
    NotCacheable,
    UnusualFormat,
    VmdkCacheError,
)
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import quoted
from vmdk_cache.vmdk import front_tables, stream_optimized
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.image_format import FLAT_DISK_TYPES, Format, read_head, sniff
from vmdk_cache.vmdk.ova import Ova
from vmdk_cache.vmdk.read_ahead import READ_AHEAD_BYTES, STALL_TIMEOUT_S, ReadAhead
from vmdk_cache.vmdk.sparse_extent import HEADER_BYTES, MAX_CAPACITY_BYTES, SECTOR, GrainTally

#: Takes the byte offset on the disk and the data of a part of it.
Found = Callable[[int, bytes], None]


def open_disk(
    image: Image,
    source: ImageSource,
    *,
    read_ahead_bytes: int = READ_AHEAD_BYTES,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    check_grains: bool = False,
) -> DiskStream:
    """Open the image's stream and check its head; reads nothing else.

    :param read_ahead_bytes: how much of the image may wait in memory for the upload
    :param stall_timeout_s: fail if Glance sends nothing for this long
    :param check_grains: inflate each compressed grain to check it, which costs CPU time; without
        this, only the receiving host detects a damaged grain
    :raises ImageFormatError: not an accepted disk format, or a disk that names other files
    :raises ImageCorrupt: the head is damaged
    :raises NotCacheable: not readable here, or not in one pass; Cinder's own driver may accept it
    :raises SourceUnavailable: Glance failed
    """
    reader = ReadAhead(
        image, source, read_ahead_bytes=read_ahead_bytes, stall_timeout_s=stall_timeout_s
    )
    try:
        with _judged(image, reader):
            stream = ByteStream(reader)
            plan = _plan(image, stream, check_grains)
            return DiskStream(image, reader, stream, plan)
    except BaseException:
        reader.close()
        raise


class DiskStream:
    """A streamOptimized VMDK to be uploaded; a context manager that ends the download.

    Read it to the end, then call `finish`: only then is the whole image verified. Do not complete
    an upload before that. Or call `read_content`, to compare the disk with another one. Errors are
    sticky: further reads raise the same error.

    :ivar capacity_bytes: size of the virtual disk
    :ivar length: bytes that `read` will return in total, None if unknown in advance
    """

    def __init__(self, image: Image, reader: ReadAhead, stream: ByteStream, plan: _Plan) -> None:
        self.capacity_bytes = plan.capacity_bytes
        self.length = plan.length
        self._image = image
        self._reader = reader
        self._stream = stream
        self._plan = plan
        self._output = ByteStream(plan.output)
        self._error: Exception | None = None

    @property
    def bytes_read(self) -> int:
        """Bytes read from Glance so far."""
        return self._reader.bytes_read

    def read(self, n: int = -1, /) -> bytes:
        """The next `n` bytes, fewer only at the end; b"" at the end.

        With a negative `n`, the next available piece of at least one byte, never the whole disk.

        :raises ImageCorrupt: the image is damaged or differs from what Glance promised
        :raises NotCacheable: it cannot be read further; Cinder's own driver may accept it
        :raises SourceUnavailable: Glance failed
        """
        with self._sticky():
            return self._output.read_some() if n < 0 else self._output.read(n)

    def __iter__(self) -> Iterator[bytes]:
        """The pieces as they arrive; raises the errors of `read`."""
        while piece := self.read():
            yield piece

    def finish(self) -> None:
        """Check the rest of the image, once all of the disk has been read.

        :raises ImageCorrupt: length or hash differ from Glance's; the text has both values
        :raises ImageFormatError: the OVA has a second disk
        """
        if self.read(1):
            raise RuntimeError("finish() before the last byte of the disk was read")
        with self._sticky():
            self._read_rest()

    def read_content(self, found: Found) -> None:
        """Read the content of the disk, instead of a VMDK, and check the whole image.

        :param found: called with the byte offset on the disk and the data of each part that the
            image stores; everything else is zeros
        :raises ImageCorrupt, ImageFormatError, NotCacheable, SourceUnavailable: same as `read` and
            `finish`; what was found so far is then not verified
        """
        with self._sticky():
            self._plan.read_content(found)
            self._read_rest()

    def _read_rest(self) -> None:
        self._plan.finish()
        while self._stream.read_some():
            pass

    def close(self) -> None:
        """End the download, complete or not; may be called repeatedly.

        Any thread may call it: a thread waiting in `read` gets SourceUnavailable at once.
        """
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _sticky(self) -> Iterator[None]:
        # A generator that raised is exhausted, which would look like a clean end.
        if self._error is not None:
            raise self._error
        try:
            with _judged(self._image, self._reader):
                yield
        except Exception as exc:
            self._error = exc
            raise


@contextlib.contextmanager
def _judged(image: Image, reader: ReadAhead) -> Iterator[None]:
    """Add the image's name to errors of the block, because the format modules do not know it.

    With some ``vmware_disktype`` values, Cinder's own driver uses any file as a raw disk, if it
    arrives as Glance promised. Such a file is therefore never an ImageError.
    """
    try:
        yield
    except VmdkCacheError as exc:
        if image.id not in str(exc):
            exc.args = (f"{image}: {exc}", *exc.args[1:])
        is_raw_disk = image.disk_type in FLAT_DISK_TYPES and exc is not reader.error
        if not (is_raw_disk and isinstance(exc, ImageError)):
            raise
        label = quoted(image.disk_type) if image.disk_type else "not set"
        raise UnusualFormat(
            f"{exc}; the plain import uses the file as a raw disk, because vmware_disktype is "
            f"{label}"
        ) from exc


@dataclass(frozen=True)
class _Plan:
    """How to read a stream, once: as a VMDK or as the content of the disk; and what to do after
    it."""

    capacity_bytes: int
    output: Iterator[bytes]
    read_content: Callable[[Found], None]
    length: int | None = None
    finish: Callable[[], None] = lambda: None


def _plan(image: Image, stream: ByteStream, inflate: bool) -> _Plan:
    kind = sniff(stream.peek(HEADER_BYTES), image)
    if kind is Format.OVA:
        return _plan_ova(image, stream, inflate)
    if kind is Format.FLAT:
        return _plan_flat(image, stream)
    return _plan_vmdk(stream, image.size_bytes or None, image.adapter_type, inflate)


def _plan_ova(image: Image, stream: ByteStream, inflate: bool) -> _Plan:
    ova = Ova(stream)
    disk, member = ova.open_disk()
    inner = replace(image, container_format="bare", disk_type="streamOptimized")
    if sniff(disk.peek(HEADER_BYTES), inner) is Format.OVA:
        raise ImageFormatError(f"the OVA's disk {quoted(member.name)} is an archive, not a VMDK")
    plan = _plan_vmdk(disk, member.size_bytes, image.adapter_type, inflate)

    def finish() -> None:
        disk.skip_to(member.size_bytes)
        ova.finish()

    return replace(plan, finish=finish)


def _plan_vmdk(stream: ByteStream, length: int | None, adapter: str | None, inflate: bool) -> _Plan:
    header, descriptor = read_head(stream)
    in_front = header.directory_offset and header.directory_offset < header.data_offset
    if header.compressed and not in_front:

        def read_content(found: Found) -> None:
            for _ in stream_optimized.checked(stream, header, inflate=True, found=found):
                pass

        checked = stream_optimized.checked(stream, header, inflate=inflate)
        return _Plan(header.capacity_bytes, checked, read_content, length)
    stream.skip_to(header.descriptor_offset + header.descriptor_bytes)
    if header.compressed:
        # As written by qemu-img: without the footer and the end-of-stream marker that the format
        # and strict receivers require. The grains are kept; only the frame is new.
        tally = GrainTally()
        front_tables.read_tables(stream, header, tally)
        grains = front_tables.compressed_grains(stream, header, tally, inflate=inflate)
        parts: Iterable[tuple[int, bytes]] = (
            (at, header.inflated(data, at)) for at, data in grains
        )
        grain_bytes = header.grain_bytes
    else:
        places = front_tables.GrainMap(header.grain_bytes)
        front_tables.read_tables(stream, header, places)
        parts = front_tables.uncompressed_grains(stream, header, places)
        grains = stream_optimized.compressed(parts)
        grain_bytes = stream_optimized.GRAIN_BYTES
    output = stream_optimized.written(
        header.capacity_bytes,
        grains,
        grain_bytes=grain_bytes,
        adapter=adapter or descriptor.adapter,
    )
    return _Plan(header.capacity_bytes, output, _each(parts))


def _plan_flat(image: Image, stream: ByteStream) -> _Plan:
    capacity_bytes = image.size_bytes
    if not capacity_bytes:
        raise NotCacheable(
            "size-unknown",
            f"{image} is a raw disk, and Glance does not report its size",
        )
    if capacity_bytes > MAX_CAPACITY_BYTES:
        raise UnusualFormat(
            f"{image} has {capacity_bytes} bytes; the maximum of a virtual disk is 62 TiB"
        )
    if capacity_bytes % SECTOR:
        raise UnusualFormat(
            f"{image} is a raw disk of {capacity_bytes} bytes, not a multiple of {SECTOR}"
        )
    parts = _flat_pieces(stream, capacity_bytes)
    output = stream_optimized.written(
        capacity_bytes, stream_optimized.compressed(parts), adapter=image.adapter_type
    )
    return _Plan(capacity_bytes, output, _each(parts))


def _each(parts: Iterable[tuple[int, bytes]]) -> Callable[[Found], None]:
    def read_content(found: Found) -> None:
        for offset, data in parts:
            found(offset, data)

    return read_content


def _flat_pieces(stream: ByteStream, capacity_bytes: int) -> Iterator[tuple[int, bytes]]:
    while data := stream.read(stream_optimized.GRAIN_BYTES):
        yield stream.position - len(data), data
    if stream.position != capacity_bytes:
        raise ImageCorrupt(f"the disk ends after {stream.position} of {capacity_bytes} bytes")

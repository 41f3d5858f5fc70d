"""An image's stream as the VMDK that vCenter takes: one road for every kind of image.

    Glance -> reader thread: count, hash (read_ahead.py)
           -> what is it, is it safe (image_format.py), out of its OVA (ova.py)
           -> a streamOptimized VMDK: as it is, or written on the fly -> whoever uploads it

vCenter imports nothing but streamOptimized VMDKs over an NFC lease, so whatever is not one
becomes one as it passes; its length is then unknown beforehand and the upload chunked, as in
VMware's own sample OVFManagerImportLocalVApp. One pass, flat memory, no file on disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from vmdk_cache.errors import (
    ImageCorrupt,
    ImageError,
    ImageFormatError,
    NotCacheable,
    VmdkCacheError,
)
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import quoted
from vmdk_cache.vmdk import front_tables, stream_optimized
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.image_format import (
    FLAT_DISK_TYPES,
    SNIFF_BYTES,
    Format,
    read_head,
    sniff,
)
from vmdk_cache.vmdk.ova import Ova
from vmdk_cache.vmdk.read_ahead import READ_AHEAD_BYTES, STALL_TIMEOUT_S, ReadAhead
from vmdk_cache.vmdk.sparse_header import MAX_CAPACITY_BYTES, SECTOR
from vmdk_cache.vmdk.unusual import unusual


def open_disk(
    image: Image,
    source: ImageSource,
    *,
    read_ahead_bytes: int = READ_AHEAD_BYTES,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    check_grains: bool = False,
) -> DiskStream:
    """Open the image's stream and check what its head claims; nothing else has been read then.

    :param read_ahead_bytes: how much of the image may wait in memory for the upload
    :param stall_timeout_s: give Glance up when it sends nothing for so long
    :param check_grains: look into each grain that comes compressed, which costs the CPU time of
        inflating it; without that the receiving host is the first to see that one is damaged
    :raises ImageFormatError: not a disk that is taken, or one that names other files
    :raises ImageCorrupt: damaged, as far as is seen yet
    :raises NotCacheable: not read here, or not in one pass; Cinder's own driver may take it
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

    Read to its end, then call `finish`: only then is the whole image known to be right. Until
    then an upload must not be completed. Any error stays: reading on raises it again.

    :ivar format: what the image's file is
    :ivar capacity_bytes: size of the virtual disk
    :ivar length: bytes that `read` will hand out, None if not known beforehand
    """

    def __init__(self, image: Image, reader: ReadAhead, stream: ByteStream, plan: _Plan) -> None:
        self.format = plan.format
        self.capacity_bytes = plan.capacity_bytes
        self.length = plan.length
        self._image = image
        self._reader = reader
        self._stream = stream
        self._finish = plan.finish
        self._output = ByteStream(plan.output)
        self._error: Exception | None = None

    @property
    def bytes_read(self) -> int:
        """Bytes read from Glance so far."""
        return self._reader.bytes_read

    def read(self, n: int = -1, /) -> bytes:
        """The next `n` bytes, fewer only at the end; b"" at the end.

        A negative `n` takes what comes next, at least one byte: never the whole disk.

        :raises ImageCorrupt: the image is damaged or not what Glance promised
        :raises NotCacheable: it cannot be read on; Cinder's own driver may take it
        :raises SourceUnavailable: Glance failed
        """
        return self._guarded(lambda: self._output.read_some() if n < 0 else self._output.read(n))

    def __iter__(self) -> Iterator[bytes]:
        """The pieces as they come; errors as of `read`."""
        while piece := self.read():
            yield piece

    def finish(self) -> None:
        """Check the rest of the image, once all of the disk has been read.

        :raises ImageCorrupt: length or hash differ from what Glance promised; both are named
        :raises ImageFormatError: an OVA with a second disk
        """
        if self.read(1):
            raise RuntimeError("finish() before the last byte of the disk was read")
        self._guarded(self._drain)

    def close(self) -> None:
        """End the download, complete or not; harmless when repeated.

        Any thread may do so: one that waits in `read` gets SourceUnavailable at once.
        """
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _drain(self) -> bytes:
        self._finish()
        while self._stream.read_some():
            pass
        return b""

    def _guarded(self, step: Callable[[], bytes]) -> bytes:
        # A generator that raised is over, and would look like a clean end when asked again.
        if self._error is not None:
            raise self._error
        try:
            with _judged(self._image, self._reader):
                return step()
        except Exception as exc:
            self._error = exc
            raise


@contextlib.contextmanager
def _judged(image: Image, reader: ReadAhead) -> Iterator[None]:
    """Errors of the block, each with the image's name.

    Where Cinder's own driver takes the file's bytes for the disk's, it makes a volume of any file
    that arrives as Glance promised it, so no such file is in error.
    """
    try:
        with _naming(image):
            yield
    except ImageError as exc:
        if image.disk_type not in FLAT_DISK_TYPES or exc is reader.error:
            raise
        label = quoted(image.disk_type) if image.disk_type else "not set"
        raise unusual(
            f"{exc}; without the cache its bytes become the disk's as they are, since "
            f"vmware_disktype is {label}"
        ) from exc


@contextlib.contextmanager
def _naming(image: Image) -> Iterator[None]:
    """Errors from the depth of a format know no image; out of here each names its own."""
    try:
        yield
    except VmdkCacheError as exc:
        if image.id not in str(exc):
            exc.args = (f"{image}: {exc}", *exc.args[1:])
        raise


@dataclass(frozen=True)
class _Plan:
    """How a stream becomes a VMDK: its output, and what to do when that is over."""

    format: Format
    capacity_bytes: int
    output: Iterator[bytes]
    length: int | None = None
    finish: Callable[[], None] = lambda: None


def _plan(image: Image, stream: ByteStream, inflate: bool) -> _Plan:
    kind = sniff(stream.peek(SNIFF_BYTES), image)
    if kind is Format.OVA:
        return _plan_ova(image, stream, inflate)
    if kind is Format.FLAT:
        return _plan_flat(image, stream)
    return _plan_vmdk(kind, stream, image.size_bytes or None, image.adapter_type, inflate)


def _plan_ova(image: Image, stream: ByteStream, inflate: bool) -> _Plan:
    ova = Ova(stream)
    disk, member = ova.open_disk()
    inner = replace(image, container_format="bare", disk_type=Format.STREAM_OPTIMIZED.value)
    kind = sniff(disk.peek(SNIFF_BYTES), inner)
    if kind is Format.OVA:
        raise ImageFormatError(f"the OVA's disk {quoted(member.name)} is an archive, not a VMDK")
    plan = _plan_vmdk(kind, disk, member.size_bytes, image.adapter_type, inflate)

    def finish() -> None:
        disk.skip(member.size_bytes)
        ova.finish()

    return replace(plan, format=Format.OVA, finish=finish)


def _plan_vmdk(
    kind: Format, stream: ByteStream, length: int | None, adapter: str | None, inflate: bool
) -> _Plan:
    head = read_head(stream)
    header, hint = head.header, head.descriptor.adapter
    if not header.compressed:
        stream.skip(header.descriptor_offset + header.descriptor_bytes)
        places = front_tables.GrainMap(header.grain_bytes)
        front_tables.read_tables(stream, header, places)
        grains = stream_optimized.compressed(
            front_tables.uncompressed_grains(stream, header, places)
        )
        output = stream_optimized.written(header.capacity_bytes, grains, adapter=adapter or hint)
    elif header.directory_offset and header.directory_offset < header.data_offset:
        # As qemu-img writes it: without the footer and the end of stream that the format wants
        # and strict receivers wait for. The grains stay as they are; only the frame is new.
        stream.skip(header.descriptor_offset + header.descriptor_bytes)
        tally = front_tables.GrainTally()
        front_tables.read_tables(stream, header, tally)
        output = stream_optimized.written(
            header.capacity_bytes,
            front_tables.compressed_grains(stream, header, tally, inflate=inflate),
            grain_bytes=header.grain_bytes,
            adapter=adapter or hint,
        )
    else:
        checked = stream_optimized.checked(stream, header, inflate=inflate)
        return _Plan(kind, header.capacity_bytes, checked, length)
    return _Plan(kind, header.capacity_bytes, output)


def _plan_flat(image: Image, stream: ByteStream) -> _Plan:
    capacity_bytes = image.size_bytes
    if not capacity_bytes:
        raise NotCacheable(
            "size-unknown",
            f"{image} holds the raw bytes of a disk and Glance does not say how many",
        )
    if capacity_bytes > MAX_CAPACITY_BYTES:
        raise unusual(f"{image} has {capacity_bytes} bytes; the largest virtual disk has 62 TiB")
    if capacity_bytes % SECTOR:
        raise unusual(
            f"{image} holds the raw bytes of a disk and has {capacity_bytes} of them, not a "
            f"multiple of {SECTOR}"
        )
    grains = stream_optimized.compressed(_flat_pieces(stream, capacity_bytes))
    output = stream_optimized.written(capacity_bytes, grains, adapter=image.adapter_type)
    return _Plan(Format.FLAT, capacity_bytes, output)


def _flat_pieces(stream: ByteStream, capacity_bytes: int) -> Iterator[tuple[int, bytes]]:
    while data := stream.read(stream_optimized.GRAIN_BYTES):
        yield stream.position - len(data), data
    if stream.position != capacity_bytes:
        raise ImageCorrupt(f"the disk ends after {stream.position} of {capacity_bytes} bytes")

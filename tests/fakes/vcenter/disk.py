"""The bytes of a virtual disk (or of any datastore file): sparse, and shared by its copies.

A `DiskContent` is a stack of layers. Only the top layer is written. `copy()` freezes it, and both
contents go on with an empty layer of their own on top of the shared ones. A copy of a disk of any
size therefore takes no RAM, and neither side sees later writes to the other.

A layer holds grains of 64 KiB without trailing zeros. A grain of zeros is not held at all, or as a
marker if it hides a grain of a lower layer. A layer above RAM_LIMIT_BYTES writes further grains to
an anonymous temporary file, which disappears with the last content that shares it.

A content id identifies the bytes: every write changes it, and a copy keeps its original's id until
either side is written ("if two disk backings have the same content ID and are not currently being
written to, then reads ... will return the same data", vSphere API reference,
VirtualDiskFlatVer2BackingInfo.contentId). It looks like those of ESXi: 32 hex digits (recorded on
8.0.3).

This module knows neither formats (vmdk.py) nor charged bytes (datastore_files.py).
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import uuid as uuids
from collections.abc import Iterator
from typing import IO

GRAIN_BYTES = 64 * 1024
RAM_LIMIT_BYTES = 4 * 1024 * 1024

_READ_BYTES = 16 * GRAIN_BYTES
_ZEROS = bytes(_READ_BYTES)


class _Layer:
    """Grains by index: bytes (held in RAM), an offset in the spool file, or None for zeros."""

    __slots__ = ("_file", "_lock", "_ram_bytes", "base", "grains")

    def __init__(self, base: _Layer | None) -> None:
        self.base = base
        self.grains: dict[int, bytes | tuple[int, int] | None] = {}
        self._ram_bytes = 0
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def put(self, index: int, grain: bytes) -> None:
        """Hold `grain`, which is not empty and has no trailing zeros."""
        with self._lock:
            old = self.grains.get(index)
            if isinstance(old, bytes):
                self._ram_bytes -= len(old)
            if self._ram_bytes + len(grain) <= RAM_LIMIT_BYTES:
                self._ram_bytes += len(grain)
                self.grains[index] = grain
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="fake-vcenter-disk-")  # noqa: SIM115 - lives as long as the layer
            if isinstance(old, tuple) and old[1] >= len(grain):
                offset = old[0]
            else:
                offset = self._file.seek(0, 2)
            self._file.seek(offset)
            self._file.write(grain)
            self.grains[index] = (offset, len(grain))

    def put_zeros(self, index: int) -> None:
        """Hide whatever a lower layer holds at `index`."""
        with self._lock:
            old = self.grains.pop(index, None)
            if isinstance(old, bytes):
                self._ram_bytes -= len(old)
            if self.base is not None:
                self.grains[index] = None

    def get(self, index: int) -> bytes:
        """The grain without its trailing zeros; b'' when it is all zeros."""
        layer: _Layer | None = self
        while layer is not None:
            with layer._lock:
                if index in layer.grains:
                    grain = layer.grains[index]
                    if isinstance(grain, bytes):
                        return grain
                    if grain is None:
                        return b""
                    assert layer._file is not None, "a spooled grain without its file"
                    layer._file.seek(grain[0])
                    return layer._file.read(grain[1])
            layer = layer.base
        return b""

    def holds(self, index: int) -> bool:
        """Whether the grain at `index` has a nonzero byte."""
        layer: _Layer | None = self
        while layer is not None:
            if index in layer.grains:
                return layer.grains[index] is not None
            layer = layer.base
        return False


class DiskContent:
    """Bytes 0 .. size_bytes - 1, zero until written. Thread-safe."""

    def __init__(self, size_bytes: int = 0) -> None:
        if size_bytes < 0:
            raise ValueError(f"a disk cannot have {size_bytes} bytes")
        self.size_bytes = size_bytes
        self._top = _Layer(None)
        self._held = 0
        self._fork: _Layer | None = None
        self._content_id: str | None = None
        self._lock = threading.RLock()

    @classmethod
    def of(cls, data: bytes) -> DiskContent:
        """A content that holds exactly `data`."""
        content = cls(len(data))
        content.write(0, data)
        return content

    @property
    def content_id(self) -> str:
        """Identifies the bytes; each write changes it."""
        with self._lock:
            if self._content_id is None:
                self._content_id = uuids.uuid4().hex
            return self._content_id

    def renew_id(self) -> None:
        """Change the content id, as a write of the same bytes would."""
        with self._lock:
            self._content_id = None

    @property
    def written_bytes(self) -> int:
        """Bytes in grains that are not all zeros: what a thin disk occupies."""
        with self._lock:
            return min(self._held * GRAIN_BYTES, self.size_bytes)

    @property
    def delta_bytes(self) -> int:
        """Bytes in grains written since this content was copied: what a delta file occupies."""
        with self._lock:
            count = 0
            layer: _Layer | None = self._top
            while layer is not None and layer is not self._fork:
                count += len(layer.grains)
                layer = layer.base
            return count * GRAIN_BYTES

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `offset`; fewer at the end, as when reading a file."""
        with self._lock:
            end = self.size_bytes if length is None else min(offset + length, self.size_bytes)
            top = self._top
        pieces = []
        while offset < end:
            index, start = divmod(offset, GRAIN_BYTES)
            stop = min(GRAIN_BYTES, start + end - offset)
            grain = top.get(index)[start:stop]
            pieces.append(grain)
            pieces.append(_ZEROS[: stop - start - len(grain)])
            offset += stop - start
        return b"".join(pieces)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Replace bytes; a write past the end is a ValueError (extend() first)."""
        view = memoryview(data)
        with self._lock:
            if offset < 0 or offset + len(view) > self.size_bytes:
                raise ValueError(
                    f"write of {len(view)} bytes at {offset} of a disk of {self.size_bytes} bytes"
                )
            self._content_id = None
            done = 0
            while done < len(view):
                index, start = divmod(offset + done, GRAIN_BYTES)
                piece = view[done : done + GRAIN_BYTES - start]
                done += len(piece)
                if len(piece) == GRAIN_BYTES:
                    grain = bytes(piece)
                else:
                    old = bytearray(self._top.get(index))
                    if len(old) < start + len(piece):
                        old.extend(_ZEROS[: start + len(piece) - len(old)])
                    old[start : start + len(piece)] = piece
                    grain = bytes(old)
                self._put(index, grain.rstrip(b"\0"))

    def append(self, data: bytes) -> None:
        """Extend by `data`, for an upload of unknown length."""
        with self._lock:
            offset = self.size_bytes
            self.size_bytes += len(data)
            self.write(offset, data)

    def extend(self, size_bytes: int) -> None:
        """Grow to `size_bytes` with zeros; ValueError if that is less than the present size."""
        with self._lock:
            if size_bytes < self.size_bytes:
                raise ValueError(f"cannot shrink {self.size_bytes} bytes to {size_bytes}")
            if size_bytes > self.size_bytes:
                self._content_id = None
            self.size_bytes = size_bytes

    def copy(self) -> DiskContent:
        """A content with the same bytes; both sides share whatever neither writes later."""
        with self._lock:
            if self._top.grains:
                self._top = _Layer(self._top)
            twin = DiskContent(self.size_bytes)
            twin._fork = self._top.base
            twin._top = _Layer(self._top.base)
            twin._held = self._held
            twin._content_id = self.content_id
            return twin

    def delta_on(self, base: DiskContent) -> DiskContent:
        """A copy of this content whose delta is what this content wrote since its own fork.

        `base` is what a file forked at the same point would hold; only its size is checked.
        """
        assert base.size_bytes <= self.size_bytes, "a delta smaller than its parent"
        twin = self.copy()
        twin._fork = self._fork
        return twin

    def absorb(self, child: DiskContent) -> None:
        """Take over the bytes of `child`, a later copy of this content, as when a snapshot is
        removed.

        What this content wrote since its own fork still counts as its delta, and so does the
        child's.
        """
        twin = child.copy()
        with self._lock:
            self.size_bytes, self._held, self._top = twin.size_bytes, twin._held, twin._top
            self._content_id = twin.content_id

    def grains(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of every grain that is not all zeros, in order.

        The bytes are padded to a whole grain except where the content ends."""
        with self._lock:
            indexes: set[int] = set()
            layer: _Layer | None = self._top
            while layer is not None:
                indexes.update(layer.grains)
                layer = layer.base
            top, size_bytes = self._top, self.size_bytes
        for index in sorted(indexes):
            grain = top.get(index)
            if grain:
                offset = index * GRAIN_BYTES
                yield offset, grain.ljust(min(GRAIN_BYTES, size_bytes - offset), b"\0")

    def sha256(self, length: int | None = None) -> str:
        """Hex SHA-256 of the first `length` bytes (default: all), zeros included."""
        digest = hashlib.sha256()
        end = self.size_bytes if length is None else length
        for offset in range(0, end, _READ_BYTES):
            digest.update(self.read(offset, min(_READ_BYTES, end - offset)))
        return digest.hexdigest()

    def _put(self, index: int, grain: bytes) -> None:
        had = self._top.holds(index)
        if grain:
            self._top.put(index, grain)
        elif had:
            self._top.put_zeros(index)
        self._held += bool(grain) - had

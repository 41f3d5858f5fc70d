"""Turns a stream of chunks into a forward-only byte stream: peek, read exactly, skip."""

from __future__ import annotations

from collections.abc import Iterator


class ByteStream:
    """The bytes of an iterator of chunks of any size; buffers no more than requested.

    :ivar position: bytes consumed so far
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._offset = 0
        self.position = 0

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, without consuming them; fewer only at the end."""
        self._have(size)
        return self._chunk[self._offset : self._offset + size]

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the stream's end."""
        data = self.peek(size)
        self._take(len(data))
        return data

    def read_some(self, size: int | None = None) -> bytes:
        """At least one byte and at most `size`, whatever is available; b"" at the end."""
        if not self._have(1):
            return b""
        if self._offset == 0 and (size is None or len(self._chunk) <= size):
            data = self._chunk  # whole chunks are not copied
        else:
            data = self._chunk[self._offset : None if size is None else self._offset + size]
        self._take(len(data))
        return data

    def pieces_to(self, position: int) -> Iterator[bytes]:
        """The bytes up to that position, as they arrive; fewer only at the stream's end."""
        assert position >= self.position, "a stream goes forward only"
        while self.position < position and (piece := self.read_some(position - self.position)):
            yield piece

    def skip_to(self, position: int) -> None:
        """Drop the bytes up to that position; fewer only at the stream's end."""
        for _ in self.pieces_to(position):
            pass

    def _have(self, size: int) -> bool:
        """Fetch until `size` bytes are buffered or the stream ends; whether there are that many."""
        missing = size - (len(self._chunk) - self._offset)
        if missing <= 0:
            return True
        parts = [self._chunk[self._offset :]]
        for chunk in self._chunks:
            parts.append(chunk)
            missing -= len(chunk)
            if missing <= 0:
                break
        parts = [part for part in parts if part]
        self._chunk, self._offset = parts[0] if len(parts) == 1 else b"".join(parts), 0
        return missing <= 0

    def _take(self, size: int) -> None:
        self._offset += size
        self.position += size

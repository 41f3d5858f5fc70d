"""Reads and hashes Glance's bytes in a separate thread, ahead of the upload.

The reader thread and the consumer share a queue bounded in bytes, so that Glance and vCenter work
concurrently and memory use stays flat. The reader checks length and hash (Glance's os_hash, or its
MD5 checksum if there is no other), and hands out the last chunk only if they match: the upload of a
corrupt image cannot complete.

It uses only ``threading``, so that it runs on native threads and, monkey-patched, under eventlet.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from vmdk_cache.errors import (
    ImageCorrupt,
    ImageDataMissing,
    SourceUnavailable,
    UnusualFormat,
    VmdkCacheError,
)
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)

READ_AHEAD_BYTES: Final = 8 << 20
STALL_TIMEOUT_S: Final = 300.0
STOP_TIMEOUT_S: Final = 10.0


class ReadAhead:
    """Iterator over the chunks of an image's file; ends with an error unless the file is intact.

    :param read_ahead_bytes: pause the reader at this many waiting bytes; may be exceeded by one
        chunk
    :param stall_timeout_s: fail if no byte arrives for this long
    :raises ImageCorrupt: (while iterating) length or hash differ from Glance's
    :raises ImageDataMissing: (while iterating) Glance promised data but sent none
    :raises SourceUnavailable: (while iterating) the source failed or stalled, or this was closed
    """

    def __init__(
        self,
        image: Image,
        source: ImageSource,
        *,
        read_ahead_bytes: int = READ_AHEAD_BYTES,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        self._image = image
        self._source = source
        self._stall_timeout_s = stall_timeout_s
        self._limit_bytes = max(1, read_ahead_bytes)
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._error: Exception | None = None
        self._ended = False
        self._stopped = False
        self._left_alone = False
        self._tally = _Tally(image)
        self._thread = threading.Thread(
            target=self._run, name=f"read-image-{identifier(image.id)}", daemon=True
        )
        self._thread.start()

    @property
    def error(self) -> Exception | None:
        """The error that ended the download: of the source, or a wrong length or hash."""
        return self._error

    @property
    def bytes_read(self) -> int:
        """Bytes received from the source so far."""
        return self._tally.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._changed:
            while not self._chunks and not self._ended and not self._stopped:
                before = self.bytes_read
                if not self._changed.wait(self._stall_timeout_s) and self.bytes_read == before:
                    self._stopped = True
                    raise SourceUnavailable(
                        f"Glance has sent no data of {self._image} for {self._stall_timeout_s:g} "
                        f"s, after {before} bytes"
                    )
            if self._chunks:
                chunk = self._chunks.popleft()
                self._waiting_bytes -= len(chunk)
                self._changed.notify_all()
                return chunk
            if self._error is not None:
                raise self._error
            if self._stopped:  # the data may look complete, but is not
                raise SourceUnavailable(f"the download of {self._image} was stopped")
            raise StopIteration

    def close(self) -> None:
        """Stop reading, close the source, and wait for the thread; may be called repeatedly."""
        with self._changed:
            self._stopped = True
            self._chunks.clear()
            self._waiting_bytes = 0
            self._changed.notify_all()
            if self._left_alone:
                return
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            # A read of the source cannot be interrupted; its own timeout will end it.
            self._left_alone = True
            LOG.warning("The reader of %s will end after its current read", self._image)

    def _run(self) -> None:
        error: Exception | None = SourceUnavailable(f"the reader of {self._image} was killed")
        try:
            self._read_all()
            error = None
        except VmdkCacheError as exc:
            error = exc
        except Exception as exc:
            # Sources raise many errors; the consumer sees one kind, with the cause attached.
            error = SourceUnavailable(
                f"the download of {self._image} was interrupted: {sentence(exc)}"
            )
            error.__cause__ = exc
        finally:
            with self._changed:
                self._error = error
                self._ended = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        chunks = self._source.open(self._image)
        try:
            withheld = b""
            for chunk in chunks:
                if self._stopped:
                    return
                if not isinstance(chunk, bytes):  # Glance's client, if the response is not a file
                    raise SourceUnavailable(f"the response for {self._image} is text, not a file")
                self._tally.add(chunk)
                self._put(withheld)
                withheld = chunk
            self._tally.verify()
            self._put(withheld)
        finally:
            close = getattr(chunks, "close", None)
            if callable(close):
                close()

    def _put(self, chunk: bytes) -> None:
        if not chunk:
            return
        with self._changed:
            while self._waiting_bytes >= self._limit_bytes and not self._stopped:
                self._changed.wait()
            if not self._stopped:
                self._chunks.append(chunk)
                self._waiting_bytes += len(chunk)
                self._changed.notify_all()


class _Tally:
    """Counts and hashes the data, and compares both with Glance's values."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.size_bytes = 0
        if image.os_hash_algo and image.os_hash_value:
            algorithm, self._hash_name = image.os_hash_algo, image.os_hash_algo
            self._promised_hash: str | None = image.os_hash_value
        else:  # MD5 in addition to a better hash would only cost time
            algorithm, self._hash_name = "md5", "checksum (MD5)"
            self._promised_hash = image.checksum
        try:
            self._hash = hashlib.new(algorithm, usedforsecurity=False)
            self._hash.hexdigest()  # fails for shake_128 and the like, which need a length
        except (ValueError, TypeError) as exc:  # TypeError also if the name contains NUL
            raise UnusualFormat(
                f"{image} has a hash of type {quoted(algorithm)}, which cannot be verified: set "
                "hashing_algorithm to sha512 in Glance and upload the image again"
            ) from exc

    def add(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self._promised_hash:
            self._hash.update(chunk)
        if self._image.size_bytes and self.size_bytes > self._image.size_bytes:
            raise ImageCorrupt(
                f"{self._image}: Glance promised {self._image.size_bytes} bytes but sends more, "
                f"{self.size_bytes} so far"
            )

    def verify(self) -> None:
        promised_bytes = self._image.size_bytes
        if promised_bytes and not self.size_bytes:
            raise ImageDataMissing(
                f"Glance has no data of {self._image}: it promised {promised_bytes} bytes but "
                "sent none"
            )
        if promised_bytes and self.size_bytes != promised_bytes:
            raise ImageCorrupt(
                f"{self._image}: Glance promised {promised_bytes} bytes but sent {self.size_bytes}"
            )
        found = self._hash.hexdigest()
        if self._promised_hash and found != self._promised_hash.lower():
            raise ImageCorrupt(
                f"{self._image}: Glance promised {self._hash_name} "
                f"{identifier(self._promised_hash)}, but the data has {found}"
            )

"""A disk whose stream is freshly opened when its first byte is read.

The size in an image's header must be known before a place is chosen and room is made for it, and an
image that is refused must not evict others. But making room, and getting the NFC lease, may take
minutes, and a proxy in front of Glance closes a connection that is idle for that long. So a stream
that has waited is opened again when it is needed. Without a wait the image is downloaded once.
"""

from __future__ import annotations

import contextlib

from vmdk_cache import errors
from vmdk_cache.cache.ports import Disk, Transfer
from vmdk_cache.clock import Clock
from vmdk_cache.image import Image, ImageSource

#: How long a stream may wait before its first byte is read. Proxies cut after 60 s, or 30.
WAITS_S = 15.0


class FreshDisk:
    """A :class:`~vmdk_cache.cache.ports.Disk`; ``close`` ends the download."""

    def __init__(self, transfer: Transfer, image: Image, source: ImageSource, clock: Clock) -> None:
        """Open the stream and check the image's header; same errors as ``transfer``."""
        self._transfer = transfer
        self._image = image
        self._source = source
        self._clock = clock
        self._opened = contextlib.ExitStack()
        self._is_read = False
        self._disk = self._open()
        self.capacity_bytes = self._disk.capacity_bytes
        self.length = self._disk.length

    def _open(self) -> Disk:
        self._opened_at = self._clock.monotonic()
        return self._opened.enter_context(self._transfer(self._image, self._source))

    @property
    def bytes_read(self) -> int:
        """Bytes read from the stream that is open now."""
        return self._disk.bytes_read

    def read(self, n: int = -1, /) -> bytes:
        """See :meth:`Disk.read`.

        :raises ImageCorrupt: the second download has another header than the first
        """
        if not self._is_read:
            self._is_read = True
            if self._clock.monotonic() - self._opened_at > WAITS_S:
                self._open_again()
        return self._disk.read(n)

    def finish(self) -> None:
        self._disk.finish()

    def _open_again(self) -> None:
        self._opened.close()
        self._disk = self._open()
        if (self._disk.capacity_bytes, self._disk.length) != (self.capacity_bytes, self.length):
            raise errors.ImageCorrupt(
                f"{self._image} is another disk at its second download than at its first"
            )

    def close(self) -> None:
        self._opened.close()

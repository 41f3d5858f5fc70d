"""Reads an image's bytes from a local file instead of from Glance.

The file must be identical to Glance's image: its length is compared with Glance's before the
import, and its hash during it (vmdk_cache/vmdk/read_ahead.py).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from vmdk_cache import errors
from vmdk_cache.image import Image
from vmdk_cache.quoting import sentence

_CHUNK_BYTES = 1 << 20


class ImageFile:
    """An :class:`~vmdk_cache.image.ImageSource` of one file."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def check(self, image: Image) -> None:
        """Check that the file can be the image's.

        :raises ConfigError: the file does not exist or cannot be read
        :raises ImageCorrupt: the file differs from the image
        :raises ImageFormatError: Glance has no hash to compare the file with
        """
        try:
            with self._path.open("rb"):
                size_bytes = self._path.stat().st_size
        except OSError as failure:
            raise errors.ConfigError(f"argument --from-file: {sentence(failure)}") from failure
        if not (image.os_hash_value or image.checksum):
            raise errors.ImageFormatError(
                f"Glance has no hash of {image}, so {self._path} cannot be verified: import the "
                "image without --from-file"
            )
        if image.size_bytes and size_bytes != image.size_bytes:
            raise errors.ImageCorrupt(
                f"{self._path} has {size_bytes} bytes, but {image} has {image.size_bytes} bytes in "
                "Glance: it is a different file"
            )

    def open(self, image: Image) -> Iterator[bytes]:
        """:raises SourceUnavailable: the file cannot be read"""
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as failure:
            raise errors.SourceUnavailable(f"{self._path}: {sentence(failure)}") from failure

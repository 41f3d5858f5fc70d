"""An image's bytes from a file of this host, in place of Glance's.

They are still Glance's image: the file must have the length that Glance promises, which is looked
at beforehand, and the hash, which is checked on the way (vmdk_cache/vmdk/read_ahead.py).
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
        """Whether the file may be the image's.

        :raises ConfigError: there is no such file, or it cannot be read
        :raises ImageCorrupt: it is another one
        :raises ImageFormatError: nobody could tell whether it is
        """
        try:
            with self._path.open("rb"):
                size_bytes = self._path.stat().st_size
        except OSError as failure:
            raise errors.ConfigError(f"argument --from-file: {sentence(failure)}") from failure
        if not (image.os_hash_value or image.checksum):
            raise errors.ImageFormatError(
                f"Glance has no hash of {image}: nobody can tell whether {self._path} is "
                f"that image, import it without --from-file"
            )
        if image.size_bytes and size_bytes != image.size_bytes:
            raise errors.ImageCorrupt(
                f"{self._path} has {size_bytes} bytes and {image} in Glance "
                f"{image.size_bytes}: it is another file"
            )

    def open(self, image: Image) -> Iterator[bytes]:
        """:raises SourceUnavailable: the file cannot be read (any more)"""
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as failure:
            raise errors.SourceUnavailable(f"{self._path}: {sentence(failure)}") from failure

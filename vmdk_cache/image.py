"""An image as Glance describes it: promises, none of them checked yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

#: The one status in which Glance hands out an image's data.
ACTIVE = "active"


@dataclass(frozen=True)
class Image:
    """What Glance promises of an image.

    :ivar id: Glance image id
    :ivar size_bytes: length of the file in Glance, 0 if unknown
    :ivar virtual_size_bytes: capacity of the disk as Glance inspected it, 0 if unknown
    :ivar disk_format: ``vmdk`` for all that we take
    :ivar container_format: ``bare``, ``ova``, ...
    :ivar disk_type: property ``vmware_disktype`` (``streamOptimized``, ``sparse``,
        ``preallocated``, ``thin``), None if not set
    :ivar adapter_type: property ``vmware_adaptertype`` (``lsiLogic``, ``busLogic``,
        ``lsiLogicsas``, ``paraVirtual``, ``ide``), None if not set
    :ivar os_hash_algo: name for :func:`hashlib.new`, None if Glance has none
    :ivar os_hash_value: hex digest by that algorithm
    :ivar checksum: MD5 hex digest, None if Glance has none
    :ivar updated_at: ISO 8601 text of Glance's ``updated_at``
    :ivar status: Glance's: ``active``, ``deactivated``, ``queued``, ``pending_delete``, ...
    """

    id: str
    size_bytes: int
    disk_format: str
    container_format: str
    disk_type: str | None = None
    adapter_type: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    checksum: str | None = None
    updated_at: str = ""
    virtual_size_bytes: int = 0
    status: str = ACTIVE


class ImageSource(Protocol):
    """Where an image's bytes come from."""

    def open(self, image: Image) -> Iterator[bytes]:
        """Chunks of the image's file, from its first byte.

        :raises SourceUnavailable: now or while iterating, when the bytes cannot be had
        """

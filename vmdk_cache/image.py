"""An image as Glance describes it; nothing of it is verified yet."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from oslo_utils import strutils

from vmdk_cache.quoting import identifier

#: The only status in which Glance serves an image's data.
ACTIVE = "active"
#: Property of images to be kept warm (``image_cache_auto_warm``).
KEEP_WARM = "image_cache_warm"


@dataclass(frozen=True)
class Image:
    """Glance's description of an image.

    :ivar id: Glance image id
    :ivar name: as a user chose it: not unique, any characters, '' if unset
    :ivar size_bytes: length of the file in Glance, 0 if unknown
    :ivar virtual_size_bytes: capacity of the disk as inspected by Glance, 0 if unknown
    :ivar disk_format: ``vmdk`` for all images that the cache accepts
    :ivar container_format: ``bare``, ``ova``, ...
    :ivar disk_type: property ``vmware_disktype`` (``streamOptimized``, ``sparse``,
        ``preallocated``, ``thin``), None if not set
    :ivar adapter_type: property ``vmware_adaptertype`` (``lsiLogic``, ``busLogic``,
        ``lsiLogicsas``, ``paraVirtual``, ``ide``), None if not set
    :ivar os_hash_algo: name for :func:`hashlib.new`, None if Glance has none
    :ivar os_hash_value: hex digest of that algorithm
    :ivar checksum: MD5 hex digest, None if Glance has none
    :ivar updated_at: ISO 8601 text of Glance's ``updated_at``
    :ivar status: Glance's status: ``active``, ``deactivated``, ``queued``, ``pending_delete``, ...
    :ivar keep_warm: whether its property ``image_cache_warm`` is true
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
    keep_warm: bool = False
    name: str = ""

    def __str__(self) -> str:
        """The image's name in messages: ``image 4f0c...``."""
        return f"image {identifier(self.id)}"


class ImageSource(Protocol):
    """A source of an image's bytes."""

    def open(self, image: Image) -> Iterator[bytes]:
        """Chunks of the image's file, from the first byte.

        :raises SourceUnavailable: now or while iterating, if the bytes are not available
        """


def describe(image_meta: Mapping[str, Any]) -> Image:
    """The image that a dict of Glance or Cinder describes; missing values are None, 0 or empty.

    :param image_meta: ``id`` (the only mandatory key), ``name``, ``size`` in bytes,
        ``disk_format``, ``container_format``, ``checksum``, ``os_hash_algo``, ``os_hash_value``,
        ``updated_at`` (datetime or text), ``status``. Custom properties are under ``properties``
        (``GlanceImageService.show`` of Cinder) or beside the others (Image API v2)
    """
    nested = image_meta.get("properties")
    properties = nested if isinstance(nested, Mapping) else image_meta
    return Image(
        id=_text(image_meta["id"]) or "",
        size_bytes=_size_bytes(image_meta.get("size")),
        disk_format=_text(image_meta.get("disk_format")) or "",
        container_format=_text(image_meta.get("container_format")) or "",
        disk_type=_text(properties.get("vmware_disktype")),
        adapter_type=_text(properties.get("vmware_adaptertype")),
        os_hash_algo=_text(image_meta.get("os_hash_algo")),
        os_hash_value=_text(image_meta.get("os_hash_value")),
        checksum=_text(image_meta.get("checksum")),
        updated_at=_iso_text(image_meta.get("updated_at")),
        virtual_size_bytes=_size_bytes(image_meta.get("virtual_size")),
        status=_text(image_meta.get("status")) or ACTIVE,
        keep_warm=strutils.bool_from_string(properties.get(KEEP_WARM)),
        name=_text(image_meta.get("name")) or "",
    )


def _text(value: object) -> str | None:
    """The text without surrounding blanks; None if unset or blank. A lone surrogate, which JSON can
    contain, is escaped, because it cannot be hashed."""
    text = "" if value is None else str(value).strip()
    return text.encode("utf-8", "backslashreplace").decode() or None


def _size_bytes(value: object) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


def _iso_text(value: object) -> str:
    """The time in ISO 8601, UTC: the same text for the same time, whatever its format was."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return _text(value) or ""
    if not isinstance(value, datetime.datetime):
        return ""
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    try:
        return value.astimezone(datetime.UTC).isoformat()
    except OverflowError:  # on the calendar's first or last day
        return value.isoformat()

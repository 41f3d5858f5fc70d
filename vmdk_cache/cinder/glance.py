"""Images as Cinder sees them: description and bytes, in this package's terms.

Cinder hands a driver ``image_meta`` (the dict of ``GlanceImageService.show``) and
``image_service``. :func:`describe` turns the first into an :class:`~vmdk_cache.image.Image`, and
:class:`GlanceImageSource` makes the second an :class:`~vmdk_cache.image.ImageSource`. This is the
border at which the errors of Glance's client, of Cinder's image service and of HTTP become
:class:`~vmdk_cache.errors.SourceUnavailable` or :class:`~vmdk_cache.errors.ImageCorrupt`.

The client checks the hash itself while it iterates (python-glanceclient,
``common.utils.serious_integrity_iter``) and reports a difference as ``IOError(EPIPE)``; that one
is corruption, every other break is a source that is out of reach.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
from collections.abc import Iterator, Mapping
from typing import Any

import requests
from cinder import exception
from glanceclient import exc as glance_exc
from urllib3 import exceptions as urllib3_exc

from vmdk_cache.errors import ImageCorrupt, SourceUnavailable
from vmdk_cache.image import Image

_HASH_DIFFERS = "Corrupt image download"
"""How python-glanceclient begins the text of its integrity error."""


class GlanceImageSource:
    """Opens images through Cinder's image service, as the user of ``context``.

    :param context: Cinder's request context; its project must be able to read the image
    :param image_service: ``cinder.image.glance.GlanceImageService`` or anything with its
        ``download(context, image_id)``
    """

    def __init__(self, context: Any, image_service: Any) -> None:
        self._context = context
        self._image_service = image_service

    def open(self, image: Image) -> Iterator[bytes]:
        """Chunks of the image's file; the connection is closed when the iterator is.

        The request is sent when the first chunk is asked for. An empty file has no chunks.

        :raises SourceUnavailable: Glance refused, is out of reach, or the stream broke off
        :raises ImageCorrupt: the bytes differ from the image's hash; known after the last chunk
        """
        with _glance_errors(image.id):
            chunks = self._image_service.download(self._context, image.id)
            try:
                yield from chunks
            finally:
                # A reader that stops early must not leave the connection to the collector.
                close = getattr(chunks, "close", None) or getattr(
                    getattr(chunks, "iterable", None), "close", None
                )
                if callable(close):
                    close()


@contextlib.contextmanager
def _glance_errors(image_id: str) -> Iterator[None]:
    try:
        yield
    except exception.ImageNotFound as exc:
        raise SourceUnavailable(f"Glance has no image {image_id} for this project") from exc
    except exception.NotAuthorized as exc:  # ImageNotAuthorized is one
        raise SourceUnavailable(f"Glance refuses image {image_id} to this project") from exc
    except OSError as exc:  # requests' errors are OSErrors too
        if exc.errno == errno.EPIPE and _HASH_DIFFERS in str(exc):
            raise ImageCorrupt(f"image {image_id}: {exc.strerror}") from exc
        raise SourceUnavailable(f"the stream of image {image_id} broke off: {exc}") from exc
    except (
        exception.CinderException,
        glance_exc.BaseException,
        glance_exc.ClientException,
        requests.RequestException,
        urllib3_exc.HTTPError,
    ) as exc:
        raise SourceUnavailable(f"Glance did not give image {image_id}: {exc}") from exc


def describe(image_meta: Mapping[str, Any]) -> Image:
    """The image that Cinder's dict tells of; what Glance left out is None, 0 or empty.

    :param image_meta: as of ``GlanceImageService.show``: ``id`` (the one key that must be there),
        ``size`` in bytes, ``disk_format``, ``container_format``, ``checksum``, ``os_hash_algo``,
        ``os_hash_value``, ``updated_at`` (datetime or text), custom ones under ``properties``
    """
    properties = image_meta.get("properties") or {}
    return Image(
        id=str(image_meta["id"]),
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
    )


def _text(value: object) -> str | None:
    """Text without blanks around it; None for what is unset or blank."""
    text = "" if value is None else str(value).strip()
    return text or None


def _size_bytes(value: object) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


def _iso_text(value: object) -> str:
    """One text for one moment, however it was handed over: ISO 8601 in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    if not isinstance(value, datetime.datetime):
        return ""
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    return value.astimezone(datetime.UTC).isoformat()

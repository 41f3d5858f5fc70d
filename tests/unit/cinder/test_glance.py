"""Errors of Glance's client become ours, and images are described whatever Glance left out."""

from __future__ import annotations

import datetime
import errno
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from cinder import exception
from glanceclient import exc as glance_exc
from glanceclient.common import utils as glance_utils

from vmdk_cache.cinder.glance import GlanceImageSource, describe
from vmdk_cache.errors import ImageCorrupt, SourceUnavailable
from vmdk_cache.image import Image

IMAGE = Image(id="abc", size_bytes=4, disk_format="vmdk", container_format="bare")


class Body:
    """A download's body: chunks, then an error if one was given; remembers being closed."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self._rest = iter(chunks)
        self._error = error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for chunk in self._rest:
            return chunk
        if self._error:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        self.closed = True


class ImageService:
    """Cinder's image service with one image."""

    def __init__(self, body: Any = None, error: Exception | None = None) -> None:
        self._body = body
        self._error = error

    def download(self, context: object, image_id: str) -> Any:
        assert image_id == IMAGE.id
        if self._error:
            raise self._error
        return self._body


def test_the_bytes_come_unchanged_and_the_body_is_closed() -> None:
    body = Body(b"ab", b"cd")
    assert b"".join(GlanceImageSource(None, ImageService(body)).open(IMAGE)) == b"abcd"
    assert body.closed


def test_a_reader_that_stops_early_closes_the_connection() -> None:
    body = Body(b"ab", b"cd")
    chunks = GlanceImageSource(None, ImageService(body)).open(IMAGE)
    assert next(chunks) == b"ab"
    chunks.close()  # type: ignore[attr-defined]
    assert body.closed


@pytest.mark.parametrize(
    "error",
    [
        exception.ImageNotFound(image_id="abc"),
        exception.ImageNotAuthorized(image_id="abc"),
        exception.GlanceConnectionFailed(reason="refused"),
        exception.ImageDownloadFailed(image_href="abc", reason="no data"),
        glance_exc.CommunicationError("down"),
        glance_exc.HTTPServiceUnavailable("busy"),
        requests.ConnectionError("reset"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_download_is_a_source_that_is_unavailable(error: Exception) -> None:
    with pytest.raises(SourceUnavailable, match="abc") as caught:
        list(GlanceImageSource(None, ImageService(error=error)).open(IMAGE))
    assert caught.value.__cause__ is error
    assert caught.value.retryable


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ChunkedEncodingError("IncompleteRead(2 bytes read, 2 more expected)"),
        requests.ReadTimeout("timed out"),
        OSError(errno.EPIPE, "Broken pipe"),
        OSError(errno.EIO, "Input/output error"),
    ],
    ids=str,
)
def test_a_stream_that_breaks_off_is_not_taken_for_a_corrupt_image(error: Exception) -> None:
    body = Body(b"ab", error=error)
    with pytest.raises(SourceUnavailable, match="abc"):
        list(GlanceImageSource(None, ImageService(body)).open(IMAGE))
    assert body.closed


def test_bytes_that_do_not_match_glances_hash_are_corrupt() -> None:

    checked = glance_utils.serious_integrity_iter(iter([b"ab"]), hashlib.sha256(), "0" * 64)
    with pytest.raises(ImageCorrupt, match=r"abc.*expected 0000"):
        list(GlanceImageSource(None, ImageService(checked)).open(IMAGE))


def test_bytes_that_do_not_match_glances_md5_are_corrupt() -> None:
    checked = glance_utils.integrity_iter(iter([b"ab"]), "0" * 32)
    with pytest.raises(ImageCorrupt, match="abc"):
        list(GlanceImageSource(None, ImageService(checked)).open(IMAGE))


def test_a_fault_of_the_reader_is_not_translated() -> None:
    chunks = GlanceImageSource(None, ImageService(Body(b"ab", b"cd"))).open(IMAGE)
    next(chunks)
    with pytest.raises(ZeroDivisionError):
        chunks.throw(ZeroDivisionError())  # type: ignore[attr-defined]


def test_an_image_is_described_in_full() -> None:
    updated_at = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
    assert describe(
        {
            "id": "abc",
            "size": 65536,
            "virtual_size": 1 << 20,
            "disk_format": "vmdk",
            "container_format": "bare",
            "checksum": "c" * 32,
            "os_hash_algo": "sha512",
            "os_hash_value": "d" * 128,
            "updated_at": updated_at,
            "properties": {"vmware_disktype": "streamOptimized", "vmware_adaptertype": "ide"},
        }
    ) == Image(
        id="abc",
        size_bytes=65536,
        disk_format="vmdk",
        container_format="bare",
        disk_type="streamOptimized",
        adapter_type="ide",
        os_hash_algo="sha512",
        os_hash_value="d" * 128,
        checksum="c" * 32,
        updated_at="2026-03-01T12:00:00+00:00",
        virtual_size_bytes=1 << 20,
    )


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"properties": None},
        {"size": None, "properties": {}},
        {"size": "many", "checksum": "", "updated_at": None},
    ],
)
def test_what_glance_left_out_is_unset(nothing: dict[str, Any]) -> None:
    assert describe({"id": "abc", **nothing}) == Image(
        id="abc", size_bytes=0, disk_format="", container_format=""
    )


def test_one_moment_is_one_text_however_it_is_given() -> None:
    aware = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
    moments = [
        aware,
        aware.replace(tzinfo=None),
        "2026-03-01T12:00:00Z",
        aware.astimezone(datetime.timezone(datetime.timedelta(hours=2))),
    ]
    assert {describe({"id": "a", "updated_at": m}).updated_at for m in moments} == {
        "2026-03-01T12:00:00+00:00"
    }

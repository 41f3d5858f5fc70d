"""Glance's bytes are read and hashed ahead; corrupt, missing and stalled data end with an error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.images import FakeImage, FakeImageSource, as_flat, bit_flipped, noise, truncated
from vmdk_cache.errors import (
    ImageCorrupt,
    ImageDataMissing,
    NotCacheable,
    SourceUnavailable,
    VmdkCacheError,
)
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.vmdk.read_ahead import ReadAhead

IMAGE = as_flat(noise(2 << 20))
ONLY_MD5 = {"os_hash_algo": None, "os_hash_value": None}


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@contextlib.contextmanager
def reading(
    source: ImageSource, image: Image | None = None, **options: float
) -> Iterator[ReadAhead]:
    reader = ReadAhead(image or IMAGE.image(), source, **options)  # type: ignore[arg-type]
    with contextlib.closing(reader):
        yield reader


@contextlib.contextmanager
def stalled(after_bytes: int, **options: float) -> Iterator[tuple[ReadAhead, threading.Event]]:
    """A reader whose source stops after so many bytes, until the event is set; at the end it is."""
    gate = threading.Event()
    source = FakeImageSource(IMAGE, gate=gate, gate_after_bytes=after_bytes)
    with reading(source, **options) as reader:
        try:
            yield reader, gate
        finally:
            gate.set()


def received(sent: FakeImage, **promised: object) -> bytes:
    with reading(FakeImageSource(sent), IMAGE.image(**promised)) as reader:
        return b"".join(reader)


def test_the_whole_file_arrives() -> None:
    source = FakeImageSource(IMAGE, chunk_bytes=1000)
    with reading(source) as reader:
        assert b"".join(reader) == IMAGE.file_bytes
        assert reader.bytes_read == len(IMAGE.file_bytes)
    assert source.closed == 1


def test_the_last_bytes_of_corrupt_data_are_withheld() -> None:
    arrived = bytearray()
    with reading(FakeImageSource(bit_flipped(IMAGE))) as reader:
        with pytest.raises(ImageCorrupt, match="promised sha512"):
            for chunk in reader:
                arrived += chunk
        assert isinstance(reader.error, ImageCorrupt)
    assert 0 < len(arrived) < len(IMAGE.file_bytes)


def test_md5_alone_is_checked() -> None:
    assert received(IMAGE, **ONLY_MD5) == IMAGE.file_bytes
    with pytest.raises(ImageCorrupt, match=r"promised checksum \(MD5\)"):
        received(bit_flipped(IMAGE), **ONLY_MD5)


def test_the_better_hash_counts() -> None:
    assert received(IMAGE, checksum="0" * 32) == IMAGE.file_bytes
    with pytest.raises(ImageCorrupt, match="sha512"):
        received(IMAGE, os_hash_value="0" * 128)


def test_data_pass_unchecked_if_glance_promises_no_hash() -> None:
    changed = bit_flipped(IMAGE)
    assert received(changed, **ONLY_MD5, checksum=None) == changed.file_bytes


def test_hashes_are_compared_whatever_their_case() -> None:
    value = IMAGE.image().os_hash_value
    assert value is not None
    assert received(IMAGE, os_hash_value=value.upper())


@pytest.mark.parametrize("algorithm", ["crc1024", "shake_128", "sha\0"])
def test_an_image_whose_hash_cannot_be_checked_is_left_to_the_plain_import(algorithm: str) -> None:
    """shake_128 has no length of its own, so no value to compare."""
    with pytest.raises(NotCacheable, match="hashing_algorithm") as refused:
        received(IMAGE, os_hash_algo=algorithm)
    assert repr(algorithm) in str(refused.value)


@pytest.mark.parametrize(
    ("sent", "error", "text"),
    [
        (truncated(IMAGE, keep_bytes=1000), ImageCorrupt, "promised 2097152 bytes but sent 1000"),
        (truncated(IMAGE, keep_bytes=0), ImageDataMissing, "promised 2097152 bytes but sent none"),
        (
            FakeImage(IMAGE.file_bytes + b"more", 0),
            ImageCorrupt,
            "promised 2097152 bytes but sends more, 2097156 so far",
        ),
    ],
    ids=["fewer", "none", "more"],
)
def test_the_length_is_what_glance_promised(
    sent: FakeImage, error: type[VmdkCacheError], text: str
) -> None:
    with pytest.raises(error, match=text):
        received(sent)


def test_a_broken_source_can_be_tried_again() -> None:
    source = FakeImageSource(IMAGE, fail_after_bytes=1 << 20)
    with reading(source) as reader, pytest.raises(SourceUnavailable, match="closed the connection"):
        b"".join(reader)
    assert source.closed == 1


def test_a_foreign_error_of_a_source_is_translated_and_kept_as_cause() -> None:
    error = ConnectionResetError("reset by peer")
    source = FakeImageSource(IMAGE, fail_after_bytes=1 << 20, error=error)
    with reading(source) as reader, pytest.raises(SourceUnavailable) as caught:
        b"".join(reader)
    assert caught.value.__cause__ is error


def test_a_source_that_cannot_be_opened_is_unavailable() -> None:
    class Closed:
        def open(self, image: Image) -> Iterator[bytes]:
            raise OSError("no route to host")

    with reading(Closed()) as reader, pytest.raises(SourceUnavailable, match="no route to host"):
        next(reader)


def test_text_in_place_of_a_file_is_unavailable() -> None:
    """As Glance's client returns for an answer without a body."""

    class Text:
        def open(self, image: Image) -> Iterator[bytes]:
            return iter(["not found"])  # type: ignore[list-item]

    with reading(Text()) as reader, pytest.raises(SourceUnavailable, match="is text, not a file"):
        next(reader)


@pytest.mark.parametrize("after_bytes", [0, 1 << 20])
def test_a_source_that_stalls_is_given_up(after_bytes: int) -> None:
    text = rf"no data of image .* for 0\.05 s, after {after_bytes} bytes"
    with (
        stalled(after_bytes, stall_timeout_s=0.05) as (reader, _),
        pytest.raises(SourceUnavailable, match=text),
    ):
        b"".join(reader)


def test_closing_wakes_a_thread_that_waits_for_the_source() -> None:
    caught: list[BaseException] = []
    with stalled(1 << 20) as (reader, gate):

        def consume() -> None:
            try:
                b"".join(reader)
            except BaseException as error:
                caught.append(error)
            finally:
                gate.set()

        consumer = threading.Thread(target=consume)
        consumer.start()
        reader.close()
        consumer.join()
        assert [type(error) for error in caught] == [SourceUnavailable]
        with pytest.raises(SourceUnavailable):
            next(reader)


def test_the_reader_pauses_when_enough_bytes_wait() -> None:
    source = FakeImageSource(IMAGE, chunk_bytes=4096)
    with reading(source, read_ahead_bytes=64 << 10) as reader:
        next(reader)
    assert source.closed == 1
    # What waits, the chunk taken, the one withheld and the one being read.
    assert source.bytes_sent <= (64 << 10) + 4 * 4096

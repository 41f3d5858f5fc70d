"""What an import does with a file, and what must hold of it whatever the file is."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fakes.images import FakeImageSource
from vmdk_cache.errors import ImageError, NotCacheable, VmdkCacheError
from vmdk_cache.image import Image
from vmdk_cache.vmdk.byte_stream import ByteStream
from vmdk_cache.vmdk.image_format import read_head
from vmdk_cache.vmdk.transfer import open_disk

IMAGE_ID = "a0000000-0000-4000-8000-000000000001"
#: The directory of a disk of 62 TiB, twice (the list and its bytes), and the frame around it.
MOST_ADDED_BYTES = 2 * (8 << 20) + (1 << 20)
LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Imported:
    """What vCenter would have got.

    :ivar error: what was said instead, None if the import went through
    """

    data: bytes
    error: VmdkCacheError | None
    capacity_bytes: int = 0
    passed_on: bool = False


def imported(file: bytes, **changes: object) -> Imported:
    """Import the file to its end; any other error than those of an image is the test's failure.

    Along the way: no byte is read twice, the download is ended, the text is one line for a log, and
    what comes out is not much more than what went in.
    """
    source = FakeImageSource(file, chunk_bytes=4096)
    values: dict[str, object] = {
        "id": IMAGE_ID, "size_bytes": len(file), "disk_format": "vmdk", "container_format": "bare",
        "disk_type": "streamOptimized", **changes,
    }  # fmt: skip
    image = Image(**values)  # type: ignore[arg-type]
    pieces: list[bytes] = []
    try:
        with open_disk(image, source, read_ahead_bytes=1 << 16) as disk:
            pieces.extend(disk)
            disk.finish()
            made = Imported(b"".join(pieces), None, disk.capacity_bytes, disk.length is not None)
            assert disk.length in (None, len(made.data)), "another length than was announced"
    except (ImageError, NotCacheable) as error:
        text = str(error)
        assert len(text) <= LONGEST_TEXT and text.isprintable(), repr(text[:2000])
        made = Imported(b"".join(pieces), error)
    assert (source.opened, source.closed) == (1, 1)
    assert source.bytes_sent <= len(file)
    assert len(made.data) <= 2 * len(file) + MOST_ADDED_BYTES
    if made.error is None:
        check_stands_alone(made)
    return made


def check_stands_alone(made: Imported) -> None:
    """What vCenter gets is a VMDK that names no other file."""
    header, descriptor = read_head(ByteStream(iter([made.data])))
    assert header.compressed
    assert header.capacity_bytes == made.capacity_bytes
    (extent,) = descriptor.extents
    assert extent[1] == "SPARSE" and not {"/", "\\"} & set(extent[2])

"""The work of ``vmdk-cache verify``: whether the disks of templates hold what Glance's images hold.

    for each image   the first copy, then the image, then the other copies
    for each disk    one pass: read, decode, digest (vmdk_cache/vmdk/disk_digest.py)

The first copy comes first because vCenter may refuse to export it; no image is then downloaded in
vain. All reading happens in the main thread, so that Ctrl-C ends it at once, and the lease with it.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import fingerprint
from vmdk_cache.cache.ports import Catalog
from vmdk_cache.cli.progress import Progress
from vmdk_cache.clock import Clock
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import identifier, printable
from vmdk_cache.vim.export_lease import ExportedDisk
from vmdk_cache.vmdk.disk_digest import DiskDigest, segment_bytes
from vmdk_cache.vmdk.stream_optimized import read_disk
from vmdk_cache.vmdk.transfer import open_disk
from vmdk_cache.wiring import RunningCache

INTERRUPTED = "interrupted"
#: How often the progress of an image is shown.
SHOWN_EACH_BYTES = 1 << 20


class Glance(Catalog, ImageSource, Protocol):
    """Where images are looked up and read."""


class Status(enum.StrEnum):
    """Outcome for one copy."""

    OK = "ok"
    DIFFERS = "differs"
    NOT_VERIFIED = "not verified"


@dataclass
class Target:
    """One copy.

    :ivar image_name: '' if unknown
    :ivar place: its datastore in messages, with its backend if that tells copies apart
    :ivar bytes_read: downloaded from vCenter
    :ivar detail: where the contents differ, or why they were not compared
    :ivar failure: the error because of which they were not compared
    """

    cache: RunningCache
    backend: str
    entry: CacheEntry
    image_name: str
    datastore_name: str
    place: str
    status: Status = Status.NOT_VERIFIED
    bytes_read: int = 0
    seconds: float = 0.0
    detail: str = INTERRUPTED
    failure: errors.VmdkCacheError | None = None

    @property
    def image_id(self) -> str:
        return self.entry.image_id or ""

    @property
    def name(self) -> str:
        """The image's, in messages."""
        return printable(self.image_name) or identifier(self.image_id)

    @property
    def what(self) -> str:
        """The copy's name in messages."""
        return f"{self.name} on {self.place}"


@dataclass(frozen=True)
class _Disk:
    """The content of a disk that was read."""

    capacity_bytes: int
    digest: DiskDigest


class VerifyRun:
    """One run. Use it once.

    :param targets: each has an image id
    """

    def __init__(
        self, targets: Sequence[Target], glance: Glance, *, progress: Progress, clock: Clock
    ) -> None:
        self._targets = sorted(targets, key=lambda each: (each.image_id, each.datastore_name))
        self._glance = glance
        self._progress = progress
        self._clock = clock

    def run(self) -> bool:
        """Set the status of each target; return False after Ctrl-C."""
        with self._progress:
            try:
                for image_id, copies in itertools.groupby(
                    self._targets, lambda target: target.image_id
                ):
                    self._verify(image_id, list(copies))
            except KeyboardInterrupt:
                return False
        return True

    def _verify(self, image_id: str, copies: list[Target]) -> None:
        """Compare the copies of one image."""
        try:
            image = self._described(image_id)
        except errors.VmdkCacheError as failure:
            for copy in copies:
                self._end(copy, failure)
            return
        segment = segment_bytes(copies[0].entry.size_bytes)
        original: _Disk | errors.VmdkCacheError | None = None
        for copy in copies:
            if isinstance(original, errors.VmdkCacheError):
                self._end(copy, original)
                continue
            try:
                _check_same(image, copy.entry)
                disk = self._read_copy(copy, segment)
            except errors.VmdkCacheError as failure:
                self._end(copy, failure)
                continue
            if original is None:
                try:
                    original = self._read_image(image, copy.name, segment)
                except errors.VmdkCacheError as failure:
                    original = _blamed(image, failure)
                    self._end(copy, original)
                    continue
            copy.detail = difference(original, disk)
            copy.status = Status.DIFFERS if copy.detail else Status.OK
            self._progress.state(copy.what, copy.status)

    def _described(self, image_id: str) -> Image:
        image = self._glance.describe(image_id)
        if image is None:
            raise errors.ImageFormatError(
                "the image was deleted in Glance: there is nothing to compare the template with"
            )
        return image

    def _read_copy(self, target: Target, segment: int) -> _Disk:
        """Read the disk of a copy.

        :raises VmdkCacheError: it cannot be read
        """
        digest, position = DiskDigest(segment), 0
        capacity = max(1, target.entry.size_bytes)
        began = self._clock.monotonic()

        def found(offset: int, data: bytes) -> None:
            nonlocal position
            position = offset + len(data)
            digest.add(offset, data)

        def watched(disk: ExportedDisk) -> Iterator[bytes]:
            # The host compresses the disk as it sends it, so nobody knows how many bytes it will
            # be. The place on the disk is known.
            for chunk in disk:
                target.bytes_read += len(chunk)
                self._progress.read(target.what, min(position, capacity), capacity)
                disk.progress(position * 100 // capacity)
                yield chunk

        self._progress.state(target.what, "reading")
        try:
            with target.cache.export.open(target.entry) as disk:
                try:
                    capacity_bytes = read_disk(watched(disk), found)
                except KeyboardInterrupt:
                    self._progress.state(target.what, "aborting, cleaning up")
                    raise
        except (errors.ImageError, errors.NotCacheable) as failure:
            raise errors.TaskFailed(
                f"what vCenter exports cannot be read: {failure}", moref=target.entry.moref
            ) from failure
        finally:
            target.seconds = self._clock.monotonic() - began
        self._progress.read(target.what, capacity, capacity)
        self._progress.state(target.what, "read")
        return _Disk(capacity_bytes, digest)

    def _read_image(self, image: Image, name: str, segment: int) -> _Disk:
        """Read the image, and check it against Glance's hash.

        :raises VmdkCacheError: it cannot be read, or is damaged
        """
        digest, what = DiskDigest(segment), f"{name} in Glance"
        shown_bytes = 0
        self._progress.state(what, "reading")
        with open_disk(image, self._glance) as disk:

            def found(offset: int, data: bytes) -> None:
                nonlocal shown_bytes
                if disk.bytes_read - shown_bytes >= SHOWN_EACH_BYTES:
                    shown_bytes = disk.bytes_read
                    self._progress.read(what, shown_bytes, image.size_bytes)
                digest.add(offset, data)

            disk.read_content(found)
            self._progress.read(what, disk.bytes_read, image.size_bytes)
        self._progress.state(what, "read")
        return _Disk(disk.capacity_bytes, digest)

    def _end(self, target: Target, failure: errors.VmdkCacheError) -> None:
        target.failure, target.detail = failure, str(failure)
        self._progress.state(target.what, target.status)


def difference(image: _Disk, copy: _Disk) -> str:
    """Where the copy's content differs from the image's; '' if it does not.

    vCenter may round the capacity up, with zeros; docs/assumptions.rst, A47, says what a smaller
    one means.
    """
    if copy.capacity_bytes < image.capacity_bytes:
        return f"the disk has {copy.capacity_bytes} bytes, the image's disk {image.capacity_bytes}"
    at = image.digest.first_difference(copy.digest)
    if at is None:
        return ""
    return f"first between byte {at.offset} and byte {at.offset + at.size_bytes}"


def _check_same(image: Image, entry: CacheEntry) -> None:
    """:raises ImageFormatError: the template was made from other data than Glance has now"""
    if entry.record is not None and entry.record.key.fingerprint != fingerprint(image):
        raise errors.ImageFormatError(
            f"{image} has changed in Glance since this template was imported"
        )


def _blamed(image: Image, failure: errors.VmdkCacheError) -> errors.VmdkCacheError:
    """The error for a copy whose image cannot be read."""
    if isinstance(failure, errors.ImageCorrupt):
        return errors.ImageCorrupt(f"the image in Glance is damaged, not the template: {failure}")
    if isinstance(failure, errors.SourceUnavailable):
        return failure
    return errors.ImageFormatError(f"the image in Glance cannot be compared: {failure}")

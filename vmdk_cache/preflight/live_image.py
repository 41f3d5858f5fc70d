"""A small generated disk, as an image in each format that an import accepts.

The same seed gives the same data, so that a clone can be verified without a file.
"""

from __future__ import annotations

import enum
import hashlib
import io
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from vmdk_cache.image import Image
from vmdk_cache.vmdk import stream_optimized

MIB = 1 << 20
CAPACITY_BYTES = 8 * MIB
#: Data, then zeros, then data in the disk's last bytes.
_DATA_BYTES = 3 * MIB
_LAST_BYTES = 64 << 10
_CHUNK_BYTES = 1 << 20
_OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="{name}" ovf:size="{size}"/></References>
  <DiskSection><Info>Disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="{capacity}"
          ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
</Envelope>
"""


class Form(enum.StrEnum):
    """The format of the image's file."""

    STREAM_OPTIMIZED = "stream-optimized"
    RAW = "raw"
    OVA = "ova"


@dataclass(frozen=True)
class GeneratedImage:
    """An image, and the :class:`~vmdk_cache.image.ImageSource` of its bytes.

    :ivar id: image id
    :ivar seed: seed of the data
    """

    id: str
    form: Form
    seed: str
    adapter_type: str

    @cached_property
    def disk(self) -> bytes:
        """The content of the disk."""
        data = random.Random(f"{self.form} {self.seed}")  # noqa: S311 - it keeps no secret
        head, tail = data.randbytes(_DATA_BYTES), data.randbytes(_LAST_BYTES)
        return head + bytes(CAPACITY_BYTES - _DATA_BYTES - _LAST_BYTES) + tail

    @cached_property
    def file(self) -> bytes:
        """The file that Glance would store."""
        if self.form is Form.RAW:
            return self.disk
        grains = stream_optimized.compressed([(0, self.disk)])
        vmdk = b"".join(stream_optimized.written(CAPACITY_BYTES, grains))
        return vmdk if self.form is Form.STREAM_OPTIMIZED else _ova(vmdk)

    @cached_property
    def image(self) -> Image:
        """The description that Glance would return."""
        return Image(
            id=self.id,
            size_bytes=len(self.file),
            disk_format="vmdk",
            container_format="ova" if self.form is Form.OVA else "bare",
            disk_type="preallocated" if self.form is Form.RAW else "streamOptimized",
            adapter_type=self.adapter_type,
            os_hash_algo="sha512",
            os_hash_value=hashlib.sha512(self.file).hexdigest(),
            checksum=None,
            updated_at="",
        )

    def open(self, image: Image) -> Iterator[bytes]:
        """Chunks of the file."""
        for at in range(0, len(self.file), _CHUNK_BYTES):
            yield self.file[at : at + _CHUNK_BYTES]


def _ova(vmdk: bytes) -> bytes:
    ovf = _OVF.format(name="disk.vmdk", size=len(vmdk), capacity=CAPACITY_BYTES).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("preflight.ovf", ovf), ("disk.vmdk", vmdk)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()

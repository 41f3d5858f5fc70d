"""Replacements for the objects that Cinder passes to its VMDK driver: volumes, snapshots, an image
service.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

_PIECE_BYTES = 65536


class Record(dict[str, Any]):
    """A Cinder object: the driver reads it as a mapping and by attributes."""

    __getattr__ = dict.__getitem__


def volume(size_gb: int = 1, type_id: str | None = None, **more: Any) -> Record:
    """An available volume; `type_id` is looked up in the table of extra specs."""
    volume_id = str(uuid.uuid4())
    fields = {
        "id": volume_id,
        "name": f"volume-{volume_id}",
        "size": size_gb,
        "volume_type_id": type_id,
        "volume_type": SimpleNamespace(extra_specs={}),
        "project_id": "project",
        "status": "available",
        "volume_attachment": [],
        "attach_status": "detached",
        "metadata": {},
        "glance_metadata": None,
        "previous_status": None,
        "encryption_key_id": None,
    }
    return Record(fields | more)


def snapshot(of: Record) -> Record:
    """A snapshot of a volume, not yet taken."""
    snapshot_id = str(uuid.uuid4())
    return Record(
        id=snapshot_id,
        name=f"snapshot-{snapshot_id}",
        volume=of,
        volume_name=of.name,
        volume_size=of.size,
        display_description="",
        provider_location=None,
        project_id=of.project_id,
    )


class ImageService:
    """Images in memory."""

    def __init__(self) -> None:
        self._images: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.temp_images = SimpleNamespace(get=lambda context, image_id: None)

    def add(self, data: bytes, **properties: str) -> str:
        image_id = str(uuid.uuid4())
        self._images[image_id] = (data, properties)
        return image_id

    def data(self, image_id: str) -> bytes:
        return self._images[image_id][0]

    def show(self, context: object, image_id: str) -> dict[str, Any]:
        data, properties = self._images[image_id]
        return {
            "id": image_id,
            "name": "image",
            "size": len(data),
            "disk_format": "vmdk",
            "container_format": "bare",
            "properties": properties,
        }

    def get_location(self, context: object, image_id: str) -> tuple[None, None]:
        return None, None

    def download(self, context: object, image_id: str, data: Any = None) -> Iterator[bytes]:
        image = self.data(image_id)
        return (image[at : at + _PIECE_BYTES] for at in range(0, len(image), _PIECE_BYTES))

    def update(
        self, context: object, image_id: str, metadata: Any, data: Any = None, **more: Any
    ) -> None:
        parts = []
        while part := data.read(_PIECE_BYTES):
            parts.append(part)
        self._images[image_id] = (b"".join(parts), metadata["properties"])

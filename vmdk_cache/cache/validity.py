"""Which copies may not be served any more, by the state of their images in Glance: pure.

A copy stays as long as its image is not known to be deleted or changed. It is not served by mistake
meanwhile: each request brings the image as it is now, and a changed image has another key
(cache/key.py).

This cloud's Glance knows only its own images, so it says nothing about a copy that may belong to
another cloud. Such a copy is known to be ours when our Glance has exactly its image, content
included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import fingerprint
from vmdk_cache.image import ACTIVE, Image

_COPIES = (Phase.READY, Phase.ADOPTED)


def images_of(entries: Iterable[CacheEntry]) -> list[str]:
    """Ids of the images of ``entries``, each once, sorted."""
    copies = (entry for entry in entries if entry.phase in _COPIES)
    return sorted({entry.image_id for entry in copies if entry.image_id is not None})


def stale_copies(
    entries: Iterable[CacheEntry], images: Mapping[str, Image | None]
) -> dict[str, str]:
    """Managed object id of each stale copy -> why it is stale, in words.

    :param images: by id, None for a deleted one; images whose state is unknown are left out
    """
    stale = {}
    for entry in entries:
        image_id = entry.image_id
        if entry.owner is not Owner.OURS or entry.phase not in _COPIES:
            continue
        if image_id is not None and image_id in images:
            reason = _why(entry, images[image_id])
            if reason is not None:
                stale[entry.moref] = reason
    return stale


def proven_ours(
    entries: Iterable[CacheEntry], images: Mapping[str, Image | None]
) -> list[CacheEntry]:
    """The copies of unknown owner whose exact image is in this cloud's Glance.

    :param images: as of :func:`stale_copies`
    """
    return [
        entry
        for entry in entries
        if entry.owner is Owner.UNKNOWN
        and entry.phase is Phase.READY
        and entry.record is not None
        and (image := images.get(entry.record.key.image_id)) is not None
        and entry.record.key.fingerprint == fingerprint(image)
    ]


def _why(entry: CacheEntry, image: Image | None) -> str | None:
    if image is None:
        return "its image is deleted in Glance"
    if image.status != ACTIVE:
        return f"its image is {image.status} in Glance"
    if entry.record is not None and entry.record.key.fingerprint != fingerprint(image):
        return "its image has changed in Glance"
    return None

"""``vmdk-cache unpin``: let pinned images expire and be evicted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmdk_cache.cli.pin import Marking

if TYPE_CHECKING:
    from vmdk_cache.cache.pinning import Marked
    from vmdk_cache.wiring import RunningCache


class Unpin(Marking):
    """Take away the pins of images, whoever set them: their templates expire, and limits evict
    them, as before.

    The next purge may delete them at once if they are older than image_cache_age_seconds; a volume
    from the image, or "warm", renews what counts.
    """

    def mark(self, cache: RunningCache, image_id: str) -> list[Marked]:
        return cache.pinning.unpin(image_id)

"""A request for a volume, on its way through the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from oslo_log import log as logging

from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)


@dataclass
class VolumeRequest:
    """One volume that is asked for, and what came of it so far.

    :ivar imported: it was this request that brought the image into the cache
    :ivar queued_s: spent in line, in all
    :ivar cloned_s: what its clone took, the last one if there were several
    :ivar in_one_task: as of :class:`~vmdk_cache.cache.events.Hit`
    :ivar going_by: when templates that are going must have gone; None until a clone fails by one
    :ivar lost: morefs of templates whose files vCenter did not find at one clone
    :ivar made: once the volume exists: the copy that it was cloned from, and where it is
    """

    key: CacheKey
    image: Image
    volume: Volume
    source: ImageSource
    imported: bool = False
    queued_s: float = 0.0
    cloned_s: float = 0.0
    in_one_task: bool = False
    going_by: float | None = None
    lost: set[str] = field(default_factory=set)
    made: tuple[CacheEntry, Place] | None = None


@contextlib.contextmanager
def no_failure_once_made(request: VolumeRequest) -> Iterator[None]:
    """What fails in the block after the clone costs what it would have noted, not the volume."""
    try:
        yield
    except Exception as failure:
        if request.made is None:
            raise
        LOG.warning(
            "Volume %s exists; what was to be done after its clone failed: %s",
            request.volume.id,
            sentence(repr(failure)),
        )

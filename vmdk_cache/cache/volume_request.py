"""A request for a volume, on its way through the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache import clone_failure
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)


@dataclass
class VolumeRequest:
    """One requested volume, and the state of its request.

    :ivar imported: this request imported the image into the cache
    :ivar queued_s: time spent waiting for slots, in all
    :ivar cloned_s: duration of its clone, of the last one if there were several
    :ivar in_one_task: as of :class:`~vmdk_cache.cache.events.Hit`
    :ivar made: once the volume exists: the copy that it was cloned from, and where it is

    The failures of its clones so far (see cache/clone_failure.py):

    :ivar copy: the copy that the latest clone was made from; None before there is one
    :ivar places: how often the volume was placed
    :ivar full: morefs of datastores that turned out to be full; ``no_space`` is the latest failure
        that said so
    :ivar unfit: morefs of copies that cannot become the volume at its present place
    :ivar lost: morefs of copies whose files vCenter did not find at one clone
    :ivar pause_s: before the next look at what copies there are
    :ivar paused_s: time spent in these pauses, in all
    """

    key: CacheKey
    image: Image
    volume: Volume
    source: ImageSource
    imported: bool = False
    queued_s: float = 0.0
    cloned_s: float = 0.0
    in_one_task: bool = False
    made: tuple[CacheEntry, Place] | None = None
    copy: CacheEntry | None = None
    places: int = 0
    full: set[str] = field(default_factory=set)
    no_space: errors.NoSpace | None = None
    unfit: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    pause_s: float = clone_failure.FIRST_PAUSE_S
    paused_s: float = 0.0

    def exclude_copy(self) -> None:
        """The copy cannot become the volume at its present place."""
        assert self.copy is not None, "no clone has failed yet"
        self.unfit.add(self.copy.moref)

    def has_another_copy(self, copies: Sequence[CacheEntry]) -> bool:
        """Whether a copy other than the one that has just failed may become the volume at its
        present place. If that one was excluded before, it was used for lack of another."""
        if self.copy is None or self.copy.moref in self.unfit:
            return False
        return any(copy.moref not in {self.copy.moref, *self.unfit} for copy in copies)

    def leave(self, place: Place, failure: errors.VCenterError) -> None:
        """The volume cannot be created on the place."""
        self.unfit.clear()
        if isinstance(failure, errors.NoSpace):
            self.full.add(place.datastore)
            self.no_space = failure


@contextlib.contextmanager
def no_failure_once_made(request: VolumeRequest) -> Iterator[None]:
    """A block in which an error after the clone is logged and does not fail the volume."""
    try:
        yield
    except Exception as failure:
        if request.made is None:
            raise
        LOG.warning(
            "Volume %s exists, but a step after its clone failed: %s",
            request.volume.id,
            sentence(repr(failure)),
        )

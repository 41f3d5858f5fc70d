"""A request for a volume on its way through the cache, and what it does after a clone has failed.

    failure                                          next
    the volume's datastore is full                   another place
    a host is away                                   another place; if another host can read a copy
                                                     now, and there is a pause left, look again
    the copy's hardware is too new for the host      another copy
    the copy's files are lost                        look again; the second time the copy is
                                                     removed; another copy, if it cannot be removed
    the copy is gone, in use, or its files are       look again
    locked: it is being deleted, or was just made
    anything else                                    give up

Each step has a bound: places are counted, copies run out, and the pauses before another look take
:data:`PAUSES_WITHIN_S` in all. Imports and the queue between them may take long, and do not count.
The engine acts on the answer (cache/engine.py).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.image import Image, ImageSource

#: How long a request pauses, in all, for a copy to be deleted, released or unlocked.
PAUSES_WITHIN_S = 300.0
#: Pauses before another look double up to the longest: a copy's state may never change.
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
#: At most how many times a volume is placed: hosts go into maintenance one by one.
PLACES = 3
#: The files of a template are lost (vSphere API reference, CloneVM_Task).
FILES_LOST = "vim.fault.FileNotFound"


class Next(enum.Enum):
    """What the request does next."""

    #: Clone from a copy that has not failed at this place yet.
    ANOTHER_COPY = enum.auto()
    #: Pause, read again which copies there are, and clone from one; import the image if there is
    #: none.
    LOOK_AGAIN = enum.auto()
    #: Place the volume again; not on a datastore that turned out to be full.
    ANOTHER_PLACE = enum.auto()
    #: Raise the failure.
    GIVE_UP = enum.auto()


@dataclass
class VolumeRequest:
    """One requested volume, and the state of its request.

    :ivar imported: this request imported the image into the cache
    :ivar queued_s: time spent waiting for slots, in all
    :ivar cloned_s: duration of its clone, of the last one if there were several
    :ivar in_one_task: see :class:`~vmdk_cache.cache.events.Hit`
    :ivar made: once the volume exists: the copy that it was cloned from, and where it is

    The failures of its clones so far:

    :ivar copy: the copy that the latest clone was made from; None before there is one: a failure
        then is the importer's
    :ivar places: how often the volume was placed
    :ivar excluded_datastores: morefs of datastores that turned out to be full
    :ivar no_space: the latest failure that said so
    :ivar excluded_copies: morefs of copies that cannot become the volume at its present place
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
    excluded_datastores: set[str] = field(default_factory=set)
    no_space: errors.NoSpace | None = None
    excluded_copies: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    pause_s: float = FIRST_PAUSE_S
    paused_s: float = 0.0

    def has_another_copy(self, copies: Sequence[CacheEntry]) -> bool:
        """Whether a copy other than the one that has just failed may become the volume at its
        present place. If that one was excluded before, it was used for lack of another."""
        if self.copy is None or self.copy.moref in self.excluded_copies:
            return False
        return any(copy.moref not in {self.copy.moref, *self.excluded_copies} for copy in copies)

    def leave(self, place: Place, failure: errors.VCenterError) -> None:
        """The volume cannot be created on the place."""
        self.excluded_copies.clear()
        if isinstance(failure, errors.NoSpace):
            self.excluded_datastores.add(place.datastore)
            self.no_space = failure


def next_step(
    failure: errors.VCenterError,
    request: VolumeRequest,
    copies: Sequence[CacheEntry] = (),
    *,
    copy_stays: bool = False,
    readable_elsewhere: bool = False,
) -> Next:
    """What to do after ``failure``; GIVE_UP also where the bound of any other step is reached.

    :param copies: those that can be read now, as far as is known
    :param copy_stays: the copy's files are lost, and it was not removed
    :param readable_elsewhere: the copy's host cannot read it now, and some host can read a copy
    """
    copy = request.copy.moref if request.copy else None
    may_pause = request.paused_s < PAUSES_WITHIN_S
    match failure:
        case errors.HostUnavailable():
            step = Next.LOOK_AGAIN if readable_elsewhere and may_pause else Next.ANOTHER_PLACE
        case _ if copy is None:
            step = Next.GIVE_UP
        case errors.NoSpace():
            step = Next.ANOTHER_PLACE
        case errors.HardwareTooNew():
            step = Next.ANOTHER_COPY
        case errors.VCenterError(fault=fault) if fault == FILES_LOST:
            step = Next.ANOTHER_COPY if copy_stays else Next.LOOK_AGAIN
        case errors.ObjectNotFound(moref=moref) if moref == copy:
            step = Next.LOOK_AGAIN
        case errors.InUse() | errors.FileLocked():
            step = Next.LOOK_AGAIN
        case _:
            step = Next.GIVE_UP
    allowed = {
        Next.ANOTHER_COPY: request.has_another_copy(copies),
        Next.LOOK_AGAIN: may_pause,
        Next.ANOTHER_PLACE: request.places < PLACES,
        Next.GIVE_UP: True,
    }
    return step if allowed[step] else Next.GIVE_UP

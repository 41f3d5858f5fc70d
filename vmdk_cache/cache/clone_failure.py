"""What a volume's request does next after a clone has failed.

    failure                                          next
    the volume's datastore is full                   another place
    a host is away                                   another place; if another host can read a copy
                                                     now, and there is a pause left, look again
    the copy's hardware is too new for the host      another copy
    the copy's files are lost                        look again: the copy is going; another copy, if
                                                     it could not be removed
    the copy is gone, in use, or its files are       look again
    locked: it is being deleted, or was just made
    anything else                                    give up

Each step has a bound: places are counted, copies run out, and the pauses before another look take
:data:`PAUSES_WITHIN_S` in all. Imports and the queue between them may take long, and do not count.
The engine acts on the answer (cache/engine.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from vmdk_cache import errors

#: How long a request pauses, in all, for a copy to be deleted, released or unlocked.
PAUSES_WITHIN_S = 300.0
#: Pauses before another look double up to the longest: a copy's state need never change.
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
#: How often a volume is placed: hosts go into maintenance one by one.
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


@dataclass(frozen=True)
class Situation:
    """What is known of a failure besides the error.

    :ivar copy: moref of the copy that the clone was made from; None: the failure came before there
        was one, so it is the importer's
    :ivar copy_stays: the copy's files are lost, and it was not removed
    :ivar readable_elsewhere: the copy's host cannot read it now, and some host can read a copy
    :ivar has_another_copy: there is a copy that has not failed at this place
    :ivar may_wait: the request may pause once more
    :ivar may_move: the volume may be placed once more
    """

    copy: str | None
    copy_stays: bool = False
    readable_elsewhere: bool = False
    has_another_copy: bool = False
    may_wait: bool = True
    may_move: bool = True


def next_step(failure: errors.VCenterError, now: Situation) -> Next:
    """What to do after ``failure``; GIVE_UP also where the bound of any other step is reached."""
    step = _wanted(failure, now)
    allowed = {
        Next.ANOTHER_COPY: now.has_another_copy,
        Next.LOOK_AGAIN: now.may_wait,
        Next.ANOTHER_PLACE: now.may_move,
        Next.GIVE_UP: True,
    }
    return step if allowed[step] else Next.GIVE_UP


def _wanted(failure: errors.VCenterError, now: Situation) -> Next:
    match failure:
        case errors.HostUnavailable():
            is_moved = now.readable_elsewhere and now.may_wait
            return Next.LOOK_AGAIN if is_moved else Next.ANOTHER_PLACE
        case _ if now.copy is None:
            return Next.GIVE_UP
        case errors.NoSpace():
            return Next.ANOTHER_PLACE
        case errors.HardwareTooNew():
            return Next.ANOTHER_COPY
        case errors.VCenterError(fault=fault) if fault == FILES_LOST:
            return Next.ANOTHER_COPY if now.copy_stays else Next.LOOK_AGAIN
        case errors.ObjectNotFound(moref=moref) if moref == now.copy:
            return Next.LOOK_AGAIN
        case errors.InUse() | errors.FileLocked():
            return Next.LOOK_AGAIN
        case _:
            return Next.GIVE_UP

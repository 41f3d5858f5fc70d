"""Pins an image for an operator, and takes its pin away again.

    lock its name   a copy that is being removed is not pinned in vain
    look again      it may be gone, or altered
    note the pin    on every copy that volumes can be cloned from, so that the pin outlives each

Another process may copy the pin to a new replica, or hand it on to another copy, while it is taken
away. So that is done until no copy has it any more.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, Phase, pins_of
from vmdk_cache.cache.key import lock_name
from vmdk_cache.cache.pin import Pin

#: A process that removes the copy holds the lock for as long; then there is nothing to pin.
LOCK_WAIT_S = 60.0
_ROUNDS = 3


class Outcome(enum.StrEnum):
    """What has become of one copy."""

    PINNED = "pinned"
    WAS_PINNED = "already pinned"
    UNPINNED = "unpinned"
    WAS_UNPINNED = "was not pinned"
    GONE = "gone"
    FAILED = "failed"


@dataclass(frozen=True)
class Marked:
    """:ivar says: who pinned it, or why that failed, in words
    :ivar failure: why it failed
    """

    entry: CacheEntry
    outcome: Outcome
    says: str = ""
    failure: errors.VmdkCacheError | None = None


class Pinning:
    """The pins of one backend. Thread-safe."""

    def __init__(self, context: CacheContext) -> None:
        self._context = context

    def pin(self, image_id: str, user: str, host: str) -> list[Marked]:
        """Pin all copies of the image; empty if there is none to clone from.

        An image that is pinned already keeps its pin, and copies without one get the same.

        :raises VCenterError: the templates could not be listed
        :raises LockUnavailable: the coordinator failed
        """
        entries = self._context.store.entries()
        pin = pins_of(entries).get(image_id)
        if pin is None:
            pin = Pin.of(user, host, self._context.server_time().replace(microsecond=0))
        return [
            Marked(copy, Outcome.WAS_PINNED, str(copy.pinned))
            if copy.pinned is not None
            else self._set(copy, pin)
            for copy in _copies(entries, image_id)
        ]

    def unpin(self, image_id: str) -> list[Marked]:
        """Remove the pins of all copies of the image; empty if there is none to clone from. Same
        errors as :meth:`pin`."""
        done: dict[str, Marked] = {}
        for _ in range(_ROUNDS):
            copies = _copies(self._context.store.entries(), image_id)
            for copy in copies:
                if copy.pinned is not None:
                    done[copy.moref] = self._set(copy, None)
                elif copy.moref not in done:
                    done[copy.moref] = Marked(copy, Outcome.WAS_UNPINNED)
            if all(copy.pinned is None for copy in copies):
                break
        return list(done.values())

    def _set(self, copy: CacheEntry, pin: Pin | None) -> Marked:
        try:
            with self._context.locks.hold(lock_name(copy.name), LOCK_WAIT_S):
                seen = self._context.store.look_again(copy)
                if seen is None or not _is_copy(seen):
                    return Marked(copy, Outcome.GONE, "it was removed or altered meanwhile")
                self._context.store.set_pin(seen, pin)
        except errors.ObjectNotFound:
            return Marked(copy, Outcome.GONE, "it was removed meanwhile")
        except (errors.VCenterError, errors.LockTimeout) as failure:
            return Marked(copy, Outcome.FAILED, str(failure), failure)
        if pin is None:
            return Marked(copy, Outcome.UNPINNED, f"was {copy.pinned}")
        return Marked(copy, Outcome.PINNED, str(pin))


def _copies(entries: Iterable[CacheEntry], image_id: str) -> list[CacheEntry]:
    return [entry for entry in entries if entry.image_id == image_id and _is_copy(entry)]


def _is_copy(entry: CacheEntry) -> bool:
    """Whether volumes can be cloned from it, or a pin on it counts."""
    return entry.phase is Phase.READY or (entry.phase is Phase.ALTERED and entry.pinned is not None)

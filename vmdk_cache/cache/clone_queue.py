"""The queue in which clones wait for a slot, and for the copy that they are made from.

cache/clone_order.py decides; this module keeps the waiters and the running clones of this process:

    slot()           joins its image's queue -> waits -> has a slot, clones -> leaves
    set_pending()    a copy is being made on a datastore: volumes placed there wait for it
    add()            a copy is available to all waiters of its image, and no longer pending
    clear_pending()  a pending copy will not be made: volumes no longer wait for it
    remove()         a copy is no longer given to waiters; the last one stays, and its clone fails

After each of these events, the queue grants slots, under one lock, until none fits, and then wakes
the waiters that got one. A waiter checks every CHECK_EVERY_S that its volume is still wanted.
Slots and units are counted in this process alone: it does not know those that other processes use,
and vCenter queues the clones that exceed its limits.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from vmdk_cache import errors
from vmdk_cache.cache import clone_order
from vmdk_cache.cache.clone_order import Grant, ImageQueue, Needs, Running, next_grant
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.templates_in_use import TemplatesInUse
from vmdk_cache.clock import Clock
from vmdk_cache.quoting import identifier

#: How often a waiter checks that its volume is still wanted. Clones take minutes.
CHECK_EVERY_S = 30.0
#: How long a volume waits for a slot. Thousands of clones run in a day; if none does, the clones
#: ahead are stuck.
SLOT_WITHIN_S = 24 * 3600.0


@dataclass(eq=False)
class _Waiter(clone_order.Waiter):
    """
    :ivar copy: to clone from, once it is granted
    """

    granted: threading.Event = field(default_factory=threading.Event)
    copy: CacheEntry | None = None


class CloneQueue:
    """The volumes of one backend that wait to be cloned; safe for use by many threads.

    :param clones_per_template: at a time from one copy, at least 1; asked at each decision
    :param in_use: notes the copies that volumes wait for
    :param check_every_s: see CHECK_EVERY_S; seconds of the machine's time
    """

    def __init__(
        self,
        clones_per_template: Callable[[], int],
        clock: Clock,
        in_use: TemplatesInUse,
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        self._clones_per_template = clones_per_template
        self._clock = clock
        self._in_use = in_use
        self._check_every_s = check_every_s
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._queues: dict[CacheKey, ImageQueue] = {}
        self._running: dict[_Waiter, Running] = {}

    @contextlib.contextmanager
    def slot(
        self,
        key: CacheKey,
        copies: Sequence[CacheEntry],
        place: Place,
        *,
        excluded: Collection[str] = (),
        check_wanted: Callable[[], None] = lambda: None,
    ) -> Iterator[CacheEntry]:
        """Wait for a slot; the copy to clone from, and the slot for the block.

        :param copies: READY ones of the key, at least one; those that are added later count too
        :param excluded: morefs of copies not to be given, unless there is no other
        :param check_wanted: called every CHECK_EVERY_S; the wait ends with what it raises
        :raises LockTimeout: it has no slot within SLOT_WITHIN_S
        """
        assert copies, "a clone needs a copy to be made from"
        needs = Needs(place.datastore, place.host, frozenset(excluded))
        waiter = _Waiter(next(self._numbers), needs)
        try:
            with self._event(key) as queue:
                queue.copies.update((copy.moref, copy) for copy in copies)
                queue.join(waiter)
            with self._in_use.awaited([copy.moref for copy in copies]):
                self._wait(key, waiter, check_wanted)
            assert waiter.copy is not None
            yield waiter.copy
        finally:
            with self._event(key) as queue:
                if self._running.pop(waiter, None) is None:
                    queue.leave(waiter)

    def set_pending(self, key: CacheKey, datastore: str) -> None:
        """A copy is being made, or about to be. In any case, its maker calls ``add`` or
        ``clear_pending`` in the end.

        :param datastore: moref
        """
        with self._event(key) as queue:
            queue.pending.add(datastore)

    def clear_pending(self, key: CacheKey, datastore: str) -> None:
        """The copy is not made, or not now: its waiters get another. Does nothing if the copy is
        not pending (any more).
        """
        with self._event(key) as queue:
            queue.pending.discard(datastore)

    def add(self, copy: CacheEntry) -> None:
        """A copy is READY or has changed: the waiters of its image may get it from now on."""
        if copy.record is None:
            return
        with self._event(copy.record.key) as queue:
            queue.copies[copy.moref] = copy
            queue.pending -= {copy.datastore}

    def remove(self, copy: CacheEntry) -> None:
        """The copy is lost or being deleted: waiters that have another copy no longer get it."""
        if copy.record is None:
            return
        with self._event(copy.record.key) as queue:
            if len(queue.copies) > 1:
                queue.copies.pop(copy.moref, None)

    def waiting(self) -> int:
        """Number of waiters for a slot."""
        with self._lock:
            groups = (group for queue in self._queues.values() for group in queue.groups.values())
            return sum(len(group.waiters) for group in groups)

    def _wait(self, key: CacheKey, waiter: _Waiter, check_wanted: Callable[[], None]) -> None:
        ends_at = self._clock.monotonic() + SLOT_WITHIN_S
        while not waiter.granted.wait(self._check_every_s):
            if self._clock.monotonic() >= ends_at:
                raise errors.LockTimeout(
                    f"waited {SLOT_WITHIN_S:g} s for a slot to clone image "
                    f"{identifier(key.image_id)}: look in vCenter for clones that do not end"
                )
            check_wanted()

    @contextlib.contextmanager
    def _event(self, key: CacheKey) -> Iterator[ImageQueue]:
        """A block that changes an image's queue; after it, every clone that can start does."""
        with self._lock:
            if key not in self._queues:
                self._queues[key] = ImageQueue(next(self._numbers))
            yield self._queues[key]
            slots = self._clones_per_template()
            while grant := next_grant(self._queues.values(), self._running.values(), slots):
                self._begin(grant)
            self._forget_idle()

    def _begin(self, grant: Grant) -> None:
        waiter = grant.waiter
        assert isinstance(waiter, _Waiter)
        grant.queue.order = next(self._numbers)
        grant.queue.leave(waiter)
        for group in grant.overtaken:
            group.overtaken += 1
        self._running[waiter] = grant.running
        waiter.copy = grant.copy
        waiter.granted.set()

    def _forget_idle(self) -> None:
        """Forget the copies of images without waiters, and images without a pending one as well."""
        for key, queue in list(self._queues.items()):
            if not queue.groups:
                queue.copies.clear()
                if not queue.pending:
                    del self._queues[key]

"""Which waiter may clone next, and from which copy.

- A copy has a limited number of slots, a host HOST_UNITS. A clone takes one slot, and one unit on
  each of the source's and the target's host, or two if they are the same host. While a replica of
  an image is pending (being made, or about to be), the host of each copy of the image keeps a unit
  free for it. Further clones would wait in vCenter's own queue, which is first come, first served
  and would undo the rules below.
- A volume is cloned from a copy on its own datastore, and waits for it while that copy is busy or
  pending. If there is none and none is pending, the volume is cloned from any copy.
- A waiting volume may instead be cloned across datastores, from a copy on another one. A copy makes
  one such clone at a time, and a datastore gets one at a time. If copies have only one slot each,
  volumes on their own datastores come first. If the waiting volume's copy is pending, which such
  clones delay, the other copy's datastore must be less busy: fewer volumes are being cloned to it
  or wait for it.
- Images are served in rotation, and the waiters of one image in order of arrival, except for
  blocked ones.
- A waiter that has a free slot, but lacks units on a host or waits for the pending copy on its
  datastore, may be overtaken MAX_OVERTAKEN times. Then it has priority: it precedes all others, may
  be cloned across datastores like any other, and the units and slot that it needs are kept free:
  for one waiter at a time, so that the slots of at most one clone are idle.

For example, 100 volumes of a new image are placed on datastores A, B and C, and a copy has 8 slots.
The import makes a copy on A, and replicas on B and C are pending. The volumes on A use its slots.
Those on B and C wait, but while A is less busy, one of them at a time is cloned from A's copy. Each
replica that is ready serves the volumes on its own datastore, 8 at a time.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vmdk_cache.cache.entry import CacheEntry

#: vCenter's limit of concurrent provisioning on a host, in units of the cost of a clone between two
#: hosts on each of them (VMware KB 326281, vpxd.ResourceManager.*; docs/assumptions.rst, A62).
HOST_UNITS = 8
#: Waiters that need other hosts and copies overtake all the time, at no cost; so this is several
#: times the number of clones that run on a host at a time.
MAX_OVERTAKEN = 32


class Needs(NamedTuple):
    """What a waiter needs.

    :ivar datastore: where its volume goes, a moref; so is ``host``
    :ivar excluded: morefs of copies that cannot become its volume; none of them is chosen while
        there is another
    """

    datastore: str
    host: str
    excluded: frozenset[str] = frozenset()


@dataclass(eq=False)
class Waiter:
    """A volume that waits for its clone.

    :ivar ticket: earlier waiters have a smaller one
    """

    ticket: int
    needs: Needs


@dataclass(eq=False)
class Group:
    """Waiters of one image with the same needs.

    :ivar waiters: at least one, the earliest first
    :ivar overtaken: how often the first of them was
    """

    needs: Needs
    waiters: collections.deque[Waiter] = field(default_factory=collections.deque)
    overtaken: int = 0


@dataclass(eq=False)
class ImageQueue:
    """The waiters of one image.

    :ivar order: images with a smaller one go first; no two have the same
    :ivar copies: to clone from, by moref; at least one while there are waiters
    :ivar pending: datastores on which a copy is being made, or about to be, morefs
    """

    order: int
    copies: dict[str, CacheEntry] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    groups: dict[Needs, Group] = field(default_factory=dict)

    def join(self, waiter: Waiter) -> None:
        self.groups.setdefault(waiter.needs, Group(waiter.needs)).waiters.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Nothing happens if it does not wait."""
        group = self.groups.get(waiter.needs)
        if group is None or waiter not in group.waiters:
            return
        if waiter is group.waiters[0]:
            group.overtaken = 0
        group.waiters.remove(waiter)
        if not group.waiters:
            del self.groups[waiter.needs]


@dataclass(frozen=True)
class Running:
    """A clone under way.

    :ivar source: moref of the copy
    :ivar datastore: where the volume goes, a moref
    :ivar across: the copy is on another datastore
    :ivar hosts: one for each unit taken; unknown ones take none
    """

    source: str
    datastore: str
    across: bool
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Grant:
    """A waiter may clone now.

    :ivar overtaken: groups whose first waiter it overtakes
    """

    queue: ImageQueue
    waiter: Waiter
    copy: CacheEntry
    running: Running
    overtaken: Sequence[Group]


def next_grant(
    queues: Collection[ImageQueue], running: Collection[Running], clones_per_template: int
) -> Grant | None:
    """The next clone to start, None if none can. Examines groups rather than every waiter.

    :param clones_per_template: slots of each copy, at least 1
    """
    capacity = _Capacity(queues, running, clones_per_template)
    waiting = [
        (queue, group, free)
        for queue in queues
        if (free := capacity.with_free_slot(queue))
        for group in queue.groups.values()
    ]
    overtaken: list[Group] = []
    for queue, group, free in sorted(waiting, key=lambda one: _rank(one[0], one[1])):
        needs = group.needs
        preferred, others = _choice(queue, needs, free)
        is_pending, has_priority = needs.datastore in queue.pending, _has_priority(group)
        if is_pending and not has_priority:
            others = capacity.less_busy(others, needs)
        elif clones_per_template == 1 and not has_priority:
            others = _idle(others, queue)
        copy = capacity.best(preferred, needs) or capacity.best_across(others, needs)
        if copy is not None:
            across = copy.datastore != needs.datastore
            clone = Running(copy.moref, needs.datastore, across, _hosts(copy, needs))
            return Grant(queue, group.waiters[0], copy, clone, overtaken)
        if preferred or is_pending:
            overtaken.append(group)
        if preferred and has_priority:
            capacity.keep(min(preferred, key=lambda one: one.moref), needs)
    return None


def _rank(queue: ImageQueue, group: Group) -> tuple[int, int, int]:
    priority = group.overtaken if _has_priority(group) else 0
    return (-priority, queue.order, group.waiters[0].ticket)


def _has_priority(group: Group) -> bool:
    return group.overtaken >= MAX_OVERTAKEN


def _choice(
    queue: ImageQueue, needs: Needs, free: Sequence[CacheEntry]
) -> tuple[Sequence[CacheEntry], Sequence[CacheEntry]]:
    """The copies with a free slot that the volume waits for, and the others that it may be cloned
    from instead, across datastores."""
    usable: Collection[CacheEntry] = queue.copies.values()
    if needs.excluded:
        usable = [copy for copy in usable if copy.moref not in needs.excluded] or usable
        free = [copy for copy in free if copy in usable]
    near = needs.datastore
    if near not in queue.pending and all(copy.datastore != near for copy in usable):
        return free, ()
    return (
        [copy for copy in free if copy.datastore == near],
        [copy for copy in free if copy.datastore != near],
    )


def _idle(copies: Sequence[CacheEntry], queue: ImageQueue) -> Sequence[CacheEntry]:
    """The copies whose own datastores no volume of the image waits for."""
    waited_for = {needs.datastore for needs in queue.groups}
    return [copy for copy in copies if copy.datastore not in waited_for]


def _hosts(copy: CacheEntry, needs: Needs) -> tuple[str, ...]:
    """The hosts of a clone, one for each unit."""
    return tuple(host for host in (copy.host, needs.host) if host)


class _Capacity:
    """The free slots and units, and the datastores that may get a clone from another one."""

    def __init__(
        self, queues: Collection[ImageQueue], running: Collection[Running], slots: int
    ) -> None:
        self._queues = queues
        self._running = running
        self._slots = slots
        self._cloning = collections.Counter(clone.source for clone in running)
        self._used = collections.Counter(host for clone in running for host in clone.hosts)
        self._used.update(
            {
                copy.host
                for queue in queues
                if queue.pending
                for copy in queue.copies.values()
                if copy.host
            }
        )
        self._kept = ""  # moref of the copy

    def with_free_slot(self, queue: ImageQueue) -> Sequence[CacheEntry]:
        """The copies with a free slot."""
        return [copy for copy in queue.copies.values() if self._cloning[copy.moref] < self._slots]

    def keep(self, copy: CacheEntry, needs: Needs) -> None:
        """Keep a slot and the units of a clone free from other waiters; only the first call in a
        decision has an effect."""
        if not self._kept:
            self._kept = copy.moref
            self._cloning[copy.moref] += 1
            self._used.update(_hosts(copy, needs))

    def best(self, copies: Iterable[CacheEntry], needs: Needs) -> CacheEntry | None:
        """The copy with the fewest clones, of those that can be cloned now."""
        return min(
            (copy for copy in copies if self._fits(copy, needs)),
            key=lambda copy: (self._cloning[copy.moref], copy.moref),
            default=None,
        )

    def best_across(self, copies: Sequence[CacheEntry], needs: Needs) -> CacheEntry | None:
        """The best copy that can be cloned across datastores now; None if the volume's datastore
        already gets such a clone."""
        if not copies or needs.datastore in self._targets_across:
            return None
        return self.best((copy for copy in copies if copy.moref not in self._sources_across), needs)

    def less_busy(self, copies: Sequence[CacheEntry], needs: Needs) -> Sequence[CacheEntry]:
        """The copies whose datastore is less busy than the volume's."""
        busy = self._busy
        return [copy for copy in copies if busy[copy.datastore] < busy[needs.datastore]]

    def _fits(self, copy: CacheEntry, needs: Needs) -> bool:
        hosts = _hosts(copy, needs)
        return self._cloning[copy.moref] < self._slots and all(
            self._used[host] + hosts.count(host) <= HOST_UNITS for host in hosts
        )

    @functools.cached_property
    def _busy(self) -> collections.Counter[str | None]:
        """Number of volumes, by datastore, that are being cloned to it or wait for it."""
        busy = collections.Counter[str | None](clone.datastore for clone in self._running)
        for queue in self._queues:
            for group in queue.groups.values():
                busy[group.needs.datastore] += len(group.waiters)
        return busy

    @functools.cached_property
    def _sources_across(self) -> set[str]:
        return {clone.source for clone in self._running if clone.across}

    @functools.cached_property
    def _targets_across(self) -> set[str]:
        return {clone.datastore for clone in self._running if clone.across}

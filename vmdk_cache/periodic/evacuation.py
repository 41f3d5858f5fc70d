"""Takes the templates off datastores, one image after another, when an operator asks for it.

    copy        if the image is needed and has no copy elsewhere: a replica on another datastore
    look again  under the locks of the purge and of room, which could remove that other copy
                meanwhile
    remove      the copies on the datastores; one that is needed only while there is another

A failure, a signal or a crash at any moment leaves the image with a copy more, or as it was:
vCenter makes a whole replica or none, and the original goes last.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, latest
from vmdk_cache.cache.events import Rule
from vmdk_cache.cache.eviction_plan import EvacuationPlan, Verdict, plan_evacuation
from vmdk_cache.cache.evictor import Evictor, Stayed
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.room import Room
from vmdk_cache.periodic.purge import LOCK, Purge

T = TypeVar("T")

#: A purge that runs is waited for; one that takes longer has much to delete.
LOCK_WAIT_S = 60.0
#: These would fail for every other image as well.
_ENDS = (errors.Unreachable, errors.LoginRefused, errors.LockUnavailable)
#: These say that one datastore cannot take a replica; another one may.
_NOT_THERE = (errors.NotCacheable, errors.NoPlacement, errors.NoSpace)


@dataclass(frozen=True)
class Evacuated:
    """What has become of one template to remove.

    :ivar stayed: why it was not removed, None if it was
    :ivar copied_to: the datastore of a replica that was made for it, None if none was needed
    """

    verdict: Verdict
    stayed: Stayed | None
    copied_to: str | None = None


class Evacuation:
    """Evacuates datastores of one backend's cache."""

    def __init__(
        self,
        context: CacheContext,
        *,
        replication: Replication,
        room: Room,
        evictor: Evictor,
        purge: Purge,
    ) -> None:
        self._context = context
        self._replication = replication
        self._room = room
        self._evictor = evictor
        self._purge = purge

    def plan(
        self,
        datastores: Collection[str],
        image_ids: Collection[str] | None = None,
        *,
        replicate: bool,
    ) -> EvacuationPlan:
        """What an evacuation now would do; changes nothing.

        :param datastores: morefs
        :param image_ids: None: all
        :param replicate: copy the images elsewhere that have no other copy
        :raises VCenterError: templates or datastores could not be listed
        """
        due = self._purge.plan()
        return plan_evacuation(
            [verdict.entry for verdict in (*due.keep, *due.remove)],
            datastores,
            image_ids,
            replicate=replicate,
            # A limit is a reason to evict, not to lose what was to be kept: the datastore may be
            # evacuated because it is full.
            due={
                verdict.entry.moref: verdict.reason
                for verdict in due.remove
                if verdict.rule is not Rule.LIMIT
            },
            in_use=self._context.templates_in_use.morefs(),
        )

    def places(
        self, plan: EvacuationPlan, datastores: Collection[str]
    ) -> dict[CacheKey, Place | errors.VmdkCacheError]:
        """Where the replicas would go that the plan needs now, or why there is no place."""
        found: dict[CacheKey, Place | errors.VmdkCacheError] = {}
        with contextlib.ExitStack() as reserved:  # so that they spread, as the replicas will
            for key, verdicts in _by_key(plan).items():
                if isinstance(key, CacheKey) and key in plan.copy_first:
                    found[key] = self._place_for(key, verdicts, datastores, reserved)
        return found

    def _place_for(
        self,
        key: CacheKey,
        verdicts: list[Verdict],
        datastores: Collection[str],
        reserved: contextlib.ExitStack,
    ) -> Place | errors.VmdkCacheError:
        size_bytes = verdicts[0].entry.size_bytes
        leaving = {verdict.entry.moref for verdict in verdicts}

        def checked(place: Place) -> Place:
            with self._room.free_for("a replica that is planned", size_bytes, place, leaving):
                return place

        try:
            place = self._somewhere(key, size_bytes, datastores, checked)
            reserved.enter_context(
                self._context.placement.for_template(size_bytes, only=place.datastore)
            )
            return place
        except errors.VmdkCacheError as failure:
            return failure

    def carry_out(
        self,
        plan: EvacuationPlan,
        datastores: Collection[str],
        say: Callable[[CacheEntry, str], None] = lambda entry, state: None,
    ) -> Iterator[Evacuated]:
        """Carry out the plan; yields each template to remove when its fate is known. One that
        cannot be copied or removed does not block the others.

        :param say: called with a template and what is done with it now
        :raises Unreachable, LoginRefused: vCenter is out of reach, or refuses this account
        :raises LockUnavailable: the coordinator failed
        """
        for key, verdicts in _by_key(plan).items():
            copied_to = None
            if isinstance(key, CacheKey) and key in plan.copy_first:
                say(verdicts[0].entry, "copying to another datastore")
                try:
                    copied_to = self._copied(key, verdicts, datastores)
                except _ENDS:
                    raise
                except errors.VmdkCacheError as failure:
                    why = Stayed(f"it could not be copied to another datastore: {failure}")
                    yield from (Evacuated(verdict, why) for verdict in verdicts)
                    continue
            for verdict in verdicts:
                say(verdict.entry, "removing")
                yield Evacuated(verdict, self._removed(verdict, plan, datastores), copied_to)

    def _copied(
        self, key: CacheKey, verdicts: list[Verdict], datastores: Collection[str]
    ) -> str | None:
        """Make a replica of the image elsewhere; returns the moref of its datastore, None if the
        image has got another copy since the plan was made."""
        if self._elsewhere(verdicts[0].entry, datastores):
            return None
        leaving = {verdict.entry.moref for verdict in verdicts}

        def make(place: Place) -> str:
            self._replication.make(key, place.datastore, leaving)
            return place.datastore

        return self._somewhere(key, verdicts[0].entry.size_bytes, datastores, make)

    def _somewhere(
        self,
        key: CacheKey,
        size_bytes: int,
        datastores: Collection[str],
        use: Callable[[Place], T],
    ) -> T:
        """What ``use`` returns for the first place that it accepts, outside ``datastores``.

        :raises VmdkCacheError: it accepts none, or there is none; the first reason that one gave
        """
        # Other datastores may have a copy that cannot be read: it holds the replica's place.
        copies = self._context.store.copies(key, fresh=True)
        refused = {*datastores, *(copy.datastore or "" for copy in copies)}
        first: errors.VmdkCacheError | None = None
        while True:
            try:
                # A place is reserved only while it is chosen: to make a replica reserves it again.
                with self._context.placement.for_template(size_bytes, excluded=refused) as place:
                    pass
            except errors.NoPlacement as none:
                raise first or none from None
            try:
                return use(place)
            except _NOT_THERE as refusal:
                refused.add(place.datastore)
                first = first or refusal

    def _removed(
        self, verdict: Verdict, plan: EvacuationPlan, datastores: Collection[str]
    ) -> Stayed | None:
        """Remove the template; returns why it stays."""
        planned = verdict.entry
        is_needed = planned.moref in plan.needed

        def still(seen: CacheEntry) -> bool:
            return not is_needed or bool(self._elsewhere(seen, datastores))

        try:
            with (
                self._context.locks.hold(LOCK, LOCK_WAIT_S),
                # An import that needs room could evict the other copy meanwhile.
                self._room.locked() if is_needed else contextlib.nullcontext(),
            ):
                # Volumes may have used it since the plan was made, which may be hours ago.
                seen = self._context.store.look_again(planned)
                if seen is None:
                    return Stayed("it is gone already", gone=True)
                if seen.phase is not planned.phase or seen.datastore != planned.datastore:
                    return Stayed("it was altered or moved since it was listed")
                if seen.pinned is not None and planned.pinned is None and not is_needed:
                    return Stayed(f"{seen.pinned}: unpin it first")
                if not still(seen):
                    return Stayed("its image no longer has a copy on another datastore")
                if is_needed:
                    self._hand_on_use(seen, datastores)
                return self._evictor.attempt(dataclasses.replace(verdict, entry=seen), still)
        except errors.LockTimeout:
            return Stayed("another process is purging, or is making room for an import", busy=True)
        except _ENDS:
            raise
        except errors.VCenterError as failure:
            return Stayed(f"it could not be removed: {failure}")

    def _hand_on_use(self, entry: CacheEntry, datastores: Collection[str]) -> None:
        """Note a use on a copy elsewhere if all of them were used longer ago than ``entry``: the
        next purge might find them expired."""
        copies = self._elsewhere(entry, datastores)
        used = latest(*(copy.unused_since for copy in copies))
        if copies and used != latest(used, entry.unused_since):
            self._context.store.touch(copies[0])

    def _elsewhere(self, entry: CacheEntry, datastores: Collection[str]) -> list[CacheEntry]:
        """The copies of the image outside ``datastores`` now."""
        if entry.record is None:
            return []
        return [
            copy
            for copy in self._context.store.copies(entry.record.key, fresh=True)
            if copy.accessible and copy.datastore not in datastores
        ]


def _by_key(plan: EvacuationPlan) -> Mapping[CacheKey | str, list[Verdict]]:
    """The templates to remove, by key; those without a record by their morefs."""
    groups: dict[CacheKey | str, list[Verdict]] = {}
    for verdict in plan.remove:
        record = verdict.entry.record
        groups.setdefault(record.key if record else verdict.entry.moref, []).append(verdict)
    return groups

"""Removes one entry: lock, bar new clones, look again, destroy. Nothing else removes templates.

    lock its name        another process is making or removing the entry         -> next time
    bar new clones       this process is cloning from it, or volumes wait for it -> next time
    look again           gone, imported again, or used since the plan was made   -> not now
    check its datastore  its files seem lost because the datastore is offline    -> next time
    hand on its pin      the image's other copies stay pinned
    destroy it           vCenter reports that another process is cloning it      -> next time

Callers are the purge, the evacuation, the reconcile, an import that needs room, an import that
finds an abandoned one, and a volume whose template has lost its files. The evictor waits only for
vCenter, for as long as `TemplateStore.destroy` allows: the next plan includes an entry that is busy
now.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, Phase, latest
from vmdk_cache.cache.events import Evicted, Rule
from vmdk_cache.cache.eviction_plan import Verdict
from vmdk_cache.cache.key import lock_name
from vmdk_cache.quoting import quoted, sentence

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stayed:
    """Why an entry was not removed.

    :ivar reason: a sentence
    :ivar gone: another process or an administrator removed it, or moved it out of the cache
    :ivar busy: it is being cloned, imported or removed, or volumes wait for it
    """

    reason: str
    gone: bool = False
    busy: bool = False


class Evictor:
    """Removes entries of one backend; safe for use by many threads."""

    def __init__(self, context: CacheContext) -> None:
        self._context = context

    def attempt(
        self,
        verdict: Verdict,
        still: Callable[[CacheEntry], bool] = lambda entry: True,
        *,
        has_lock: bool = False,
    ) -> Stayed | None:
        """Remove the entry and its files, with an Evicted event; returns why if it stays.

        :param still: called under the entry's lock, while nothing uses it, with the entry as it is
            now; returns whether it still has to go
        :param has_lock: the caller holds the lock of the entry's name
        :raises LockUnavailable: the coordinator failed
        """
        entry = verdict.entry
        try:
            with (
                contextlib.nullcontext()
                if has_lock
                else self._context.locks.hold(lock_name(entry.name), 0),
                self._context.templates_in_use.deleting(
                    entry.moref, is_broken=verdict.rule is Rule.BROKEN
                ),
            ):
                seen = self._context.store.look_again(entry)
                if seen is None:
                    return Stayed("it is gone already", gone=True)
                if not (_is_same(seen, entry) and still(seen)):
                    return Stayed("it was used, altered or pinned since it was listed")
                if not self._is_in_reach(seen, verdict.rule):
                    return Stayed("its datastore is not accessible")
                self._hand_on_pin(seen, verdict.rule)
                self._context.store.destroy(seen)
        except (errors.LockTimeout, errors.InUse, errors.FileLocked) as busy:
            LOG.debug("Template %s is in use, the next run retries: %s", quoted(entry.name), busy)
            return Stayed(f"it is in use: {busy}", busy=True)
        except errors.VCenterError as failure:
            # One template that cannot be deleted must not block the others.
            LOG.warning(
                "Template %s could not be deleted, the next run retries: %s",
                quoted(entry.name),
                failure,
            )
            return Stayed(f"it could not be deleted: {failure}")
        self._context.events(
            Evicted(
                self._context.backend,
                entry.image_id or "",
                entry.name,
                # Without a rule, an operator asked for it.
                verdict.rule or Rule.REQUESTED,
                verdict.reason,
                entry.size_bytes,
            )
        )
        return None

    def _hand_on_pin(self, entry: CacheEntry, rule: Rule | None) -> None:
        """Pin the image's other copies, because the pin of ``entry`` goes with it.

        :raises VCenterError: another copy could not be pinned, and ``entry`` may still be of use;
            otherwise that does not stop its removal
        """
        if entry.pinned is None:
            return
        heirs = 0
        try:
            for other in self._context.store.entries():
                if (other.image_id, other.phase) != (entry.image_id, Phase.READY):
                    continue
                if other.moref != entry.moref:
                    with contextlib.suppress(errors.ObjectNotFound):
                        if other.pinned is None:
                            self._context.store.set_pin(other, entry.pinned)
                        heirs += 1
        except errors.VCenterError as failure:
            if rule in (None, Rule.REQUESTED):
                raise
            LOG.info("The pin of %s is not handed on: %s", quoted(entry.name), failure)
        if not heirs:
            LOG.warning(
                "Template %s was %s. It cannot be served any more and is deleted, and the pin with "
                "it: pin the image again once it has a new template.",
                quoted(entry.name),
                sentence(str(entry.pinned)),
            )

    def _is_in_reach(self, entry: CacheEntry, rule: Rule | None) -> bool:
        """Whether unreadable files are really lost. While the datastore is out of reach, perhaps
        for an hour, that is unknown."""
        if entry.datastore is None or (entry.accessible and rule is not Rule.BROKEN):
            return True
        return entry.datastore in self._context.placement.in_reach()


def _is_same(seen: CacheEntry, planned: CacheEntry) -> bool:
    """Whether the entry has not changed since the plan: another process may have deleted it and
    imported it again, completed its import, used it or pinned it."""
    same = (planned.phase, planned.record, planned.pinned)
    return (seen.phase, seen.record, seen.pinned) == same and (
        planned.unused_since == latest(seen.unused_since, planned.unused_since)
    )

"""Delete expired templates: plan with reasons, condemn, look again, destroy.

One process purges a backend at a time. What is in use is skipped and comes up again in the next
run: clones of this process hold a lease, those of another make vCenter refuse the deletion.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.engine import lock_name
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Events, Evicted
from vmdk_cache.cache.eviction import EvictionPlan, Policy, Verdict, plan_eviction
from vmdk_cache.cache.lease import LeaseBook
from vmdk_cache.cache.ports import TemplateStore
from vmdk_cache.locks import Locks

LOG = logging.getLogger(__name__)
LOCK = "purge"


class Purge:
    """The purge of one backend's cache; ``run`` may be called by any thread at any time.

    :param now: vCenter's time, as in the records: this host's clock may differ
    """

    def __init__(
        self,
        backend: str,
        policy: Policy,
        *,
        store: TemplateStore,
        locks: Locks,
        leases: LeaseBook,
        now: Callable[[], datetime.datetime],
        events: Events,
    ) -> None:
        self._backend = backend
        self._policy = policy
        self._store = store
        self._locks = locks
        self._leases = leases
        self._now = now
        self._events = events

    def plan(self) -> EvictionPlan:
        """What a run would do now; changes nothing."""
        return plan_eviction(self._store.entries(), self._now(), self._policy)

    def run(self) -> list[CacheEntry]:
        """Carry a new plan out; returns what was deleted.

        :raises VCenterError: the templates could not be listed
        """
        try:
            with self._locks.hold(LOCK, 0):
                return [v.entry for v in self.plan().remove if self._remove(v)]
        except errors.LockTimeout:
            LOG.debug("Another process is purging the image cache of %s.", self._backend)
            return []

    def _remove(self, verdict: Verdict) -> bool:
        entry = verdict.entry
        assert entry.record is not None, entry
        try:
            with (
                self._locks.hold(lock_name(entry.record.key), 0),
                self._leases.condemn(entry.moref),
            ):
                if not self._still_expired(entry):
                    return False
                self._store.destroy(entry)
        except (errors.LockTimeout, errors.InUse) as busy:
            LOG.debug("Expired template %s is in use, next time: %s", entry.name, busy)
            return False
        except errors.VCenterError as failure:
            # One template that cannot be deleted must not keep the others.
            LOG.warning("Expired template %s could not be deleted: %s", entry.name, failure)
            return False
        self._events(
            Evicted(
                self._backend,
                entry.record.key.image_id,
                entry.name,
                verdict.reason,
                entry.size_bytes,
            )
        )
        return True

    def _still_expired(self, planned: CacheEntry) -> bool:
        """Look again: another process may have deleted it and imported it anew."""
        assert planned.record is not None, planned
        seen = self._store.find(planned.record.key)
        if seen is None or seen.moref != planned.moref:
            return False
        return bool(plan_eviction([seen], self._now(), self._policy).remove)

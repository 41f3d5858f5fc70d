"""Delete expired templates: plan with reasons, condemn, look again, destroy.

One process purges a backend at a time. What is in use is skipped and comes up again in the next
run: clones of this process hold a lease, those of another make vCenter refuse the deletion.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Events
from vmdk_cache.cache.eviction import EvictionPlan, Policy, plan_eviction
from vmdk_cache.cache.evictor import Evictor
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
        self._now = now
        self._evictor = Evictor(backend, store=store, locks=locks, leases=leases, events=events)

    def plan(self) -> EvictionPlan:
        """What a run would do now; changes nothing."""
        return plan_eviction(self._store.entries(), self._now(), self._policy)

    def run(self) -> list[CacheEntry]:
        """Carry a new plan out; returns what was deleted.

        :raises VCenterError: the templates could not be listed
        """
        try:
            with self._locks.hold(LOCK, 0):
                return [v.entry for v in self.plan().remove if self._evictor.remove(v)]
        except errors.LockTimeout:
            LOG.debug("Another process is purging the image cache of %s.", self._backend)
            return []

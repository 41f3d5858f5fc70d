"""Where a volume goes, and where a template: upstream's rules on a fresh inventory.

Space that was promised and is not yet taken counts as used, so that a burst of creates spreads
over the datastores instead of filling the emptiest one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.eviction import Space
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.clock import Clock
from vmdk_cache.datastore.capacity import Reservations
from vmdk_cache.datastore.selection import DATASTORE_TYPES, Need, choose, usable_hosts
from vmdk_cache.vim import inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies

LOG = logging.getLogger(__name__)

SNAPSHOT_LIFE_S = 5.0


class VCenterPlacement:
    """Chooses among the datastores of the backend's clusters.

    :param clusters: names of the clusters (``vmware_cluster_name``); empty: every host
    :param datastore_regex: names to use (``vmware_datastore_regex``); None: all
    :raises ConfigError: that is no regular expression
    """

    def __init__(
        self,
        session: Session,
        policies: StoragePolicies,
        clock: Clock,
        *,
        clusters: Sequence[str] = (),
        datastore_regex: str | None = None,
    ) -> None:
        self._session = session
        self._policies = policies
        self._clusters = tuple(clusters)
        self._regex = _compiled(datastore_regex)
        self._clock = clock
        self._reading = threading.Lock()
        self._last: tuple[float, inventory.Inventory | None] = (0.0, None)
        self._reservations = Reservations()
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret

    @contextlib.contextmanager
    def for_volume(self, volume: Volume, size_bytes: int) -> Iterator[Place]:
        snapshot = self._snapshot()
        profile_id = None
        allowed = None
        if volume.storage_profile:
            profile_id = self._policies.profile_id(volume.storage_profile)
            allowed = frozenset(
                self._policies.compliant_datastores(
                    profile_id, [datastore.moref for datastore in snapshot.datastores]
                )
            )
        need = self._need(size_bytes, allowed)
        with self._claim(size_bytes, lambda pending: self._choose(snapshot, need, pending)) as at:
            yield dataclasses.replace(at, profile_id=profile_id)

    @contextlib.contextmanager
    def for_template(self, size_bytes: int, near: Place | None) -> Iterator[Place]:
        snapshot = self._snapshot()

        def choose_near(pending: Mapping[str, int]) -> Place:
            try:
                wanted = frozenset({near.datastore}) if near else None
                return self._choose(snapshot, self._need(size_bytes, wanted), pending)
            except errors.NoPlacement:
                return self._choose(snapshot, self._need(size_bytes, None), pending)

        with self._claim(size_bytes, choose_near) as place:
            yield place

    @contextlib.contextmanager
    def for_replica(self, size_bytes: int, datastore: str) -> Iterator[Place]:
        snapshot = self._snapshot()
        need = self._need(size_bytes, frozenset({datastore}))
        with self._claim(size_bytes, lambda pending: self._choose(snapshot, need, pending)) as at:
            yield at

    def reader(self, entry: CacheEntry) -> str | None:
        """See :class:`~vmdk_cache.cache.ports.Placement`; among others, one of the same cluster."""
        snapshot = self._snapshot()
        hosts = {host.moref: host for host in snapshot.hosts}
        own = hosts.get(entry.host or "")
        if own is None or (own.connected and not own.in_maintenance):
            return entry.host  # where the backend does not see it, vCenter decides
        others = [
            host
            for datastore in snapshot.datastores
            if datastore.moref == entry.datastore
            for host in usable_hosts(datastore, hosts)
        ]
        others.sort(key=lambda host: host.cluster != own.cluster)
        return others[0].moref if others else None

    def datastores(self) -> list[inventory.Datastore]:
        """The datastores that this backend may use."""
        return [
            datastore
            for datastore in self._snapshot().datastores
            if datastore.accessible
            and datastore.type in DATASTORE_TYPES
            and (self._regex is None or self._regex.match(datastore.name))
        ]

    def spaces(self) -> dict[str, Space]:
        """What they hold, by managed object id."""
        return {
            datastore.moref: Space(datastore.capacity_bytes, datastore.free_bytes)
            for datastore in self.datastores()
        }

    def check(self) -> None:
        """Look whether the options fit what vCenter has, once, at start.

        :raises ConfigError: a cluster that does not exist
        """
        if not self.spaces():
            LOG.warning(
                "No datastore of the clusters in use matches vmware_datastore_regex and is of a "
                "type that volumes are placed on: no volume can be created."
            )

    def _snapshot(self) -> inventory.Inventory:
        """The inventory, a few seconds old at most: a burst of creates reads it once. What these
        creates take meanwhile is known from their reservations."""
        with self._reading:
            made_at, snapshot = self._last
            if snapshot is None or self._clock.monotonic() - made_at > SNAPSHOT_LIFE_S:
                snapshot = inventory.snapshot(self._session, self._clusters)
                self._last = (self._clock.monotonic(), snapshot)
            return snapshot

    def _claim(
        self, size_bytes: int, choose_place: Callable[[Mapping[str, int]], Place]
    ) -> contextlib.AbstractContextManager[Place]:
        return self._reservations.claim(choose_place, lambda place: place.datastore, size_bytes)

    def _need(self, size_bytes: int, allowed: frozenset[str] | None) -> Need:
        return Need(size_bytes=size_bytes, allowed_datastores=allowed, name_regex=self._regex)

    def _choose(
        self, snapshot: inventory.Inventory, need: Need, pending: Mapping[str, int]
    ) -> Place:
        try:
            target = choose(snapshot, need, pending=pending, rng=self._random)
        except errors.NoPlacement:
            # Promises steer; they do not refuse. Thin disks rarely take all that was promised,
            # and upstream, which promises nothing, would still place the volume here.
            target = choose(snapshot, need, pending={}, rng=self._random)
        return Place(
            datastore=target.datastore.moref,
            datastore_name=target.datastore.name,
            host=target.host.moref,
            pool=target.pool,
            datacenter=target.datacenter,
        )


def _compiled(datastore_regex: str | None) -> re.Pattern[str] | None:
    if not datastore_regex:
        return None
    try:
        return re.compile(datastore_regex)
    except re.error as error:
        raise errors.ConfigError(
            f"vmware_datastore_regex {datastore_regex!r} is not a regular expression: {error}"
        ) from error

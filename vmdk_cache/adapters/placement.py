"""Where a volume goes, and where a template: upstream's rules on what vCenter has now.

What was promised and is not yet taken counts, so that a burst of creates spreads over datastores
and hosts instead of filling the best one. Templates spread over the hosts for good: vCenter charges
each clone to the template's host as well, and takes only so many of a host at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.eviction import Space
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.datastore.reservations import Reservations
from vmdk_cache.datastore.selection import DATASTORE_TYPES, Need, choose, usable_hosts
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim.inventory import Datacenter, Datastore, Inventory
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.storage_policy import StoragePolicies

LOG = logging.getLogger(__name__)

#: A burst of creates reads the inventory once. What these creates take meanwhile is known from
#: their reservations.
INVENTORY_AGE_S = 5.0
#: A template in the making counts on its host as this many volumes: in so many clones at a time it
#: will have a part (the default of image_cache_clones_per_template), so volumes go elsewhere.
TEMPLATE_LOAD = 8
#: Those that are there count for more than any burst of volumes: these are gone in minutes.
SETTLED_TEMPLATE_LOAD = 10_000


class VCenterPlacement:
    """Chooses among the datastores of the backend's clusters.

    :param index: knows the hosts of these clusters
    :param datastore_regex: names to use (``vmware_datastore_regex``); None: all
    :raises ConfigError: that is no regular expression
    """

    def __init__(
        self,
        index: InventoryIndex,
        policies: StoragePolicies,
        *,
        datastore_regex: str | None = None,
    ) -> None:
        self._index = index
        self._policies = policies
        self._regex = compiled(datastore_regex)
        self._reservations = Reservations()
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret

    @contextlib.contextmanager
    def for_volume(
        self, volume: Volume, size_bytes: int, excluded: Collection[str] = ()
    ) -> Iterator[Place]:
        found = self._inventory()
        profile_id = None
        allowed = None
        if volume.storage_profile:
            profile_id = self._policies.profile_id(volume.storage_profile)
            allowed = frozenset(
                self._policies.compliant_datastores(
                    profile_id, [datastore.moref for datastore in found.datastores]
                )
            )
        need = dataclasses.replace(self._need(size_bytes, allowed), excluded=frozenset(excluded))
        with self._claim(size_bytes, lambda pending: self._choose(found, need, pending)) as at:
            yield dataclasses.replace(at, profile_id=profile_id)

    @contextlib.contextmanager
    def for_template(self, size_bytes: int, near: Place | None) -> Iterator[Place]:
        found, templates = self._inventory(), self._templates_of_hosts()

        def choose_near(pending: Mapping[str, int]) -> Place:
            load = templates + Counter(pending)
            try:
                wanted = frozenset({near.datastore}) if near else None
                return self._choose(found, self._need(size_bytes, wanted), load)
            except errors.NoPlacement:
                return self._choose(found, self._need(size_bytes, None), load)

        with self._claim(size_bytes, choose_near, TEMPLATE_LOAD) as place:
            yield place

    @contextlib.contextmanager
    def for_replica(self, size_bytes: int, datastore: str) -> Iterator[Place]:
        found, templates = self._inventory(), self._templates_of_hosts()
        need = self._need(size_bytes, frozenset({datastore}))

        def choose_host(pending: Mapping[str, int]) -> Place:
            return self._choose(found, need, templates + Counter(pending))

        with self._claim(size_bytes, choose_host, TEMPLATE_LOAD) as at:
            yield at

    def reader(self, entry: CacheEntry) -> str | None:
        """See :class:`~vmdk_cache.cache.ports.Placement`; among others, one of the same cluster."""
        found = self._inventory()
        hosts = {host.moref: host for host in found.hosts}
        own = hosts.get(entry.host or "")
        if own is None or (own.connected and not own.in_maintenance):
            return entry.host  # where the backend does not see it, vCenter decides
        others = [
            host
            for datastore in found.datastores
            if datastore.moref == entry.datastore
            for host in usable_hosts(datastore, hosts)
        ]
        load = self._templates_of_hosts()
        others.sort(key=lambda host: (host.cluster != own.cluster, load[host.moref]))
        return others[0].moref if others else None

    def datastores(self) -> list[Datastore]:
        """The datastores that this backend may use."""
        return [
            datastore
            for datastore in self._inventory().datastores
            if datastore.accessible
            and datastore.type in DATASTORE_TYPES
            and (self._regex is None or self._regex.match(datastore.summary_name))
        ]

    def spaces(self) -> dict[str, Space]:
        return {
            datastore.moref: Space(datastore.capacity_bytes, datastore.free_bytes)
            for datastore in self.datastores()
        }

    def in_reach(self) -> set[str]:
        return {
            datastore.moref for datastore in self._inventory().datastores if datastore.accessible
        }

    def datastore_names(self) -> dict[str, str]:
        """Names by managed object id, of every datastore that hosts of the backend see."""
        return {datastore.moref: datastore.name for datastore in self._inventory().datastores}

    def datacenters(self) -> list[Datacenter]:
        """Those that hosts of the backend are in."""
        return list(self._inventory().datacenters)

    def check(self) -> None:
        """Look whether the options fit what vCenter has, once, at start.

        :raises ConfigError: a cluster that does not exist
        """
        if not self.spaces():
            LOG.warning(
                "No datastore of the clusters in use matches vmware_datastore_regex and is of a "
                "type that volumes are placed on: no volume can be created."
            )

    def _inventory(self) -> Inventory:
        return self._index.inventory(INVENTORY_AGE_S)

    def _templates_of_hosts(self) -> Counter[str]:
        """What they have to do with those that are there."""
        hosts = Counter(vm.host for vm in self._index.vms(INVENTORY_AGE_S) if vm.host)
        return Counter({host: SETTLED_TEMPLATE_LOAD * count for host, count in hosts.items()})

    def _claim(
        self,
        size_bytes: int,
        choose_place: Callable[[Mapping[str, int]], Place],
        host_load: int = 1,
    ) -> contextlib.AbstractContextManager[Place]:
        return self._reservations.claim(
            choose_place, lambda place: {place.datastore: size_bytes, place.host: host_load}
        )

    def _need(self, size_bytes: int, allowed: frozenset[str] | None) -> Need:
        return Need(size_bytes=size_bytes, allowed_datastores=allowed, name_regex=self._regex)

    def _choose(self, found: Inventory, need: Need, pending: Mapping[str, int]) -> Place:
        try:
            target = choose(found, need, pending=pending, rng=self._random)
        except errors.NoPlacement:
            # Promises steer; they do not refuse. Thin disks rarely take all that was promised,
            # and upstream, which promises nothing, would still place the volume here.
            hosts = {host.moref: pending.get(host.moref, 0) for host in found.hosts}
            target = choose(found, need, pending=hosts, rng=self._random)
        return Place(
            datastore=target.datastore.moref,
            datastore_name=target.datastore.name,
            host=target.host.moref,
            pool=target.pool,
            datacenter=target.datacenter,
            path_names=target.datastore.path_names,
        )


def compiled(datastore_regex: str | None) -> re.Pattern[str] | None:
    """The pattern of ``vmware_datastore_regex``.

    :raises ConfigError: it is no regular expression
    """
    if not datastore_regex:
        return None
    try:
        return re.compile(datastore_regex)
    except re.error as error:
        raise errors.ConfigError(
            f"vmware_datastore_regex {quoted(datastore_regex)} is not a regular expression: "
            f"{sentence(error)}"
        ) from error

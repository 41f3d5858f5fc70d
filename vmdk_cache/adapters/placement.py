"""Placement of volumes and templates: upstream's rules, applied to vCenter's current inventory.

Space that is reserved but not yet used counts, so that a burst of creates spreads over datastores
and hosts instead of filling the best one. Templates are spread over the hosts permanently: each
clone also costs host units on the template's host, and vCenter limits them per host.
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
from vmdk_cache.cache.ports import Place, Space, Volume
from vmdk_cache.datastore.selection import (
    DATASTORE_TYPES,
    Requirements,
    Reservations,
    choose,
    usable_hosts,
)
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim.inventory import Datacenter, Datastore, Inventory
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.storage_policy import StoragePolicies

LOG = logging.getLogger(__name__)

#: A burst of creates reads the inventory once. Their reservations tell what they use meanwhile.
INVENTORY_AGE_S = 5.0
#: A template that is being created counts on its host as this many volumes, because that many
#: clones will run from it at a time (the default of image_cache_clones_per_template).
TEMPLATE_LOAD = 8
#: An existing template outweighs any burst of volumes, whose clones end within minutes.
SETTLED_TEMPLATE_LOAD = 10_000


class VCenterPlacement:
    """Chooses among the datastores of the backend's clusters.

    :param index: of the hosts of these clusters
    :param datastore_regex: datastores to use, by name (``vmware_datastore_regex``); None means all
    :raises ConfigError: it is not a regular expression
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
        with self._reserve(size_bytes, lambda pending: self._choose(found, need, pending)) as at:
            yield dataclasses.replace(at, profile_id=profile_id)

    @contextlib.contextmanager
    def for_template(
        self,
        size_bytes: int,
        near: str | None = None,
        *,
        only: str | None = None,
        excluded: Collection[str] = (),
    ) -> Iterator[Place]:
        found, templates = self._inventory(), self._templates_of_hosts()
        anywhere = self._need(size_bytes, None if only is None else frozenset({only}))
        anywhere = dataclasses.replace(anywhere, excluded=frozenset(excluded))

        def choose_place(pending: Mapping[str, int]) -> Place:
            load = templates + Counter(pending)
            if near is not None:
                with contextlib.suppress(errors.NoPlacement):
                    return self._choose(found, self._need(size_bytes, frozenset({near})), load)
            return self._choose(found, anywhere, load)

        with self._reserve(size_bytes, choose_place, TEMPLATE_LOAD) as place:
            yield place

    def reader(self, entry: CacheEntry) -> str | None:
        """See :class:`~vmdk_cache.cache.ports.Placement`; prefers hosts of the same cluster."""
        found = self._inventory()
        hosts = {host.moref: host for host in found.hosts}
        own = hosts.get(entry.host or "")
        if own is None or (own.connected and not own.in_maintenance):
            return entry.host  # for a host that the backend does not see, vCenter decides
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
        """Names, by moref, of all datastores that hosts of the backend see."""
        return {datastore.moref: datastore.name for datastore in self._inventory().datastores}

    def datacenters(self) -> list[Datacenter]:
        """The datacenters of the backend's hosts."""
        return list(self._inventory().datacenters)

    def check(self) -> None:
        """Check once, at start, that the options match vCenter's inventory.

        :raises ConfigError: a cluster does not exist
        """
        if not self.spaces():
            LOG.warning(
                "No datastore of the configured clusters matches vmware_datastore_regex and has a "
                "supported type: no volume can be created."
            )

    def _inventory(self) -> Inventory:
        return self._index.inventory(INVENTORY_AGE_S)

    def _templates_of_hosts(self) -> Counter[str]:
        """Load of each host, by moref, from its existing templates."""
        hosts = Counter(vm.host for vm in self._index.vms(INVENTORY_AGE_S).values() if vm.host)
        return Counter({host: SETTLED_TEMPLATE_LOAD * count for host, count in hosts.items()})

    def _reserve(
        self,
        size_bytes: int,
        choice: Callable[[Mapping[str, int]], Place],
        host_load: int = 1,
    ) -> contextlib.AbstractContextManager[Place]:
        return self._reservations.reserve(
            choice, lambda place: {place.datastore: size_bytes, place.host: host_load}
        )

    def _need(self, size_bytes: int, allowed: frozenset[str] | None) -> Requirements:
        return Requirements(
            size_bytes=size_bytes, allowed_datastores=allowed, name_regex=self._regex
        )

    def _choose(self, found: Inventory, need: Requirements, pending: Mapping[str, int]) -> Place:
        try:
            target = choose(found, need, pending=pending, rng=self._random)
        except errors.NoPlacement:
            # Reservations steer the choice, but do not prevent one. Thin disks rarely use all
            # reserved space, and upstream, which reserves nothing, would still place the volume.
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

    :raises ConfigError: it is not a regular expression
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

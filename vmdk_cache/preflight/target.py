"""What the probes examine: one backend, its session, and the data read from its vCenter.

Data that several probes need is read once. If a read fails, it is attempted again for the next
probe that needs it, unless the checklist skips that probe.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from vmdk_cache.adapters.placement import compiled
from vmdk_cache.backend import Backend
from vmdk_cache.cache.record import RECORD_KEY, Record
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.datastore.selection import Requirements, refusal
from vmdk_cache.locks import Locks, server_of
from vmdk_cache.vim import folder, inventory, properties, simulator, virtual_machine
from vmdk_cache.vim.inventory import Datacenter, Datastore, HostAddress, Inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies
from vmdk_cache.vim.virtual_machine import VmInfo

GIB = 1 << 30
#: Size of Cinder's smallest volume.
SMALLEST_VOLUME = 1 * GIB


class Images(Protocol):
    """Glance, as used by a purge or a warm-up."""

    def look(self) -> None:
        """Send one cheap request.

        :raises SourceUnavailable, ConfigError: the request failed; the text says what to check
        """

    def sees_every_image(self) -> bool:
        """Whether Glance shows other projects' private images to this user.

        :raises SourceUnavailable: that cannot be determined
        """


class Volumes(Protocol):
    """Cinder's API, as an administrator sees it."""

    def pools(self, backend: str) -> Mapping[str, int]:
        """How many volumes of the backend have each pool in their ``host``.

        :raises VmdkCacheError: Cinder cannot be asked
        """

    def backend_names_of_types(self) -> Mapping[str, str]:
        """By name of the volume type: its extra spec ``volume_backend_name``, if it has one.

        :raises VmdkCacheError: Cinder cannot be asked
        """


@dataclass(frozen=True)
class Scheduling:
    """What cinder.conf says about scheduling.

    :ivar backend_name: ``volume_backend_name``; None if it is unset
    :ivar other_names: what the other enabled backends report
    :ivar vmware_backends: how many enabled backends have this driver, or Cinder's VMDK driver
    :ivar stats: ``vmware_enable_volume_stats``
    :ivar extra_capabilities: as text
    :ivar ratio: ``max_over_subscription_ratio``, as text
    :ivar volumes: connects to Cinder's API
    """

    backend_name: str | None
    other_names: frozenset[str]
    vmware_backends: int
    stats: bool
    extra_capabilities: str
    ratio: str
    host_manager: str
    weighers: tuple[str, ...]
    filters: tuple[str, ...]
    multiplier: float
    volumes: Callable[[], Volumes]


@dataclass(frozen=True)
class Surroundings:
    """The backend's environment, according to its cinder.conf.

    :ivar sections: names of the options that the files set, by section
    :ivar known_options: names that Cinder's driver and this package define for a backend
    :ivar coordination_url: ``[coordination] backend_url``
    :ivar locks: opens the coordinator for the duration of a block
    :ivar workers: ``[DEFAULT] executor_thread_pool_size``; None if it is unset
    :ivar storage_profiles: ``vmware_storage_profile``
    :ivar ledger_path: None if nothing is counted
    :ivar images: connects to Glance
    :ivar host_name: name of this host
    :ivar scheduling: the scheduling options
    """

    sections: Mapping[str, frozenset[str]]
    known_options: frozenset[str]
    coordination_url: str
    locks: Callable[[], contextlib.AbstractContextManager[Locks]]
    workers: int | None
    storage_profiles: tuple[str, ...]
    ledger_path: str | None
    images: Callable[[], Images]
    host_name: str
    scheduling: Scheduling


@dataclass(frozen=True)
class CacheFolder:
    """The deepest existing folder on the path to the cache's folder in one datacenter.

    :ivar path: its inventory path, for messages
    :ivar is_whole: whether it is the cache's folder itself
    """

    datacenter: Datacenter
    moref: str
    path: str
    is_whole: bool


class Target:
    """One backend. Use it as a context manager, which logs out at the end.

    :ivar missing_privileges: ids of privileges that a probe found missing on some object

    :raises ConfigError: ``vmware_datastore_regex`` is not a regular expression
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        surroundings: Surroundings,
        clock: Clock,
    ) -> None:
        self.backend = backend
        self.settings = settings
        self.surroundings = surroundings
        self.clock = clock
        self.session = Session(backend.endpoint, clock)
        self._datastore_regex = compiled(backend.datastore_regex)
        self.missing_privileges: set[str] = set()

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *exc: object) -> None:
        self.session.close()

    def machines(self) -> list[str]:
        """Names and addresses of computers known so far."""
        found: Inventory | None = self.__dict__.get("inventory")
        hosts = [host.name for host in found.hosts] if found else []
        importers = sorted(self.importers()) if "templates" in self.__dict__ else []
        coordinator, _ = server_of(self.surroundings.coordination_url) or ("", None)
        own = [self.session.endpoint.host, self.surroundings.host_name, coordinator]
        return [*own, *hosts, *importers]

    def importers(self) -> set[str]:
        """Names of the hosts that imported the templates, according to their records."""
        records = (Record.from_json(vm.extra_config_record) for vm in self.templates)
        owners = (record.owner for record in records if record is not None)
        return {owner.rpartition(":")[0] or owner for owner in owners} - {""}

    @property
    def product(self) -> str:
        """vCenter's product, version and build; '' before the log-in."""
        if not self.session.generation:
            return ""
        return str(self.session.content.about.fullName)

    @functools.cached_property
    def is_simulator(self) -> bool:
        """Whether this vCenter is govmomi's simulator, whose hosts do not really exist. Sends a
        request that vCenter does not know, so use it only after a failure."""
        return simulator.is_simulator(self.session)

    @functools.cached_property
    def inventory(self) -> Inventory:
        """The inventory of the configured clusters.

        :raises ConfigError: a cluster of ``vmware_cluster_name`` does not exist
        """
        return inventory.snapshot(self.session, self.backend.clusters)

    @functools.cached_property
    def datastore_decisions(self) -> tuple[tuple[Datastore, str | None], ...]:
        """Each datastore with placement's reason for not using it, or None if it is used."""
        hosts = {host.moref: host for host in self.inventory.hosts}
        need = Requirements(SMALLEST_VOLUME, name_regex=self._datastore_regex)
        return tuple(
            (datastore, refusal(datastore, hosts, need, datastore.free_bytes))
            for datastore in self.inventory.datastores
        )

    @property
    def usable_datastores(self) -> tuple[Datastore, ...]:
        """The datastores that placement uses."""
        return tuple(each for each, reason in self.datastore_decisions if reason is None)

    @functools.cached_property
    def cluster_names(self) -> dict[str, str]:
        """Cluster names by moref; for standalone hosts, the name of their ComputeResource."""
        morefs = [host.cluster for host in self.inventory.hosts]
        found = properties.read(self.session, "ComputeResource", morefs, ["name"])
        return {moref: str(values.get("name", moref)) for moref, values in found.items()}

    @functools.cached_property
    def host_addresses(self) -> dict[str, HostAddress]:
        """Host addresses by moref."""
        hosts = [host.moref for host in self.inventory.hosts]
        return inventory.host_addresses(self.session, hosts)

    @functools.cached_property
    def policy_names(self) -> list[str]:
        """Names of all storage policies."""
        return StoragePolicies(self.session).names()

    @functools.cached_property
    def cache_folders(self) -> tuple[CacheFolder, ...]:
        """The cache's folder in each datacenter, or its nearest existing parent."""
        return tuple(self._nearest(each) for each in self.inventory.datacenters)

    @functools.cached_property
    def project_folders(self) -> tuple[CacheFolder, ...]:
        """The folder that holds the projects' folders in each datacenter, or its nearest existing
        parent."""
        return tuple(self._nearest(each, 1) for each in self.inventory.datacenters)

    @functools.cached_property
    def templates(self) -> tuple[VmInfo, ...]:
        """The VMs in the cache's folders, sorted by name."""
        found = [
            vm
            for each in self.cache_folders
            if each.is_whole
            for vm in virtual_machine.list_vms(self.session, each.moref, RECORD_KEY)
        ]
        return tuple(sorted(found, key=lambda vm: vm.name))

    def find_folder(self, datacenter: Datacenter) -> str | None:
        """The moref of the cache's folder in that datacenter now, None if it does not exist."""
        return folder.find_folder(self.session, datacenter, self.backend.folder)

    def _nearest(self, datacenter: Datacenter, depth: int | None = None) -> CacheFolder:
        whole = self.backend.folder[:depth]
        moref = datacenter.vm_folder
        names: tuple[str, ...] = ()
        for end in range(1, len(whole) + 1):
            found = folder.find_folder(self.session, datacenter, whole[:end])
            if found is None:
                break
            moref, names = found, whole[:end]
        path = "/".join((datacenter.name, "vm", *names))
        return CacheFolder(datacenter, moref, path, names == self.backend.folder)

"""The read-only probes, in the order in which they run."""

from __future__ import annotations

from vmdk_cache.preflight import (
    configuration,
    connection,
    coordination,
    place,
    privileges,
    scheduling,
)
from vmdk_cache.preflight.privileges import HeldOn
from vmdk_cache.preflight.probe import Probe
from vmdk_cache.preflight.target import Target

_LOG_IN = ("vcenter.log-in",)
_CLUSTERS = ("inventory.clusters",)

READ_ONLY: tuple[Probe[Target], ...] = (
    Probe("configuration.options", configuration.options),
    Probe("configuration.enabled", configuration.enabled),
    Probe("configuration.ledger", configuration.ledger),
    Probe("configuration.workers", configuration.workers),
    Probe("scheduler.pool-name", scheduling.pool_name),
    Probe("scheduler.free-capacity", scheduling.free_capacity),
    Probe("scheduler.host-manager", scheduling.host_manager),
    Probe("scheduler.weigher", scheduling.weigher),
    Probe("scheduler.filters", scheduling.filters),
    Probe("glance.service-user", configuration.glance),
    Probe("locks.connection", coordination.connection),
    Probe("vcenter.tls", connection.tls),
    Probe("vcenter.log-in", connection.log_in, ("vcenter.tls",)),
    Probe("vcenter.version", connection.version, _LOG_IN),
    Probe("vcenter.clock", connection.clock, _LOG_IN),
    Probe("inventory.clusters", place.clusters, _LOG_IN),
    Probe("inventory.datastores", place.datastores, _CLUSTERS),
    Probe("hosts.connection", place.hosts, _CLUSTERS),
    Probe("hosts.transfer", place.transfer, _CLUSTERS),
    *(
        Probe(f"privileges.{name}", privileges.probe_of(held_on), _CLUSTERS)
        for name, held_on in (
            ("vcenter", HeldOn.VCENTER),
            ("datastore", HeldOn.DATASTORE),
            ("resource-pool", HeldOn.POOL),
            ("folder", HeldOn.FOLDER),
            ("virtual-machine", HeldOn.VM),
            ("template", HeldOn.TEMPLATE),
        )
    ),
    Probe("storage.policies", place.policies, _LOG_IN),
    Probe("storage.profiles", place.profiles, _LOG_IN),
    Probe("storage.attribute", place.attribute, _LOG_IN),
    Probe("locks.coordinator", coordination.coordinator, _CLUSTERS),
)

"""The probes that only read, in the order in which they run."""

from __future__ import annotations

from vmdk_cache.preflight import (
    configuration,
    connection,
    coordination,
    permission,
    place,
    scheduling,
)
from vmdk_cache.preflight.probe import Probe
from vmdk_cache.preflight.target import Target
from vmdk_cache.privileges import HeldOn

_LOG_IN = ("vcenter.log-in",)
_CLUSTERS = ("inventory.clusters",)
_PLACES = ("inventory.clusters", "inventory.datastores")

READ_ONLY: tuple[Probe[Target], ...] = (
    Probe("configuration.options", "Every option is known", configuration.options),
    Probe("configuration.enabled", "The cache is switched on", configuration.enabled),
    Probe("configuration.ledger", "Events can be counted", configuration.ledger),
    Probe("configuration.workers", "Bursts leave workers free", configuration.workers),
    Probe("scheduler.pool-name", "Volumes find the backend's pool", scheduling.pool_name),
    Probe("scheduler.free-capacity", "Free capacity is told", scheduling.free_capacity),
    Probe("scheduler.host-manager", "Templates are counted", scheduling.host_manager),
    Probe("scheduler.weigher", "Volumes go to their image", scheduling.weigher),
    Probe("scheduler.filters", "The filters in use suffice", scheduling.filters),
    Probe("glance.service-user", "Glance shows every image", configuration.glance),
    Probe("locks.connection", "Locks can be taken", coordination.connection),
    Probe("vcenter.tls", "vCenter's certificate is trusted", connection.tls),
    Probe("vcenter.log-in", "The account can log in", connection.log_in, ("vcenter.tls",)),
    Probe("vcenter.version", "vCenter is not too old", connection.version, _LOG_IN),
    Probe("vcenter.clock", "Both clocks agree", connection.clock, _LOG_IN),
    Probe("inventory.clusters", "There are hosts", place.clusters, _LOG_IN),
    Probe("inventory.datastores", "There are datastores", place.datastores, _CLUSTERS),
    Probe("hosts.connection", "Hosts are connected", place.hosts, _CLUSTERS),
    Probe("hosts.transfer", "Images can be sent to hosts", place.transfer, _CLUSTERS),
    *(
        Probe(
            f"privileges.{name}",
            f"The account holds what it needs on {what}",
            permission.probe_of(held_on),
            _CLUSTERS,
        )
        for name, what, held_on in (
            ("vcenter", "vCenter itself", HeldOn.VCENTER),
            ("datastore", "each datastore in use", HeldOn.DATASTORE),
            ("resource-pool", "each cluster's resource pool", HeldOn.POOL),
            ("folder", "the folders of templates and volumes", HeldOn.FOLDER),
            ("virtual-machine", "the virtual machines there", HeldOn.VM),
            ("template", "the templates there", HeldOn.TEMPLATE),
        )
    ),
    Probe("storage.policies", "Storage policies can be read", place.policies, _LOG_IN),
    Probe("storage.profiles", "Named policies exist", place.profiles, _LOG_IN),
    Probe("storage.attribute", "The last use can be noted", place.attribute, _LOG_IN),
    Probe("locks.coordinator", "Hosts share their locks", coordination.coordinator, _CLUSTERS),
)

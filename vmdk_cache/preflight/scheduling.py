"""Probes: will the scheduler find the backend, for existing and for new volumes?

These probes read cinder.conf, and Cinder's API if possible. The problems they find also exist with
Cinder's own driver, or appear when ``volume_driver`` is changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vmdk_cache import errors
from vmdk_cache.preflight.probe import Finding, failed, not_tried, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import quoted, sentence

#: The pool that a backend reports if ``volume_backend_name`` is unset, as with Cinder's own driver.
DEFAULT_POOL = "VMwareVcVmdkDriver"
#: The pool that the first versions of this package reported instead.
FORMER_POOL = "ImageCacheVmdkDriver"
HOST_MANAGER = "vmdk_cache.cinder.host_manager.ImageCacheHostManager"
WEIGHER = "ImageCacheWeigher"
#: Filters that the other settings depend on, and what happens without each.
_FILTERS = {
    "CapacityFilter": "volumes may be sent to a full backend",
    "CapabilitiesFilter": "volume types cannot request a backend by name, or image_cache",
}
_WHERE = "in [DEFAULT] of cinder.conf on the hosts of cinder-scheduler"
_THIN = 'extra_capabilities = {"thin_provisioning_support": true}'


def pool_name(target: Target) -> Iterator[Finding]:
    """Check that existing volumes and volume types name the pool that the backend reports."""
    scheduling, section = target.surroundings.scheduling, f"[{target.backend.name}]"
    if scheduling.backend_name:
        pool, how = scheduling.backend_name, "set"
        seen = f"volume_backend_name = {sentence(pool)} is the pool"
    else:
        pool, how = DEFAULT_POOL, "unset"
        seen = f"volume_backend_name is unset: the pool is {pool}, as with Cinder's own driver"
    keep = f"leave volume_backend_name in {section} {how} as it is while the backend has volumes"
    try:
        volumes = scheduling.volumes()
        used = volumes.pools(target.backend.name)
        types = volumes.backend_names_of_types()
    except errors.VmdkCacheError as failure:
        yield ok(seen, to_do=keep)
        yield not_tried(f"volumes and volume types were not checked: {failure}")
        return
    others = sorted(used.keys() - {pool})
    for other in others:
        yield failed(
            f"{used[other]:d} volumes have the pool {quoted(other)} in their host, but the backend "
            f"reports {quoted(pool)}: they cannot be extended, retyped, cloned or snapshotted",
            f"set volume_backend_name = {sentence(other)} in {section}, or rename the pool of the "
            "volumes with cinder-manage volume update_host",
        )
    of_backend = used.keys() | {DEFAULT_POOL, FORMER_POOL}
    unserved = of_backend - scheduling.other_names - {pool}
    wrong = [(name, asked) for name, asked in sorted(types.items()) if asked in unserved]
    for name, asked in wrong:
        yield failed(
            f"volume type {quoted(name)} requires volume_backend_name = {sentence(asked)}, which "
            "no backend reports: its volumes cannot be scheduled",
            f"openstack volume type set --property volume_backend_name={sentence(pool)} "
            f"{quoted(name)}",
        )
    if not others and not wrong:
        yield ok(f"{seen}; {used.get(pool, 0):d} volumes have it in their host", to_do=keep)


def free_capacity(target: Target) -> Iterator[Finding]:
    """Check that the scheduler knows the free capacity and counts thin disks as thin."""
    scheduling, section = target.surroundings.scheduling, f"[{target.backend.name}]"
    try:
        extra: Any = json.loads(scheduling.extra_capabilities)
        thin = bool(extra.get("thin_provisioning_support"))
    except (ValueError, AttributeError):
        yield failed(
            f"extra_capabilities is {quoted(scheduling.extra_capabilities)}, which is not a JSON "
            "object: cinder-volume does not start with it",
            f"correct it in {section}, e.g. {_THIN}",
        )
        return
    if not scheduling.stats:
        yield warning(
            "vmware_enable_volume_stats is false: the scheduler does not know when the backend is "
            f"full, and {WEIGHER} does not prefer it",
            f"set vmware_enable_volume_stats = true and, unless all disks are thick, {_THIN} "
            f"in {section}",
        )
    elif not thin:
        yield warning(
            "the scheduler counts thin disks at full size: once the total exceeds the capacity of "
            "the datastores, no volume can be created",
            f"set {_THIN} in {section}, unless all disks are thick",
        )
    elif scheduling.ratio != "auto" and float(scheduling.ratio) <= 1:
        yield warning(
            f"max_over_subscription_ratio = {sentence(scheduling.ratio)} allows no more thin disks "
            "than thick ones, and templates count at full size",
            f"raise it in {section}, or set it to auto",
        )
    else:
        yield ok(
            f"free capacity is reported, and thin disks are counted with "
            f"max_over_subscription_ratio = {sentence(scheduling.ratio)}"
        )


def host_manager(target: Target) -> Iterator[Finding]:
    """Check that the scheduler counts the templates."""
    if target.surroundings.scheduling.host_manager == HOST_MANAGER:
        yield ok("templates count as provisioned capacity")
    else:
        yield warning(
            f"scheduler_host_manager is {quoted(target.surroundings.scheduling.host_manager)}: "
            "templates do not count as provisioned capacity",
            f"set scheduler_host_manager = {HOST_MANAGER} {_WHERE}",
        )


def weigher(target: Target) -> Iterator[Finding]:
    """Check that the scheduler prefers backends that already cache the image."""
    scheduling = target.surroundings.scheduling
    wanted = ",".join(dict.fromkeys([*scheduling.weighers, "CapacityWeigher", WEIGHER]))
    set_weighers = f"set scheduler_default_weighers = {sentence(wanted)} {_WHERE}"
    if WEIGHER not in scheduling.weighers:
        if scheduling.vmware_backends > 1:
            yield warning(
                f"scheduler_default_weighers lacks {WEIGHER}: each of the "
                f"{scheduling.vmware_backends:d} VMware backends imports an image separately",
                set_weighers,
            )
        else:
            yield ok(f"with only one VMware backend, {WEIGHER} is not needed")
    elif scheduling.multiplier <= 0:
        yield warning(
            f"image_cache_weight_multiplier = {scheduling.multiplier:g}: {WEIGHER} does not prefer "
            f"backends that have the image",
            f"set it to more than 1, or remove the line, {_WHERE}",
        )
    elif "CapacityWeigher" not in scheduling.weighers:
        yield warning(
            "scheduler_default_weighers lacks CapacityWeigher: free capacity is ignored among "
            "backends that have the image, and among those that do not",
            set_weighers,
        )
    else:
        yield ok(f"{WEIGHER} is enabled with a multiplier of {scheduling.multiplier:g}")


def filters(target: Target) -> Iterator[Finding]:
    """Check that the filters that the other settings depend on are enabled."""
    used = target.surroundings.scheduling.filters
    missing = [name for name in _FILTERS if name not in used]
    for name in missing:
        yield warning(
            f"scheduler_default_filters lacks {name}: {_FILTERS[name]}",
            f"add {name} to scheduler_default_filters {_WHERE}",
        )
    if not missing:
        yield ok(f"scheduler_default_filters has {' and '.join(_FILTERS)}")

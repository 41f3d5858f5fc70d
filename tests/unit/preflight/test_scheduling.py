"""What cinder.conf and Cinder's API reveal about scheduling, judged before the driver is
changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from vmdk_cache import errors
from vmdk_cache.preflight import scheduling
from vmdk_cache.preflight.probe import Finding, Status
from vmdk_cache.preflight.target import Scheduling


class StubVolumes:
    """Cinder's API."""

    def __init__(self, pools: Mapping[str, int], types: Mapping[str, str]) -> None:
        self._pools = pools
        self._types = types

    def pools(self, backend: str) -> Mapping[str, int]:
        assert backend == "vmware1"
        return self._pools

    def backend_names_of_types(self) -> Mapping[str, str]:
        return self._types


GOOD = Scheduling(
    backend_name="gold",
    other_names=frozenset(),
    vmware_backends=2,
    stats=True,
    extra_capabilities='{"thin_provisioning_support": true}',
    ratio="20.0",
    host_manager="vmdk_cache.cinder.host_manager.ImageCacheHostManager",
    weighers=("CapacityWeigher", "ImageCacheWeigher"),
    filters=("AvailabilityZoneFilter", "CapacityFilter", "CapabilitiesFilter"),
    multiplier=1.5,
    volumes=lambda: StubVolumes({"gold": 3}, {"gold": "gold", "lvm": "lvm", "any": "any"}),
)
PROBES = (
    scheduling.pool_name,
    scheduling.free_capacity,
    scheduling.host_manager,
    scheduling.weigher,
    scheduling.filters,
)


def found(probe: Callable[[Any], Iterator[Finding]], **changes: Any) -> list[Finding]:
    target: Any = SimpleNamespace(
        backend=SimpleNamespace(name="vmware1"),
        surroundings=SimpleNamespace(scheduling=dataclasses.replace(GOOD, **changes)),
    )
    return list(probe(target))


def only(probe: Callable[[Any], Iterator[Finding]], **changes: Any) -> Finding:
    [finding] = found(probe, **changes)
    return finding


@pytest.mark.parametrize("probe", PROBES)
def test_a_configuration_as_documented_is_ok(probe: Callable[[Any], Iterator[Finding]]) -> None:
    assert only(probe).status is Status.OK


# -- the pool's name


@pytest.mark.parametrize(
    ("name", "seen", "to_do"),
    [
        ("gold", "volume_backend_name = gold is the pool; 3 volumes have it", "set as it is"),
        (None, "volume_backend_name is unset: the pool is VMwareVcVmdkDriver", "unset as it is"),
    ],
)
def test_the_pool_that_the_backend_will_report_is_named(
    name: str | None, seen: str, to_do: str
) -> None:
    pool = name or "VMwareVcVmdkDriver"
    finding = only(
        scheduling.pool_name, backend_name=name, volumes=lambda: StubVolumes({pool: 3}, {})
    )
    assert finding.status is Status.OK
    assert finding.seen.startswith(seen)
    assert to_do in finding.to_do and "[vmware1]" in finding.to_do


def test_a_backend_without_volumes_says_so() -> None:
    finding = only(scheduling.pool_name, volumes=lambda: StubVolumes({}, {}))
    assert finding.status is Status.OK
    assert finding.seen.endswith("; 0 volumes have it in their host")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("gold", "VMwareVcVmdkDriver"),  # it was unset when the volumes were made
        (None, "gold"),  # it was set
        (None, "ImageCacheVmdkDriver"),  # a first version of this package made them
    ],
)
def test_volumes_with_another_pool_are_counted(name: str | None, other: str) -> None:
    pools = {other: 7, name or "VMwareVcVmdkDriver": 2}
    finding = only(scheduling.pool_name, backend_name=name, volumes=lambda: StubVolumes(pools, {}))
    assert finding.status is Status.FAILED
    assert finding.seen.startswith(f"7 volumes have the pool '{other}' in their host")
    assert f"set volume_backend_name = {other} in [vmware1]" in finding.to_do
    assert "cinder-manage volume update_host" in finding.to_do


@pytest.mark.parametrize(
    ("asked", "other_names", "is_wrong"),
    [
        ("VMwareVcVmdkDriver", set(), True),
        ("ImageCacheVmdkDriver", set(), True),
        ("silver", set(), False),  # of a backend that this cinder.conf does not know
        ("VMwareVcVmdkDriver", {"VMwareVcVmdkDriver"}, False),  # another backend reports it
        ("gold", set(), False),
    ],
)
def test_a_volume_type_that_asks_for_a_name_that_is_not_reported_is_named(
    asked: str, other_names: set[str], is_wrong: bool
) -> None:
    findings = found(
        scheduling.pool_name,
        other_names=frozenset(other_names),
        volumes=lambda: StubVolumes({}, {"fast": asked}),
    )
    failed = [each for each in findings if each.status is Status.FAILED]
    assert len(failed) == is_wrong
    for finding in failed:
        assert f"volume type 'fast' requires volume_backend_name = {asked}" in finding.seen
        assert finding.to_do == (
            "openstack volume type set --property volume_backend_name=gold 'fast'"
        )


def test_without_cinders_api_the_rest_is_still_reported() -> None:
    def refuse() -> StubVolumes:
        raise errors.SourceUnavailable("Cinder's API refuses this user")

    said, not_asked = found(scheduling.pool_name, volumes=refuse)
    assert said.status is Status.OK and "volume_backend_name = gold" in said.seen
    assert not_asked.status is Status.NOT_TRIED
    assert "Cinder's API refuses this user" in not_asked.seen


# -- capacity


@pytest.mark.parametrize(
    ("changes", "status", "names"),
    [
        ({"stats": False}, Status.WARNING, "vmware_enable_volume_stats"),
        ({"extra_capabilities": "{}"}, Status.WARNING, "extra_capabilities"),
        (
            {"extra_capabilities": '{"thin_provisioning_support": false}'},
            Status.WARNING,
            "extra_capabilities",
        ),
        ({"extra_capabilities": "{thin}"}, Status.FAILED, "extra_capabilities"),
        ({"extra_capabilities": "[]"}, Status.FAILED, "extra_capabilities"),
        ({"ratio": "1.0"}, Status.WARNING, "max_over_subscription_ratio"),
        ({"ratio": "0.5"}, Status.WARNING, "max_over_subscription_ratio"),
        ({"ratio": "1.1"}, Status.OK, "max_over_subscription_ratio"),
        ({"ratio": "auto"}, Status.OK, "max_over_subscription_ratio"),
    ],
)
def test_the_schedulers_handling_of_thin_disks_is_reported(
    changes: dict[str, Any], status: Status, names: str
) -> None:
    finding = only(scheduling.free_capacity, **changes)
    assert finding.status is status
    assert names in finding.seen + finding.to_do
    assert bool(finding.to_do) == (status is not Status.OK)
    if finding.to_do:
        assert "[vmware1]" in finding.to_do


# -- the scheduler's own options


def test_another_host_manager_does_not_count_templates() -> None:
    finding = only(
        scheduling.host_manager, host_manager="cinder.scheduler.host_manager.HostManager"
    )
    assert finding.status is Status.WARNING
    assert finding.to_do.startswith(f"set scheduler_host_manager = {scheduling.HOST_MANAGER}")


@pytest.mark.parametrize(
    ("changes", "status", "seen"),
    [
        ({"weighers": ("CapacityWeigher",)}, Status.WARNING, "each of the 2 VMware backends"),
        ({"weighers": ("CapacityWeigher",), "vmware_backends": 1}, Status.OK, "one VMware backend"),
        ({"weighers": ("ImageCacheWeigher",)}, Status.WARNING, "lacks CapacityWeigher"),
        ({"multiplier": 0.0}, Status.WARNING, "image_cache_weight_multiplier = 0"),
        ({"multiplier": 0.1}, Status.OK, "a multiplier of 0.1"),
    ],
)
def test_missing_settings_of_the_weigher_are_reported(
    changes: dict[str, Any], status: Status, seen: str
) -> None:
    finding = only(scheduling.weigher, **changes)
    assert finding.status is status
    assert seen in finding.seen
    if "weighers" in changes and status is Status.WARNING:
        wanted = {"CapacityWeigher", "ImageCacheWeigher"}
        assert finding.to_do.startswith("set scheduler_default_weighers = ")
        assert set(finding.to_do.split(" = ")[1].split()[0].split(",")) == wanted


@pytest.mark.parametrize("lacking", ["CapacityFilter", "CapabilitiesFilter"])
def test_a_filter_that_the_rest_relies_on_is_named(lacking: str) -> None:
    finding = only(
        scheduling.filters, filters=tuple(name for name in GOOD.filters if name != lacking)
    )
    assert finding.status is Status.WARNING
    assert finding.seen.startswith(f"scheduler_default_filters lacks {lacking}: ")
    assert finding.to_do.startswith(f"add {lacking} to scheduler_default_filters")

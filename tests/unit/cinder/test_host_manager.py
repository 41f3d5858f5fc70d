"""The scheduler counts templates once, however often it applies one report: on Cinder's classes."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from cinder import context, objects
from cinder.scheduler import host_manager as cinder_host_manager
from cinder.scheduler.filters.capacity_filter import CapacityFilter
from oslo_utils import timeutils

from vmdk_cache.cinder import host_manager
from vmdk_cache.cinder.host_manager import ImageCacheHostManager, with_templates_counted

HOST = "lab@vmware"


class VolumeService(dict[str, Any]):
    """A row of Cinder's services table, as far as the host manager reads one."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> ImageCacheHostManager:
    service = VolumeService(
        host=HOST,
        cluster_name=None,
        service_topic_queue=HOST,
        is_up=True,
        availability_zone="nova",
        disabled=False,
    )
    monkeypatch.setattr(
        objects.ServiceList, "get_all", lambda *a, **k: SimpleNamespace(objects=[service])
    )
    return ImageCacheHostManager()


def report(manager: Any, **capabilities: Any) -> None:
    stats = {
        "volume_backend_name": "vmware",
        "total_capacity_gb": 1000,
        "free_capacity_gb": 900,
        "reserved_percentage": 0,
        "allocated_capacity_gb": 3,
        **capabilities,
    }
    manager.update_service_capabilities("volume", HOST, stats, None, timeutils.utcnow())


def pool(manager: Any) -> Any:
    (state,) = manager.get_all_backend_states(context.get_admin_context())
    return state


def test_a_report_applied_again_and_again_counts_its_templates_once(
    manager: ImageCacheHostManager,
) -> None:
    report(manager, extra_provisioned_capacity_gb=5)
    assert [pool(manager).provisioned_capacity_gb for _ in range(4)] == [8, 8, 8, 8]


def test_a_booking_between_two_reports_is_kept_and_templates_are_not_added_to_it(
    manager: ImageCacheHostManager,
) -> None:
    report(manager, extra_provisioned_capacity_gb=5)
    pool(manager).consume_from_volume({"size": 2})
    assert [pool(manager).provisioned_capacity_gb for _ in range(3)] == [10, 10, 10]

    report(manager, extra_provisioned_capacity_gb=7, allocated_capacity_gb=5)
    assert pool(manager).provisioned_capacity_gb == 12


def test_templates_that_are_gone_are_no_longer_counted(manager: ImageCacheHostManager) -> None:
    report(manager, extra_provisioned_capacity_gb=5)
    assert pool(manager).provisioned_capacity_gb == 8
    report(manager, extra_provisioned_capacity_gb=0)
    assert pool(manager).provisioned_capacity_gb == 3


def test_get_pools_shows_the_sum_and_the_extra(manager: ImageCacheHostManager) -> None:
    report(manager, extra_provisioned_capacity_gb=5)
    for _ in range(2):
        (shown,) = manager.get_pools(context.get_admin_context())
        assert shown["capabilities"]["provisioned_capacity_gb"] == 8
        assert shown["capabilities"]["extra_provisioned_capacity_gb"] == 5


def test_a_backend_with_pools_of_its_own_is_counted_per_pool(
    manager: ImageCacheHostManager,
) -> None:
    one = {
        "pool_name": "one",
        "total_capacity_gb": 10,
        "free_capacity_gb": 5,
        "provisioned_capacity_gb": 4,
        "extra_provisioned_capacity_gb": 2,
    }
    other = {
        "pool_name": "other",
        "total_capacity_gb": 10,
        "free_capacity_gb": 5,
        "allocated_capacity_gb": 1,
    }
    report(manager, pools=[one, other])
    for _ in range(2):
        states = manager.get_all_backend_states(context.get_admin_context())
        assert {s.pool_name: s.provisioned_capacity_gb for s in states} == {"one": 6, "other": 1}


def test_a_backend_without_templates_is_what_cinder_makes_of_it() -> None:
    ours = host_manager.ImageCachePoolState("h@b", None, {}, "b")
    cinders = cinder_host_manager.PoolState("h@b", None, {}, "b")
    stats = {
        "total_capacity_gb": 100,
        "free_capacity_gb": "unknown",
        "allocated_capacity_gb": 3,
        "timestamp": datetime.datetime(2026, 1, 1),
    }
    ours.update_from_volume_capability(dict(stats))
    cinders.update_from_volume_capability(dict(stats))
    assert ours.provisioned_capacity_gb == cinders.provisioned_capacity_gb == 3
    assert ours.free_capacity_gb == cinders.free_capacity_gb


@pytest.mark.parametrize("extra", ["unknown", None, -1, float("nan"), float("inf"), True])
def test_a_senseless_extra_neither_stops_the_scheduler_nor_counts(extra: object) -> None:
    counted = with_templates_counted(
        {"allocated_capacity_gb": 3, "extra_provisioned_capacity_gb": extra}
    )
    assert counted.get("provisioned_capacity_gb", 3) == 3


def test_an_unknown_provisioned_capacity_stays_unknown() -> None:
    counted = with_templates_counted(
        {"provisioned_capacity_gb": "unknown", "extra_provisioned_capacity_gb": 4}
    )
    assert counted["provisioned_capacity_gb"] == "unknown"


def test_the_report_itself_is_not_changed() -> None:
    stats = {"allocated_capacity_gb": 3, "extra_provisioned_capacity_gb": 5}
    with_templates_counted(stats)
    assert stats == {"allocated_capacity_gb": 3, "extra_provisioned_capacity_gb": 5}


@pytest.mark.parametrize(
    ("capabilities", "passes"),
    [
        ({"total_capacity_gb": "unknown", "free_capacity_gb": "unknown"}, True),
        ({}, False),
        ({"thin_provisioning_support": True, "max_over_subscription_ratio": "20"}, True),
        ({"thin_provisioning_support": True, "max_over_subscription_ratio": "1.5"}, False),
    ],
)
def test_cinders_filter_agrees_with_the_worked_example_of_the_documents(
    manager: ImageCacheHostManager, capabilities: dict[str, Any], passes: bool
) -> None:
    """docs/scheduler.rst, "Free capacity and thin disks": its rows, in order."""
    datastores = {"total_capacity_gb": 10_000, "free_capacity_gb": 6_940}
    booked = {"allocated_capacity_gb": 16_000, "extra_provisioned_capacity_gb": 200}
    report(manager, **{**datastores, **booked, **capabilities})
    asked = {"size": 40, "request_spec": {"volume_id": "v"}}
    assert CapacityFilter().backend_passes(pool(manager), asked) is passes


@pytest.mark.parametrize(
    ("report", "provisioned"),
    [
        ({"provisioned_capacity_gb": 0, "extra_provisioned_capacity_gb": 5}, 5),
        ({"provisioned_capacity_gb": 0, "extra_provisioned_capacity_gb": 0}, 0),
        ({"provisioned_capacity_gb": 1, "extra_provisioned_capacity_gb": 0}, 1),
        ({"provisioned_capacity_gb": 0.0, "extra_provisioned_capacity_gb": 0.5}, 0.5),
        ({"allocated_capacity_gb": 0, "extra_provisioned_capacity_gb": 5}, 5),
        ({"extra_provisioned_capacity_gb": 5}, 5),
        (
            {
                "provisioned_capacity_gb": 0,
                "allocated_capacity_gb": 9,
                "extra_provisioned_capacity_gb": 5,
            },
            5,
        ),
    ],
)
def test_a_pool_with_nothing_provisioned_has_its_templates_counted(
    report: dict[str, float], provisioned: float
) -> None:
    assert with_templates_counted(report)["provisioned_capacity_gb"] == provisioned


@pytest.mark.parametrize("wrong", ["unknown", None, -1, -0.5, float("nan"), float("inf"), True])
def test_a_value_that_is_no_number_of_gigabytes_is_not_added(
    wrong: object, caplog: pytest.LogCaptureFixture
) -> None:
    reported = {"provisioned_capacity_gb": 3, "extra_provisioned_capacity_gb": wrong}
    assert with_templates_counted(reported)["provisioned_capacity_gb"] == 3
    assert any("not a number of GiB" in record.getMessage() for record in caplog.records)
    caplog.clear()
    counted = with_templates_counted(
        {"provisioned_capacity_gb": wrong, "extra_provisioned_capacity_gb": 3}
    )
    assert counted["provisioned_capacity_gb"] is wrong
    assert caplog.records == []


def test_a_backend_that_reports_no_templates_is_left_as_it_is() -> None:
    for reported in ({"provisioned_capacity_gb": 3}, {"allocated_capacity_gb": 3}, {}):
        assert with_templates_counted(reported) == reported

"""A burst of volumes that wait for their clones delays no other operations.

vCenter stands still at the first clone, so the volumes wait as long as the test needs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.road import Road, an_instance
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk
from vmdk_cache.cinder.workers import OPTION

IMAGE = as_stream_optimized(filesystem_disk(8 << 20))
OPTIONS = {
    "enable_image_cache": "true",
    "image_cache_purge_interval": "3600",
    "image_cache_replicas": "off",
    "vmware_enable_volume_stats": "false",
}
#: More than the default number of oslo.messaging's workers.
VOLUMES = 80
FEW_WORKERS = 4
PATIENCE_S = 600.0


@contextlib.contextmanager
def clones_held_up(running: Cloud) -> Iterator[threading.Event]:
    """No clone ends before the event is set, or the block ends."""
    go_on = threading.Event()
    rule = running.vcenter.fault_rules.add(
        "CloneVM_Task", on="task", times=None, action=lambda: go_on.wait(PATIENCE_S)
    )
    try:
        yield go_on
    finally:
        go_on.set()
        running.vcenter.fault_rules.remove(rule)


@contextlib.contextmanager
def a_cloud(glance: Glance, defaults: Mapping[str, str]) -> Iterator[tuple[Cloud, str]]:
    """A cloud, and an image with a template."""
    with cloud({"vmware": (OUR_DRIVER, OPTIONS)}, glance=glance, defaults=defaults) as running:
        image_id = running.upload("fleet", IMAGE)
        volume_id = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
        running.cinder.wait("volumes", volume_id, "available")
        yield running, image_id
        assert running.vcenter.errors == []


def begun(running: Cloud) -> int:
    """Number of volumes from images that cinder-volume has started to create."""
    return len(running.openstack.cinder.log_lines("being created as image"))


@pytest.mark.timeout(600)
def test_volumes_are_created_and_attached_while_a_burst_waits(glance: Glance) -> None:
    with a_cloud(glance, {}) as (running, image_id), an_instance(running.vcenter) as instance:
        road = Road("cached", running, "vmware", image_id)
        attached = running.cinder.create_volume(1, name="there before")
        running.cinder.wait("volumes", attached, "available")
        with clones_held_up(running):
            ids = running.create_at_once(VOLUMES, 1, imageRef=image_id, metadata=USE_CACHE)
            wait_until(lambda: begun(running) == VOLUMES + 1, what="the burst", timeout_s=200)
            blank = running.cinder.create_volume(1, name="blank")
            running.cinder.wait("volumes", blank, "available")
            road.detach(attached, road.attach(attached, instance))
            statuses = {running.cinder.show("volumes", one)["status"] for one in ids}
            assert statuses <= {"creating", "downloading"}
        for one in ids:
            assert outcome(running.cinder.wait("volumes", one, "available")) == "hit"
        assert running.openstack.cinder.log_lines(f"WARNING .*{OPTION}") == []


def test_too_few_workers_are_named_in_the_log_and_are_all_taken_by_a_burst(
    glance: Glance,
) -> None:
    """The operator's own number is kept."""
    with a_cloud(glance, {OPTION: str(FEW_WORKERS)}) as (running, image_id):
        log_lines = running.openstack.cinder.log_lines
        (line,) = log_lines(f" WARNING vmdk_cache.*{OPTION}")
        assert f"{OPTION} is {FEW_WORKERS}." in line
        with clones_held_up(running):
            ids = running.create_at_once(FEW_WORKERS + 2, 1, imageRef=image_id, metadata=USE_CACHE)
            wait_until(lambda: begun(running) == FEW_WORKERS + 1, what="the burst", timeout_s=60)
            wait_until(
                lambda: log_lines(f" WARNING .*All {FEW_WORKERS} workers"),
                what="a warning",
                timeout_s=60,
            )
            blank = running.cinder.create_volume(1, name="blank")
            assert running.cinder.show("volumes", blank)["status"] == "creating"
            assert begun(running) == FEW_WORKERS + 1
            assert log_lines(f"{blank}: being created") == []
        for one in (*ids, blank):
            running.cinder.wait("volumes", one, "available")

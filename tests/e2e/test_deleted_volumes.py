"""A volume that is deleted by force while the cache works on it leaves no VM behind.

vCenter stands still until the volume has been deleted, so the order of events is certain.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyVmomi import vmodl

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk

IMAGE = as_stream_optimized(filesystem_disk(8 << 20))
OPTIONS = {
    "enable_image_cache": "true",
    "image_cache_purge_interval": "3600",
    "image_cache_replicas": "off",
    # The second volume of an image has to wait for the first.
    "image_cache_clones_per_template": "1",
}
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def running(glance: Glance) -> Iterator[Cloud]:
    with cloud({"vmware": (OUR_DRIVER, OPTIONS)}, glance=glance) as running:
        yield running
        assert running.vcenter.errors == []


class Stop:
    """vCenter stands still at one request until :meth:`go_on`."""

    def __init__(self, running: Cloud, method: str, **rule: Any) -> None:
        self._reached = threading.Event()
        self._go_on = threading.Event()
        running.vcenter.fault_rules.add(method, action=self._stand_still, **rule)

    def _stand_still(self) -> None:
        self._reached.set()
        assert self._go_on.wait(PATIENCE_S)

    def reached(self) -> None:
        assert self._reached.wait(PATIENCE_S), "the request did not arrive"

    def go_on(self) -> None:
        self._go_on.set()


@contextlib.contextmanager
def stopped(running: Cloud, method: str, **rule: Any) -> Iterator[Stop]:
    stop = Stop(running, method, **rule)
    try:
        yield stop
    finally:
        stop.go_on()
        running.vcenter.fault_rules.clear()


def force_delete(running: Cloud, volume_id: str) -> None:
    running.cinder.act(volume_id, "os-force_delete", {})


def reset_and_delete(running: Cloud, volume_id: str) -> None:
    running.cinder.act(volume_id, "os-reset_status", {"status": "error"})
    running.cinder.delete("volumes", volume_id)


def create(running: Cloud, image_id: str) -> str:
    return running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)


def begun(running: Cloud, volume_id: str) -> None:
    """Wait until cinder-volume works on the volume."""
    wait_until(
        lambda: running.openstack.cinder.log_lines(f"{volume_id}: being created as image"),
        what=f"the creation of volume {volume_id} to start",
        timeout_s=60,
    )


def await_gone(running: Cloud, *volume_ids: str) -> None:
    """Wait for the deletion. Until then a volume may be in error, because its creation has
    failed.
    """

    def listed() -> set[str]:
        return {volume["id"] for volume in running.cinder.request("GET", "/volumes")["volumes"]}

    wait_until(lambda: not listed() & set(volume_ids), what="the deletion", timeout_s=60)


def is_over(running: Cloud, volume_id: str) -> None:
    """Wait until the flow that creates the volume has ended."""
    wait_until(
        lambda: running.openstack.cinder.log_lines(f"Volume {volume_id}: create failed"),
        what=f"the creation of volume {volume_id} to end",
        timeout_s=90,
    )


def cached(running: Cloud, name: str) -> str:
    """An image with a template, and no volume."""
    image_id = running.upload(name, IMAGE)
    volume_id = create(running, image_id)
    running.cinder.wait("volumes", volume_id, "available")
    running.delete_all([volume_id])
    running.vcenter.request_log.reset()
    return image_id


def volumes_in_vcenter(running: Cloud) -> list[str]:
    return [vm.name for vm in running.vcenter.vms() if not vm.config.template]


@pytest.mark.parametrize("delete", [force_delete, reset_and_delete])
def test_a_volume_deleted_while_it_waits_is_not_cloned(
    running: Cloud, delete: Callable[[Cloud, str], None]
) -> None:
    image_id = cached(running, f"line {delete.__name__}")
    with stopped(running, "CloneVM_Task", on="task") as clone:
        first = create(running, image_id)
        clone.reached()
        second = create(running, image_id)
        begun(running, second)
        delete(running, second)
        await_gone(running, second)
        clone.go_on()
        running.cinder.wait("volumes", first, "available")
        is_over(running, second)
    assert volumes_in_vcenter(running) == [f"volume-{first}"]
    assert running.vcenter.request_log.count("CloneVM_Task") == 1
    assert running.vcenter.request_log.count("ImportVApp") == 0
    running.delete_all([first])


@pytest.mark.parametrize("deleted", ["leader", "follower", "both"])
def test_a_volume_deleted_while_its_image_is_imported_is_not_cloned_and_others_are(
    running: Cloud, deleted: str
) -> None:
    image_id = running.upload(f"import, {deleted} deleted", IMAGE)
    running.vcenter.request_log.reset()
    with stopped(running, "nfc:POST") as upload:
        leader = create(running, image_id)
        upload.reached()
        followers = [create(running, image_id) for _ in range(2)]
        for one in followers:
            begun(running, one)
        gone = {"leader": [leader], "follower": followers[:1], "both": [leader, followers[0]]}
        for one in gone[deleted]:
            force_delete(running, one)
        await_gone(running, *gone[deleted])
        upload.go_on()
        stay = [one for one in (leader, *followers) if one not in gone[deleted]]
        for one in stay:
            volume = running.cinder.wait("volumes", one, "available")
            assert outcome(volume) in ("hit", "miss")
        for one in gone[deleted]:
            is_over(running, one)
    assert sorted(volumes_in_vcenter(running)) == sorted(f"volume-{one}" for one in stay)
    assert running.glance.downloads(image_id) == 1
    assert running.vcenter.request_log.count("ImportVApp") == 1
    running.delete_all(stay)


@pytest.mark.parametrize("at", ["CloneVM_Task", "ReconfigVM_Task"])
def test_a_volume_deleted_during_its_own_clone_is_removed(running: Cloud, at: str) -> None:
    image_id = cached(running, f"own clone, {at}")
    with stopped(running, at, on="task") as task:
        volume_id = create(running, image_id)
        task.reached()
        force_delete(running, volume_id)
        task.go_on()
        await_gone(running, volume_id)
        wait_until(lambda: not volumes_in_vcenter(running), what="no VM", timeout_s=30)
    assert running.vcenter.request_log.count("CloneVM_Task") == 1
    assert running.vcenter.request_log.count("ImportVApp") == 0


def test_a_volume_deleted_before_the_cache_fails_is_not_imported_either(running: Cloud) -> None:
    image_id = cached(running, "fault")
    fault = vmodl.fault.SystemError(reason="test")
    with stopped(running, "CloneVM_Task", on="task", fault=fault) as clone:
        volume_id = create(running, image_id)
        clone.reached()
        force_delete(running, volume_id)
        clone.go_on()
        await_gone(running, volume_id)
        is_over(running, volume_id)
    assert volumes_in_vcenter(running) == []
    assert running.vcenter.request_log.count("ImportVApp") == 0
    assert running.openstack.cinder.log_lines(f"{volume_id} bypasses the image cache") == []

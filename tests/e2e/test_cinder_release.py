"""A volume's whole life through the cache, on the installed Cinder.

``make matrix`` runs this with each supported release, Python and kind of threads; ``make test``
with Cinder's newest release, on eventlet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pyVmomi import vmodl

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk

THREADS_VARIABLE = "VMDK_CACHE_E2E_THREADS"
IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
OPTIONS = {
    "enable_image_cache": "true",
    "image_cache_purge_interval": "1",
    "image_cache_replicas": "off",
}


@pytest.fixture(scope="module")
def running(glance: Glance) -> Iterator[Cloud]:
    threads = os.environ.get(THREADS_VARIABLE, "eventlet")
    assert threads == "eventlet" or threads == "threading", f"{THREADS_VARIABLE} is {threads!r}"
    with cloud({"vmware": (OUR_DRIVER, OPTIONS)}, glance=glance, threads=threads) as running:
        yield running
        assert running.vcenter.errors == []


def test_a_volume_lives_its_whole_life_through_the_cache(running: Cloud) -> None:
    image_id = running.upload("image", IMAGE)
    first, second = create(running, image_id, "miss"), create(running, image_id, "hit")
    assert running.glance.downloads(image_id) == 1

    refused = running.vcenter.fault_rules.add("CloneVM_Task", vmodl.fault.NotSupported())
    plain = create(running, image_id, "bypass: fault")
    assert (refused.hits, running.glance.downloads(image_id)) == (1, 2)
    (line,) = running.openstack.cinder.log_lines(f"WARNING vmdk_cache.*Volume {plain} bypasses")
    assert "bypasses the image cache (fault)" in line

    for volume_id in (first, second, plain):
        running.assert_holds(volume_id, IMAGE, 1)
    # One template, counted in addition to the volumes that the scheduler has booked.
    wait_until(lambda: counted(running) == (1, 4), what="the backend's report", timeout_s=60)

    running.delete_all([first, second, plain])
    assert [bool(vm.config.template) for vm in running.vcenter.vms()] == [True]
    running.glance.delete(image_id)
    wait_until(lambda: not running.vcenter.vms(), what="the purge of the template", timeout_s=60)
    wait_until(lambda: counted(running) == (0, 0), what="the backend's report", timeout_s=60)
    assert (running.vcenter.leases(), running.files()) == ([], {})


def create(running: Cloud, image_id: str, expected: str) -> str:
    """A volume of 1 GiB that requests the cache, available; :returns: its id."""
    volume_id = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    assert outcome(running.cinder.wait("volumes", volume_id, "available")) == expected
    return volume_id


def counted(running: Cloud) -> tuple[int, int]:
    """The scheduler's figures in GiB: the templates, and the templates with the volumes."""
    (pool,) = running.cinder.pools()
    found = pool["capabilities"]
    return found["extra_provisioned_capacity_gb"], found["provisioned_capacity_gb"]

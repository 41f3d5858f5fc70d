"""Cinder's services on separate hosts, with RabbitMQ, PostgreSQL and locks of etcd. An image is
imported once for all of them. A killed cinder-volume costs no volume of another host and no second
import, and leaves nothing behind.
"""

from __future__ import annotations

import pathlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.cloud import GIB, USE_CACHE, outcome
from tests.e2e.deployment import Deployment, deployment
from tests.e2e.stack.client import Resource
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.services.etcd import Etcd

HOSTS = ("host1", "host2")
VOLUMES = 20
#: Clones that finish before one of the hosts is killed; the others wait for that.
CLONED_BEFORE = 5
IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
TIMEOUT_S = 180.0
OPTIONS = {
    "enable_image_cache": "true",
    "image_cache_purge_interval": "2",
    "image_cache_replicas": "off",
}


@pytest.fixture
def deployed(tmp_path: pathlib.Path, glance: Glance) -> Iterator[Deployment]:
    costs = CostModel(enabled=True, fixed_clone_s=0.5)
    with (
        Etcd() as etcd,
        VCenter(Model(hosts_per_cluster=2, datastores=2), cost_model=costs) as vcenter,
        deployment(
            tmp_path, vcenter, glance, hosts=HOSTS, options=OPTIONS, coordination_url=etcd.url
        ) as running,
    ):
        yield running


def request_volumes(deployed: Deployment, image_id: str, count: int) -> list[str]:
    """Request volumes in parallel; :returns: their ids."""
    ask, fields = deployed.cinder.client.create_volume, {"imageRef": image_id}
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask, 1, metadata=USE_CACHE, **fields) for _ in range(count)]
    return [one.result() for one in asked]


def settled(deployed: Deployment, volume_ids: list[str]) -> list[Resource]:
    """The volumes, once each is available or in error."""
    wait = deployed.cinder.client.wait
    return [wait("volumes", volume_id, "available", "error") for volume_id in volume_ids]


def vm_names(deployed: Deployment, *, templates: bool) -> set[str]:
    with deployed.vcenter.lock:
        return {vm.name for vm in deployed.vcenter.vms() if vm.config.template == templates}


def host_of(volume: Resource) -> str:
    host: str = volume["os-vol-host-attr:host"]
    return host.partition("@")[0]


@pytest.mark.timeout(600)
def test_a_killed_cinder_volume_fails_no_other_hosts_volume_and_causes_no_second_import(
    deployed: Deployment,
) -> None:
    vcenter, cinder = deployed.vcenter, deployed.cinder
    image_id = deployed.glance.upload_image("image", IMAGE)
    killed = threading.Event()
    vcenter.fault_rules.add(
        "CloneVM_Task", skip=CLONED_BEFORE, times=None, action=lambda: killed.wait(TIMEOUT_S)
    )
    ids = request_volumes(deployed, image_id, VOLUMES)
    # If a service is killed after it has received a request and before it starts on it, Cinder does
    # not notice: the volume stays in "creating" until an administrator resets it.
    wait_until(
        lambda: sum(map(cinder.begun, HOSTS)) == VOLUMES,
        what="the creation of every volume to start",
        timeout_s=TIMEOUT_S,
    )
    cinder.kill(HOSTS[1])
    killed.set()
    cinder.restart(HOSTS[1])
    volumes = settled(deployed, ids)

    cast_to = Counter(map(host_of, volumes))
    assert set(cast_to) == set(HOSTS), "the scheduler sent all volumes to one host"
    available = [volume for volume in volumes if volume["status"] == "available"]
    lost = [volume for volume in volumes if volume["status"] == "error"]
    assert lost, "the host was killed after it had created all of its volumes"
    assert {host_of(volume) for volume in lost} == {HOSTS[1]}
    assert {outcome(volume) for volume in available} <= {"hit", "miss"}
    assert deployed.glance.downloads(image_id) == 1

    wait_until(
        lambda: not vcenter.tasks.running(), what="the killed host's clones to end", timeout_s=60
    )
    for volume in lost:
        cinder.client.delete("volumes", volume["id"])
    cinder.client.wait_gone("volumes", *(volume["id"] for volume in lost))

    # The killed host takes part again.
    again = settled(deployed, request_volumes(deployed, image_id, 6))
    assert {volume["status"] for volume in again} == {"available"}
    assert {outcome(volume) for volume in again} == {"hit"}
    assert HOSTS[1] in set(map(host_of, again))
    assert deployed.glance.downloads(image_id) == 1

    held = [*available, *again]
    for volume in held:
        disk = vcenter.read_disk(f"volume-{volume['id']}")
        assert disk.size_bytes == GIB
        assert disk.read(0, len(IMAGE.disk)) == IMAGE.disk
    assert vm_names(deployed, templates=False) == {f"volume-{volume['id']}" for volume in held}
    assert len(vm_names(deployed, templates=True)) == 1
    assert vcenter.leases() == []
    print(f"of {VOLUMES} volumes over {dict(cast_to)}, {len(lost)} in error after the kill")

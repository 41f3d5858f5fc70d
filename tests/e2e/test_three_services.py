"""Cinder's services on separate hosts, with RabbitMQ, PostgreSQL and locks of etcd. An image is
imported once for all of them. A killed cinder-volume costs no volume of another host and no second
import, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e.cloud import GIB, HOST_MANAGER, OUR_DRIVER, USE_CACHE, outcome
from tests.e2e.stack.cinder_hosts import CinderHosts
from tests.e2e.stack.client import Resource
from tests.e2e.stack.config import Backend, vmware_options
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.services.etcd import Etcd
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ

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


@dataclass(frozen=True)
class Deployed:
    vcenter: VCenter
    glance: Glance
    cinder: CinderHosts

    def create(self, image_id: str, count: int) -> list[str]:
        """Request volumes in parallel."""
        with ThreadPoolExecutor(count) as pool:
            asked = [
                pool.submit(
                    self.cinder.client.create_volume, 1, imageRef=image_id, metadata=USE_CACHE
                )
                for _ in range(count)
            ]
        return [one.result() for one in asked]

    def settled(self, volume_ids: list[str]) -> list[Resource]:
        """The volumes, once each is available or in error."""
        return [
            self.cinder.client.wait("volumes", volume_id, "available", "error")
            for volume_id in volume_ids
        ]

    def vm_names(self, *, templates: bool) -> set[str]:
        with self.vcenter.lock:
            return {vm.name for vm in self.vcenter.vms() if vm.config.template == templates}


@pytest.fixture
def deployed(tmp_path: pathlib.Path) -> Iterator[Deployed]:
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(Etcd())
        database = stack.enter_context(PostgreSQL())
        broker = stack.enter_context(RabbitMQ())
        costs = CostModel(enabled=True, fixed_clone_s=0.5)
        vcenter = stack.enter_context(
            VCenter(Model(hosts_per_cluster=2, datastores=2), cost_model=costs)
        )
        for name in ("glance", "cinder"):
            (tmp_path / name).mkdir()
        glance = Glance(tmp_path / "glance")
        stack.callback(glance.stop)
        glance.prepare()
        glance.start()
        reached = vmware_options(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            password=vcenter.password,
            ca_file=vcenter.ca_file,
        )
        cinder = stack.enter_context(
            CinderHosts(
                tmp_path / "cinder",
                hosts=HOSTS,
                backend=Backend("vmware", OUR_DRIVER, {**reached, **OPTIONS}),
                glance_url=glance.url,
                servers={
                    "DEFAULT": {"transport_url": broker.url},
                    "database": {"connection": database.url},
                    "coordination": {"backend_url": etcd.url},
                },
                defaults={"scheduler_host_manager": HOST_MANAGER},
            )
        )
        yield Deployed(vcenter, glance, cinder)
        assert vcenter.errors == []


def host_of(volume: Resource) -> str:
    host: str = volume["os-vol-host-attr:host"]
    return host.partition("@")[0]


@pytest.mark.timeout(600)
def test_a_killed_cinder_volume_fails_no_other_hosts_volume_and_causes_no_second_import(
    deployed: Deployed,
) -> None:
    vcenter, cinder = deployed.vcenter, deployed.cinder
    image_id = deployed.glance.upload(
        "image",
        IMAGE.file_bytes,
        disk_format=IMAGE.disk_format,
        container_format=IMAGE.container_format,
        **IMAGE.glance_properties,
    )
    killed = threading.Event()
    vcenter.fault_rules.add(
        "CloneVM_Task", skip=CLONED_BEFORE, times=None, action=lambda: killed.wait(TIMEOUT_S)
    )
    ids = deployed.create(image_id, VOLUMES)
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
    volumes = deployed.settled(ids)

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
    again = deployed.settled(deployed.create(image_id, 6))
    assert {volume["status"] for volume in again} == {"available"}
    assert {outcome(volume) for volume in again} == {"hit"}
    assert HOSTS[1] in set(map(host_of, again))
    assert deployed.glance.downloads(image_id) == 1

    held = [*available, *again]
    for volume in held:
        disk = vcenter.read_disk(f"volume-{volume['id']}")
        assert disk.size_bytes == GIB
        assert disk.read(0, len(IMAGE.disk)) == IMAGE.disk
    assert deployed.vm_names(templates=False) == {f"volume-{volume['id']}" for volume in held}
    assert len(deployed.vm_names(templates=True)) == 1
    assert vcenter.leases() == []
    print(f"of {VOLUMES} volumes over {dict(cast_to)}, {len(lost)} in error after the kill")

"""A deployed cinder-volume, with a process for its backend: options that change on SIGHUP, the
reports of ``GET /capabilities`` and to the scheduler, and a stop that leaves no session in vCenter.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.cloud import HOST_MANAGER, OUR_DRIVER, USE_CACHE, outcome
from tests.e2e.stack.cinder_hosts import CinderHosts
from tests.e2e.stack.client import Resource
from tests.e2e.stack.config import Backend, vmware_options
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import VCenter
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ

HOST = "host1"
SERVICE = f"{HOST}@vmware"
IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Deployed:
    vcenter: VCenter
    glance: Glance
    cinder: CinderHosts

    def upload(self, name: str) -> str:
        return self.glance.upload(
            name,
            IMAGE.file_bytes,
            disk_format=IMAGE.disk_format,
            container_format=IMAGE.container_format,
            **IMAGE.glance_properties,
        )

    def create(self, image_id: str, **fields: object) -> Resource:
        """Create a volume that requests the cache; returns it when it is available or in error."""
        volume_id = self.cinder.client.create_volume(
            1, imageRef=image_id, metadata=USE_CACHE, **fields
        )
        return self.cinder.client.wait("volumes", volume_id, "available", "error")

    def change(self, said: str, **options: str) -> None:
        """Change options, and wait for the log line of the backend's process that it has applied
        them.
        """
        before = len(self.cinder.log_lines(HOST, said))
        self.cinder.change_options(HOST, **options)
        wait_until(
            lambda: len(self.cinder.log_lines(HOST, said)) > before,
            what=f"{said!r} in the log",
            timeout_s=TIMEOUT_S,
        )

    def pool(self) -> Resource:
        (pool,) = self.cinder.client.pools()
        capabilities: Resource = pool["capabilities"]
        return capabilities


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    path = tmp_path_factory.mktemp("running")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(PostgreSQL())
        broker = stack.enter_context(RabbitMQ())
        vcenter = stack.enter_context(VCenter())
        for name in ("glance", "cinder"):
            (path / name).mkdir()
        glance = Glance(path / "glance")
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
        options = {"enable_image_cache": "true", "image_cache_replicas": "off"}
        cinder = stack.enter_context(
            CinderHosts(
                path / "cinder",
                hosts=[HOST],
                backend=Backend("vmware", OUR_DRIVER, {**reached, **options}),
                glance_url=glance.url,
                servers={
                    "DEFAULT": {"transport_url": broker.url},
                    "database": {"connection": database.url},
                },
                defaults={
                    "scheduler_host_manager": HOST_MANAGER,
                    "graceful_shutdown_timeout": "60",
                },
            )
        )
        yield Deployed(vcenter, glance, cinder)
        assert vcenter.errors == []


@pytest.mark.timeout(600)
def test_the_api_returns_the_drivers_version_and_its_extra_spec(deployed: Deployed) -> None:
    told = deployed.cinder.client.request("GET", f"/capabilities/{SERVICE}")
    assert told["driver_version"].endswith(" (vmdk 3.4.4)")
    assert told["driver_version"].split()[0] != "3.4.4"
    assert told["properties"]["vmware:use_image_cache"]["type"] == "boolean"
    started = deployed.cinder.log_lines(HOST, "Starting volume driver ImageCacheVmdkDriver")
    assert told["driver_version"] in started[0]
    assert deployed.pool()["driver_version"] == told["driver_version"]


@pytest.mark.timeout(600)
def test_the_cache_is_switched_off_and_on_by_sighup(deployed: Deployed) -> None:
    """The volume type asks the scheduler for a backend with a cache, and finds one while it is
    on.
    """
    image_id = deployed.upload("switched")
    wants_one = deployed.cinder.client.create_volume_type("wants-a-cache", image_cache="<is> True")
    assert outcome(deployed.create(image_id, volume_type=wants_one)) == "miss"

    deployed.change("Option vmware.enable_image_cache changed", enable_image_cache="false")
    off = deployed.create(image_id)
    assert (off["status"], outcome(off)) == ("available", "bypass: cache-disabled")
    wait_until(
        lambda: deployed.pool()["image_cache"] is False, what="a report", timeout_s=TIMEOUT_S
    )
    assert deployed.create(image_id, volume_type=wants_one)["status"] == "error"

    deployed.change("Option vmware.enable_image_cache changed", enable_image_cache="true")
    assert outcome(deployed.create(image_id)) == "hit"
    assert deployed.glance.downloads(image_id) == 2, "the plain import and ours"


@pytest.mark.timeout(600)
def test_a_value_that_cannot_be_used_changes_nothing(deployed: Deployed) -> None:
    image_id = deployed.upload("unusable")
    refused = "The image cache keeps its previous settings: [vmware] "
    deployed.change(refused, image_cache_max_size_gb="plenty")
    (line,) = deployed.cinder.log_lines(HOST, refused)
    assert " ERROR " in line
    assert "image_cache_max_size_gb" in line
    assert outcome(deployed.create(image_id)) == "miss"

    deployed.change("Option vmware.image_cache_max_count changed", image_cache_max_size_gb="1",
                    image_cache_max_count="5")  # fmt: skip
    assert outcome(deployed.create(image_id)) == "hit"


@pytest.mark.timeout(600)
def test_an_option_that_takes_a_restart_is_named(deployed: Deployed) -> None:
    deployed.change(
        "Ignoring change to immutable option vmware.image_cache_ledger", image_cache_ledger=""
    )


@pytest.mark.timeout(600)
def test_a_stop_completes_what_is_under_way_and_logs_out(deployed: Deployed) -> None:
    """SIGTERM during an import: the volume is still created, and no session is left in vCenter."""
    image_id = deployed.upload("stopped")
    goes_on, began = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert goes_on.wait(TIMEOUT_S)

    deployed.vcenter.fault_rules.add("ImportVApp", action=hold)
    volume_id = deployed.cinder.client.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    assert began.wait(TIMEOUT_S)
    assert deployed.vcenter.sessions.active() != []
    deployed.cinder.terminate(HOST)
    wait_until(
        lambda: deployed.cinder.log_lines(HOST, "stopping children"), what="a stop",
        timeout_s=TIMEOUT_S,
    )  # fmt: skip
    goes_on.set()
    deployed.cinder.volume[HOST].wait(TIMEOUT_S)
    assert deployed.vcenter.sessions.active() == []
    volume = deployed.cinder.client.show("volumes", volume_id)
    assert (volume["status"], outcome(volume)) == ("available", "miss")
    assert deployed.vcenter.leases() == []

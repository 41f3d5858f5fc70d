"""A deployed cinder-volume, with a process for its backend: options that change on SIGHUP, the
reports of ``GET /capabilities`` and to the scheduler, and a stop that leaves no session in vCenter.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.e2e.cloud import USE_CACHE, outcome
from tests.e2e.deployment import Deployment, deployment
from tests.e2e.stack.client import Resource
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import VCenter

HOST = "host1"
SERVICE = f"{HOST}@vmware"
IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, glance: Glance) -> Iterator[Deployment]:
    options = {"enable_image_cache": "true", "image_cache_replicas": "off"}
    defaults = {"graceful_shutdown_timeout": "60"}
    path = tmp_path_factory.mktemp("running")
    with (
        VCenter() as vcenter,
        deployment(
            path, vcenter, glance, hosts=[HOST], options=options, defaults=defaults
        ) as running,
    ):
        yield running


def create(deployed: Deployment, image_id: str, **fields: object) -> Resource:
    """Create a volume that requests the cache; returns it when it is available or in error."""
    client = deployed.cinder.client
    volume_id = client.create_volume(1, imageRef=image_id, metadata=USE_CACHE, **fields)
    return client.wait("volumes", volume_id, "available", "error")


def change(deployed: Deployment, said: str, **options: str) -> None:
    """Change options, and wait until the backend's process logs that it has applied them."""
    before = len(deployed.cinder.log_lines(HOST, said))
    deployed.cinder.change_options(HOST, **options)
    wait_until(
        lambda: len(deployed.cinder.log_lines(HOST, said)) > before,
        what=f"{said!r} in the log",
        timeout_s=TIMEOUT_S,
    )


def capabilities(deployed: Deployment) -> Resource:
    """What the scheduler knows of the one pool."""
    (pool,) = deployed.cinder.client.pools()
    found: Resource = pool["capabilities"]
    return found


@pytest.mark.timeout(600)
def test_the_api_returns_the_drivers_version_and_its_extra_spec(deployed: Deployment) -> None:
    told = deployed.cinder.client.request("GET", f"/capabilities/{SERVICE}")
    assert told["driver_version"].endswith(" (vmdk 3.4.4)")
    assert told["driver_version"].split()[0] != "3.4.4"
    assert told["properties"]["vmware:use_image_cache"]["type"] == "boolean"
    started = deployed.cinder.log_lines(HOST, "Starting volume driver ImageCacheVmdkDriver")
    assert told["driver_version"] in started[0]
    assert capabilities(deployed)["driver_version"] == told["driver_version"]


@pytest.mark.timeout(600)
def test_the_cache_is_switched_off_and_on_by_sighup(deployed: Deployment) -> None:
    """The volume type asks the scheduler for a backend with a cache, and finds one while it is
    on.
    """
    image_id = deployed.glance.upload_image("switched", IMAGE)
    wants_one = deployed.cinder.client.create_volume_type("wants-a-cache", image_cache="<is> True")
    assert outcome(create(deployed, image_id, volume_type=wants_one)) == "miss"

    change(deployed, "Option vmware.enable_image_cache changed", enable_image_cache="false")
    off = create(deployed, image_id)
    assert (off["status"], outcome(off)) == ("available", "bypass: cache-disabled")
    wait_until(
        lambda: capabilities(deployed)["image_cache"] is False, what="a report", timeout_s=TIMEOUT_S
    )
    assert create(deployed, image_id, volume_type=wants_one)["status"] == "error"

    change(deployed, "Option vmware.enable_image_cache changed", enable_image_cache="true")
    assert outcome(create(deployed, image_id)) == "hit"
    assert deployed.glance.downloads(image_id) == 2, "the plain import and ours"


@pytest.mark.timeout(600)
def test_a_value_that_cannot_be_used_changes_nothing(deployed: Deployment) -> None:
    image_id = deployed.glance.upload_image("unusable", IMAGE)
    refused = "The image cache keeps its previous settings: [vmware] "
    change(deployed, refused, image_cache_max_size_gb="plenty")
    (line,) = deployed.cinder.log_lines(HOST, refused)
    assert " ERROR " in line
    assert "image_cache_max_size_gb" in line
    assert outcome(create(deployed, image_id)) == "miss"

    change(deployed, "Option vmware.image_cache_max_count changed", image_cache_max_size_gb="1",
                    image_cache_max_count="5")  # fmt: skip
    assert outcome(create(deployed, image_id)) == "hit"


@pytest.mark.timeout(600)
def test_an_option_that_takes_a_restart_is_named(deployed: Deployment) -> None:
    change(
        deployed,
        "Ignoring change to immutable option vmware.image_cache_ledger",
        image_cache_ledger="",
    )


@pytest.mark.timeout(600)
def test_a_stop_completes_what_is_under_way_and_logs_out(deployed: Deployment) -> None:
    """SIGTERM during an import: the volume is still created, and no session is left in vCenter."""
    image_id = deployed.glance.upload_image("stopped", IMAGE)
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

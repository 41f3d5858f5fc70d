"""A fleet rolls over: 300 volumes of one image at once, two backends, four datastores.

Both backends share one vCenter, each with two of its datastores and its own volume type: without
statistics, the scheduler would send all volumes to one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model

VOLUMES = 300
IMAGE = as_stream_optimized(filesystem_disk(8 << 20))
#: Cinder starts the volumes one after the other, so few share a request: two tasks, their watch and
#: a look at the clone. Upstream takes 22 (`make bench`).
REQUESTS_PER_VOLUME = 10


def options(datastores: str) -> dict[str, str]:
    return {
        "enable_image_cache": "true",
        "image_cache_purge_interval": "3600",
        "vmware_datastore_regex": datastores,
        # The report of upstream's own session reads all datastores, which is not counted here.
        "vmware_enable_volume_stats": "false",
    }


@pytest.fixture(scope="module")
def the_cloud(glance: Glance) -> Iterator[Cloud]:
    drivers = {
        "east": (OUR_DRIVER, options("DC0_DS[01]")),
        "west": (OUR_DRIVER, options("DC0_DS[23]")),
    }
    model = Model(hosts_per_cluster=4, datastores=4)
    with cloud(drivers, glance=glance, model=model) as running:
        yield running
        assert running.vcenter.errors == []


@pytest.mark.timeout(900)
def test_all_become_available_from_one_download_per_backend(the_cloud: Cloud) -> None:
    image_id = the_cloud.upload("fleet", IMAGE)
    requests = the_cloud.vcenter.request_log
    types = {
        name: the_cloud.cinder.create_volume_type(name, volume_backend_name=name)
        for name in ("east", "west")
    }
    requests.reset()
    with ThreadPoolExecutor(len(types)) as pool:

        def ask(volume_type: str) -> list[str]:
            return the_cloud.create_at_once(
                VOLUMES // 2, 1, imageRef=image_id, metadata=USE_CACHE, volume_type=volume_type
            )

        ids = [volume_id for part in pool.map(ask, types.values()) for volume_id in part]
    wait_until(lambda: is_over(the_cloud), what="all volumes", timeout_s=800, interval_s=2)
    counted = requests.by_method()

    volumes = the_cloud.cinder.volumes()
    assert Counter(volume["status"] for volume in volumes) == {"available": VOLUMES}
    outcomes = Counter(outcome(volume) for volume in volumes)
    assert outcomes == {"miss": 2, "hit": VOLUMES - 2}
    assert the_cloud.glance.downloads(image_id) == 2

    homes = {the_cloud.backing(volume_id).home_datastore.name for volume_id in ids}
    assert homes == {"DC0_DS0", "DC0_DS1", "DC0_DS2", "DC0_DS3"}
    wait_until(lambda: homes_of_copies(the_cloud) == sorted(homes), what="replicas", timeout_s=60)
    for volume_id in (ids[0], ids[-1]):
        the_cloud.assert_holds(volume_id, IMAGE, 1)

    # Upstream reads all hosts and datastores for each volume, and their properties one by one. Here
    # nothing is read more than once per volume, which is the look at its own clone.
    soap = {method: count for method, count in counted.items() if ":" not in method}
    assert sum(soap.values()) <= REQUESTS_PER_VOLUME * VOLUMES, soap
    assert soap["RetrievePropertiesEx"] <= VOLUMES + 20, soap
    assert soap["FindChild"] < VOLUMES / 2, soap
    assert soap["ReconfigVM_Task"] == VOLUMES


def homes_of_copies(the_cloud: Cloud) -> list[str]:
    return sorted(vm.home_datastore.name for vm in the_cloud.vcenter.vms() if vm.config.template)


def is_over(the_cloud: Cloud) -> bool:
    """Polls rarely, because the same Cinder has 300 volumes to create."""
    listed = [
        the_cloud.cinder.request("GET", f"/volumes?status={status}&limit=1")["volumes"]
        for status in ("creating", "downloading")
    ]
    return not any(listed)

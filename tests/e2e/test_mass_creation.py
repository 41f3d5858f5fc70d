"""Many volumes at once from an image that is not cached yet, on green and on native threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk

VOLUMES = 30
IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
OPTIONS = {
    "enable_image_cache": "true",
    "image_cache_purge_interval": "1",
    # This file counts templates, and replicas would add to them (test_three_hundred_volumes.py).
    "image_cache_replicas": "off",
}


@pytest.fixture(scope="module", params=["eventlet", "threading"])
def the_cloud(request: pytest.FixtureRequest, glance: Glance) -> Iterator[Cloud]:
    with cloud({"vmware": (OUR_DRIVER, OPTIONS)}, glance=glance, threads=request.param) as running:
        yield running
        assert running.vcenter.errors == []


def test_first_creates_at_once_import_the_image_once(the_cloud: Cloud) -> None:
    cinder = the_cloud.cinder
    image_id = the_cloud.upload("fresh", IMAGE)
    ids = the_cloud.create_at_once(VOLUMES, 1, imageRef=image_id, metadata=USE_CACHE)
    volumes = [cinder.wait("volumes", volume_id, "available") for volume_id in ids]

    assert the_cloud.glance.downloads(image_id) == 1
    outcomes = [outcome(volume) for volume in volumes]
    assert (outcomes.count("miss"), outcomes.count("hit")) == (1, VOLUMES - 1)
    for volume_id in ids:
        the_cloud.assert_holds(volume_id, IMAGE, 1)
    identities = {the_cloud.backing(volume_id).config.instanceUuid for volume_id in ids}
    assert identities == set(ids)

    the_cloud.delete_all(ids)
    assert [vm.config.template for vm in the_cloud.vcenter.vms()] == [True]
    assert the_cloud.vcenter.leases() == []
    assert all("_image_cache" in path for path in the_cloud.files())


def test_templates_are_seen_by_the_scheduler(the_cloud: Cloud) -> None:
    image_id = the_cloud.upload("counted", IMAGE)

    def extra_gb() -> int:
        (pool,) = the_cloud.cinder.pools()
        extra: int = pool["capabilities"]["extra_provisioned_capacity_gb"]
        return extra

    templates = sum(bool(vm.config.template) for vm in the_cloud.vcenter.vms())
    volume_id = the_cloud.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    the_cloud.cinder.wait("volumes", volume_id, "available")
    # 16 MiB per template: the sum is rounded up, not each of them.
    assert wait_until(extra_gb, what="the backend's next report", timeout_s=60) == 1
    assert sum(bool(vm.config.template) for vm in the_cloud.vcenter.vms()) == templates + 1
    the_cloud.cinder.delete("volumes", volume_id)
    the_cloud.cinder.wait_gone("volumes", volume_id)


def test_an_image_changed_in_glance_is_not_served_from_its_old_template(
    the_cloud: Cloud,
) -> None:
    """Glance images are immutable; a new upload has a new id and a template of its own."""
    first, second = the_cloud.upload("first", IMAGE), the_cloud.upload("second", IMAGE)
    for image_id in (first, second):
        volume_id = the_cloud.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
        volume = the_cloud.cinder.wait("volumes", volume_id, "available")
        assert outcome(volume) == "miss"
        assert the_cloud.glance.downloads(image_id) == 1
        the_cloud.cinder.delete("volumes", volume_id)
        the_cloud.cinder.wait_gone("volumes", volume_id)


def test_a_volume_that_did_not_ask_is_made_without_the_cache(the_cloud: Cloud) -> None:
    image_id = the_cloud.upload("plain", IMAGE)
    templates = sum(bool(vm.config.template) for vm in the_cloud.vcenter.vms())
    volume_id = the_cloud.cinder.create_volume(
        1, imageRef=image_id, metadata={"use_image_cache": "no"}
    )
    volume = the_cloud.cinder.wait("volumes", volume_id, "available")
    assert outcome(volume) is None
    assert sum(bool(vm.config.template) for vm in the_cloud.vcenter.vms()) == templates
    the_cloud.assert_holds(volume_id, IMAGE, 1)
    the_cloud.cinder.delete("volumes", volume_id)
    the_cloud.cinder.wait_gone("volumes", volume_id)


def test_the_template_of_a_deleted_image_goes_and_its_volumes_stay(the_cloud: Cloud) -> None:
    image_id, kept_id = the_cloud.upload("doomed", IMAGE), the_cloud.upload("kept", IMAGE)
    for one in (image_id, kept_id):
        volume_id = the_cloud.cinder.create_volume(1, imageRef=one, metadata=USE_CACHE)
        the_cloud.cinder.wait("volumes", volume_id, "available")

    def templates(of: str) -> int:
        return sum(vm.config.template and of in vm.name for vm in the_cloud.vcenter.vms())

    assert (templates(image_id), templates(kept_id)) == (1, 1)
    the_cloud.glance.delete(image_id)
    wait_until(lambda: not templates(image_id), what="the next purge", timeout_s=60)
    assert templates(kept_id) == 1
    the_cloud.assert_holds(volume_id, IMAGE, 1)

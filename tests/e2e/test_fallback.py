"""A cache that fails costs nobody a volume: the plain import makes it, and one line says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyVmomi import vim, vmodl

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.fakes.images import as_stream_optimized, filesystem_disk

IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
IMPORT_STEPS = ["ImportVApp", "nfc:POST", "HttpNfcLeaseComplete", "MarkAsTemplate"]
CLONE_STEPS = ["CloneVM_Task", "ReconfigVM_Task"]


@pytest.fixture(scope="module")
def running() -> Iterator[Cloud]:
    options = {"enable_image_cache": "true", "image_cache_max_size_gb": "1"}
    with cloud({"vmware": (OUR_DRIVER, options)}) as running:
        yield running
        assert running.vcenter.errors == []


@pytest.fixture(autouse=True)
def nothing_is_left(running: Cloud) -> Iterator[None]:
    """With its volumes deleted, a test leaves templates and nothing else."""
    yield
    running.vcenter.fault_rules.clear()
    ids = [volume["id"] for volume in running.cinder.volumes()]
    for volume_id in ids:
        running.cinder.delete("volumes", volume_id)
    running.cinder.wait_gone("volumes", *ids)
    templates = {vm.name for vm in running.vcenter.vms() if vm.config.template}
    assert {vm.name for vm in running.vcenter.vms()} == templates
    assert {path.split("] ")[1].split("/")[0] for path in running.files()} == templates
    assert running.vcenter.leases() == []


def complaints(running: Cloud, volume_id: str) -> list[str]:
    lines = running.openstack.cinder.log_lines(r" (WARNING|ERROR|CRITICAL) \S+ \[")
    return [line for line in lines if volume_id in line]


@pytest.mark.parametrize("method", IMPORT_STEPS + CLONE_STEPS)
def test_a_fault_at_any_step_ends_in_the_plain_import(running: Cloud, method: str) -> None:
    image_id = running.upload(f"fault at {method}", IMAGE)
    rule = running.vcenter.fault_rules.add(method, vmodl.fault.SystemError(reason="made up"))
    volume_id = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    volume = running.cinder.wait("volumes", volume_id, "available")

    assert rule.hits == 1
    assert outcome(volume) == "bypass: fault"
    running.assert_holds(volume_id, IMAGE, 1)
    assert running.backing(volume_id).config.instanceUuid == volume_id
    (line,) = complaints(running, volume_id)
    assert " WARNING vmdk_cache.cinder.driver " in line
    assert "without the image cache (fault)" in line
    assert running.openstack.cinder.log_lines(r" (WARNING|ERROR) vmdk_cache.* Traceback") == []
    cached = [vm for vm in running.vcenter.vms() if image_id in vm.name]
    assert len(cached) == (1 if method in CLONE_STEPS else 0)


def test_an_image_that_is_too_large_for_the_cache_says_so(running: Cloud) -> None:
    large = as_stream_optimized(IMAGE.disk, capacity_bytes=2 << 30)
    image_id = running.upload("large", large)
    volume_id = running.cinder.create_volume(2, imageRef=image_id, metadata=USE_CACHE)
    volume = running.cinder.wait("volumes", volume_id, "available")
    assert outcome(volume) == "bypass: image-too-large"
    running.assert_holds(volume_id, large, 2)
    (line,) = complaints(running, volume_id)
    assert "image_cache_max_size_gb" in line


def test_a_host_in_maintenance_does_not_take_the_template_with_it(running: Cloud) -> None:
    """A template on such a host cannot be cloned; the volume is made all the same."""
    image_id = running.upload("maintained", IMAGE)
    first = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    running.cinder.wait("volumes", first, "available")
    (template,) = (vm for vm in running.vcenter.vms() if image_id in vm.name)
    host = running.vcenter.registry.require(template.runtime.host)
    host.set_maintenance(True)
    try:
        volume_id = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
        running.cinder.wait("volumes", volume_id, "available")
        running.assert_holds(volume_id, IMAGE, 1)
    finally:
        host.set_maintenance(False)


def test_a_full_datastore_fails_the_import_cleanly(running: Cloud) -> None:
    image_id = running.upload("no space", IMAGE)
    running.vcenter.fault_rules.add("CloneVM_Task", vim.fault.NoDiskSpace(file="x"), on="task")
    volume_id = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    running.cinder.wait("volumes", volume_id, "available")
    running.assert_holds(volume_id, IMAGE, 1)

"""A cache that fails or refuses costs nobody a volume, and leaves nothing behind.

The fault hits once: the volume is then made by the plain import, and the log says why in one line.
Only a clone whose answer was lost needs no second road: the engine finds it by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.fakes.images import as_stream_optimized, filesystem_disk

IMAGE = as_stream_optimized(filesystem_disk(16 << 20))

IMPORT_FAULTS: dict[str, dict[str, Any]] = {
    "import refused": {"method": "ImportVApp", "fault": vim.fault.NoPermission()},
    "upload dropped": {"method": "nfc:POST", "drop": "before"},
    "upload refused": {"method": "nfc:POST", "http_status": 500},
    "lease not completed": {
        "method": "HttpNfcLeaseComplete",
        "fault": vmodl.fault.SystemError(reason="test"),
    },
    "not marked": {"method": "MarkAsTemplate", "fault": vim.fault.VmConfigFault()},
}
CLONE_FAULTS: dict[str, dict[str, Any]] = {
    "clone refused": {"method": "CloneVM_Task", "fault": vmodl.fault.NotSupported()},
    "clone failed": {
        "method": "CloneVM_Task",
        "on": "task",
        "fault": vmodl.fault.SystemError(reason="test"),
    },
    "clone unanswered": {"method": "CloneVM_Task", "drop": "after"},
    "not reconfigured": {
        "method": "ReconfigVM_Task",
        "on": "task",
        "fault": vim.fault.InvalidDeviceSpec(property="test", deviceIndex=0),
    },
}


@pytest.fixture(scope="module")
def running() -> Iterator[Cloud]:
    options = {
        "enable_image_cache": "true",
        "image_cache_age_seconds": "0",
        "image_cache_max_size_gb": "1",
    }
    with cloud({"vmware": (OUR_DRIVER, options), "off": (OUR_DRIVER, {})}) as running:
        for name in ("vmware", "off"):
            running.cinder.create_volume_type(name, volume_backend_name=name)
        yield running
        assert running.vcenter.errors == []


@pytest.fixture(scope="module")
def cached_image_id(running: Cloud) -> str:
    image_id = running.upload("cached", IMAGE)
    delete(running, create(running, image_id))
    return image_id


@pytest.mark.parametrize("name", [*IMPORT_FAULTS, *CLONE_FAULTS])
def test_a_fault_while_the_image_is_imported_costs_no_volume(running: Cloud, name: str) -> None:
    image_id = running.upload(name, IMAGE)
    check(running, image_id, {**IMPORT_FAULTS, **CLONE_FAULTS}[name])


@pytest.mark.parametrize("name", CLONE_FAULTS)
def test_a_fault_while_a_template_is_cloned_costs_no_volume(
    running: Cloud, cached_image_id: str, name: str
) -> None:
    check(running, cached_image_id, CLONE_FAULTS[name])


def test_a_user_who_asks_where_the_cache_is_off_is_told_so(running: Cloud) -> None:
    image_id = running.upload("off", IMAGE)
    volume_id = create(running, image_id, volume_type="off")
    assert outcome(running.cinder.show("volumes", volume_id)) == "bypass: cache-disabled"
    running.assert_holds(volume_id, IMAGE, 1)
    assert complaints(running, volume_id) == []
    delete(running, volume_id)


def test_an_image_that_is_too_large_for_the_cache_says_so(running: Cloud) -> None:
    large = as_stream_optimized(IMAGE.disk, capacity_bytes=2 << 30)
    image_id = running.upload("large", large)
    volume_id = running.cinder.create_volume(
        2, imageRef=image_id, metadata=USE_CACHE, volume_type="vmware"
    )
    volume = running.cinder.wait("volumes", volume_id, "available")
    assert outcome(volume) == "bypass: image-too-large"
    running.assert_holds(volume_id, large, 2)
    (line,) = complaints(running, volume_id)
    assert "image_cache_max_size_gb" in line
    delete(running, volume_id)


def test_a_host_in_maintenance_does_not_take_the_template_with_it(running: Cloud) -> None:
    """A template on such a host cannot be cloned; the volume is made all the same."""
    image_id = running.upload("maintained", IMAGE)
    first = create(running, image_id)
    (template,) = (vm for vm in running.vcenter.vms() if image_id in vm.name)
    host = running.vcenter.registry.require(template.runtime.host)
    host.set_maintenance(True)
    try:
        second = create(running, image_id)
        running.assert_holds(second, IMAGE, 1)
    finally:
        host.set_maintenance(False)
    delete(running, first)
    delete(running, second)


def check(running: Cloud, image_id: str, rule_arguments: dict[str, Any]) -> None:
    """One create under one fault: the volume is right, the log is calm, nothing is left."""
    rule = running.vcenter.fault_rules.add(**rule_arguments)
    try:
        volume_id = create(running, image_id)
    finally:
        running.vcenter.fault_rules.remove(rule)
    assert rule.hits == 1, "the fault did not take effect: the test proves nothing"
    running.assert_holds(volume_id, IMAGE, 1)
    made = outcome(running.cinder.show("volumes", volume_id)) or ""
    warnings = complaints(running, volume_id)
    if rule_arguments.get("drop") == "after":
        assert (made in ("hit", "miss"), warnings) == (True, [])
    else:
        assert made == "bypass: fault"
        (line,) = warnings
        assert " WARNING vmdk_cache.cinder.driver " in line
        assert line.count("without the image cache (fault)") == 1
    assert running.openstack.cinder.log_lines(r"WARNING vmdk_cache\..* Traceback") == []
    delete(running, volume_id)
    assert [vm.name for vm in running.vcenter.vms() if not vm.config.template] == []
    assert [path for path in running.files() if "_image_cache" not in path] == []
    assert running.vcenter.leases() == []
    assert no_stray_files(running)


def complaints(running: Cloud, volume_id: str) -> list[str]:
    """Lines above INFO, of any part of Cinder, about this volume."""
    lines = running.openstack.cinder.log_lines(r" (WARNING|ERROR|CRITICAL) \S+ \[")
    return [line for line in lines if volume_id in line]


def no_stray_files(running: Cloud) -> bool:
    """Every file of the cache lies in the directory of a template that exists."""
    directories = {vm.config.files.vmPathName.rpartition("/")[0] for vm in running.vcenter.vms()}
    return all(path.rpartition("/")[0] in directories for path in running.files())


def create(running: Cloud, image_id: str, volume_type: str = "vmware") -> str:
    volume_id = running.cinder.create_volume(
        1, imageRef=image_id, metadata=USE_CACHE, volume_type=volume_type
    )
    running.cinder.wait("volumes", volume_id, "available")
    return volume_id


def delete(running: Cloud, volume_id: str) -> None:
    running.cinder.delete("volumes", volume_id)
    running.cinder.wait_gone("volumes", volume_id)

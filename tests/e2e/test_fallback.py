"""A cache that fails or refuses never costs a volume, and leaves nothing behind.

The fault hits once: the plain import then creates the volume, and the log gives the reason in one
line. A clone whose answer was lost is the only exception: the engine finds the clone by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.glance import Glance
from tests.fakes.images import as_stream_optimized, filesystem_disk
from vmdk_cache.ledger import Ledger

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
def running(glance: Glance) -> Iterator[Cloud]:
    options = {
        "enable_image_cache": "true",
        "image_cache_age_seconds": "0",
        "image_cache_max_size_gb": "1",
    }
    backends = {"vmware": (OUR_DRIVER, options), "off": (OUR_DRIVER, {})}
    with cloud(backends, glance=glance) as running:
        for name in ("vmware", "off"):
            running.cinder.create_volume_type(name, volume_backend_name=name)
        # The first clone finds out whether one task can create a volume; the test would repeat it.
        delete(running, create(running, running.upload("first", IMAGE)))
        yield running
        assert running.vcenter.errors == []


@pytest.fixture(scope="module")
def cached_image_id(running: Cloud) -> str:
    image_id = running.upload("cached", IMAGE)
    delete(running, create(running, image_id))
    return image_id


@pytest.mark.parametrize("name", [*IMPORT_FAULTS, *CLONE_FAULTS])
def test_a_fault_while_the_image_is_imported_fails_no_volume(running: Cloud, name: str) -> None:
    image_id = running.upload(name, IMAGE)
    check(running, image_id, {**IMPORT_FAULTS, **CLONE_FAULTS}[name])


@pytest.mark.parametrize("name", CLONE_FAULTS)
def test_a_fault_while_a_template_is_cloned_fails_no_volume(
    running: Cloud, cached_image_id: str, name: str
) -> None:
    check(running, cached_image_id, CLONE_FAULTS[name])


def test_a_user_of_a_disabled_cache_gets_the_reason(running: Cloud) -> None:
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
    """A template on such a host cannot be cloned; the volume is created all the same."""
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


def test_the_note_is_that_of_the_last_attempt_at_a_volume(
    running: Cloud, cached_image_id: str
) -> None:
    """The cache and the plain import fail once: Cinder tries again, and then the cache works."""
    refused = {"fault": vim.fault.NoPermission()}
    rules = [running.vcenter.fault_rules.add(method, **refused)
             for method in ("CloneVM_Task", "ImportVApp")]  # fmt: skip
    volume_id = create(running, cached_image_id)
    assert [rule.hits for rule in rules] == [1, 1]
    told = [event["event_type"] for event in notifications(running, volume_id)]
    assert told == ["image_volume_cache.bypass", "image_volume_cache.hit"]
    assert outcome(running.cinder.show("volumes", volume_id)) == "hit"
    delete(running, volume_id)


def test_a_volume_that_fails_says_why_it_went_without_the_cache(
    running: Cloud, cached_image_id: str
) -> None:
    before = counted(running, "failed")
    refused = {"fault": vim.fault.NoPermission(), "times": None}
    rules = [running.vcenter.fault_rules.add(method, **refused)
             for method in ("CloneVM_Task", "ImportVApp")]  # fmt: skip
    try:
        volume_id = running.cinder.create_volume(
            1, imageRef=cached_image_id, metadata=USE_CACHE, volume_type="vmware"
        )
        volume = running.cinder.wait("volumes", volume_id, "error")
    finally:
        for rule in rules:
            running.vcenter.fault_rules.remove(rule)
    assert outcome(volume) == "bypass: fault"
    assert counted(running, "failed") == before + len(notifications(running, volume_id))
    delete(running, volume_id)


@pytest.mark.parametrize("asked", [True, False])
def test_a_note_that_an_image_inherited_is_not_passed_on(running: Cloud, asked: bool) -> None:
    """``openstack image create --volume`` creates such an image from a volume with a note."""
    image_id = running.upload(f"inherited {asked}", IMAGE, image_cache="bypass: no-room")
    volume_id = running.cinder.create_volume(
        1, imageRef=image_id, volume_type="vmware", metadata=USE_CACHE if asked else {}
    )
    volume = running.cinder.wait("volumes", volume_id, "available")
    assert outcome(volume) == ("miss" if asked else None)
    assert volume["volume_image_metadata"]["image_id"] == image_id
    delete(running, volume_id)


def test_the_cache_notifies_and_counts(running: Cloud) -> None:
    image_id = running.upload("told", IMAGE)
    made = [create(running, image_id) for _ in range(2)]
    made.append(create(running, image_id, volume_type="off"))
    events = [event for one in (*made, image_id) for event in notifications(running, one)]
    told = {event["event_type"].removeprefix("image_volume_cache."): event for event in events}
    assert told.keys() == {"import.start", "import.end", "miss", "hit", "bypass"}
    assert {event["publisher_id"] for event in events} == {"volume.lab@vmware", "volume.lab@off"}
    hit = told["hit"]["payload"]
    # The fields of the generic cache's messages (cinder, image/cache.py), and ours.
    assert (hit["image_id"], hit["host"]) == (image_id, "lab@vmware")
    assert (hit["volume_id"], hit["saved_bytes"]) == (made[1], len(IMAGE.file_bytes))
    assert told["bypass"]["payload"]["reason"] == "cache-disabled"
    (line,) = running.openstack.cinder.log_lines(f" INFO .*Image cache hit: volume {made[1]} ")
    assert f"from image {image_id} on datastore {hit['datastore']} in " in line
    with closing(Ledger.open(running.ledger, read_only=True)) as ledger:
        counts = [count for count in ledger.counts() if count.image_id == image_id]
        kinds = {(count.backend, count.kind, count.detail): count.count for count in counts}
        assert kinds == {
            ("off", "bypass", "cache-disabled"): 1,
            ("vmware", "import", ""): 1,
            ("vmware", "hit", ""): 1,
            ("vmware", "miss", ""): 1,
        }
        assert sum(count.bytes for count in counts) == 2 * len(IMAGE.file_bytes)
        histograms = [one for one in ledger.histograms() if one.backend == "vmware"]
        assert histograms
        assert all(one.buckets[-1][1] > 0 for one in histograms)
    for volume_id in made:
        delete(running, volume_id)


def test_a_volume_without_a_request_is_imported_once_and_has_no_note(running: Cloud) -> None:
    """If a plain import fails, Cinder repeats it, and the cache is not involved."""
    image_id = running.upload("plain", IMAGE)
    rule = running.vcenter.fault_rules.add("ImportVApp", vim.fault.NoPermission())
    volume_id = running.cinder.create_volume(1, imageRef=image_id, volume_type="vmware")
    volume = running.cinder.wait("volumes", volume_id, "available")
    assert (rule.hits, outcome(volume), notifications(running, volume_id)) == (1, None, [])
    scheduled = running.openstack.cinder.log_lines(f"{volume_id}: being created as image")
    assert len(scheduled) == 2
    delete(running, volume_id)


def notifications(running: Cloud, about: str) -> list[dict[str, Any]]:
    """Notifications of the cache about a volume, or about an image and no volume."""
    lines = running.openstack.cinder.log_lines(
        r" oslo\.messaging\.notification\.image_volume_cache\."
    )
    # If an exception is being handled, it follows the message (oslo.log's
    # logging_exception_prefix).
    events = [json.JSONDecoder().raw_decode(line, line.index("{"))[0] for line in lines]
    subject = [event["payload"].get("volume_id", event["payload"]["image_id"]) for event in events]
    return [event for event, one in zip(events, subject, strict=True) if one == about]


def counted(running: Cloud, kind: str) -> int:
    with closing(Ledger.open(running.ledger, read_only=True)) as ledger:
        return sum(count.count for count in ledger.counts("vmware") if count.kind == kind)


def check(running: Cloud, image_id: str, rule_arguments: dict[str, Any]) -> None:
    """Create a volume under one fault: the volume is right, the log is calm, nothing is left."""
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
        assert " WARNING vmdk_cache.cinder.volume_from_image " in line
        assert line.count("bypasses the image cache (fault)") == 1
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
    """Whether every file of the cache is in the directory of an existing template."""
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

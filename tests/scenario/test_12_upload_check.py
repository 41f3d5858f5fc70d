"""What vCenter made of an upload is looked at before the template serves."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from pyVmomi import vim

from tests.fakes.clock import SharedClock
from tests.fakes.images import FakeImage, FakeImageSource, as_flat, as_stream_optimized, noise
from tests.fakes.vcenter.disk import DiskContent
from tests.scenario.conftest import MIB, Lab, volume
from vmdk_cache import errors, wiring
from vmdk_cache.adapters import template_import
from vmdk_cache.cache.entry import ABANDONED_AFTER
from vmdk_cache.cache.events import Hit, Imported, ImportFailed, ImportStarted, Miss


@functools.cache
def large_image() -> FakeImage:
    """Of which more than 64 MiB are sent."""
    image = as_stream_optimized(noise(66 * MIB))
    assert len(image.file_bytes) > 64 * MIB
    return image


class Import:
    """Volume 1 from a large image, in a process whose pauses take the time of vCenter's clock."""

    def __init__(self, lab: Lab) -> None:
        lab.clock = SharedClock(lab.vcenter.clock)
        self.lab = lab
        self.cache: wiring.RunningCache = lab.process()

    def run(self) -> bool:
        image = large_image()
        source = FakeImageSource(image)
        return self.cache.images.create_volume(image.image(), volume(1), source).hit

    def at_completion(self, action: Callable[[], object]) -> None:
        """After the whole upload, before the lease is completed."""
        self.lab.vcenter.fault_rules.add("HttpNfcLeaseComplete", action=action)

    def lose_the_contents(self) -> None:
        (vm,) = self.lab.vcenter.vms()
        (disk,) = vm.disks
        with self.lab.vcenter.lock:
            disk.fill(DiskContent(disk.capacity_bytes))
            vm.sync()

    def assert_nothing_is_left(self) -> None:
        assert self.lab.vcenter.vms() == []
        assert [type(event) for event in self.lab.events] == [ImportStarted, ImportFailed]


@pytest.fixture
def importing(lab: Lab) -> Import:
    return Import(lab)


def test_a_raw_image_of_zeros_is_cached_and_downloaded_once(lab: Lab) -> None:
    """Its file is large, and what is uploaded of it is small, like the thin disk it becomes."""
    zeros = as_flat(b"boot" + bytes(128 * MIB - 4))
    source = FakeImageSource(zeros)
    outcomes = [
        lab.cache.images.create_volume(zeros.image(), volume(n), source).hit for n in (1, 2)
    ]
    assert outcomes == [False, True]
    assert source.opened == 1
    assert [type(event) for event in lab.events] == [ImportStarted, Imported, Miss, Hit]


def test_a_large_image_is_cached(importing: Import) -> None:
    assert not importing.run()
    assert len(importing.lab.templates()) == 1


def test_an_empty_disk_is_not_served(importing: Import) -> None:
    importing.at_completion(importing.lose_the_contents)
    with pytest.raises(errors.TaskFailed, match="it is empty"):
        importing.run()
    importing.assert_nothing_is_left()


def test_a_disk_of_another_size_is_not_served(importing: Import) -> None:
    def shrink() -> None:
        (vm,) = importing.lab.vcenter.vms()
        with importing.lab.vcenter.lock:
            vm.disks[0].fill(DiskContent(4_096_000))
            vm.touch()

    importing.at_completion(shrink)
    with pytest.raises(errors.TaskFailed, match="made a disk of 4096000 bytes"):
        importing.run()
    importing.assert_nothing_is_left()


def test_a_vm_that_disappeared_is_not_served(importing: Import) -> None:
    def vanish() -> None:
        (vm,) = importing.lab.vcenter.vms()
        with importing.lab.vcenter.lock:
            vm.destroy()

    importing.lab.vcenter.fault_rules.add("RefreshStorageInfo", action=vanish)
    with pytest.raises(errors.TaskFailed, match="disappeared"):
        importing.run()
    importing.assert_nothing_is_left()


@pytest.mark.parametrize("look_s", [0, 30])
def test_a_size_from_before_the_upload_says_nothing(importing: Import, look_s: float) -> None:
    """RefreshStorageInfo may answer before vCenter has looked."""
    importing.lab.vcenter.switches.stale_vm_storage_s = 1e6
    importing.lab.vcenter.switches.storage_look_s = look_s
    assert not importing.run()
    assert len(importing.lab.templates()) == 1


@pytest.mark.parametrize("look_s", [0, 30])
def test_an_empty_disk_is_noticed_when_vcenter_has_looked(importing: Import, look_s: float) -> None:
    importing.lab.vcenter.switches.stale_vm_storage_s = 1e6
    importing.lab.vcenter.switches.storage_look_s = look_s
    importing.at_completion(importing.lose_the_contents)
    with pytest.raises(errors.TaskFailed, match="it is empty"):
        importing.run()
    importing.assert_nothing_is_left()


def test_a_vcenter_that_never_looks_does_not_fail_an_import(
    importing: Import, caplog: pytest.LogCaptureFixture
) -> None:
    importing.lab.vcenter.switches.stale_vm_storage_s = 1e6
    importing.lab.vcenter.switches.storage_look_s = 1e6
    began = importing.lab.vcenter.clock.monotonic()
    assert not importing.run()
    took_s = importing.lab.vcenter.clock.monotonic() - began
    assert took_s >= template_import.LOOKED_WITHIN_S
    assert "has not looked at the files" in caplog.text
    assert len(importing.lab.templates()) == 1


def test_an_import_is_not_taken_for_abandoned_while_vcenter_looks() -> None:
    """No task tells of the import then: a process with other locks removes what it takes for
    abandoned."""
    assert ABANDONED_AFTER.total_seconds() >= 1.5 * template_import.LOOKED_WITHIN_S


def test_a_vcenter_that_cannot_look_does_not_fail_an_import(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("RefreshStorageInfo", vim.fault.NoPermission())
    assert not lab.create(1)


@pytest.mark.parametrize("lost", ["MarkAsTemplate", "RetrievePropertiesEx"])
def test_a_template_serves_although_the_answers_about_it_are_lost(
    lab: Lab, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vmdk_cache")
    rules = lab.vcenter.fault_rules

    def lose_the_next_reads() -> None:
        rules.add("RetrievePropertiesEx", drop="before", times=lab.endpoint.api_retry_count)

    if lost == "MarkAsTemplate":
        rules.add("MarkAsTemplate", drop="after", times=None)
    else:
        rules.add("MarkAsTemplate", action=lose_the_next_reads)
    assert not lab.create(1)
    assert lab.create(2)
    assert [type(event) for event in lab.events] == [ImportStarted, Imported, Miss, Hit]
    assert lab.vcenter.request_log.count("Destroy_Task") == 0
    noted = {"MarkAsTemplate": "in spite of an error", "RetrievePropertiesEx": "be read again"}
    assert noted[lost] in caplog.text


def test_a_template_outlives_an_import_that_cannot_tell_of_it(lab: Lab) -> None:
    """vCenter goes away at the commit point, for longer than the import asks again."""
    lab.vcenter.fault_rules.add(
        "MarkAsTemplate",
        drop="after",
        action=lambda: lab.vcenter.fault_rules.add("*", drop="before", times=None),
    )
    with pytest.raises(errors.Unreachable):
        lab.create(1)
    lab.vcenter.fault_rules.clear()
    assert lab.create(1)
    assert len(lab.templates()) == 1


def test_a_vm_that_cannot_become_a_template_is_removed(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("MarkAsTemplate", vim.fault.NoPermission())
    with pytest.raises(errors.NoPermission):
        lab.create(1)
    assert lab.vcenter.vms() == []

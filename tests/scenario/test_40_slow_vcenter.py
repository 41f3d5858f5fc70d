"""Clones that take their time: what a lost answer or a time-out leaves under way is settled."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Iterator
from typing import Literal

import pytest
from pyVmomi import vmodl

from tests.fakes.clock import SharedClock
from tests.fakes.images import FakeImageSource, as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from tests.scenario.conftest import GIB, MIB, Lab, volume
from vmdk_cache import errors
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.key import CacheKey, template_name


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """A clone takes 3 s here, and shows no configuration until it is done."""
    model = Model(hosts_per_cluster=2, datastores=2)
    slow = CostModel.plain(enabled=True, fixed_clone_s=3.0, fixed_task_s=0.0)
    with busy_vcenter(model, costs=slow) as running:
        yield running
        assert running.errors == []


def test_a_slow_clone_whose_answer_was_lost_is_adopted_and_not_made_twice(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("CloneVM_Task", drop="after")
    lab.create(1)
    assert len(lab.vcenter.vms()) == 2
    assert lab.vcenter.find_vm(volume(1).name).config.instanceUuid == volume(1).instance_uuid
    assert lab.vcenter.request_log.count("CloneVM_Task") == 1


@pytest.mark.parametrize("method", ["CreatePropertyCollector", "CreateListView", "CreateFilter"])
def test_a_lost_answer_to_the_waiter_does_not_abandon_a_running_clone(
    lab: Lab, method: str
) -> None:
    lab.vcenter.fault_rules.add(method, drop="after")
    lab.create(1)
    assert lab.vcenter.request_log.count("CloneVM_Task") == 1
    assert len(lab.vcenter.vms()) == 2


def test_a_clone_that_runs_too_long_is_cancelled_and_leaves_nothing(lab: Lab) -> None:
    lab.create(1)
    hasty = lab.process(task_timeout_s=0.5)
    with pytest.raises(errors.TaskTimedOut):
        hasty.images.create_volume(lab.image, volume(2), lab.source)
    assert lab.vcenter.request_log.count("CancelTask") == 1
    assert lab.vcenter.tasks.running() == []
    assert {vm.name for vm in lab.vcenter.vms()} == {volume(1).name, *lab.templates()}


def test_a_clone_that_runs_too_long_and_cannot_be_cancelled_is_the_volume(lab: Lab) -> None:
    lab.create(1)
    lab.vcenter.fault_rules.add("CancelTask", vmodl.fault.NotSupported())
    hasty = lab.process(task_timeout_s=0.5)
    assert hasty.images.create_volume(lab.image, volume(2), lab.source).hit
    assert lab.vcenter.request_log.count("CancelTask") >= 1
    assert lab.vcenter.tasks.running() == []
    assert lab.vcenter.read_disk(volume(2).name).size_bytes == GIB
    assert {vm.name for vm in lab.vcenter.vms()} == {
        *(volume(number).name for number in (1, 2)),
        *lab.templates(),
    }


def test_a_restart_in_the_middle_of_a_clone_leaves_no_shell(lab: Lab) -> None:
    lab.create(1)
    lab.vcenter.fault_rules.add("CloneVM_Task", drop="after", action=None)
    lab.vcenter.clock.call_later(1.0, lab.vcenter.restart)
    lab.create(2)
    assert sorted(vm.name for vm in lab.vcenter.vms()) == sorted(
        [volume(1).name, volume(2).name, *lab.templates()]
    )
    assert lab.vcenter.find_vm(volume(2).name).complete


def test_a_project_folder_deleted_by_an_administrator_is_made_again(lab: Lab) -> None:
    lab.create(1)
    folder = lab.vcenter.find_vm(volume(1).name).parent.parent
    lab.cache.session.invoke("Folder", folder.moref, "Destroy_Task")

    def gone() -> None:
        assert not folder.exists

    lab.eventually(gone)
    assert lab.create(2)
    assert lab.vcenter.find_vm(volume(2).name) is not None


def test_a_folder_under_the_templates_name_ends_in_a_reason_and_not_in_a_loop(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    other = dataclasses.replace(lab.image, os_hash_value="ab" * 32, os_hash_algo="sha256")
    name = template_name("b1", CacheKey.of(other, "lsiLogic"))
    lab.cache.session.invoke("Folder", template.parent.moref, "CreateFolder", name=name)
    lab.clock = SharedClock(lab.vcenter.clock)
    with pytest.raises(errors.NotCacheable) as refusal:
        lab.process().images.create_volume(other, volume(2), lab.source)
    assert refusal.value.reason == Reason.NAME_TAKEN
    assert lab.vcenter.request_log.count("ImportVApp") < 10


@pytest.mark.parametrize("cleanup", ["visible", "hidden"])
def test_an_image_is_imported_again_while_vcenter_still_removes_a_failed_import(
    lab: Lab, cleanup: Literal["visible", "hidden"]
) -> None:
    """The lease ended with its session, so no client waited for the end of the removal."""
    lab.vcenter.switches.lease_cleanup = cleanup
    lab.vcenter.switches.lease_cleanup_s = 30
    lab.clock = SharedClock(lab.vcenter.clock)
    lab.vcenter.fault_rules.add("nfc:POST", action=lab.vcenter.sessions.expire_all)
    with pytest.raises(errors.LeaseLost):
        lab.process().images.create_volume(lab.image, volume(1), lab.source)
    began = lab.vcenter.clock.monotonic()

    again = lab.process().images.create_volume(lab.image, volume(1), lab.source)

    assert not again.hit

    assert lab.vcenter.clock.monotonic() - began < 120
    assert len(lab.templates()) == 1


@pytest.mark.parametrize("extra_bytes", [512, 1024, 512 * 1023])
def test_a_disk_of_an_odd_size_is_cached_like_any_other(lab: Lab, extra_bytes: int) -> None:
    odd = as_stream_optimized(filesystem_disk(16 * MIB), capacity_bytes=16 * MIB + extra_bytes)
    made = lab.cache.images.create_volume(odd.image(), volume(1), FakeImageSource(odd))
    assert not made.hit
    assert lab.vcenter.read_disk(volume(1).name).size_bytes == GIB
    assert len(lab.templates()) == 1


def test_a_wrong_regex_is_named_and_leaves_no_session(lab: Lab) -> None:
    before = len(lab.vcenter.sessions.active())
    with pytest.raises(errors.ConfigError, match="vmware_datastore_regex"):
        lab.process(datastore_regex="(")
    assert len(lab.vcenter.sessions.active()) == before


def test_a_figure_that_cannot_be_had_never_fails_the_report(lab: Lab) -> None:
    lab.create(1)
    assert lab.cache.reporter.latest().extra_provisioned_gib == 1
    lab.vcenter.stop()
    assert lab.cache.reporter.latest().extra_provisioned_gib == 1


def test_more_is_promised_than_is_free_and_thin_volumes_are_placed_anyway(lab: Lab) -> None:
    """Upstream, which promises nothing, would place them too."""
    for number in (0, 1):
        lab.vcenter.datastore(f"DC0_DS{number}").fill((1 << 40) - 30 * GIB)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: lab.create(n, size_bytes=20 * GIB), range(1, 7)))
    assert len(lab.vcenter.vms()) == 7

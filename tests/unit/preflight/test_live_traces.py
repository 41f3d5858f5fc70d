"""What an import leaves in vCenter: the VM of an aborted one, and directories."""

from __future__ import annotations

import pathlib
from typing import Literal

import pytest

from tests.fakes import account as page
from tests.fakes.clock import HastyClock
from tests.fakes.vcenter import Model, VCenter
from tests.unit.preflight.conftest import Bench
from tests.unit.preflight.test_live import is_empty, run_live
from vmdk_cache.preflight.probe import Status

ABORT = ("live.import-stream-optimized", "live.abort", "live.deletion")
DIRECTORIES = ("live.import-stream-optimized", "live.directories")


@pytest.fixture(autouse=True)
def account(vcenter: VCenter) -> None:
    page.add_documented_account(vcenter)


@pytest.mark.parametrize("cleanup", ["visible", "hidden"])
def test_a_machine_that_vcenter_removes_after_the_abort_is_ok(
    bench: Bench, vcenter: VCenter, cleanup: Literal["visible", "hidden"]
) -> None:
    vcenter.switches.lease_cleanup, vcenter.switches.lease_cleanup_s = cleanup, 1.2
    found = run_live(bench, ABORT)
    [removed] = found["live.abort"]
    assert removed.status is Status.OK and "after the abort" in removed.seen
    assert found["live.deletion"][0].status is Status.OK
    assert is_empty(vcenter)


def test_a_machine_that_vcenter_does_not_remove_is_a_warning_and_is_deleted(
    bench: Bench, vcenter: VCenter
) -> None:
    def forget_the_lease() -> None:
        vcenter.switches.lease_cleanup_s = 3600.0

    vcenter.fault_rules.add("HttpNfcLeaseAbort", action=forget_the_lease)
    [stays] = run_live(bench, ABORT, clock=HastyClock())["live.abort"]
    assert stays.status is Status.WARNING and "has not removed the virtual machine" in stays.seen
    vcenter.clock.advance(3600)
    run_live(bench, ("live.leftovers",))
    assert is_empty(vcenter)


def test_a_directory_that_a_search_finds_is_ok(bench: Bench) -> None:
    [found] = run_live(bench, DIRECTORIES)["live.directories"]
    assert found.status is Status.OK and "'preflight_image_cache (" in found.seen


def test_a_directory_that_a_search_does_not_find_is_a_warning(
    bench: Bench, vcenter: VCenter
) -> None:
    def lose() -> None:
        [vm] = vcenter.vms()
        for number in range(3):
            store = vcenter.datastore(f"DC0_DS{number}").storage
            if store.is_directory(vm.name):
                store.delete(vm.name)

    vcenter.fault_rules.add("SearchDatastore_Task", action=lose, times=1)
    [found] = run_live(bench, DIRECTORIES)["live.directories"]
    assert found.status is Status.WARNING and "does not find" in found.seen


@pytest.mark.parametrize("kind", ["vsan", "VVOL"])
def test_directories_that_have_no_names_are_not_searched(tmp_path: pathlib.Path, kind: str) -> None:
    model = Model(datastores=3, host_names=("127.0.0.1", "localhost"), datastore_type=kind)
    with VCenter(model) as vcenter:
        page.add_documented_account(vcenter)
        [found] = run_live(Bench(vcenter, tmp_path), DIRECTORIES)["live.directories"]
        assert vcenter.request_log.count("SearchDatastore_Task") == 0
        assert is_empty(vcenter)
    assert found.status is Status.NOT_TRIED and "instead of directory names" in found.seen

"""Directories on unavailable datastores, of VMs being created, and with locked files."""

from __future__ import annotations

import dataclasses

import pytest
from pyVmomi import vim

from tests.contract.vim.conftest import MIB, Place, clone_request, import_vm
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background, pending
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import datastore_browser, template, virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo


def test_an_inaccessible_datastore_is_reported_and_not_taken_for_empty(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    vc.datastore(place.datastore.name).reachable = False

    with pytest.raises(errors.HostUnavailable, match=place.datastore.name):
        datastore_browser.directories(session, waiter, place.datastore, "image")
    with pytest.raises(errors.HostUnavailable, match=place.datastore.name):
        datastore_browser.delete_directory(session, waiter, place.datastore, "image")


@pytest.mark.parametrize("kind", ["vsan", "vvol"])
def test_where_directories_bear_ids_none_is_taken_for_an_orphan(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo, kind: str
) -> None:
    datastore = dataclasses.replace(place.datastore, type=kind)
    vc.request_log.reset()

    assert datastore_browser.directories(session, waiter, datastore, "") == []

    assert vc.request_log.total() == 0


def test_the_directory_of_a_clone_that_is_being_made_is_known(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    vc.cost_model.enabled = True
    vc.cost_model.fixed_clone_s = 100.0
    vc.cost_model.datastore_bandwidth = vc.cost_model.host_bandwidth = 0
    request = clone_request(place, source, "volume-1")
    running = Background(
        lambda: template.clone(session, waiter, source.moref, request, timeout_s=1000)
    )
    wait_until(lambda: vc.find_vm("volume-1"))
    assert "volume-1" in datastore_browser.directories(session, waiter, place.datastore, "vol")

    used = datastore_browser.vm_directories(session, place.datastore.moref)

    assert "volume-1" in used
    vc.clock.advance(100)
    running.join()


def test_a_directory_with_only_a_disk_of_a_vm_is_known(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place, "vm")
    path = f"[{place.datastore.name}] elsewhere/data.vmdk"
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=path, diskMode="persistent")
    backing.thinProvisioned = True
    disk = vim.vm.device.VirtualDisk(
        key=-7, controllerKey=1000, unitNumber=5, capacityInKB=MIB // 1024, backing=backing
    )
    change = vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk)
    vc.datastore(place.datastore.name).storage.make_directory("elsewhere")
    task = session.invoke(
        "VirtualMachine", moref, "ReconfigVM_Task", spec=vim.vm.ConfigSpec(deviceChange=[change])
    )
    waiter.wait(task, timeout_s=100)

    assert datastore_browser.vm_directories(session, place.datastore.moref) == {"vm", "elsewhere"}


def test_a_vm_with_lost_files_keeps_its_name_from_the_orphans(
    vc: VCenter, session: Session, place: Place, source: VmInfo
) -> None:
    vc.datastore(place.datastore.name).storage.delete("image")
    virtual_machine.refresh_storage(session, source.moref)

    assert "image" in datastore_browser.vm_directories(session, place.datastore.moref)


def test_a_locked_file_is_not_taken_for_a_missing_one(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    vc.fault_rules.add("DeleteDatastoreFile_Task", vim.fault.FileLocked(file="x"), on="task")

    with pytest.raises(errors.FileLocked):
        datastore_browser.delete_directory(session, waiter, place.datastore, "orphan")


def test_deleting_is_repeated_when_its_answer_is_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    vc.datastore(place.datastore.name).storage.make_directory("orphan")
    vc.fault_rules.add("DeleteDatastoreFile_Task", drop="after")

    datastore_browser.delete_directory(session, waiter, place.datastore, "orphan")

    assert vc.datastore(place.datastore.name).directories() == []
    assert vc.errors == []


@pytest.mark.parametrize(
    ("method", "within_s"),
    [
        ("SearchDatastore_Task", datastore_browser.SEARCH_WITHIN_S),
        ("DeleteDatastoreFile_Task", datastore_browser.DELETE_WITHIN_S),
    ],
)
def test_neither_a_search_nor_a_deletion_waits_forever(
    vc: VCenter,
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    source: VmInfo,
    method: str,
    within_s: float,
) -> None:
    vc.fault_rules.add(method, on="task", delay_s=1e9)
    at = place.datastore

    def work() -> None:
        if method == "SearchDatastore_Task":
            datastore_browser.directories(session, waiter, at, "image")
        else:
            datastore_browser.delete_directory(session, waiter, at, "image")

    running = Background(work)
    wait_until(lambda: [e.started_at is not None for e in pending(waiter)] == [True])
    (entry,) = pending(waiter)
    assert entry.start_within_s == within_s <= 900
    vc.clock.advance(within_s)
    with waiter._lock:
        entry.changed.notify_all()

    with pytest.raises(errors.TaskTimedOut):
        running.join()
    assert vc.tasks.running() == []

"""Templates whose files were removed without vCenter's knowledge."""

from __future__ import annotations

import pytest

from tests.contract.vim.conftest import RECORD_KEY, Place, clone_request, import_vm
from tests.fakes.vcenter import VCenter
from vmdk_cache import errors
from vmdk_cache.vim import properties, template, virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo

VM_PATH = "config.files.vmPathName"


@pytest.fixture
def rotten(vc: VCenter, place: Place, source: VmInfo) -> VmInfo:
    """A template without its directory; vCenter has not noticed."""
    vc.datastore(place.datastore.name).storage.delete("image")
    return source


def move(session: Session, waiter: TaskWaiter, place: Place, old: str, new: str) -> None:
    task = session.invoke(
        "FileManager",
        session.content.fileManager._GetMoId(),
        "MoveDatastoreFile_Task",
        sourceName=old,
        sourceDatacenter=place.datacenter.moref,
        destinationName=new,
        destinationDatacenter=place.datacenter.moref,
        force=False,
    )
    waiter.wait(task, timeout_s=100)


def test_the_loss_is_invisible_until_vcenter_looks(session: Session, rotten: VmInfo) -> None:
    found = virtual_machine.get_vm(session, rotten.moref, RECORD_KEY)

    assert found is not None
    assert found.has_config
    assert found.connection_state == "connected"


def test_a_clone_of_it_fails_as_not_found_and_vcenter_notices(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, rotten: VmInfo
) -> None:
    whole = import_vm(session, waiter, place, "whole")

    with pytest.raises(errors.ObjectNotFound) as caught:
        template.clone(
            session, waiter, rotten.moref, clone_request(place, rotten, "volume-1"), timeout_s=100
        )

    assert caught.value.fault == "vim.fault.FileNotFound"
    found = {vm.moref: vm for vm in virtual_machine.list_vms(session, place.folder, RECORD_KEY)}
    assert set(found) == {rotten.moref, whole}
    lost = found[rotten.moref]
    assert lost.name == "image"
    assert not lost.has_config
    assert lost.connection_state == "inaccessible"
    assert lost.disks == ()
    assert lost.extra_config_record is None
    assert found[whole].has_config


def test_a_refresh_makes_vcenter_notice(session: Session, place: Place, rotten: VmInfo) -> None:
    virtual_machine.refresh_storage(session, rotten.moref)

    found = virtual_machine.find_vm(session, place.folder, "image", RECORD_KEY)
    assert found is not None
    assert not found.has_config
    assert found.connection_state == "inaccessible"


@pytest.mark.parametrize("noticed", [True, False])
def test_destroying_it_takes_it_out_of_the_inventory(
    vc: VCenter,
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    rotten: VmInfo,
    noticed: bool,
) -> None:
    if noticed:
        virtual_machine.refresh_storage(session, rotten.moref)

    template.destroy(session, waiter, rotten.moref)

    assert virtual_machine.list_vms(session, place.folder, RECORD_KEY) == []
    assert vc.request_log.count("UnregisterVM") == 1
    assert vc.datastore(place.datastore.name).files() == {}


def test_its_name_is_free_again_for_an_import(
    session: Session, waiter: TaskWaiter, place: Place, rotten: VmInfo
) -> None:
    template.destroy(session, waiter, rotten.moref)

    moref = import_vm(session, waiter, place, "image")

    found = virtual_machine.find_vm(session, place.folder, "image", RECORD_KEY)
    assert found is not None
    assert found.moref == moref != rotten.moref
    assert found.has_config


def test_files_that_come_back_make_it_whole_again(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    away = f"[{place.datastore.name}] image/away"
    path = properties.read_one(session, "VirtualMachine", source.moref, [VM_PATH])[VM_PATH]
    move(session, waiter, place, path, away)
    virtual_machine.refresh_storage(session, source.moref)
    lost = virtual_machine.get_vm(session, source.moref, RECORD_KEY)
    assert lost is not None
    assert not lost.has_config

    move(session, waiter, place, away, path)
    virtual_machine.refresh_storage(session, source.moref)

    assert virtual_machine.get_vm(session, source.moref, RECORD_KEY) == source


def test_marking_what_lost_its_files_is_refused(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place)
    vc.datastore(place.datastore.name).storage.delete("image")

    with pytest.raises(errors.VCenterError):
        template.mark_as_template(session, moref)

    assert not vc.vms()[0].template
    assert vc.errors == []


def test_a_template_that_lost_its_disk_alone_is_deleted_with_the_rest(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    storage = vc.datastore(place.datastore.name).storage
    for path in [path for path in storage.files() if path.endswith(".vmdk")]:
        storage.delete(path)
    with pytest.raises(errors.ObjectNotFound):
        template.clone(
            session, waiter, source.moref, clone_request(place, source, "volume-1"), timeout_s=100
        )

    template.destroy(session, waiter, source.moref)

    assert vc.vms() == []
    assert storage.directories() == []

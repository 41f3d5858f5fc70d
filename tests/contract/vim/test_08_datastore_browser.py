"""Directories on datastores: which VM uses them, and the deletion of unused ones."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from tests.contract.ground import WITHOUT_NAMES
from tests.contract.vcenters import Target
from tests.contract.vim.conftest import (
    NO_DATACENTER,
    NO_DATASTORE,
    RECORD_KEY,
    Place,
    clone_request,
    import_vm,
)
from vmdk_cache import errors
from vmdk_cache.vim import datastore_browser, template, virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def directories_with_names(place: Place) -> None:
    if place.datastore.type in WITHOUT_NAMES:
        pytest.skip(f"directories have ids for names on {place.datastore.type}")


@pytest.fixture
def prefix(target: Target) -> str:
    """A prefix that no other test's directories have."""
    return target.run.named(f"dirs-{next(_numbers)}-")


def make_directory(session: Session, place: Place, path: str) -> None:
    """Create a directory, as a user does who knows nothing of the cache."""
    session.invoke(
        "FileManager",
        session.content.fileManager._GetMoId(),
        "MakeDirectory",
        name=f"[{place.datastore.name}] {path}",
        datacenter=place.datacenter.moref,
        createParentDirectories=True,
    )


def found(session: Session, waiter: TaskWaiter, place: Place, prefix: str) -> list[str]:
    return datastore_browser.directories(session, waiter, place.datastore, prefix)


def test_directories_are_found_by_the_beginning_of_their_name(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, prefix: str
) -> None:
    for name in (f"{prefix}b", f"{prefix}a", f"{prefix}a/below", f"{target.run.id}{prefix}"):
        make_directory(session, place, name)

    assert found(session, waiter, place, prefix) == [f"{prefix}a", f"{prefix}b"]
    assert found(session, waiter, place, f"{prefix}a") == [f"{prefix}a"]
    assert found(session, waiter, place, f"{prefix}c") == []
    assert found(session, waiter, place, prefix.upper()) == []


@pytest.mark.parametrize("special", ["*", "?", "[ab]", "{a,b}", "(1) ", "%25", "^$|+", "é"])
def test_special_characters_in_the_prefix_stand_for_themselves(
    session: Session, waiter: TaskWaiter, place: Place, prefix: str, special: str
) -> None:
    mine = f"{prefix}{special}end"
    make_directory(session, place, mine)
    make_directory(session, place, f"{prefix}a-end")

    assert found(session, waiter, place, f"{prefix}{special}") == [mine]


def test_files_are_no_directories(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    """A disk of the same name, in the root, next to the template's directory."""
    (disk,) = source.disks
    name = disk.file_name.partition("] ")[2].partition("/")[0]
    copy = f"[{place.datastore.name}] {name}.vmdk"
    at_copy = {"name": copy, "datacenter": place.datacenter.moref}

    def of_disks(method: str, **arguments: str) -> None:
        manager = session.content.virtualDiskManager._GetMoId()
        task = session.invoke("VirtualDiskManager", manager, method, **arguments)
        waiter.wait(task, timeout_s=60)

    of_disks(
        "CopyVirtualDisk_Task",
        sourceName=disk.file_name,
        sourceDatacenter=place.datacenter.moref,
        destName=copy,
        destDatacenter=place.datacenter.moref,
    )
    try:
        assert name in found(session, waiter, place, name)
        assert not [d for d in found(session, waiter, place, name) if d.endswith(".vmdk")]
    finally:
        of_disks("DeleteVirtualDisk_Task", **at_copy)


def test_a_directory_of_a_vm_or_template_is_known_as_theirs(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo, prefix: str
) -> None:
    import_vm(session, waiter, place, f"{prefix}vm")
    make_directory(session, place, f"{prefix}orphan")

    used = datastore_browser.vm_directories(session, place.datastore.moref)

    directory = source.disks[0].file_name.partition("] ")[2].partition("/")[0]
    assert {directory, f"{prefix}vm"} <= used
    assert f"{prefix}orphan" not in used


def test_asking_for_the_directories_of_all_vms_is_one_request(
    session: Session, waiter: TaskWaiter, place: Place, prefix: str
) -> None:
    for number in range(3):
        import_vm(session, waiter, place, f"{prefix}{number}")
    before = session.request_count

    used = datastore_browser.vm_directories(session, place.datastore.moref)

    assert session.request_count - before == 1
    assert {f"{prefix}{number}" for number in range(3)} <= used


def test_a_renamed_vm_is_known_by_its_directory_not_by_its_name(
    session: Session, waiter: TaskWaiter, place: Place, prefix: str
) -> None:
    moref = import_vm(session, waiter, place, f"{prefix}old")
    task = session.invoke("VirtualMachine", moref, "Rename_Task", newName=f"{prefix}new")
    waiter.wait(task, timeout_s=60)

    used = datastore_browser.vm_directories(session, place.datastore.moref)

    assert f"{prefix}old" in used
    assert f"{prefix}new" not in used


@pytest.mark.parametrize("name", ["a]b", "[a] b", "a[b"])
def test_a_vm_is_known_by_its_directory_whatever_its_datastore_is_called(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, prefix: str, name: str
) -> None:
    """Otherwise the directory would count as unused, and might be deleted."""
    vcenter = target.control("renames a datastore")
    datastore = vcenter.datastore(place.datastore.name)
    import_vm(session, waiter, place, f"{prefix}mine")
    try:
        datastore.name = name
        for vm in vcenter.vms():
            vm.touch()
        used = datastore_browser.vm_directories(session, place.datastore.moref)
    finally:
        datastore.name = place.datastore.name
        for vm in vcenter.vms():
            vm.touch()
    assert f"{prefix}mine" in used


def test_a_clone_on_another_datastore_is_known_there(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo, prefix: str
) -> None:
    other = place.other_datastore
    request = clone_request(place, source, f"{prefix}clone", datastore=other.moref)
    template.clone(session, waiter, source.moref, request, timeout_s=60)

    assert f"{prefix}clone" in datastore_browser.vm_directories(session, other.moref)
    assert f"{prefix}clone" not in datastore_browser.vm_directories(session, place.datastore.moref)


def test_a_directory_is_deleted_with_all_that_is_in_it_and_nothing_else(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo, prefix: str
) -> None:
    for name in ("gone/below", "stays"):
        make_directory(session, place, prefix + name)

    datastore_browser.delete_directory(session, waiter, place.datastore, f"{prefix}gone")

    assert found(session, waiter, place, prefix) == [f"{prefix}stays"]
    assert virtual_machine.get_vm(session, source.moref, RECORD_KEY) == source


def test_a_directory_that_is_gone_already_is_success(
    session: Session, waiter: TaskWaiter, place: Place, prefix: str
) -> None:
    for _ in range(2):
        datastore_browser.delete_directory(session, waiter, place.datastore, f"{prefix}gone")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/a", "a/", "../a", "a\\b", " a", "a ", "\0"]
)
def test_an_invalid_directory_name_is_refused_before_any_request(
    session: Session, waiter: TaskWaiter, place: Place, name: str
) -> None:
    before = session.request_count

    with pytest.raises(ValueError, match="plain name"):
        datastore_browser.delete_directory(session, waiter, place.datastore, name)

    assert session.request_count == before


def test_a_datacenter_that_is_gone_is_not_mistaken_for_the_directory(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, prefix: str
) -> None:
    if target.is_vcsim:
        pytest.skip("vcsim finds the datastore by its name, whatever the datacenter")
    make_directory(session, place, f"{prefix}stays")
    misplaced = dataclasses.replace(place.datastore, datacenter=NO_DATACENTER)

    with pytest.raises(errors.ObjectNotFound):
        datastore_browser.delete_directory(session, waiter, misplaced, f"{prefix}stays")

    assert found(session, waiter, place, prefix) == [f"{prefix}stays"]


def test_a_datastore_that_is_gone_is_not_found(session: Session) -> None:
    with pytest.raises(errors.ObjectNotFound):
        datastore_browser.vm_directories(session, NO_DATASTORE)

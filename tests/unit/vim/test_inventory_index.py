"""The index in a vCenter of several datacenters, of which the backend uses one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.contract.vim.conftest import RECORD_KEY, Place, import_vm
from tests.fakes.vcenter import Clock, Model, VCenter
from tests.unit.vim.conftest import PATIENCE_S, Background
from vmdk_cache import errors
from vmdk_cache.vim import folder, inventory
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.inventory_index import LEFT_OVER_EVERY_S, InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

PATH = ("cache",)


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model(datacenters=3), clock=Clock(scale=0.0)) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def index(session: Session) -> InventoryIndex:
    return InventoryIndex(
        session,
        session.clock,
        folder=PATH,
        record_key=RECORD_KEY,
        cluster_names=["DC0_C0"],
        attributes=["note"],
    )


def place_in(session: Session, datacenter: str, *path: str) -> Place:
    """A place in a folder of that path, which is created."""
    found = inventory.snapshot(session)
    at = next(one for one in found.datacenters if one.name == datacenter)
    return Place(
        folder.ensure_folder(session, at, path),
        next(host for host in found.hosts if host.datacenter == at.moref),
        next(datastore for datastore in found.datastores if datastore.datacenter == at.moref),
        at,
    )


def test_datacenters_of_others_cost_nothing_when_nothing_has_changed(
    vc: VCenter, session: Session, index: InventoryIndex
) -> None:
    place_in(session, "DC0", *PATH)
    index.vms()
    before = session.request_count
    index.vms()
    assert session.request_count - before == 1


def test_leftovers_of_earlier_settings_in_another_datacenter_are_found(
    session: Session, waiter: TaskWaiter, index: InventoryIndex
) -> None:
    left = import_vm(session, waiter, place_in(session, "DC1", *PATH))
    assert list(index.vms()) == [left]


def test_objects_in_another_datacenter_are_found_eventually(
    vc: VCenter, session: Session, waiter: TaskWaiter, index: InventoryIndex
) -> None:
    assert index.vms() == {}
    theirs = import_vm(session, waiter, place_in(session, "DC1", *PATH))
    vc.clock.advance(LEFT_OVER_EVERY_S)
    assert list(index.vms()) == [theirs]


def test_a_folder_that_is_replaced_before_it_was_first_read_is_found(
    session: Session, waiter: TaskWaiter, index: InventoryIndex
) -> None:
    """The session remembers the path of the folder that is gone."""
    old = place_in(session, "DC0", *PATH)
    waiter.wait(session.invoke("Folder", old.folder, "Destroy_Task"), timeout_s=60)
    with Session(session.endpoint, session.clock) as other:
        theirs = TaskWaiter(other)
        made = import_vm(other, theirs, place_in(other, "DC0", *PATH))
        theirs.close()
    assert list(index.vms()) == [made]


def test_a_vm_under_the_folders_name_in_another_datacenter_is_ignored(
    session: Session, waiter: TaskWaiter, index: InventoryIndex
) -> None:
    ours = import_vm(session, waiter, place_in(session, "DC0", *PATH))
    import_vm(session, waiter, place_in(session, "DC1"), PATH[0])
    assert list(index.vms()) == [ours]
    assert list(index.vms()) == [ours]


def test_a_vm_under_the_folders_name_in_our_datacenter_is_an_error_each_time(
    session: Session, waiter: TaskWaiter, index: InventoryIndex
) -> None:
    import_vm(session, waiter, place_in(session, "DC0"), PATH[0])
    for _ in range(2):
        with pytest.raises(errors.ConfigError, match="is not a folder"):
            index.vms()


def test_the_inventory_does_not_wait_for_names_of_attributes(
    vc: VCenter, session: Session, waiter: TaskWaiter, index: InventoryIndex
) -> None:
    vm = import_vm(session, waiter, place_in(session, "DC0", *PATH))
    with Session(session.endpoint, session.clock) as other:
        CustomAttributes.of(other).set(vm, "note", "text")
    found = index.inventory()
    asked, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        go_on.wait(2 * PATIENCE_S)

    vc.fault_rules.add("RetrievePropertiesEx", action=wait)
    vms = Background(lambda: [index.info(vm) for vm in index.vms().values()])
    assert asked.wait(PATIENCE_S)
    meanwhile = Background(lambda: index.inventory(5.0))
    try:
        assert meanwhile.join() is found
    finally:
        go_on.set()
    assert [dict(seen.custom_values) for seen in vms.join()] == [{"note": "text"}]

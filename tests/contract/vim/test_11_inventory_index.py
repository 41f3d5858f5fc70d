"""The index: the same result as a fresh look, for one request."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import RECORD_KEY, Place, end_session, import_vm
from tests.fakes.clock import ManualClock
from vmdk_cache import errors
from vmdk_cache.vim import folder, inventory, template, virtual_machine
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

_numbers = itertools.count(1)


def index_of(
    session: Session, path: Sequence[str], clusters: Sequence[str] = (), attribute: str = "note"
) -> InventoryIndex:
    return InventoryIndex(
        session,
        ManualClock(),
        folder=path,
        record_key=RECORD_KEY,
        cluster_names=clusters,
        attributes=[attribute],
    )


@pytest.fixture
def path(target: Target) -> list[str]:
    """Path of a folder that does not exist yet."""
    return [*target.run.path("tests"), f"indexed-{next(_numbers)}"]


@pytest.fixture
def index(session: Session, path: list[str]) -> InventoryIndex:
    return index_of(session, path)


@pytest.fixture
def cached(session: Session, place: Place, path: list[str]) -> Place:
    """The place of the index's folder."""
    own = folder.ensure_folder(session, place.datacenter, path)
    return dataclasses.replace(place, folder=own)


@pytest.fixture
def look(session: Session) -> int:
    """The requests of a look at a folder of one datacenter: one, and one more for each other
    datacenter, where another process may have created the folder since."""
    return len(inventory.snapshot(session).datacenters)


def test_the_inventory_is_the_one_that_a_fresh_look_shows(
    session: Session, index: InventoryIndex
) -> None:
    assert index.inventory() == inventory.snapshot(session)


def test_an_unknown_cluster_is_a_config_error_that_lists_the_known(
    target: Target, session: Session, path: list[str]
) -> None:
    with pytest.raises(errors.ConfigError) as fresh:
        inventory.snapshot(session, [target.run.named("prod")])
    index = index_of(session, path, [target.run.named("prod")])
    for _ in range(2):
        with pytest.raises(errors.ConfigError) as refused:
            index.inventory()
        assert str(refused.value) == str(fresh.value)


def test_a_missing_folder_has_no_vms_and_is_not_created(
    session: Session, index: InventoryIndex, place: Place, path: list[str]
) -> None:
    assert index.vms() == {}
    assert folder.find_folder(session, place.datacenter, path) is None


def test_a_folder_that_another_process_makes_is_found(
    target: Target, index: InventoryIndex, place: Place, path: list[str]
) -> None:
    assert index.vms() == {}
    with Session(target.endpoint()) as other:
        own = folder.ensure_folder(other, place.datacenter, path)
        waiter = TaskWaiter(other)
        made = import_vm(other, waiter, dataclasses.replace(place, folder=own), "theirs")
        waiter.close()
    assert list(index.vms()) == [made]


def test_vms_are_those_that_a_listing_of_the_folder_shows(
    session: Session, waiter: TaskWaiter, index: InventoryIndex, cached: Place, path: list[str]
) -> None:
    for name in ("one", "two"):
        import_vm(session, waiter, cached, name)
    wanted = virtual_machine.list_vms(session, cached.folder, RECORD_KEY, attributes=["note"])
    found = index.vms().values()
    assert sorted(map(index.info, found), key=str) == sorted(wanted, key=str)
    assert {(vm.folder, vm.host) for vm in found} == {(path[-1], vm.host) for vm in wanted}


def test_vms_in_folders_of_the_folder_are_found_and_further_down_are_not(
    session: Session,
    waiter: TaskWaiter,
    index: InventoryIndex,
    cached: Place,
    path: list[str],
    look: int,
) -> None:
    def place_in(*names: str) -> Place:
        own = folder.ensure_folder(session, cached.datacenter, [*path, *names])
        return dataclasses.replace(cached, folder=own)

    assert index.vms() == {}
    first = import_vm(session, waiter, place_in("one"), "first")
    assert [(vm.moref, vm.folder) for vm in index.vms().values()] == [(first, "one")]
    second = import_vm(session, waiter, place_in("two"), "first")
    import_vm(session, waiter, place_in("two", "deep"), "deep")
    found = {(vm.moref, vm.folder) for vm in index.vms().values()}
    assert found == {(first, "one"), (second, "two")}
    before = session.request_count
    index.vms()
    assert session.request_count - before == look


def test_nothing_changed_is_one_look_and_the_same_objects(
    session: Session, waiter: TaskWaiter, index: InventoryIndex, cached: Place, look: int
) -> None:
    import_vm(session, waiter, cached)
    vms, found = index.vms(), index.inventory(5)
    before = session.request_count
    assert index.vms() is vms
    assert session.request_count - before == look
    assert index.inventory(5) is found
    assert session.request_count - before == look


@pytest.mark.not_on_a_given_vcenter("makes a folder in every datacenter")
def test_a_look_is_one_request_where_every_datacenter_has_the_folder(
    session: Session, index: InventoryIndex, path: list[str]
) -> None:
    for datacenter in inventory.snapshot(session).datacenters:
        folder.ensure_folder(session, datacenter, path)
    assert index.vms() == {}
    before = session.request_count

    index.vms()

    assert session.request_count - before == 1


def test_a_vm_that_comes_or_goes_leaves_the_others_as_they_were(
    session: Session, waiter: TaskWaiter, index: InventoryIndex, cached: Place
) -> None:
    first = import_vm(session, waiter, cached, "first")
    before = index.info(index.vms()[first])
    second = import_vm(session, waiter, cached, "second")
    after = index.vms()
    assert after.keys() == {first, second}
    assert index.info(after[first]) == before
    template.destroy(session, waiter, second)
    assert list(index.vms()) == [first]


def test_a_template_is_seen_as_one_once_it_is_marked(
    target: Target, session: Session, waiter: TaskWaiter, index: InventoryIndex, cached: Place
) -> None:
    if target.is_vcsim:
        pytest.skip("vcsim: MarkAsTemplate sends no update to collectors")
    moref = import_vm(session, waiter, cached)
    assert not index.info(index.vms()[moref]).is_template
    template.mark_as_template(session, moref)
    assert index.info(index.vms()[moref]).is_template


def test_a_recreated_folder_is_followed(
    target: Target,
    session: Session,
    waiter: TaskWaiter,
    index: InventoryIndex,
    cached: Place,
    path: list[str],
) -> None:
    if target.is_vcsim:
        pytest.skip(
            "vcsim: a filter forgets its objects when its root changes, and reports no leave"
        )
    import_vm(session, waiter, cached)
    assert len(index.vms()) == 1
    waiter.wait(session.invoke("Folder", cached.folder, "Destroy_Task"), timeout_s=60)
    assert index.vms() == {}
    own = folder.ensure_folder(session, cached.datacenter, path)
    anew = import_vm(session, waiter, dataclasses.replace(cached, folder=own))
    assert list(index.vms()) == [anew]


def test_a_renamed_folder_is_no_longer_the_caches(
    target: Target,
    session: Session,
    waiter: TaskWaiter,
    index: InventoryIndex,
    cached: Place,
    path: list[str],
) -> None:
    if target.is_vcsim:
        pytest.skip(
            "vcsim: a filter forgets its objects when its root changes, and reports no leave"
        )
    import_vm(session, waiter, cached)
    assert len(index.vms()) == 1
    task = session.invoke("Folder", cached.folder, "Rename_Task", newName=f"{path[-1]} aside")
    waiter.wait(task, timeout_s=60)
    assert index.vms() == {}
    assert folder.ensure_folder(session, cached.datacenter, path) != cached.folder


def test_a_vm_under_the_folders_name_is_a_config_error_and_keeps_the_inventory(
    session: Session, waiter: TaskWaiter, place: Place
) -> None:
    import_vm(session, waiter, place, "no folder")
    own = next(known for known, moref in session.folders.items() if moref == place.folder)
    name = place.named("no folder")
    index = index_of(session, [*own[1:], name])
    assert index.inventory().hosts
    with pytest.raises(errors.ConfigError, match=rf"'{name}'.*rename or remove"):
        index.vms()


def test_a_new_log_in_causes_a_complete_new_look(
    session: Session, waiter: TaskWaiter, index: InventoryIndex, cached: Place
) -> None:
    first = import_vm(session, waiter, cached, "first")
    before = index.info(index.vms()[first])
    end_session(session)
    second = import_vm(session, waiter, cached, "second")
    after = index.vms()
    assert session.generation == 2
    assert after.keys() == {first, second}
    assert index.info(after[first]) == before

"""A waiting client sees every change exactly once, and never waits forever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.folder import Folder
from tests.unit.fakes.vcenter_client import PC, Client, object_spec, told, view_spec
from tests.unit.fakes.vm_client import create_spec, wait
from tests.waiting import wait_until


class Later:
    """A call in its own thread; `result` raises the call's error."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._value = call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the call never came back"
        if self._error is not None:
            raise self._error
        return self._value


def waiting(client: Client) -> bool:
    return any(
        collector._waiting for collector in client.vcenter.registry.of_type(PC) if collector.filters
    )


def watch(client: Client, *paths: str, partial: bool = False) -> tuple[Any, str]:
    """A filter on one new folder; returns the folder and the version after its first update."""
    folder = client.vm_folder.CreateFolder("watched")
    client.collector.CreateFilter(object_spec(folder, *paths), partial)
    first = client.wait("")
    assert [kind for kind, _, _ in told(first)] == ["enter"]
    return folder, first.version


def rename(client: Client, folder: Any, name: str) -> None:
    client.vcenter.registry.get(folder._moId).rename(name)


def test_change_during_the_wait_is_seen(client: Client) -> None:
    folder, version = watch(client, "name")
    later = Later(lambda: client.wait(version, 30))
    wait_until(lambda: waiting(client))
    rename(client, folder, "other")
    assert told(later.result()) == [("modify", folder._moId, {"name": "other"})]


def test_change_between_two_waits_is_seen(client: Client) -> None:
    folder, version = watch(client, "name")
    rename(client, folder, "other")
    rename(client, folder, "third")
    assert told(client.wait(version)) == [("modify", folder._moId, {"name": "third"})]


def test_version_can_be_used_again(client: Client) -> None:
    folder, version = watch(client, "name")
    rename(client, folder, "other")
    assert told(client.wait(version)) == told(client.wait(version))


def test_nothing_new_is_null(client: Client) -> None:
    _, version = watch(client, "name")
    assert client.wait(version, 0) is None


def test_unchanged_property_is_not_reported(client: Client) -> None:
    folder, version = watch(client, "name", "overallStatus")
    obj = client.vcenter.registry.get(folder._moId)
    obj.changed("overallStatus")
    assert client.wait(version, 0) is None
    obj.overallStatus = "red"
    obj.changed("overallStatus")
    assert told(client.wait(version)) == [("modify", folder._moId, {"overallStatus": "red"})]


def test_unset_property_is_reported_as_unset(client: Client) -> None:
    folder, version = watch(client, "parent")
    client.vcenter.registry.get(client.vm_folder._moId).remove_child(
        client.vcenter.registry.get(folder._moId)
    )
    client.vcenter.registry.get(folder._moId).changed("parent")
    assert told(client.wait(version)) == [("modify", folder._moId, {"parent": None})]


@pytest.mark.parametrize(("partial", "path"), [(True, "info.state"), (False, "info")])
def test_partial_update_reports_only_the_change(client: Client, partial: bool, path: str) -> None:
    task = client.vm_folder.CreateFolder("a").Rename_Task("b")
    fake_task = client.vcenter.registry.get(task._moId)
    wait_until(lambda: fake_task.done)
    client.collector.CreateFilter(object_spec(task, "info"), partial)
    version = client.wait("").version
    fake_task.changed("info.state")
    ((kind, _, changes),) = told(client.wait(version))
    assert kind == "modify" and list(changes) == [path]


def test_destroyed_object_leaves_the_filter(client: Client) -> None:
    folder, version = watch(client, "name")
    client.vcenter.registry.get(folder._moId).destroy()
    assert told(client.wait(version)) == [("leave", folder._moId, {})]


def test_object_that_enters_a_traversed_folder_is_seen(client: Client) -> None:
    step = PC.TraversalSpec(
        name="down",
        type=vim.Folder,
        path="childEntity",
        selectSet=[PC.SelectionSpec(name="down")],
    )
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=client.vm_folder, skip=True, selectSet=[step])],
        propSet=[PC.PropertySpec(type=vim.Folder, pathSet=["name"])],
    )
    client.collector.CreateFilter(spec, True)
    version = client.wait("").version
    above = client.vm_folder.CreateFolder("above")
    below = above.CreateFolder("below")
    update = client.wait(version)
    assert told(update) == [
        ("enter", above._moId, {"name": "above"}),
        ("enter", below._moId, {"name": "below"}),
    ]
    client.vcenter.registry.get(above._moId).destroy()
    assert {(kind, moref) for kind, moref, _ in told(client.wait(update.version))} == {
        ("leave", above._moId),
        ("leave", below._moId),
    }


def test_object_reached_by_two_paths_leaves_with_the_second(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    lists = [client.content.viewManager.CreateListView([folder]) for _ in range(2)]
    spec = view_spec(lists[0], vim.Folder, "name")
    spec.objectSet += view_spec(lists[1], vim.Folder, "name").objectSet
    client.collector.CreateFilter(spec, True)
    version = client.wait("").version
    lists[0].ModifyListView(remove=[folder])
    assert client.wait(version, 0) is None
    lists[1].ModifyListView(remove=[folder])
    assert told(client.wait(version)) == [("leave", folder._moId, {})]


def test_path_through_a_cycle_does_not_keep_an_object(client: Client) -> None:
    # vm folder -> children -> their parent -> children ...: reference counts never fall to zero.
    steps = [
        PC.TraversalSpec(
            name="down",
            type=vim.Folder,
            path="childEntity",
            selectSet=[PC.SelectionSpec(name="up")],
        ),
        PC.TraversalSpec(
            name="up", type=vim.Folder, path="parent", selectSet=[PC.SelectionSpec(name="down")]
        ),
    ]
    spec = PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=client.vm_folder, skip=True, selectSet=steps)],
        propSet=[PC.PropertySpec(type=vim.Folder, pathSet=["name"])],
    )
    folder = client.vm_folder.CreateFolder("a")
    client.collector.CreateFilter(spec, True)
    version = client.wait("").version
    client.vcenter.registry.get(folder._moId).destroy()
    # The vm folder itself was reached as the parent of the removed object.
    assert {(kind, moref) for kind, moref, _ in told(client.wait(version))} == {
        ("leave", folder._moId),
        ("leave", client.vm_folder._moId),
    }


def test_truncated_set_is_completed(client: Client) -> None:
    view = client.content.viewManager.CreateContainerView(client.vm_folder, [vim.Folder], True)
    client.collector.CreateFilter(view_spec(view, vim.Folder, "name"), True)
    for number in range(5):
        client.vm_folder.CreateFolder(f"f{number}")
    update, seen = client.wait("", most=2), []
    while update.truncated:
        seen += told(update)
        truncated_version = update.version
        update = client.wait(update.version, most=2)
    seen += told(update)
    assert [changes["name"] for _, _, changes in seen] == [f"f{number}" for number in range(5)]
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        client.wait(truncated_version)


def test_client_without_a_limit_gets_pages(client: Client) -> None:
    parent = client.vcenter.registry.get(client.vm_folder._moId)
    for number in range(250):
        parent.add_child(Folder(client.vcenter, f"f{number}", "v"))
    view = client.content.viewManager.CreateContainerView(client.vm_folder, [vim.Folder], True)
    client.collector.CreateFilter(view_spec(view, vim.Folder, "name"), True)
    pages, version = [], ""
    while True:
        update = client.wait(version, most=None if len(pages) < 2 else 200)
        version = update.version
        pages.append((version, len(told(update)), update.truncated))
        if not update.truncated:
            break
    assert pages == [("0_1", 100, True), ("0_2", 100, True), ("1", 50, None)]


def test_calls_without_pages_get_everything(client: Client) -> None:
    client.vcenter.switches.update_page_limit = 1
    for number in range(3):
        client.collector.CreateFilter(
            object_spec(client.vm_folder.CreateFolder(f"f{number}"), "name"), True
        )
    for whole in (client.collector.WaitForUpdates, client.collector.CheckForUpdates):
        update = whole("")
        assert len(told(update)) == 3 and not update.truncated
        page = client.wait("")
        assert page.truncated
        with pytest.raises(vmodl.query.InvalidCollectorVersion):
            whole(page.version)
        with pytest.raises(vmodl.query.InvalidCollectorVersion):
            client.wait(page.version)  # no longer the version of the last call


def test_page_of_an_earlier_call_is_invalid(client: Client) -> None:
    client.vcenter.switches.update_page_limit = 1
    for number in range(3):
        client.collector.CreateFilter(
            object_spec(client.vm_folder.CreateFolder(f"f{number}"), "name"), True
        )
    first = client.wait("").version
    client.wait(first)
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        client.wait(first)


def test_versions_are_counted_by_the_collector(client: Client) -> None:
    _, version = watch(client, "name")
    assert version == "1"
    folder = client.vm_folder.CreateFolder("second")
    client.collector.CreateFilter(object_spec(folder, "name"), True)
    assert client.wait(version).version == "2"


def test_new_object_is_reported_with_its_unset_properties(client: Client) -> None:
    paths = ("summary.customValue", "snapshot", "config.ftInfo.role", "availableField", "name")
    pool = client.datacenter.hostFolder.childEntity[0].resourcePool
    vm = wait(client.vm_folder.CreateVM_Task(create_spec("a"), pool))
    client.collector.CreateFilter(object_spec(vm, *paths), True)
    (filter_update,) = client.wait("").filterSet
    (entered,) = filter_update.objectSet
    assert [(each.name, each.op, each.val) for each in entered.changeSet] == [
        ("availableField", "assign", []),
        ("config.ftInfo.role", "indirectRemove", None),
        ("name", "assign", "a"),
        ("snapshot", "assign", None),
        ("summary.customValue", "assign", []),
    ]


@pytest.mark.parametrize("version", ["999999", "nonsense", "-"])
def test_unknown_version_is_refused(client: Client, version: str) -> None:
    watch(client, "name")
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        client.wait(version)


def test_negative_wait_is_refused(client: Client) -> None:
    watch(client, "name")
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.wait("", -1)


def test_second_waiter_waits_for_the_first(client: Client) -> None:
    folder, version = watch(client, "name")
    waiters = [Later(lambda: client.wait(version, 30)) for _ in range(2)]
    wait_until(lambda: waiting(client))
    rename(client, folder, "other")
    for waiter in waiters:
        assert told(waiter.result()) == [("modify", folder._moId, {"name": "other"})]


def test_cancel_ends_the_wait(client: Client) -> None:
    _, version = watch(client, "name")
    later = Later(lambda: client.wait(version, 60))
    wait_until(lambda: waiting(client))
    client.collector.CancelWaitForUpdates()
    with pytest.raises(vmodl.fault.RequestCanceled):
        later.result()


@pytest.mark.parametrize("end", ["expire", "destroy"])
def test_end_of_the_collector_ends_the_wait(client: Client, end: str) -> None:
    collector = client.collector.CreatePropertyCollector()
    collector.CreateFilter(object_spec(client.datacenter, "name"), True)
    version = client.wait("", collector=collector).version
    later = Later(lambda: client.wait(version, 60, collector))
    wait_until(lambda: waiting(client))
    if end == "expire":
        client.vcenter.sessions.expire_all()
    else:
        collector.DestroyPropertyCollector()
    with pytest.raises(vmodl.fault.RequestCanceled):
        later.result()


def test_destroyed_filter_reports_nothing(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    made = client.collector.CreateFilter(object_spec(folder, "name"), True)
    version = client.wait("").version
    made.DestroyPropertyFilter()
    rename(client, folder, "b")
    assert client.wait(version, 0) is None
    assert client.collector.filter == []
    assert client.vcenter.registry.get(folder._moId).watchers == {}


def test_long_poll_keeps_its_session_alive(client: Client) -> None:
    _, version = watch(client, "name")
    later = Later(lambda: client.wait(version, 60))
    wait_until(lambda: waiting(client))
    client.vcenter.clock.advance(3600)
    assert len(client.vcenter.sessions.active()) == 1
    client.collector.CancelWaitForUpdates()
    with pytest.raises(vmodl.fault.RequestCanceled):
        later.result()


def test_filter_on_a_gone_object_leaves_no_filter(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    client.vcenter.registry.get(folder._moId).destroy()
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        client.collector.CreateFilter(object_spec(folder, "name"), True)
    assert client.collector.filter == []


class CountingFolder(Folder):
    """A folder that counts how often its name is read."""

    reads = 0

    def read(self, name: str, ctx: Context) -> Any:
        if name == "name":
            type(self).reads += 1
        return super().read(name, ctx)


def test_one_change_reads_one_object(client: Client) -> None:
    parent = client.vcenter.registry.get(client.vm_folder._moId)
    many = [CountingFolder(client.vcenter, f"f{number}", "v") for number in range(300)]
    for folder in many:
        parent.add_child(folder)
    view = client.content.viewManager.CreateContainerView(client.vm_folder, [vim.Folder], True)
    client.collector.CreateFilter(view_spec(view, vim.Folder, "name"), True)
    version = client.known()
    CountingFolder.reads = 0
    many[7].rename("other")
    newcomer = client.vm_folder.CreateFolder("newcomer")
    assert told(client.wait(version)) == [
        ("modify", many[7].moref, {"name": "other"}),
        ("enter", newcomer._moId, {"name": "newcomer"}),
    ]
    assert CountingFolder.reads <= 2

"""A view shows everything that exists in it, and nothing else."""

from __future__ import annotations

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.unit.fakes.vcenter_client import Client, told, view_spec


def test_list_view_returns_an_object_that_is_gone_as_unresolved(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    gone = client.vm_folder.CreateFolder("b")
    client.vcenter.registry.get(gone._moId).destroy()
    view = client.content.viewManager.CreateListView([])
    assert view.ModifyListView(add=[folder, gone]) == [gone]
    assert view.view == [folder]


def test_list_view_returns_what_it_could_not_remove(client: Client) -> None:
    view = client.content.viewManager.CreateListView([client.vm_folder])
    stranger = vim.Task("task-999", client.instance._stub)
    assert view.ModifyListView(remove=[stranger, client.vm_folder]) == [stranger]
    assert view.view == []


def test_list_view_drops_a_destroyed_member(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    view = client.content.viewManager.CreateListView([folder])
    client.vcenter.registry.get(folder._moId).destroy()
    assert view.view == []


def test_task_added_to_a_list_view_is_reported_alone(client: Client) -> None:
    view = client.content.viewManager.CreateListView([])
    client.collector.CreateFilter(view_spec(view, vim.Folder, "name"), True)
    version = client.wait("").version
    for name in ("a", "b"):
        folder = client.vm_folder.CreateFolder(name)
        view.ModifyListView(add=[folder])
        update = client.wait(version)
        version = update.version
        assert told(update) == [("enter", folder._moId, {"name": name})]


def test_reset_list_view_drops_old_members(client: Client) -> None:
    first, second = (client.vm_folder.CreateFolder(name) for name in ("a", "b"))
    view = client.content.viewManager.CreateListView([first])
    view.ResetListView([second])
    assert view.view == [second]


def test_list_view_of_a_gone_object_is_refused(client: Client) -> None:
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        client.content.viewManager.CreateListView([vim.Folder("group-v999")])


def test_container_view_filters_by_type_and_depth(client: Client) -> None:
    manager, root = client.content.viewManager, client.content.rootFolder
    hosts = manager.CreateContainerView(root, [vim.HostSystem], True)
    assert sorted(host.name for host in hosts.view) == ["DC0_C0_H0", "DC0_C0_H1"]
    shallow = manager.CreateContainerView(root, [vim.HostSystem], False)
    assert shallow.view == []
    everything = manager.CreateContainerView(root, None, True)
    kinds = {type(each).__name__.rpartition(".")[2] for each in everything.view}
    assert kinds == {
        "Datacenter",
        "Folder",
        "ClusterComputeResource",
        "ResourcePool",
        "HostSystem",
        "Datastore",
        "Network",
    }


def test_container_view_follows_objects_that_move(client: Client) -> None:
    inside = client.vm_folder.CreateFolder("inside")
    outside = client.vm_folder.CreateFolder("outside")
    outside.CreateFolder("child").CreateFolder("grandchild")
    view = client.content.viewManager.CreateContainerView(inside, [vim.Folder], True)
    assert view.view == []
    mover = client.vcenter.registry.get(inside._moId)
    moved = client.vcenter.registry.get(outside._moId)
    mover.move_in(moved)
    assert [each.name for each in view.view] == ["outside", "child", "grandchild"]
    client.vcenter.registry.get(client.vm_folder._moId).move_in(moved)
    assert view.view == []


def test_template_leaves_the_view_of_its_pool(client: Client) -> None:
    cluster = client.datacenter.hostFolder.childEntity[0]
    files = vim.vm.FileInfo(vmPathName="[DC0_DS0]")
    config = vim.vm.ConfigSpec(name="a", numCPUs=1, memoryMB=4, guestId="otherGuest", files=files)
    task = client.vm_folder.CreateVM_Task(config, cluster.resourcePool, cluster.host[0])
    WaitForTask(task)
    pool, host, folder = (
        client.content.viewManager.CreateContainerView(container, [vim.VirtualMachine], True)
        for container in (cluster.resourcePool, cluster.host[0], client.vm_folder)
    )
    vm = task.info.result
    assert pool.view == host.view == folder.view == [vm]
    vm.MarkAsTemplate()
    assert pool.view == []
    assert host.view == folder.view == [vm]
    vm.MarkAsVirtualMachine(cluster.resourcePool, None)
    assert pool.view == [vm]
    WaitForTask(vm.Destroy_Task())
    assert pool.view == host.view == folder.view == []


def test_container_view_needs_a_container(client: Client) -> None:
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.content.viewManager.CreateContainerView(client.datacenter.datastore[0], None, True)


def test_destroyed_view_stops_listening(client: Client) -> None:
    view = client.content.viewManager.CreateContainerView(client.vm_folder, None, True)
    view.DestroyView()
    assert not client.vcenter.registry.placement_listeners
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        view.view  # noqa: B018 - the read itself is tested

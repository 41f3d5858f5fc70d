"""A client reads properties correctly, or notices that it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.unit.fakes.vcenter_client import PC, Client, object_spec, view_spec


def folders(client: Client, count: int) -> Any:
    """A container view of `count` new folders."""
    for number in range(count):
        client.vm_folder.CreateFolder(f"f{number}")
    return client.content.viewManager.CreateContainerView(client.vm_folder, [vim.Folder], True)


def names(result: Any) -> list[str]:
    return [content.propSet[0].val for content in result.objects]


def step(name: str | None, managed_type: Any, path: str, *then: Any) -> Any:
    return PC.TraversalSpec(
        name=name, type=managed_type, path=path, skip=False, selectSet=list(then)
    )


def goto(name: str) -> Any:
    return PC.SelectionSpec(name=name)


def test_pages_cover_every_object_once(client: Client) -> None:
    spec = view_spec(folders(client, 8), vim.Folder, "name")
    result = client.retrieve(spec, page=3)
    seen, sizes = names(result), [len(result.objects)]
    while result.token:
        result = client.collector.ContinueRetrievePropertiesEx(result.token)
        seen += names(result)
        sizes.append(len(result.objects))
    assert sizes == [3, 3, 2]
    assert seen == [f"f{number}" for number in range(8)]


def test_token_works_once(client: Client) -> None:
    first = client.retrieve(view_spec(folders(client, 3), vim.Folder, "name"), page=1)
    client.collector.ContinueRetrievePropertiesEx(first.token)
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.collector.ContinueRetrievePropertiesEx(first.token)


def test_token_works_only_on_its_collector(client: Client) -> None:
    first = client.retrieve(view_spec(folders(client, 3), vim.Folder, "name"), page=1)
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.collector.CreatePropertyCollector().ContinueRetrievePropertiesEx(first.token)


def test_server_limits_the_size_of_pages(client: Client) -> None:
    client.vcenter.switches.retrieve_page_limit = 2
    result = client.retrieve(view_spec(folders(client, 3), vim.Folder, "name"), page=100)
    assert len(result.objects) == 2 and result.token


def test_cancelled_token_is_invalid(client: Client) -> None:
    first = client.retrieve(view_spec(folders(client, 3), vim.Folder, "name"), page=1)
    client.collector.CancelRetrievePropertiesEx(first.token)
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.collector.ContinueRetrievePropertiesEx(first.token)


@pytest.mark.parametrize("size", [0, -1])
def test_page_of_no_objects_is_refused(client: Client, size: int) -> None:
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.retrieve(object_spec(client.datacenter, "name"), page=size)


def test_no_match_is_null(client: Client) -> None:
    assert client.retrieve(view_spec(folders(client, 0), vim.Folder, "name")) is None


def test_objects_that_vanish_between_pages_are_left_out(client: Client) -> None:
    spec = view_spec(folders(client, 4), vim.Folder, "name")
    first = client.retrieve(spec, page=2)
    for name in ("f2", "f3"):
        client.vcenter.root_folder.childEntity[0].vmFolder.child(name).destroy()
    assert client.collector.ContinueRetrievePropertiesEx(first.token) is None


def test_unset_property_is_not_reported_as_missing(client: Client) -> None:
    (content,) = client.retrieve(object_spec(client.content.rootFolder, "name", "parent")).objects
    assert [prop.name for prop in content.propSet] == ["name"]
    assert not content.missingSet


@pytest.mark.parametrize("path", ["nonsense", "name.more", "summary.nonsense", "name["])
def test_unknown_property_is_refused(client: Client, path: str) -> None:
    datastore = client.datacenter.datastore[0]
    with pytest.raises(vmodl.query.InvalidProperty) as caught:
        client.retrieve(object_spec(datastore, path))
    assert caught.value.name == path


def test_gone_object_fails_an_explicit_request(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("gone")
    spec = object_spec(folder, "name")
    client.vcenter.registry.get(folder._moId).destroy()
    with pytest.raises(vmodl.fault.ManagedObjectNotFound) as caught:
        client.retrieve(spec)
    assert caught.value.obj._moId == folder._moId
    spec.reportMissingObjectsInResults = True
    assert client.retrieve(spec) is None


def test_step_is_taken_only_from_objects_of_its_type(client: Client) -> None:
    # Datacenter has vmFolder, Folder does not: checking `type` prevents a failure here.
    spec = PC.FilterSpec(
        objectSet=[
            PC.ObjectSpec(
                obj=client.content.rootFolder,
                selectSet=[
                    step(
                        None,
                        vim.Folder,
                        "childEntity",
                        step(None, vim.Datacenter, "vmFolder"),
                        step(None, vim.ClusterComputeResource, "host"),
                    )
                ],
            )
        ],
        propSet=[PC.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
    )
    assert names(client.retrieve(spec)) == ["Datacenters", "DC0", "vm"]


def test_recursion_by_name_reaches_every_level(client: Client) -> None:
    deep = client.vm_folder.CreateFolder("a").CreateFolder("b").CreateFolder("c")
    spec = PC.FilterSpec(
        objectSet=[
            PC.ObjectSpec(
                obj=client.vm_folder,
                skip=True,
                selectSet=[step("down", vim.Folder, "childEntity", goto("down"))],
            )
        ],
        propSet=[PC.PropertySpec(type=vim.Folder, pathSet=["name"])],
    )
    result = client.retrieve(spec)
    assert names(result) == ["a", "b", "c"]
    assert result.objects[-1].obj == deep


def test_traversal_to_the_parents_starts_with_the_object(client: Client) -> None:
    # oslo.vmware's get_inventory_path takes the first object for the entity itself.
    folder = client.vm_folder.CreateFolder("a")
    spec = PC.FilterSpec(
        objectSet=[
            PC.ObjectSpec(
                obj=folder, selectSet=[step("up", vim.ManagedEntity, "parent", goto("up"))]
            )
        ],
        propSet=[PC.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
    )
    assert names(client.retrieve(spec)) == ["a", "vm", "DC0", "Datacenters"]


def test_cycle_in_a_traversal_ends_and_reports_once(client: Client) -> None:
    spec = PC.FilterSpec(
        objectSet=[
            PC.ObjectSpec(
                obj=client.datacenter,
                selectSet=[
                    step("down", vim.Datacenter, "vmFolder", goto("up")),
                    step("up", vim.Folder, "parent", goto("down")),
                ],
            )
        ],
        propSet=[PC.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
    )
    assert names(client.retrieve(spec)) == ["DC0", "vm"]


def test_unknown_name_of_a_step_is_refused(client: Client) -> None:
    spec = object_spec(client.datacenter, "name")
    spec.objectSet[0].selectSet = [goto("nowhere")]
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.retrieve(spec)


def test_key_path_finds_its_element(client: Client) -> None:
    spec = object_spec(client.content.setting, 'setting["VirtualCenter.InstanceName"]')
    (content,) = client.retrieve(spec).objects
    assert content.propSet[0].val.value == "fake-vcenter"
    assert content.propSet[0].name == 'setting["VirtualCenter.InstanceName"]'
    absent = object_spec(client.content.setting, 'setting["no.such.key"]')
    assert not client.retrieve(absent).objects[0].propSet


def test_all_properties_can_be_read_for_every_type(client: Client) -> None:
    host = client.datacenter.hostFolder.childEntity[0].host[0]
    for obj in (client.datacenter, host, host.parent, host.parent.resourcePool, client.vm_folder):
        (content,) = client.retrieve(object_spec(obj, all_paths=True)).objects
        assert "name" in {prop.name for prop in content.propSet}
        assert not content.missingSet


def test_long_values_and_enumerations_keep_their_type(client: Client) -> None:
    spec = object_spec(client.datacenter.datastore[0], "summary.freeSpace", "overallStatus")
    values = {prop.name: prop.val for prop in client.retrieve(spec).objects[0].propSet}
    assert values["summary.freeSpace"] == 1 << 40
    assert type(values["summary.freeSpace"]).__name__ == "long"
    assert isinstance(values["overallStatus"], vim.ManagedEntity.Status)


def test_old_retrieve_properties_still_works(client: Client) -> None:
    (content,) = client.collector.RetrieveContents([object_spec(client.datacenter, "name")])
    assert content.propSet[0].val == "DC0"

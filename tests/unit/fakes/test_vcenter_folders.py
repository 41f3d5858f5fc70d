"""Names are unique in a folder, and stored as in a real vCenter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.unit.fakes.vcenter_client import Client, connect


def test_duplicate_folder_is_refused_with_the_existing_one(client: Client) -> None:
    first = client.vm_folder.CreateFolder("a")
    with pytest.raises(vim.fault.DuplicateName) as caught:
        client.vm_folder.CreateFolder("a")
    assert caught.value.name == "a"
    assert caught.value.object == first
    assert caught.value.msg == "The name 'a' already exists."


def test_one_of_many_racing_creators_wins(client: Client) -> None:
    folder = client.vm_folder

    def create(_: int) -> Any:
        try:
            return folder.CreateFolder("raced")
        except vim.fault.DuplicateName as fault:
            return fault.object

    with ThreadPoolExecutor(8) as pool:
        assert len({each._moId for each in pool.map(create, range(8))}) == 1


def test_same_name_is_allowed_in_another_folder(client: Client) -> None:
    client.vm_folder.CreateFolder("a").CreateFolder("a")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a/b", "a%2fb"),
        ("a\\b", "a%5cb"),
        ("50%", "50%25"),
        ("a%2fb", "a%2fb"),
        ("Project (x)", "Project (x)"),
    ],
)
def test_special_characters_are_escaped(client: Client, name: str, stored: str) -> None:
    assert client.vm_folder.CreateFolder(name).name == stored


@pytest.mark.parametrize("name", ["", "x" * 81, "/" * 27])
def test_bad_name_is_refused(client: Client, name: str) -> None:
    with pytest.raises(vim.fault.InvalidName):
        client.vm_folder.CreateFolder(name)
    client.vm_folder.CreateFolder("x" * 80)


def test_rename_to_a_taken_name_is_an_error_of_the_task(client: Client) -> None:
    client.vm_folder.CreateFolder("a")
    task = client.vm_folder.CreateFolder("b").Rename_Task("a")
    with pytest.raises(vim.fault.DuplicateName):
        WaitForTask(task)
    assert task.info.state == "error"
    assert client.content.searchIndex.FindByInventoryPath("/DC0/vm/b") is not None


def test_renamed_folder_is_found_by_its_new_name_only(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    WaitForTask(folder.Rename_Task("b"))
    assert client.content.searchIndex.FindChild(client.vm_folder, "b") == folder
    assert client.content.searchIndex.FindChild(client.vm_folder, "a") is None


def test_moved_folder_is_in_one_place(client: Client) -> None:
    source, target = (client.vm_folder.CreateFolder(name) for name in ("a", "b"))
    WaitForTask(target.MoveIntoFolder_Task([source]))
    assert source.parent == target
    assert client.vm_folder.childEntity == [target]


def test_move_into_itself_or_another_kind_is_refused(client: Client) -> None:
    folder = client.vm_folder.CreateFolder("a")
    below = folder.CreateFolder("b")
    with pytest.raises(vim.fault.InvalidFolder):
        WaitForTask(below.MoveIntoFolder_Task([folder]))
    with pytest.raises(vmodl.fault.NotSupported):
        WaitForTask(client.datacenter.hostFolder.MoveIntoFolder_Task([folder]))


def test_move_to_another_datacenter_is_refused() -> None:
    with VCenter(Model(datacenters=2)) as vcenter:
        client = connect(vcenter)
        folder = client.vm_folder.CreateFolder("a")
        other = client.content.rootFolder.childEntity[1].vmFolder
        with pytest.raises(vmodl.fault.InvalidArgument):
            WaitForTask(other.MoveIntoFolder_Task([folder]))


def test_datacenters_own_folder_cannot_be_destroyed(client: Client) -> None:
    with pytest.raises(vmodl.fault.NotSupported):
        WaitForTask(client.vm_folder.Destroy_Task())
    inner = client.vm_folder.CreateFolder("a").CreateFolder("b")
    WaitForTask(inner.parent.Destroy_Task())
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        inner.name  # noqa: B018 - the read itself is tested


def test_model_gives_the_documented_names_and_sizes() -> None:
    model = Model(
        datacenters=2, clusters=2, hosts_per_cluster=3, datastores=2, pods=1,
        datastore_bytes=(1 << 30, 2 << 30), datastore_type=("VMFS", "NFS"),
        datacenter_folders="F0/F1",
    )  # fmt: skip
    with VCenter(model) as vcenter:
        client = connect(vcenter)
        find = client.content.searchIndex.FindByInventoryPath
        cluster = find("F0/F1/DC1/host/DC1_C1")
        assert [host.name for host in cluster.host] == ["DC1_C1_H0", "DC1_C1_H1", "DC1_C1_H2"]
        assert cluster.resourcePool.name == "Resources"
        stores = [find(f"F0/F1/DC1/datastore/DC1_DS{number}") for number in range(2)]
        assert [store.summary.capacity for store in stores] == [1 << 30, 2 << 30]
        assert [store.summary.type for store in stores] == ["VMFS", "NFS"]
        assert len(stores[0].host) == 6
        pod = find("F0/F1/DC0/datastore/DC0_POD0")
        assert isinstance(pod, vim.StoragePod) and pod.summary.capacity == 0
        assert vcenter.errors == []


def test_model_without_hosts_is_refused() -> None:
    with pytest.raises(ValueError, match="hosts_per_cluster"):
        Model(hosts_per_cluster=0)

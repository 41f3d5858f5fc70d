"""Files and disks on the fake's datastores are created and removed as in a real vCenter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter, vmdk
from tests.fakes.vcenter.disk import DiskContent
from tests.unit.fakes.vm_client import (
    Client,
    GiB,
    MiB,
    connected,
    disk_changes,
    disk_of,
    until_running,
    wait,
)


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model(datastore_bytes=10 * GiB)) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


@pytest.fixture
def disks(client: Client) -> Any:
    return client.content.virtualDiskManager


@pytest.fixture
def files(client: Client) -> Any:
    return client.content.fileManager


def _spec(size_bytes: int = MiB, disk_type: str = "thin") -> Any:
    return vim.VirtualDiskManager.FileBackedVirtualDiskSpec(
        capacityKb=size_bytes // 1024, adapterType="lsiLogic", diskType=disk_type
    )


def _put(client: Client, path: str, data: bytes, store: str = "DC0_DS0") -> int:
    return client.request("PUT", client.folder_url(store, path), data, client.cookie)[0]


def test_a_flat_image_becomes_a_disk(vc: VCenter, client: Client, disks: Any) -> None:
    """What Cinder's driver does for preallocated images: it keeps the descriptor and uploads the
    extent.
    """
    data = os.urandom(3 * MiB)
    vm = client.create("volume", 0)
    path = "[DC0_DS0] volume/image.vmdk"
    wait(disks.CreateVirtualDisk_Task(path, client.datacenter, _spec(3 * MiB, "eagerZeroedThick")))
    flat = path.replace(".vmdk", "-flat.vmdk")
    wait(client.content.fileManager.DeleteDatastoreFile_Task(flat, client.datacenter))
    assert _put(client, "volume/image-flat.vmdk", data) == 201
    add = disk_changes(3 * MiB, fileName=path)
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=add)))
    assert vc.read_disk("volume").read() == data
    assert disk_of(vm).backing.eagerlyScrub
    assert vc.datastore("DC0_DS0").files()["volume/image-flat.vmdk"] == 3 * MiB


def test_a_stream_optimized_file_is_converted_by_a_copy(
    vc: VCenter, client: Client, disks: Any, files: Any
) -> None:
    """What os-brick does for a restored backup: upload, copy to the disk's path, attach."""
    content = DiskContent(32 * MiB)
    content.write(MiB, os.urandom(MiB))
    files.MakeDirectory("[DC0_DS0] cinder_temp", client.datacenter)
    with pytest.raises(vim.fault.FileAlreadyExists):
        files.MakeDirectory("[DC0_DS0] cinder_temp", client.datacenter)
    data = b"".join(vmdk.stream_optimized(content))
    assert _put(client, "cinder_temp/x.vmdk", data) == 201
    assert vc.datastore("DC0_DS0").files()["cinder_temp/x.vmdk"] == len(data)
    vm = client.create("volume", 32 * MiB)
    device = disk_of(vm)
    remove = vim.vm.device.VirtualDeviceSpec(
        operation="remove", fileOperation="destroy", device=device
    )
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[remove])))
    source, target = "[DC0_DS0] cinder_temp/x.vmdk", device.backing.fileName
    dc = client.datacenter
    wait(disks.CopyVirtualDisk_Task(source, dc, target, dc))
    with pytest.raises(vim.fault.FileAlreadyExists):
        wait(disks.CopyVirtualDisk_Task(source, dc, target, dc, force=True))
    add = vim.vm.device.VirtualDeviceSpec(operation="add", device=device)
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[add])))
    assert vc.read_disk("volume").sha256() == content.sha256()
    assert disk_of(vm).backing.thinProvisioned is False
    wait(files.DeleteDatastoreFile_Task(source, dc))
    assert "cinder_temp/x.vmdk" not in vc.datastore("DC0_DS0").files()


def test_sparse_files_and_rubbish_cannot_be_attached(client: Client) -> None:
    vm = client.create("vm", 0)
    _put(client, "vm/s.vmdk", b"".join(vmdk.stream_optimized(DiskContent(MiB))))
    _put(client, "vm/r.vmdk", b"rubbish")
    for name in ("s", "r"):
        add = disk_changes(MiB, fileName=f"[DC0_DS0] vm/{name}.vmdk")
        with pytest.raises(vim.fault.InvalidDiskFormat):
            wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=add)))
    with pytest.raises(vim.fault.FileNotFound):
        add = disk_changes(MiB, fileName="[DC0_DS0] vm/none.vmdk")
        wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=add)))


def test_copies_are_as_strict_as_through_vcenter(client: Client, disks: Any) -> None:
    dc = client.datacenter
    client.create("vm")
    source = "[DC0_DS0] vm/vm.vmdk"
    with pytest.raises(vmodl.fault.NotImplemented):
        disks.CopyVirtualDisk_Task(source, dc, "[DC0_DS0] vm/c.vmdk", dc, destSpec=_spec())
    for bad in ("[DC0_DS0] nowhere/c.vmdk", "[DC0_DS1] nowhere/c.vmdk"):
        with pytest.raises(vim.fault.FileNotFound):
            wait(disks.CopyVirtualDisk_Task(source, dc, bad, dc))
    with pytest.raises(vim.fault.FileNotFound):
        wait(disks.CopyVirtualDisk_Task("[DC0_DS0] vm/no.vmdk", dc, "[DC0_DS0] vm/c.vmdk", dc))
    with pytest.raises(vim.fault.InvalidDatastorePath):
        wait(disks.CopyVirtualDisk_Task(source, dc, "[none] vm/c.vmdk", dc))


def test_extending_a_volume_is_seen_by_its_vm(vc: VCenter, client: Client, disks: Any) -> None:
    vm = client.create("vm", GiB, backing={})
    path = disk_of(vm).backing.fileName
    dc = client.datacenter
    wait(disks.ExtendVirtualDisk_Task(path, dc, 2 * GiB // 1024, False))
    assert disk_of(vm).capacityInBytes == 2 * GiB
    assert vc.datastore("DC0_DS0").files()["vm/vm-flat.vmdk"] == 2 * GiB
    with pytest.raises(vim.fault.NoDiskSpace):
        wait(disks.ExtendVirtualDisk_Task(path, dc, 20 * GiB // 1024, False))
    with pytest.raises(vmodl.fault.InvalidArgument):
        wait(disks.ExtendVirtualDisk_Task(path, dc, GiB // 1024, False))
    assert disk_of(vm).capacityInBytes == 2 * GiB


def test_an_eager_zeroed_disk_that_grows_lazily_loses_its_type(
    vc: VCenter, client: Client, disks: Any
) -> None:
    vm = client.create("vm", MiB, backing={"eagerlyScrub": True})
    path, dc = disk_of(vm).backing.fileName, client.datacenter

    wait(disks.ExtendVirtualDisk_Task(path, dc, 2 * MiB // 1024, True))
    assert disk_of(vm).backing.eagerlyScrub
    with pytest.raises(vmodl.fault.InvalidArgument):
        wait(disks.ExtendVirtualDisk_Task(path, dc, 2 * MiB // 1024, True))

    device = disk_of(vm)
    device.capacityInKB = 3 * MiB // 1024
    change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
    assert disk_of(vm).capacityInBytes == 3 * MiB
    assert not disk_of(vm).backing.eagerlyScrub


def test_a_disk_extended_without_its_vm_is_shown_after_a_reload(
    vc: VCenter, client: Client, disks: Any
) -> None:
    vc.switches.extended_disks_show_at_once = False
    vm = client.create("vm", MiB, backing={})
    path, dc = disk_of(vm).backing.fileName, client.datacenter

    wait(disks.ExtendVirtualDisk_Task(path, dc, 2 * MiB // 1024, True))
    assert disk_of(vm).capacityInBytes == MiB
    assert vc.read_disk("vm").size_bytes == 2 * MiB

    vm.Reload()
    assert disk_of(vm).capacityInBytes == 2 * MiB


def test_a_disk_is_locked_while_its_new_part_is_zeroed(
    vc: VCenter, client: Client, disks: Any
) -> None:
    vm = client.create("vm", MiB, backing={})
    path, dc = disk_of(vm).backing.fileName, client.datacenter
    vc.cost_model.enabled = True
    vc.cost_model.datastore_bandwidth = MiB / 10

    task = disks.ExtendVirtualDisk_Task(path, dc, 2 * MiB // 1024, True)
    until_running(task)
    with pytest.raises(vim.fault.FileLocked):
        wait(disks.ExtendVirtualDisk_Task(path, dc, 2 * MiB // 1024, True))
    vc.clock.advance(21)
    wait(task)
    assert disk_of(vm).capacityInBytes == 2 * MiB


def test_moved_and_deleted_disks_leave_their_place(vc: VCenter, client: Client, disks: Any) -> None:
    dc = client.datacenter
    client.create("vm", 0)
    wait(disks.CreateVirtualDisk_Task("[DC0_DS0] vm/a.vmdk", dc, _spec()))
    uuid = "60 00 c2 98 59 5b f4 57-57 39 e9 10 5b 2c 0c 2d"
    disks.SetVirtualDiskUuid("[DC0_DS0] vm/a.vmdk", dc, uuid)
    wait(disks.MoveVirtualDisk_Task("[DC0_DS0] vm/a.vmdk", dc, "[DC0_DS0] vm/b.vmdk", dc))
    assert disks.QueryVirtualDiskUuid("[DC0_DS0] vm/b.vmdk", dc) == uuid
    assert disks.QueryVirtualDiskGeometry("[DC0_DS0] vm/b.vmdk", dc).head == 64
    names = set(vc.datastore("DC0_DS0").files())
    assert names >= {"vm/b.vmdk", "vm/b-flat.vmdk"}
    assert not names & {"vm/a.vmdk", "vm/a-flat.vmdk"}
    wait(disks.DeleteVirtualDisk_Task("[DC0_DS0] vm/b.vmdk", dc))
    assert not set(vc.datastore("DC0_DS0").files()) & {"vm/b.vmdk", "vm/b-flat.vmdk"}


def test_files_and_trees_are_copied(vc: VCenter, client: Client, files: Any) -> None:
    dc = client.datacenter
    assert _put(client, "a/b/file", b"text") == 201
    assert _put(client, "a/b/file", b"other") == 200
    assert _put(client, "a/b", b"text") == 405
    wait(files.CopyDatastoreFile_Task("[DC0_DS0] a", dc, "[DC0_DS1] c", dc))
    wait(files.MoveDatastoreFile_Task("[DC0_DS0] a", dc, "[DC0_DS0] d", dc))
    assert vc.datastore("DC0_DS0").files() == {"d/b/file": 5}
    assert vc.datastore("DC0_DS1").files() == {"c/b/file": 5}
    with pytest.raises(vim.fault.FileAlreadyExists):
        wait(files.CopyDatastoreFile_Task("[DC0_DS0] d/b/file", dc, "[DC0_DS1] c/b/file", dc))
    wait(files.DeleteDatastoreFile_Task("[DC0_DS0] d", dc))
    with pytest.raises(vim.fault.FileNotFound):
        wait(files.DeleteDatastoreFile_Task("[DC0_DS0] d", dc))
    with pytest.raises(vim.fault.FileNotFound):
        files.MakeDirectory("[DC0_DS0] x/y", dc)


def test_the_folder_needs_a_session_and_keeps_files(vc: VCenter, client: Client) -> None:
    url = client.folder_url("DC0_DS0", "dir/my%20file")
    assert client.request("PUT", url, b"x")[0] == 401
    assert client.request("PUT", url, b"data", client.cookie)[0] == 201
    assert client.request("GET", url, headers=client.cookie) == (200, b"data")
    assert client.request("HEAD", url, headers=client.cookie) == (200, b"")
    for wrong in (
        client.folder_url("DC0_DS0", "dir/other"),
        client.folder_url("DC0_DS9", "dir/my%20file"),
        client.folder_url("DC0_DS0", "dir/my%20file", "DC9"),
        client.folder_url("DC0_DS0", "../../my%20file"),
    ):
        assert client.request("GET", wrong, headers=client.cookie)[0] == 404
    assert client.request("DELETE", url, headers=client.cookie)[0] == 204
    assert client.request("GET", url, headers=client.cookie)[0] == 404
    vc.datastore("DC0_DS0").fill(10 * GiB - 100)
    assert client.request("PUT", url, bytes(101), client.cookie)[0] == 507
    assert vc.datastore("DC0_DS0").files() == {}
    cookie = client.cookie
    vc.sessions.expire_all()
    assert client.request("PUT", url, b"x", cookie)[0] == 401


def test_a_search_finds_files_and_sizes(vc: VCenter, client: Client) -> None:
    client.create("volume-1", 2 * MiB, backing={})
    client.create("volume-2", 2 * MiB)
    browser = client.datastores[0].browser
    kinds = vim.host.DatastoreBrowser
    details = kinds.FileInfo.Details(
        fileType=True, fileSize=True, modification=True, fileOwner=False
    )
    spec = kinds.SearchSpec(
        matchPattern=["*.vmdk"],
        details=details,
        query=[kinds.VmDiskQuery(details=kinds.VmDiskQuery.Details(
            diskType=True, capacityKb=True, hardwareVersion=True, thin=True))],
    )  # fmt: skip
    results = wait(browser.SearchDatastoreSubFolders_Task("[DC0_DS0]", spec))
    found = {r.folderPath: [(f.path, f.capacityKb, f.thin) for f in r.file] for r in results}
    assert found == {
        "[DC0_DS0] ": [],
        "[DC0_DS0] volume-1/": [("volume-1.vmdk", 2048, False)],
        "[DC0_DS0] volume-2/": [("volume-2.vmdk", 2048, True)],
    }
    plain = wait(browser.SearchDatastore_Task("[DC0_DS0] volume-1", None))
    assert {file.path for file in plain.file} == {
        "volume-1.vmx", "volume-1.vmsd", "volume-1.vmdk", "volume-1-flat.vmdk"
    }  # fmt: skip
    folders = wait(browser.SearchDatastore_Task("[DC0_DS0]", None))
    assert [type(file).__name__ for file in folders.file] == [
        "vim.host.DatastoreBrowser.FolderInfo"
    ] * 2
    with pytest.raises(vim.fault.FileNotFound):
        wait(browser.SearchDatastore_Task("[DC0_DS0] none", None))


def test_a_restart_during_a_clone_leaves_its_shell(vc: VCenter, client: Client) -> None:
    source = client.template("image", 8 * MiB)
    vc.cost_model.enabled = True
    task = source.CloneVM_Task(client.folder, "half", client.clone_spec())
    for _ in range(1000):
        if vc.find_vm("half") is not None:
            break
        assert task.info.state != "error"
    vc.restart()
    half = vc.find_vm("half")
    assert half.config is None
    vc.cost_model.enabled = False
    with connected(vc) as again:
        found = again.content.searchIndex.FindByInventoryPath("DC0/vm/half")
        assert found.config is None
        wait(found.Destroy_Task())
        image = again.content.searchIndex.FindByInventoryPath("DC0/vm/image")
        wait(image.Destroy_Task())
    assert vc.datastore("DC0_DS0").files() == {}

"""The fake's VMs and templates are as strict as those of a real vCenter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.unit.fakes.vm_client import (
    Client,
    GiB,
    MiB,
    connected,
    create_spec,
    disk_changes,
    disk_of,
    edit,
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


def test_a_created_vm_has_everything_that_cinder_reads(vc: VCenter, client: Client) -> None:
    vm = client.create(
        "volume-1",
        GiB,
        instanceUuid="00000000-0000-0000-0000-000000000001",
        extraConfig=[vim.option.OptionValue(key="cinder.volume.id", value="1")],
        managedBy=vim.ext.ManagedByInfo(extensionKey="org.openstack.storage", type="volume"),
    )
    assert vm.name == "volume-1"
    assert vm.config.files.vmPathName == "[DC0_DS0] volume-1/volume-1.vmx"
    assert vm.config.managedBy.extensionKey == "org.openstack.storage"
    assert {o.key: o.value for o in vm.config.extraConfig} == {"cinder.volume.id": "1"}
    disk = disk_of(vm)
    assert (disk.capacityInKB, disk.backing.thinProvisioned) == (GiB // 1024, True)
    assert disk.backing.fileName == "[DC0_DS0] volume-1/volume-1.vmdk"
    assert (disk.key, disk.controllerKey, disk.unitNumber) == (2000, 1000, 0)
    assert disk.backing.uuid.startswith("6000C29")
    assert vm.resourcePool == client.pool
    assert vm.runtime.host in client.hosts
    assert [d.name for d in vm.datastore] == ["DC0_DS0"]
    found = client.content.searchIndex.FindAllByUuid(
        None, "00000000-0000-0000-0000-000000000001", True, True
    )
    assert found == [vm]
    assert vm.summary.storage.uncommitted == GiB
    assert vm in client.datastores[0].vm


def test_uncommitted_space_follows_the_vms(vc: VCenter, client: Client) -> None:
    datastore = vc.datastore("DC0_DS0")
    assert datastore.uncommitted_bytes == 0
    one = client.create("one", GiB)
    assert datastore.uncommitted_bytes == GiB
    two = client.create("two", 2 * GiB)
    wait(one.Destroy_Task())
    assert datastore.uncommitted_bytes == 2 * GiB
    two.UnregisterVM()
    assert datastore.uncommitted_bytes == 0


def test_a_change_of_one_vm_recomputes_no_other(vc: VCenter, client: Client) -> None:
    client.create("bystander", GiB)
    datastore = vc.datastore("DC0_DS0")
    assert datastore.uncommitted_bytes == GiB
    vc.find_vm("bystander").usage_on = lambda datastore: pytest.fail("looked at")
    client.create("other", GiB)
    assert datastore.uncommitted_bytes == 2 * GiB


def test_two_vms_of_one_folder_cannot_share_a_name(vc: VCenter, client: Client) -> None:
    first = client.create("twin")
    task = client.folder.CreateVM_Task(create_spec("twin"), client.pool)
    with pytest.raises(vim.fault.DuplicateName) as raised:
        wait(task)
    assert raised.value.object == first
    other = client.folder.CreateFolder("other")
    second = wait(other.CreateVM_Task(create_spec("twin"), client.pool))
    assert second.config.files.vmPathName.startswith("[DC0_DS0] twin_1/")
    assert sorted(vc.datastore("DC0_DS0").directories()) == ["twin", "twin_1"]
    with pytest.raises(vim.fault.DuplicateName):
        wait(first.Rename_Task(client.create("else").name))


def test_a_failed_creation_leaves_no_files(vc: VCenter, client: Client) -> None:
    spec = create_spec("big", 11 * GiB, backing={"eagerlyScrub": True})
    with pytest.raises(vim.fault.NoDiskSpace):
        wait(client.folder.CreateVM_Task(spec, client.pool))
    assert vc.vms() == []
    assert vc.datastore("DC0_DS0").files() == {}
    assert vc.datastore("DC0_DS0").directories() == []


def test_a_template_refuses_what_a_vm_allows(vc: VCenter, client: Client) -> None:
    vm = client.create("image")
    vm.MarkAsTemplate()
    assert vm.config.template
    assert vm.summary.config.template
    assert vm.resourcePool is None
    assert vm not in client.pool.vm
    assert vm.runtime.host is not None
    assert vm.config.files.vmPathName.endswith("image.vmtx")
    assert "image/image.vmtx" in vc.datastore("DC0_DS0").files()
    with pytest.raises(vmodl.fault.NotSupported):
        vm.MarkAsTemplate()
    for task in (
        vm.PowerOnVM_Task(),
        vm.CreateSnapshot_Task("s", "", False, False),
        vm.ReconfigVM_Task(vim.vm.ConfigSpec(numCPUs=2)),
        vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="x", tools=vim.vm.ToolsConfigInfo())),
        vm.RelocateVM_Task(vim.vm.RelocateSpec(datastore=client.datastores[1])),
    ):
        with pytest.raises(vmodl.fault.NotSupported):
            wait(task)
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="note", name="renamed")))
    assert (vm.name, vm.config.annotation) == ("renamed", "note")
    assert vm.config.files.vmPathName == "[DC0_DS0] image/image.vmtx"


def test_a_template_can_become_a_vm(client: Client) -> None:
    vm = client.template("image")
    other = next(host for host in client.hosts if host != vm.runtime.host)
    wait(vm.RelocateVM_Task(vim.vm.RelocateSpec(host=other)))
    assert vm.runtime.host == other
    vm.MarkAsVirtualMachine(client.pool)
    assert not vm.config.template
    assert vm.resourcePool == client.pool
    assert vm.config.files.vmPathName.endswith("image.vmx")
    with pytest.raises(vim.fault.InvalidState):
        vm.MarkAsVirtualMachine(client.pool)


def test_power_state_is_checked(client: Client) -> None:
    vm = client.create("vm")
    wait(vm.PowerOnVM_Task())
    with pytest.raises(vim.fault.InvalidPowerState):
        vm.MarkAsTemplate()
    with pytest.raises(vim.fault.InvalidPowerState):
        wait(vm.Destroy_Task())
    wait(vm.PowerOffVM_Task())
    wait(vm.Destroy_Task())


def content_id(vm: Any) -> str | None:
    found: str | None = disk_of(vm).backing.contentId
    return found


def test_a_content_id_changes_with_the_content(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", MiB)
    first = content_id(vm)
    assert first is not None and re.fullmatch("[0-9a-f]{32}", first)
    vm.MarkAsTemplate()
    vm.MarkAsVirtualMachine(client.pool)
    assert content_id(vm) == first
    wait(vm.PowerOnVM_Task())
    booted = content_id(vm)
    assert booted not in (None, first)
    vc.read_disk(vm).write(0, b"more")
    vc.find_vm("vm").touch()
    assert content_id(vm) not in (None, first, booted)
    vc.switches.disks_have_content_ids = False
    vc.find_vm("vm").touch()
    assert content_id(vm) is None


@pytest.mark.parametrize("keeps", [True, False])
def test_a_copy_has_the_content_id_of_its_switch(vc: VCenter, client: Client, keeps: bool) -> None:
    vc.switches.copies_keep_content_ids = keeps
    vm = client.create("vm", MiB)
    first = content_id(vm)
    location = vim.vm.RelocateSpec(datastore=client.datastores[1])
    spec = vim.vm.CloneSpec(location=location, powerOn=False, template=False)
    clone = wait(vm.CloneVM_Task(vm.parent, "clone", spec))
    assert (content_id(clone) == first) is keeps
    assert content_id(vm) == first
    wait(vm.RelocateVM_Task(location))
    assert (content_id(vm) == first) is keeps
    vc.read_disk(vm).write(0, b"more")
    vc.find_vm("vm").touch()
    assert content_id(vm) != content_id(clone)


def test_a_destroyed_vm_leaves_neither_files_nor_references(vc: VCenter, client: Client) -> None:
    vm = client.create("gone", GiB, backing={"eagerlyScrub": True})
    store = vc.datastore("DC0_DS0")
    assert store.used_bytes > GiB
    wait(vm.Destroy_Task())
    assert (store.files(), store.directories(), store.used_bytes) == ({}, [], 0)
    assert client.datastores[0].vm == []
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        vm.Destroy_Task()


def test_a_vm_without_its_directory_becomes_inaccessible(vc: VCenter, client: Client) -> None:
    vm = client.template("rotten")
    files = client.content.fileManager
    wait(files.DeleteDatastoreFile_Task("[DC0_DS0] rotten", client.datacenter))
    with pytest.raises(vim.fault.FileNotFound):
        client.clone(vm, "copy")
    assert vc.find_vm("copy") is None
    with pytest.raises(vmodl.fault.InvalidArgument):
        wait(vm.Destroy_Task())
    vm.UnregisterVM()
    assert vc.vms() == []


def test_reconfigure_is_all_or_nothing(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", MiB)
    store = vc.datastore("DC0_DS0")
    before = store.files()
    changes = disk_changes(MiB, thinProvisioned=True)
    changes.append(edit(disk_of(vm), capacityInKB=512, capacityInBytes=512 * 1024))
    with pytest.raises(vim.fault.InvalidDeviceOperation) as raised:
        wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(name="new", deviceChange=changes)))
    assert raised.value.deviceIndex == 2
    assert vm.name == "vm"
    assert store.files() == before


def test_extra_config_keys_can_be_deleted(client: Client) -> None:
    option = vim.option.OptionValue
    vm = client.create("vm", extraConfig=[option(key="a", value="1"), option(key="b", value="2")])
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option(key="a", value="")])))
    assert {o.key: o.value for o in vm.config.extraConfig} == {"b": "2"}


def test_a_disk_is_edited_only_as_vcenter_allows(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", MiB, backing={"eagerlyScrub": True})

    def change(**fields: int) -> None:
        spec = vim.vm.ConfigSpec(deviceChange=[edit(disk_of(vm), **fields)])
        wait(vm.ReconfigVM_Task(spec))

    change(capacityInKB=2048)
    assert disk_of(vm).capacityInBytes == 2 * MiB
    change(capacityInBytes=3 * MiB)
    assert disk_of(vm).capacityInKB == 3072
    assert vc.datastore("DC0_DS0").files()["vm/vm-flat.vmdk"] == 3 * MiB
    for bad in ({"capacityInKB": 1024}, {"capacityInKB": 0, "capacityInBytes": 4 * MiB}):
        with pytest.raises(vim.fault.InvalidDeviceOperation):
            change(**bad)
    device = disk_of(vm)
    device.backing.uuid = "5b2f4d3c-0000-4000-8000-000000000001"
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit(device)])))
    assert disk_of(vm).backing.uuid == "5b2f4d3c-0000-4000-8000-000000000001"


def test_a_detached_disk_keeps_its_file(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", MiB)
    store = vc.datastore("DC0_DS0")
    device = disk_of(vm)
    remove = vim.vm.device.VirtualDeviceSpec(operation="remove", device=device)
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[remove])))
    assert "vm/vm-flat.vmdk" in store.files()
    add = disk_changes(
        MiB, vim.vm.device.ParaVirtualSCSIController, fileName="[DC0_DS0] vm/vm.vmdk"
    )
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=add)))
    again = disk_of(vm)
    assert again.backing.uuid == device.backing.uuid
    assert again.controllerKey == 1001
    destroy = vim.vm.device.VirtualDeviceSpec(
        operation="remove", fileOperation="destroy", device=again
    )
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[destroy])))
    assert "vm/vm-flat.vmdk" not in store.files()


def test_a_vm_has_two_ide_controllers_and_gets_no_third(client: Client) -> None:
    vm = client.create("vm", 0)
    disk, _ = disk_changes(MiB)
    third = vim.vm.device.VirtualDeviceSpec(
        operation="add", device=vim.vm.device.VirtualIDEController(key=-100, busNumber=0)
    )
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[third, disk])))

    disk.device.controllerKey = 200
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[disk])))
    assert (disk_of(vm).controllerKey, disk_of(vm).key) == (200, 3000)


def test_an_old_change_version_is_refused(client: Client) -> None:
    vm = client.create("vm")
    version = vm.config.changeVersion
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="1", changeVersion=version)))
    with pytest.raises(vim.fault.ConcurrentAccess):
        wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="2", changeVersion=version)))


def test_storage_numbers_agree(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", GiB, backing={})
    usage = vm.storage.perDatastoreUsage[0]
    files = vm.layoutEx.file
    assert usage.committed == sum(f.size for f in files)
    assert usage.unshared == sum(f.uniqueSize for f in files if f.type.startswith("disk"))
    assert usage.committed == vc.datastore("DC0_DS0").used_bytes > GiB
    assert {f.type for f in files} == {"config", "snapshotList", "diskDescriptor", "diskExtent"}
    summary = client.datastores[0].summary
    assert summary.capacity - summary.freeSpace == usage.committed
    assert summary.uncommitted == 0


def test_config_does_not_tell_when_it_was_modified(client: Client) -> None:
    vm = client.create("volume-1")
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="changed")))
    assert vm.config.modified.timestamp() == 0


def test_info_of_a_vmfs_datastore_can_be_read() -> None:
    with VCenter(Model(datastore_type="VMFS")) as vcenter, connected(vcenter) as client:
        (extent,) = client.datastores[0].info.vmfs.extent
        assert extent.partition == 1
        assert vcenter.errors == []


def test_vsan_differs_from_other_datastores() -> None:
    with (
        VCenter(Model(hosts_per_cluster=1, datastores=1, datastore_type="vsan")) as vcenter,
        connected(vcenter) as client,
    ):
        (datastore,) = client.datastores
        assert isinstance(datastore.info, vim.host.VsanDatastoreInfo)
        assert re.fullmatch(
            r"ds:///vmfs/volumes/vsan:[0-9a-f]{16}-[0-9a-f]{16}/", datastore.info.url
        )
        assert not datastore.capability.topLevelDirectoryCreateSupported
        assert not datastore.summary.multipleHostAccess
        with pytest.raises(vim.fault.CannotCreateFile):
            client.content.fileManager.MakeDirectory("[DC0_DS0] own", client.datacenter, True)
        source = client.create("volume-1", MiB, backing={"thinProvisioned": False})
        for vm in (source, client.clone(source, "volume-2")):
            path = vm.config.files.vmPathName
            assert re.fullmatch(r"\[DC0_DS0\] [0-9a-f-]{36}/volume-[12]\.vmx", path)
            files = {file.type: file for file in vm.layoutEx.file}
            assert "diskExtent" not in files
            assert files["config"].size == 0 and files["config"].uniqueSize is None
            assert files["config"].backingObjectId in path
            assert files["diskDescriptor"].uniqueSize >= MiB
            (usage,) = vm.storage.perDatastoreUsage
            assert usage.unshared == files["diskDescriptor"].uniqueSize
            assert disk_of(vm).backing.backingObjectId == files["diskDescriptor"].backingObjectId
        assert vcenter.errors == []


def test_a_move_frees_its_old_place(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", GiB)
    vc.find_vm("vm").disks[0].content.write(0, b"bytes")
    disk = disk_of(vm)
    locator = vim.vm.RelocateSpec.DiskLocator(
        diskId=disk.key,
        datastore=client.datastores[1],
        diskBackingInfo=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", eagerlyScrub=True
        ),
    )
    spec = vim.vm.RelocateSpec(datastore=client.datastores[1], disk=[locator])
    wait(vm.RelocateVM_Task(spec))
    assert vc.datastore("DC0_DS0").files() == {}
    assert vc.datastore("DC0_DS1").files()["vm/vm-flat.vmdk"] == GiB
    assert vm.config.files.vmPathName == "[DC0_DS1] vm/vm.vmx"
    assert disk_of(vm).backing.eagerlyScrub
    assert vc.read_disk("vm").read(0, 5) == b"bytes"
    full = vim.vm.RelocateSpec(datastore=client.datastores[0])
    vc.datastore("DC0_DS0").fill(10 * GiB)
    with pytest.raises(vim.fault.NoDiskSpace):
        wait(vm.RelocateVM_Task(full))
    assert vc.read_disk("vm").read(0, 5) == b"bytes"


def test_an_unregistered_vm_can_be_registered_again(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", MiB)
    vc.find_vm("vm").disks[0].content.write(0, b"bytes")
    host = vm.runtime.host
    vm.UnregisterVM()
    assert vc.vms() == []
    path = "[DC0_DS0] vm/vm.vmx"
    with pytest.raises(vmodl.fault.InvalidArgument):
        wait(client.folder.RegisterVM_Task(path, None, False, None, host))
    again = wait(client.folder.RegisterVM_Task(path, "back", True, None, host))
    assert again != vm
    assert again.config.template
    assert vc.read_disk("back").read(0, 5) == b"bytes"
    with pytest.raises(vim.fault.FileNotFound):
        wait(client.folder.RegisterVM_Task(path, "twice", True, None, host))
    wait(again.Destroy_Task())
    assert vc.datastore("DC0_DS0").files() == {}

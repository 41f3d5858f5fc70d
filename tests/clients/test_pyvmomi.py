"""What scripts with plain pyVmomi do all day: log in, look around by views, wait for tasks and
updates, take snapshots, upload files, export a VM and deploy it again.
"""

from __future__ import annotations

import hashlib
import random
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.vmdk import StreamOptimizedParser

MiB = 1 << 20


@pytest.fixture(scope="module")
def module_vcenter() -> Iterator[VCenter]:
    with VCenter(Model(pods=1)) as running:
        yield running


@pytest.fixture
def vcenter(module_vcenter: VCenter) -> Iterator[VCenter]:
    yield module_vcenter
    errors = [str(error) for error in module_vcenter.errors]
    module_vcenter.errors.clear()
    for vm in module_vcenter.vms():
        with module_vcenter.lock:
            vm.destroy()
    assert errors == []


@pytest.fixture
def service(vcenter: VCenter) -> Iterator[Any]:
    made = SmartConnect(
        host=vcenter.host,
        port=vcenter.port,
        user=vcenter.user,
        pwd=vcenter.password,
        sslContext=ssl.create_default_context(cafile=vcenter.ca_file),
    )
    yield made
    Disconnect(made)


@pytest.fixture
def content(service: Any) -> Any:
    return service.RetrieveContent()


def objects(content: Any, kind: Any) -> dict[str, Any]:
    """Those of a kind by name, as every script begins."""
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    found = {one.name: one for one in view.view}
    view.Destroy()
    return found


def create_vm(content: Any, name: str, size_bytes: int = MiB) -> Any:
    controller = vim.vm.device.ParaVirtualSCSIController(key=1000, sharedBus="noSharing")
    disk = vim.vm.device.VirtualDisk(
        key=-1,
        controllerKey=1000,
        unitNumber=0,
        capacityInKB=size_bytes // 1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            diskMode="persistent", thinProvisioned=True
        ),
    )
    changes = [
        vim.vm.device.VirtualDeviceSpec(operation="add", device=controller),
        vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk),
    ]
    spec = vim.vm.ConfigSpec(
        name=name,
        numCPUs=1,
        memoryMB=128,
        guestId="otherGuest",
        files=vim.vm.FileInfo(vmPathName="[DC0_DS0]"),
        deviceChange=changes,
    )
    datacenter = objects(content, vim.Datacenter)["DC0"]
    pool = objects(content, vim.ClusterComputeResource)["DC0_C0"].resourcePool
    task = datacenter.vmFolder.CreateVM_Task(config=spec, pool=pool)
    WaitForTask(task)
    return task.info.result


def fill(vcenter: VCenter, name: str) -> str:
    """Write to a VM's disk as its guest would; its SHA-256."""
    with vcenter.lock:
        disk = vcenter.find_vm(name).disks[0]
        disk.content.write(100_000, random.Random(8).randbytes(200_000))
        disk.files.settle(disk.extent)
        return str(disk.content.sha256())


def test_a_wrong_password_is_refused(vcenter: VCenter) -> None:
    context = ssl.create_default_context(cafile=vcenter.ca_file)
    with pytest.raises(vim.fault.InvalidLogin):
        SmartConnect(
            host=vcenter.host, port=vcenter.port, user="nobody", pwd="x", sslContext=context
        )


def test_a_message_for_all_is_kept(content: Any) -> None:
    content.sessionManager.UpdateServiceMessage("closed on Sunday")
    assert content.sessionManager.message == "closed on Sunday"
    content.sessionManager.UpdateServiceMessage("")


def test_a_console_is_found(vcenter: VCenter, content: Any) -> None:
    """Scripts that open one take the server's name from its settings."""
    (option,) = content.setting.QueryOptions("VirtualCenter.FQDN")
    assert option.value == vcenter.host
    assert content.sessionManager.AcquireCloneTicket()


def test_a_volume_of_a_host_is_listed(content: Any) -> None:
    host = objects(content, vim.HostSystem)["DC0_C0_H0"]
    info = host.configManager.storageSystem.fileSystemVolumeInfo
    volumes = {mount.volume.name: mount for mount in info.mountInfo}
    assert set(volumes) == {"DC0_DS0", "DC0_DS1"}
    assert volumes["DC0_DS1"].volume.type == info.volumeTypeList[0] == "NFS"
    assert volumes["DC0_DS1"].mountInfo.accessible


def test_a_vm_is_found_again(content: Any) -> None:
    vm = create_vm(content, "found")
    index = content.searchIndex
    assert objects(content, vim.VirtualMachine) == {"found": vm}
    assert index.FindByInventoryPath("DC0/vm/found") == vm
    assert index.FindByUuid(None, vm.config.uuid, True) == vm
    assert index.FindByUuid(None, vm.config.instanceUuid, True, True) == vm
    assert index.FindByDatastorePath(vm.parent.parent, vm.config.files.vmPathName) == vm
    assert index.FindChild(vm.parent, "found") == vm
    assert vm.summary.config.numVirtualDisks == 1


def test_a_failed_task_raises_its_fault(content: Any) -> None:
    create_vm(content, "taken")
    with pytest.raises(vim.fault.DuplicateName) as raised:
        create_vm(content, "taken")
    assert raised.value.name == "taken"


def test_updates_tell_of_a_change(content: Any) -> None:
    vm = create_vm(content, "watched")
    collector = content.propertyCollector
    query = vmodl.query.PropertyCollector
    filter_ = collector.CreateFilter(
        query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=vm)],
            propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=["runtime.powerState"])],
        ),
        True,
    )
    version = collector.WaitForUpdatesEx("").version
    WaitForTask(vm.PowerOnVM_Task())
    update = collector.WaitForUpdatesEx(version)
    (change,) = update.filterSet[0].objectSet[0].changeSet
    assert (change.name, change.val) == ("runtime.powerState", "poweredOn")
    filter_.Destroy()
    WaitForTask(vm.PowerOffVM_Task())


def test_the_event_of_a_move_names_the_old_place(content: Any) -> None:
    vm = create_vm(content, "moved")
    target = objects(content, vim.Datastore)["DC0_DS1"]
    WaitForTask(vm.RelocateVM_Task(vim.vm.RelocateSpec(datastore=target)))
    by_entity = vim.event.EventFilterSpec.ByEntity(entity=vm, recursion="self")
    (event,) = content.eventManager.QueryEvents(
        vim.event.EventFilterSpec(entity=by_entity, eventTypeId=["VmRelocatedEvent"])
    )
    assert event.sourceDatacenter.name == event.datacenter.name == "DC0"
    assert (event.sourceDatastore.name, event.ds.name) == ("DC0_DS0", "DC0_DS1")


def test_the_tree_of_snapshots_is_as_they_were_made(content: Any) -> None:
    vm = create_vm(content, "tree")
    for name in ("one", "two"):
        WaitForTask(vm.CreateSnapshot_Task(name, "of " + name, memory=False, quiesce=False))
    (root,) = vm.snapshot.rootSnapshotList
    (child,) = root.childSnapshotList
    assert [(node.name, node.description) for node in (root, child)] == [
        ("one", "of one"),
        ("two", "of two"),
    ]
    assert vm.snapshot.currentSnapshot == child.snapshot
    WaitForTask(root.snapshot.RevertToSnapshot_Task())
    assert vm.snapshot.currentSnapshot == root.snapshot
    WaitForTask(child.snapshot.RemoveSnapshot_Task(removeChildren=False))
    WaitForTask(vm.RemoveAllSnapshots_Task())
    assert vm.snapshot is None


def test_an_uploaded_file_is_listed(vcenter: VCenter, service: Any, content: Any) -> None:
    """By the session's cookie, over HTTP; then found by the datastore's browser."""
    sent = random.Random(9).randbytes(70_001)
    where = {"dsName": "DC0_DS0", "dcPath": "DC0"}
    url = f"https://{vcenter.host}:{vcenter.port}/folder/up/file.bin?{urlencode(where)}"
    name, _, value = service._stub.cookie.partition(";")[0].partition("=")
    answer = requests.put(
        url,
        data=sent,
        headers={"Content-Type": "application/octet-stream"},
        cookies={name: value},
        verify=vcenter.ca_file,
        timeout=60,
    )
    assert answer.status_code == 201
    datastore = objects(content, vim.Datastore)["DC0_DS0"]
    browser = vim.host.DatastoreBrowser
    flags = browser.FileInfo.Details(
        fileType=True, fileSize=True, modification=True, fileOwner=False
    )
    task = datastore.browser.SearchDatastoreSubFolders_Task(
        "[DC0_DS0] ", browser.SearchSpec(details=flags, matchPattern=["*.bin"])
    )
    WaitForTask(task)
    (result,) = [one for one in task.info.result if one.file]
    (file,) = result.file
    assert (result.folderPath, file.path, file.fileSize) == ("[DC0_DS0] up/", "file.bin", 70_001)
    assert file.modification is not None
    rest = requests.get(
        url,
        headers={"Range": "bytes=70000-"},
        cookies={name: value},
        verify=vcenter.ca_file,
        timeout=60,
    )
    assert (rest.status_code, rest.content) == (206, sent[-1:])
    assert rest.headers["Content-Range"] == "bytes 70000-70000/70001"
    beyond = requests.get(
        url,
        headers={"Range": "bytes=70001-"},
        cookies={name: value},
        verify=vcenter.ca_file,
        timeout=60,
    )
    assert beyond.status_code == 416
    datacenter = objects(content, vim.Datacenter)["DC0"]
    WaitForTask(content.fileManager.DeleteDatastoreFile_Task("[DC0_DS0] up", datacenter))
    assert vcenter.datastore("DC0_DS0").files() == {}


def _download(vcenter: VCenter, url: str) -> bytes:
    answer = requests.get(url, verify=vcenter.ca_file, timeout=60)
    answer.raise_for_status()
    return answer.content


def _ready(lease: Any) -> Any:
    while lease.state == vim.HttpNfcLease.State.initializing:
        pass
    assert lease.state == vim.HttpNfcLease.State.ready, lease.error
    return lease.info


def test_a_deployed_package_is_the_vm(vcenter: VCenter, content: Any) -> None:
    """Export, describe, parse, make a specification, import, and compare the disk."""
    vm = create_vm(content, "origin", 8 * MiB)
    digest = fill(vcenter, "origin")
    lease = vm.ExportVm()
    files = []
    for device in _ready(lease).deviceUrl:
        data = _download(vcenter, device.url)
        lease.HttpNfcLeaseProgress(50)
        files.append(
            vim.OvfManager.OvfFile(deviceId=device.key, path=device.targetId, size=len(data))
        )
    (entry,) = lease.HttpNfcLeaseGetManifest()
    assert entry.sha1 == hashlib.sha1(data).hexdigest()
    lease.HttpNfcLeaseComplete()
    parser = StreamOptimizedParser()
    parser.feed(data)
    assert parser.content is not None
    assert parser.content.sha256() == digest

    manager = content.ovfManager
    described = manager.CreateDescriptor(
        vm, vim.OvfManager.CreateDescriptorParams(name="origin", ovfFiles=files)
    )
    parsed = manager.ParseDescriptor(
        described.ovfDescriptor,
        vim.OvfManager.ParseDescriptorParams(deploymentOption="", locale=""),
    )
    assert parsed.error == []
    assert parsed.defaultEntityName == "origin"
    assert parsed.approximateDownloadSize == len(data)
    assert parsed.approximateFlatDeploymentSize == 8 * MiB

    pool = objects(content, vim.ClusterComputeResource)["DC0_C0"].resourcePool
    made = manager.CreateImportSpec(
        described.ovfDescriptor,
        pool,
        objects(content, vim.Datastore)["DC0_DS1"],
        vim.OvfManager.CreateImportSpecParams(entityName="copy", diskProvisioning="thin"),
    )
    assert made.error == []
    lease = pool.ImportVApp(made.importSpec, objects(content, vim.Datacenter)["DC0"].vmFolder)
    (item,) = made.fileItem
    urls = {device.importKey: device.url for device in _ready(lease).deviceUrl}
    answer = requests.post(
        urls[item.deviceId],
        data=data,
        headers={"Content-Type": "application/x-vnd.vmware-streamVmdk"},
        verify=vcenter.ca_file,
        timeout=60,
    )
    assert answer.status_code == 200
    lease.HttpNfcLeaseComplete()
    assert vcenter.read_disk("copy").sha256() == digest
    copy = objects(content, vim.VirtualMachine)["copy"]
    assert [one.name for one in copy.datastore] == ["DC0_DS1"]
    assert copy.config.hardware.memoryMB == 128


@pytest.mark.parametrize("provisioning", ["monolithicSparse", "twoGbMaxExtentFlat"])
def test_a_disk_of_hosted_products_is_refused(content: Any, provisioning: str) -> None:
    vm = create_vm(content, "origin")
    described = content.ovfManager.CreateDescriptor(
        vm, vim.OvfManager.CreateDescriptorParams(name="origin")
    )
    made = content.ovfManager.CreateImportSpec(
        described.ovfDescriptor,
        vm.resourcePool,
        vm.datastore[0],
        vim.OvfManager.CreateImportSpecParams(entityName="x", diskProvisioning=provisioning),
    )
    (error,) = made.error
    assert isinstance(error, vim.fault.OvfUnsupportedDiskProvisioning)
    assert made.importSpec is None


def test_a_first_class_disk_keeps_its_bytes(vcenter: VCenter, content: Any) -> None:
    manager = content.vStorageObjectManager
    datastore = objects(content, vim.Datastore)["DC0_DS0"]
    for path in ("[DC0_DS0] x.vmdk", "https://x/folder/x.vmdk?dcPath=DC0"):
        with pytest.raises(vmodl.fault.InvalidArgument):
            manager.RegisterDisk(path)
    spec = vim.vslm.CreateSpec(
        name="data",
        capacityInMB=2,
        keepAfterDeleteVm=True,
        backingSpec=vim.vslm.CreateSpec.DiskFileBackingSpec(
            datastore=datastore, provisioningType="thin"
        ),
    )
    task = manager.CreateDisk_Task(spec)
    WaitForTask(task)
    made = task.info.result.config
    content_of = vcenter.read_disk(made.backing.filePath)
    content_of.write(0, b"before")
    task = manager.VStorageObjectCreateSnapshot_Task(made.id, datastore, "then")
    WaitForTask(task)
    snapshot = task.info.result
    vcenter.read_disk(made.backing.filePath).write(0, b"after!")
    task = manager.CreateDiskFromSnapshot_Task(made.id, datastore, snapshot, "copy")
    WaitForTask(task)
    copy = task.info.result.config
    assert vcenter.read_disk(copy.backing.filePath).read(0, 6) == b"before"
    WaitForTask(manager.RevertVStorageObject_Task(made.id, datastore, snapshot))
    assert vcenter.read_disk(made.backing.filePath).read(0, 6) == b"before"
    WaitForTask(manager.ExtendDisk_Task(made.id, datastore, 4))
    manager.RenameVStorageObject(made.id, datastore, "renamed")
    shown = manager.RetrieveVStorageObject(made.id, datastore).config
    assert (shown.name, shown.capacityInMB) == ("renamed", 4)
    WaitForTask(manager.InflateDisk_Task(made.id, datastore))
    shown = manager.RetrieveVStorageObject(made.id, datastore).config
    assert shown.backing.provisioningType == "eagerZeroedThick"
    for one in (made.id, copy.id):
        WaitForTask(manager.DeleteVStorageObject_Task(one, datastore))
    assert manager.ListVStorageObject(datastore) == []
    with pytest.raises(vim.fault.NotFound):
        manager.RetrieveVStorageObject(made.id, datastore)


def test_a_busy_datastore_stays_in_use(vcenter: VCenter, content: Any) -> None:
    """The task of entering lasts until the last VM has gone; leaving ends it."""
    vm = create_vm(content, "last")
    datastore = objects(content, vim.Datastore)["DC0_DS0"]
    task = datastore.DatastoreEnterMaintenanceMode().task
    while task.info.state == "queued":
        pass
    assert task.info.state == "running"
    assert datastore.summary.maintenanceMode == "enteringMaintenance"
    WaitForTask(datastore.DatastoreExitMaintenanceMode_Task())
    with pytest.raises(vmodl.fault.RequestCanceled):
        WaitForTask(task)
    assert datastore.summary.maintenanceMode == "normal"

    task = datastore.DatastoreEnterMaintenanceMode().task
    WaitForTask(vm.Destroy_Task())
    WaitForTask(task)
    assert datastore.summary.maintenanceMode == "inMaintenance"
    WaitForTask(datastore.DatastoreExitMaintenanceMode_Task())

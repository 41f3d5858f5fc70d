"""The fake refuses the clones that a real vCenter refuses, and never mixes up bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.clock import Clock
from tests.fakes.vcenter.cost_model import CostModel
from tests.unit.fakes.vm_client import Client, GiB, MiB, connected, disk_of, edit, wait

Flat = vim.vm.device.VirtualDisk.FlatVer2BackingInfo


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model(datastore_bytes=10 * GiB, hosts_per_cluster=3)) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


def _grow(vm: Any, **capacity: int) -> Any:
    return vim.vm.ConfigSpec(deviceChange=[edit(disk_of(vm), **capacity)])


def test_a_clone_has_its_sources_bytes(vc: VCenter, client: Client) -> None:
    source = client.create("image", 8 * MiB)
    content = vc.find_vm("image").disks[0].content
    content.write(MiB, os.urandom(MiB))
    source.MarkAsTemplate()
    digest = vc.read_disk("image").sha256()
    clone = client.clone(source, "volume")
    assert vc.read_disk(clone).sha256() == digest
    vc.find_vm("volume").disks[0].content.write(0, b"changed")
    assert vc.read_disk("image").sha256() == digest
    assert vc.datastore("DC0_DS0").files()["volume/volume-flat.vmdk"] == MiB
    assert disk_of(clone).backing.uuid != disk_of(source).backing.uuid
    assert not clone.config.template
    assert clone.resourcePool == client.pool


def test_identity_of_the_template_is_not_in_the_clone(vc: VCenter, client: Client) -> None:
    option = vim.option.OptionValue
    source = client.template(
        "image",
        annotation="secret of the first project",
        extraConfig=[option(key="vmdk_cache.image", value="1"), option(key="k", value="v")],
        managedBy=vim.ext.ManagedByInfo(extensionKey="a", type="b"),
    )
    field = client.content.customFieldsManager.AddCustomFieldDef("used", vim.VirtualMachine)
    client.content.customFieldsManager.SetField(source, field.key, "yesterday")
    plain = client.clone(source, "plain")
    assert plain.config.annotation == "secret of the first project"
    assert len(plain.config.extraConfig) == 2
    assert plain.config.managedBy.extensionKey == "a"
    assert [value.value for value in plain.customValue] == ["yesterday"]
    assert plain.config.instanceUuid != source.config.instanceUuid
    vc.switches.clone_inherits_custom_values = False
    clean = client.clone(
        source,
        "clean",
        config=vim.vm.ConfigSpec(
            annotation="",
            instanceUuid="5b2f4d3c-0000-4000-8000-000000000001",
            extraConfig=[option(key="vmdk_cache.image", value=""), option(key="n", value="w")],
            managedBy=vim.ext.ManagedByInfo(extensionKey="", type=""),
        ),
    )
    assert not clean.config.annotation
    assert {o.key: o.value for o in clean.config.extraConfig} == {"k": "v", "n": "w"}
    assert clean.config.managedBy is None
    assert clean.config.instanceUuid == "5b2f4d3c-0000-4000-8000-000000000001"
    assert clean.customValue == []


def test_the_task_names_the_source_and_the_clone(client: Client) -> None:
    source = client.template("image")
    task = source.CloneVM_Task(client.folder, "copy", client.clone_spec())
    result = wait(task)
    assert task.info.entity == source
    assert task.info.descriptionId == "VirtualMachine.clone"
    assert result.name == "copy"


@pytest.mark.parametrize(
    ("changes", "prop"),
    [({"pool": None}, "spec.location.pool"), ({"diskMoveType": "x"}, "spec.location.diskMoveType")],
)
def test_a_bad_spec_is_refused(
    vc: VCenter, client: Client, changes: dict[str, Any], prop: str
) -> None:
    source = client.template("image")
    with pytest.raises(vmodl.fault.InvalidArgument) as raised:
        client.clone(source, "copy", **changes)
    assert raised.value.invalidProperty == prop
    assert [vm.name for vm in vc.vms()] == ["image"]


def test_a_template_needs_no_pool_to_be_copied_as_a_template(client: Client) -> None:
    copy = client.clone(client.template("image"), "copy", template=True, pool=None)
    assert copy.config.template
    assert copy.resourcePool is None
    assert copy.config.files.vmPathName.endswith(".vmtx")


def test_a_taken_name_is_noticed_before_the_copy(vc: VCenter, client: Client) -> None:
    source = client.template("image")
    tasks = [source.CloneVM_Task(client.folder, "one", client.clone_spec()) for _ in range(5)]
    made, refused = [], []
    for task in tasks:
        try:
            made.append(wait(task).name)
        except vim.fault.DuplicateName as fault:
            refused.append(fault.name)
    assert (made, refused) == (["one"], ["one"] * 4)
    assert vc.datastore("DC0_DS0").directories() == ["image", "one"]


def test_a_disk_can_grow_and_change_its_type_with_the_clone(vc: VCenter, client: Client) -> None:
    source = client.template("image", 2 * MiB)
    locator = vim.vm.RelocateSpec.DiskLocator(
        diskId=disk_of(source).key,
        datastore=client.datastores[1],
        diskBackingInfo=Flat(fileName="", diskMode="persistent", eagerlyScrub=True),
    )
    clone = client.clone(
        source,
        "grown",
        datastore=client.datastores[1],
        disk=[locator],
        config=_grow(source, capacityInKB=4096, capacityInBytes=4 * MiB),
    )
    disk = disk_of(clone)
    assert (disk.capacityInKB, disk.backing.eagerlyScrub) == (4096, True)
    assert vc.datastore("DC0_DS1").files()["grown/grown-flat.vmdk"] == 4 * MiB
    assert vc.find_vm("image").disks[0].capacity_bytes == 2 * MiB
    with pytest.raises(vim.fault.InvalidDeviceOperation) as raised:
        client.clone(source, "less", config=_grow(source, capacityInKB=1024))
    assert (raised.value.deviceIndex, raised.value.badOp) == (0, "edit")
    assert raised.value.property == "virtualDeviceSpec.device"
    assert vc.find_vm("less") is None


def test_a_locator_alone_does_not_move_the_home(vc: VCenter, client: Client) -> None:
    source = client.template("image")
    locator = vim.vm.RelocateSpec.DiskLocator(
        diskId=disk_of(source).key, datastore=client.datastores[1]
    )
    clone = client.clone(source, "split", datastore=None, disk=[locator])
    assert clone.config.files.vmPathName.startswith("[DC0_DS0]")
    assert disk_of(clone).backing.fileName.startswith("[DC0_DS1]")
    wait(clone.Destroy_Task())
    assert vc.datastore("DC0_DS1").files() == {}
    assert vc.datastore("DC0_DS1").directories() == []


def test_a_clone_that_does_not_fit_leaves_nothing(vc: VCenter, client: Client) -> None:
    source = client.template("image", GiB, backing={})
    vc.datastore("DC0_DS1").fill(10 * GiB - 100 * MiB)
    with pytest.raises(vim.fault.NoDiskSpace):
        client.clone(source, "big", datastore=client.datastores[1])
    assert vc.datastore("DC0_DS1").directories() == []
    assert [vm.name for vm in vc.vms()] == ["image"]


def test_a_host_in_maintenance_does_not_clone(vc: VCenter, client: Client) -> None:
    source = client.template("image")
    home = vc.find_vm("image").host
    healthy = next(host for host in client.hosts if host.name != home.name)
    home.set_maintenance(True)
    with pytest.raises(vim.fault.InvalidHostState):
        client.clone(source, "copy", host=healthy)
    wait(source.RelocateVM_Task(vim.vm.RelocateSpec(host=healthy)))
    assert client.clone(source, "copy", host=healthy).runtime.host == healthy


def test_a_datastore_that_the_host_does_not_mount_is_refused(vc: VCenter, client: Client) -> None:
    source = client.template("image")
    store = vc.datastore("DC0_DS1")
    for host in list(store.mounts)[1:]:
        store.unmount(host)
    with pytest.raises(vim.fault.DatastoreNotWritableOnHost):
        client.clone(source, "copy", datastore=client.datastores[1], host=client.hosts[2])
    compatible = client.clone(source, "copy", datastore=client.datastores[1])
    assert compatible.runtime.host.name == next(iter(store.mounts)).name


def test_a_fresh_import_is_locked(vc: VCenter, client: Client) -> None:
    source = client.template("image")
    vc.switches.file_locked_after_import_s = 60
    vc.find_vm("image").imported_at = vc.clock.monotonic()
    with pytest.raises(vim.fault.FileLocked):
        client.clone(source, "copy")
    vc.clock.advance(61)
    client.clone(source, "copy")


def test_a_linked_clone_cannot_grow_and_keeps_its_base(vc: VCenter, client: Client) -> None:
    source = client.create("base", 2 * MiB)
    vc.find_vm("base").disks[0].content.write(0, b"base")
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.clone(source, "child", diskMoveType="createNewChildDiskBacking")
    snapshot = wait(source.CreateSnapshot_Task("s", "", False, False))
    linked = {"diskMoveType": "createNewChildDiskBacking", "snapshot": snapshot}
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        client.clone(source, "child", config=_grow(source, capacityInKB=4096), **linked)
    child = client.clone(source, "child", datastore=None, **linked)
    assert vc.read_disk("child").read(0, 4) == b"base"
    usage = child.storage.perDatastoreUsage[0]
    assert usage.unshared < usage.committed
    device = disk_of(child)
    device.backing.uuid = "5b2f4d3c-0000-4000-8000-000000000001"
    with pytest.raises(vmodl.fault.NotSupported):
        wait(child.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit(device)])))
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        wait(child.ReconfigVM_Task(_grow(child, capacityInKB=4096)))
    wait(snapshot.RemoveSnapshot_Task(False))
    vc.find_vm("base").disks[0].content.write(0, b"BASE")
    assert vc.read_disk("child").read(0, 4) == b"base"
    wait(source.Destroy_Task())
    assert vc.read_disk("child").read(0, 4) == b"base"
    wait(child.Destroy_Task())
    assert vc.datastore("DC0_DS0").files() == {}
    assert vc.datastore("DC0_DS0").directories() == []


def test_growing_a_clone_of_a_snapshot_is_ignored(vc: VCenter, client: Client) -> None:
    source = client.create("vm", 2 * MiB)
    snapshot = wait(source.CreateSnapshot_Task("s", "", False, False))
    vc.find_vm("vm").disks[0].content.write(0, b"later")
    clone = client.clone(source, "copy", snapshot=snapshot, config=_grow(source, capacityInKB=4096))
    assert disk_of(clone).capacityInKB == 2048
    assert vc.read_disk("copy").read(0, 5) == bytes(5)


def test_growing_with_shared_parents_is_refused(vc: VCenter, client: Client) -> None:
    source = client.create("vm", 2 * MiB)
    vc.find_vm("vm").disks[0].content.write(0, b"base")
    wait(source.CreateSnapshot_Task("s", "", False, False))
    vc.find_vm("vm").disks[0].content.write(0, b"more")
    source.MarkAsTemplate()
    sharing = {"diskMoveType": "moveAllDiskBackingsAndAllowSharing"}
    with pytest.raises(vim.fault.InvalidDeviceOperation) as raised:
        client.clone(source, "copy", config=_grow(source, capacityInKB=4096), **sharing)
    assert "Disks with parents cannot be expanded" in raised.value.msg
    shared = client.clone(source, "shared", **sharing)
    assert disk_of(shared).backing.parent.fileName == "[DC0_DS0] vm/vm.vmdk"
    assert vc.read_disk("shared").read(0, 4) == b"more"
    full = client.clone(source, "full", config=_grow(source, capacityInKB=4096))
    assert disk_of(full).backing.parent is None
    assert vc.read_disk("full").read(0, 4) == b"more"
    wait(source.Destroy_Task())
    assert vc.read_disk("shared").read(0, 4) == b"more"


def test_open_questions_can_be_switched(vc: VCenter, client: Client) -> None:
    source = client.template("image")
    vc.switches.clone_sets_create_date = False
    vc.switches.stale_vm_storage_s = 60
    clone = client.clone(source, "set")
    assert clone.config.createDate == source.config.createDate
    assert clone.storage.perDatastoreUsage[0].committed == 0
    clone.RefreshStorageInfo()
    assert clone.storage.perDatastoreUsage[0].committed > 0


DISK_UUID = "5b2f4d3c-0000-4000-8000-000000000001"


def _edited(source: Any, **values: Any) -> Any:
    """A config that edits the source's disk: its whole device with changes, as clients send it."""
    device = disk_of(source)
    device.backing.uuid = values.pop("uuid", device.backing.uuid)
    for name, value in values.items():
        setattr(device, name, value)
    return vim.vm.ConfigSpec(deviceChange=[edit(device)])


@pytest.mark.parametrize("capacity", ["kept", "ignored"])
@pytest.mark.parametrize("uuid", ["kept", "ignored"])
def test_a_clones_disk_has_what_its_switch_keeps(
    vc: VCenter, client: Client, capacity: Any, uuid: Any
) -> None:
    source = client.template("image")
    before = disk_of(source)
    vc.switches.disk_capacity_in_clone = capacity
    vc.switches.disk_uuid_in_clone = uuid
    wanted_kb = 2 * before.capacityInKB
    config = _edited(
        source, capacityInKB=wanted_kb, capacityInBytes=1024 * wanted_kb, uuid=DISK_UUID
    )
    made = disk_of(client.clone(source, "clone", config=config))
    assert (made.capacityInKB == wanted_kb) == (capacity == "kept")
    assert (made.backing.uuid == DISK_UUID) == (uuid == "kept")
    assert made.backing.fileName != before.backing.fileName
    after = disk_of(source)
    assert (after.capacityInKB, after.backing.uuid) == (before.capacityInKB, before.backing.uuid)


@pytest.mark.parametrize("switch", ["disk_capacity_in_clone", "disk_uuid_in_clone"])
def test_a_refused_edit_of_a_disk_leaves_no_clone(vc: VCenter, client: Client, switch: str) -> None:
    source = client.template("image")
    setattr(vc.switches, switch, "refused")
    wanted_kb = 2 * disk_of(source).capacityInKB
    config = _edited(
        source, capacityInKB=wanted_kb, capacityInBytes=1024 * wanted_kb, uuid=DISK_UUID
    )
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        client.clone(source, "clone", config=config)
    assert vc.find_vm("clone") is None


def test_a_device_sent_unchanged_does_not_ask_for_its_uuid(vc: VCenter, client: Client) -> None:
    """CAPV, Ansible and Packer send it this way; their clones have uuids of their own."""
    source = client.template("image")
    vc.switches.disk_uuid_in_clone = "kept"
    vc.switches.disk_capacity_in_clone = "refused"
    made = disk_of(client.clone(source, "clone", config=_edited(source)))
    assert made.backing.uuid != disk_of(source).backing.uuid


class TestBusySource:
    """With costs on, a clone takes as long as the manual clock says."""

    @pytest.fixture
    def vc(self) -> Iterator[VCenter]:
        model = Model(hosts_per_cluster=2)
        with VCenter(model, clock=Clock(scale=0.0), cost_model=CostModel()) as vcenter:
            yield vcenter
            assert vcenter.errors == []

    def _states(
        self, vc: VCenter, tasks: list[Any], expected: dict[str, int], tick_s: float = 0.0
    ) -> None:
        for _ in range(400):
            states = [task.info.state for task in tasks]
            if {state: states.count(state) for state in set(states)} == expected:
                return
            vc.clock.advance(tick_s)
            time.sleep(0.005)
        raise AssertionError(f"{states} instead of {expected}")

    def _busy(self, vc: VCenter, client: Client, count: int, **more: Any) -> tuple[Any, list[Any]]:
        source = client.template("image", 8 * MiB)
        vc.cost_model.enabled = True
        tasks = [
            source.CloneVM_Task(client.folder, f"c{n}", client.clone_spec(**more))
            for n in range(count)
        ]
        return source, tasks

    def test_clones_of_one_template_run_in_parallel(self, vc: VCenter, client: Client) -> None:
        home = client.hosts[0]
        _, tasks = self._busy(vc, client, 6, host=home)
        self._states(vc, tasks, {"running": 4, "queued": 2})
        self._states(vc, tasks, {"success": 6}, tick_s=0.3)

    def test_a_busy_template_cannot_be_destroyed(self, vc: VCenter, client: Client) -> None:
        source, tasks = self._busy(vc, client, 1)
        self._states(vc, tasks, {"running": 1})
        assert vc.find_vm("c0").config is None
        with pytest.raises(vim.fault.TaskInProgress):
            wait(source.Destroy_Task())
        with pytest.raises(vim.fault.TaskInProgress):
            source.MarkAsVirtualMachine(client.pool)
        with pytest.raises(vim.fault.TaskInProgress):
            wait(source.Rename_Task("other"))
        vc.switches.destroy_during_clone = "queue"
        destroy = source.Destroy_Task()
        self._states(vc, [destroy], {"running": 1})
        self._states(vc, [*tasks, destroy], {"success": 2}, tick_s=0.3)

    def test_a_cancelled_clone_leaves_nothing(self, vc: VCenter, client: Client) -> None:
        source, tasks = self._busy(vc, client, 1)
        self._states(vc, tasks, {"running": 1})
        tasks[0].CancelTask()
        with pytest.raises(vmodl.fault.RequestCanceled):
            wait(tasks[0])
        assert [vm.name for vm in vc.vms()] == ["image"]
        assert vc.datastore("DC0_DS0").directories() == ["image"]
        source.Rename_Task("free")

    def test_a_queued_clone_of_a_destroyed_source_fails(self, vc: VCenter, client: Client) -> None:
        source, tasks = self._busy(vc, client, 5, host=client.hosts[0])
        self._states(vc, tasks, {"running": 4, "queued": 1})
        vc.find_vm("image").remove()
        self._states(vc, tasks, {"success": 4, "error": 1}, tick_s=0.3)
        with pytest.raises(vmodl.fault.ManagedObjectNotFound):
            wait(tasks[-1])
        with pytest.raises(vmodl.fault.ManagedObjectNotFound):
            source.CloneVM_Task(client.folder, "x", client.clone_spec())


def test_a_missing_folder_is_a_fault_of_the_call(client: Client) -> None:
    source = client.template("image")
    folder = client.folder.CreateFolder("f")
    wait(folder.Destroy_Task())
    with pytest.raises(vmodl.fault.ManagedObjectNotFound) as raised:
        source.CloneVM_Task(folder, "x", client.clone_spec())
    assert raised.value.obj == folder

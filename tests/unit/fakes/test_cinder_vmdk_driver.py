"""Cinder's own, unmodified VMDK driver works on the fake as on a vCenter.

Every operation of the driver runs here over its own SOAP client, with the account of
docs/security.rst. Volumes' bytes are compared by hash, and each test ends with nothing left on the
datastores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from tests.fakes.account import PASSWORD, USER, add_documented_account
from tests.fakes.vcenter import Model, VCenter, vmdk
from tests.fakes.vcenter.disk import DiskContent
from tests.unit.fakes.cinder_parts import ImageService, Record, snapshot, volume
from tests.unit.fakes.vm_client import Client, GiB, MiB, connected, create_spec, disk_of, wait
from vmdk_cache.vim import inventory
from vmdk_cache.vim.session import Endpoint, Session
from vmdk_cache.vim.volume_backing import Backing, backings_in

pytest.importorskip("cinder", reason="needs the extra [cinder]")

GROUP = "fake_vcenter_backend"
EXTRA_SPECS = {
    "linked": {"vmware:clone_type": "linked"},
    "thick": {"vmware:vmdk_type": "thick", "vmware:adapter_type": "paraVirtual"},
    "eager": {"vmware:vmdk_type": "eagerZeroedThick"},
}


@pytest.fixture(scope="module")
def vc() -> Iterator[VCenter]:
    with VCenter(Model(datastore_bytes=50 * GiB)) as vcenter:
        account = add_documented_account(vcenter)
        yield vcenter
        assert account.missed == set()


@pytest.fixture(scope="module")
def module_driver(vc: VCenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from cinder import objects
    from cinder.volume import configuration
    from cinder.volume.drivers.vmware import vmdk as upstream

    def extra_spec(
        type_id: str, key: str, possible_values: Any = None, default_value: Any = None
    ) -> Any:
        return EXTRA_SPECS.get(type_id, {}).get(f"vmware:{key}", default_value)

    objects.register_all()
    original = upstream._get_volume_type_extra_spec
    upstream._get_volume_type_extra_spec = extra_spec
    settings = configuration.Configuration(upstream.vmdk_opts, config_group=GROUP)
    for name, value in {
        "vmware_host_ip": vc.host,
        "vmware_host_port": vc.port,
        "vmware_host_username": USER,
        "vmware_host_password": PASSWORD,
        "vmware_ca_file": vc.ca_file,
        "vmware_task_poll_interval": 0.02,
        "vmware_tmp_dir": str(tmp_path_factory.mktemp("vmware")),
    }.items():
        cfg.CONF.set_override(name, value, group=GROUP)
    driver = upstream.VMwareVcVmdkDriver(configuration=settings)
    driver.do_setup(None)
    driver.check_for_setup_error()
    yield driver
    driver.session.logout()
    upstream._get_volume_type_extra_spec = original


@pytest.fixture
def driver(vc: VCenter, module_driver: Any) -> Iterator[Any]:
    cfg.CONF.set_override("vmware_snapshot_format", "COW", group=GROUP)
    yield module_driver
    assert vc.errors == []
    for vm in vc.vms():
        vm.destroy()
    for name in ("DC0_DS0", "DC0_DS1"):
        store = vc.datastore(name)
        store.fill(0)
        assert (store.files(), store.used_bytes) == ({}, 0)
        assert set(store.directories()) <= {"cinder_temp"}


def _disk() -> DiskContent:
    disk = DiskContent(32 * MiB)
    disk.write(0, os.urandom(MiB))
    disk.write(32 * MiB - 4, b"last")
    return disk


def _stream(disk: DiskContent) -> bytes:
    return b"".join(vmdk.stream_optimized(disk))


def _from_image(driver: Any, disk: DiskContent, of: Record | None = None) -> Record:
    images, new = ImageService(), of or volume()
    image = images.add(_stream(disk), vmware_disktype="streamOptimized")
    driver.clone_image(None, new, None, {"id": image}, images)
    return new


def _holds(vc: VCenter, new: Record, disk: DiskContent) -> bool:
    content = vc.read_disk(new.name)
    assert content.size_bytes == new.size * GiB
    return bool(content.sha256(disk.size_bytes) == disk.sha256())


def test_an_empty_volume_gets_a_disk_when_attached(vc: VCenter, driver: Any) -> None:
    new = volume(type_id="eager")
    driver.create_volume(new)
    driver.initialize_connection(new, {})
    vm = vc.find_vm(new.name)
    assert vm.instance_uuid == vm.disks[0].uuid == new.id
    assert vc.datastore(vm.home_datastore.name).used_bytes > GiB
    driver.extend_volume(new, 2)
    assert vm.disks[0].capacity_bytes == 2 * GiB
    driver.delete_volume(new)
    assert vc.vms() == []


@pytest.mark.parametrize("kind", ["streamOptimized", "sparse", "preallocated"])
@pytest.mark.parametrize("type_id", [None, "eager"])
def test_a_volume_holds_its_images_bytes(
    vc: VCenter, driver: Any, kind: str, type_id: str | None
) -> None:
    disk, images, new = _disk(), ImageService(), volume(type_id=type_id)
    data = disk.read() if kind == "preallocated" else _stream(disk)
    image = images.add(data, vmware_disktype=kind)
    driver.clone_image(None, new, None, {"id": image}, images)
    assert _holds(vc, new, disk)
    assert vc.find_vm(new.name).disks[0].provisioning == (
        "thin" if not type_id else "eagerZeroedThick"
    )
    assert [vm.name for vm in vc.vms()] == [new.name]


def test_a_broken_image_leaves_no_volume(vc: VCenter, driver: Any) -> None:
    images, new = ImageService(), volume()
    data = _stream(_disk())
    image = images.add(data[: len(data) // 2], vmware_disktype="streamOptimized")
    driver.clone_image(None, new, None, {"id": image}, images)
    assert vc.read_disk(new.name).written_bytes == 0


@pytest.mark.parametrize("type_id", [None, "linked"])
def test_snapshots_in_the_volume_keep_all_bytes(
    vc: VCenter, driver: Any, type_id: str | None
) -> None:
    disk = _disk()
    base = _from_image(driver, disk)
    snap = snapshot(base)
    driver.create_snapshot(snap)
    vc.find_vm(base.name).disks[0].content.write(0, b"later")
    copy = volume(type_id=type_id)
    driver.create_volume_from_snapshot(copy, snap)
    assert _holds(vc, copy, disk)
    driver.revert_to_snapshot(None, base, snap)
    assert _holds(vc, base, disk)
    driver.delete_snapshot(snap)
    assert _holds(vc, base, disk)
    driver.delete_volume(base)
    assert _holds(vc, copy, disk)
    driver.delete_volume(copy)


def test_snapshots_as_templates_keep_all_bytes(vc: VCenter, driver: Any) -> None:
    cfg.CONF.set_override("vmware_snapshot_format", "template", group=GROUP)
    disk = _disk()
    base = _from_image(driver, disk)
    snap = snapshot(base)
    snap.update(driver.create_snapshot(snap))
    assert vc.find_vm(snap.name).template
    copy = volume(size_gb=2)
    driver.create_volume_from_snapshot(copy, snap)
    assert _holds(vc, copy, disk)
    driver.delete_snapshot(snap)
    assert vc.find_vm(snap.name) is None


@pytest.mark.parametrize(("type_id", "size_gb"), [(None, 1), (None, 3), ("linked", 1)])
def test_a_clone_holds_its_sources_bytes(
    vc: VCenter, driver: Any, type_id: str | None, size_gb: int
) -> None:
    disk = _disk()
    base = _from_image(driver, disk)
    copy = volume(size_gb, type_id)
    driver.create_cloned_volume(copy, base)
    vc.find_vm(base.name).disks[0].content.write(0, b"later")
    assert _holds(vc, copy, disk)


def test_a_volume_in_use_is_cloned_without_the_servers_other_disks(
    vc: VCenter, driver: Any
) -> None:
    disk = _disk()
    base = _from_image(driver, disk)
    with connected(vc) as client:
        server = _server_with(client, vc, base)
        uuid = "aaaaaaaa-0000-4000-8000-000000000001"
        base["volume_attachment"] = [{"instance_uuid": uuid}]
        assert server.config.instanceUuid == uuid
        copy = volume()
        driver.create_cloned_volume(copy, base)
        assert _holds(vc, copy, disk)
        assert len(vc.find_vm(copy.name).disks) == 1


def _server_with(client: Client, vc: VCenter, base: Record) -> Any:
    """A server with its own disk and the volume attached, as Nova leaves it."""
    from pyVmomi import vim

    options = [vim.option.OptionValue(key=f"volume-{base.id}", value=base.id)]
    spec = create_spec(
        "server", 2 * MiB, instanceUuid="aaaaaaaa-0000-4000-8000-000000000001", extraConfig=options
    )
    server = wait(client.folder.CreateVM_Task(spec, client.pool))
    path = str(vc.find_vm(base.name).disks[0].path)
    device = disk_of(server)
    device.key, device.unitNumber = -1, 1
    device.backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName=path, diskMode="persistent"
    )
    add = vim.vm.device.VirtualDeviceSpec(operation="add", device=device)
    wait(server.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[add])))
    return server


def test_a_retyped_volume_changes_its_type(vc: VCenter, driver: Any) -> None:
    disk = _disk()
    new = _from_image(driver, disk)
    assert driver.retype(None, new, {"id": "thick"}, None, None)
    vm = vc.find_vm(new.name)
    assert vm.disks[0].provisioning == "preallocated"
    assert type(vm.devices.controllers[-1]).__name__.endswith("ParaVirtualSCSIController")
    assert vm.instance_uuid == vm.disks[0].uuid == new.id
    assert _holds(vc, new, disk)


def test_a_volume_with_snapshots_can_be_retyped(vc: VCenter, driver: Any) -> None:
    disk = _disk()
    new = _from_image(driver, disk)
    before = vc.find_vm(new.name).home_datastore
    driver.create_snapshot(snapshot(new))
    assert driver.retype(None, new, {"id": "eager"}, None, None)
    assert vc.find_vm(new.name).home_datastore is not before
    assert _holds(vc, new, disk)


def test_a_volume_that_outgrows_its_datastore_is_kept(vc: VCenter, driver: Any) -> None:
    disk = _disk()
    new = _from_image(driver, disk, volume(type_id="eager"))
    home = vc.find_vm(new.name).home_datastore
    home.fill(50 * GiB - home.storage.used_bytes)
    driver.extend_volume(new, 2)
    new["size"] = 2
    assert vc.find_vm(new.name).home_datastore is not home
    assert _holds(vc, new, disk)


def test_an_upload_equals_the_volume(vc: VCenter, driver: Any) -> None:
    disk, images = _disk(), ImageService()
    new = _from_image(driver, disk)
    image = images.add(b"")
    meta = {"id": image, "disk_format": "vmdk", "name": "upload"}
    driver.copy_volume_to_image(None, new, images, meta)
    back = volume()
    driver.clone_image(None, back, None, {"id": image}, images)
    assert _holds(vc, back, disk)
    assert vc.leases() == []


def test_a_restored_backup_equals_the_backup(vc: VCenter, driver: Any, tmp_path: Path) -> None:
    from os_brick.initiator.connectors.vmware import VmdkConnector

    disk, restored = _disk(), _disk()
    new = _from_image(driver, disk)
    connection = driver.initialize_connection(new, {"platform": "x", "os_type": "y"})
    connector = VmdkConnector(None)
    device = connector.connect_volume(connection["data"])
    saved = Path(device["path"]).read_bytes()
    parser = vmdk.StreamOptimizedParser()
    parser.feed(saved)
    assert parser.content is not None
    assert parser.content.sha256(disk.size_bytes) == disk.sha256()
    Path(device["path"]).write_bytes(_stream(restored))
    later = time.time() + 60
    os.utime(device["path"], (later, later))
    connector.disconnect_volume(connection["data"], device)
    assert vc.read_disk(new.name).sha256(restored.size_bytes) == restored.sha256()
    driver.delete_volume(new)


def test_a_managed_disk_leaves_its_old_vm(vc: VCenter, driver: Any) -> None:
    with connected(vc) as client:
        client.create("other", GiB)
        vc.find_vm("other").disks[0].content.write(0, b"mine")
        reference = {"source-name": "[DC0_DS0] other/other.vmdk@/DC0/vm/other"}
        new = volume()
        assert driver.manage_existing_get_size(new, reference) == 1
        driver.manage_existing(new, reference)
        assert vc.find_vm("other").disks == []
        assert vc.read_disk(new.name).read(0, 4) == b"mine"
        driver.unmanage(new)
        assert "cinder.volume.id" not in vc.find_vm(new.name).settings.extra_config


STEPS = (
    "CloneVM_Task",
    "CreateVM_Task",
    "Destroy_Task",
    "ExtendVirtualDisk_Task",
    "ImportVApp",
    "MarkAsTemplate",
    "MoveVirtualDisk_Task",
    "ReconfigVM_Task",
    "Rename_Task",
)


def test_a_vm_of_a_running_operation_does_not_look_orphaned(vc: VCenter, driver: Any) -> None:
    """The check for such VMs looks before each step of all operations that create temporary VMs."""
    session = Session(
        Endpoint(host=vc.host, port=vc.port, user=USER, password=PASSWORD, ca_file=str(vc.ca_file))
    )
    known: set[str] = set()
    seen: set[str] = set()
    orphans: list[Backing] = []

    def new(size_gb: int = 1, type_id: str | None = None) -> Record:
        """A volume, whose row Cinder creates before it calls the driver."""
        made = volume(size_gb, type_id)
        known.add(made.id)
        return made

    def look() -> None:
        for datacenter in inventory.snapshot(session).datacenters:
            for backing in backings_in(session, datacenter, "Volumes"):
                seen.update(backing.volume_ids)
                orphans.extend([] if backing.volume_ids & known else [backing])

    rules = [vc.fault_rules.add(method, action=look, times=None) for method in STEPS]
    disk = _disk()
    base = _from_image(driver, disk, new())
    cfg.CONF.set_override("vmware_snapshot_format", "template", group=GROUP)
    snap = snapshot(base)
    snap.update(driver.create_snapshot(snap))
    driver.create_volume_from_snapshot(new(2), snap)
    driver.delete_snapshot(snap)
    cfg.CONF.set_override("vmware_snapshot_format", "COW", group=GROUP)
    driver.create_cloned_volume(new(3), base)
    driver.create_cloned_volume(new(1, "linked"), base)
    images, converted = ImageService(), new(1, "eager")
    image = images.add(_stream(disk), vmware_disktype="sparse")
    driver.clone_image(None, converted, None, {"id": image}, images)
    assert driver.retype(None, base, {"id": "thick"}, None, None)
    look()
    assert known <= seen, "the check sees no volumes"
    assert seen - known, "the check saw no temporary VM"
    driver.delete_volume(base)
    for rule in rules:
        vc.fault_rules.remove(rule)
    session.close()
    assert orphans == []
    assert {"CloneVM_Task", "Destroy_Task", "MarkAsTemplate", "ReconfigVM_Task"} <= {
        rule.method for rule in rules if rule.hits
    }

"""Every volume operation of Cinder on a backing in vCenter, by three roads to that backing.

Unmodified upstream's driver; ours on volumes that did not ask for the cache; ours on volumes that
were cloned from a cached template. What works on the first must work on the others. After each
test everything is deleted, and then no virtual machine, no file and no lease may be left.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.e2e.cloud import GIB, OUR_DRIVER, UPSTREAM_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.client import Resource
from tests.fakes.images import (
    FakeImage,
    as_flat,
    as_monolithic_sparse,
    as_stream_optimized,
    filesystem_disk,
)
from tests.fakes.images import read_files as read_fat_files

CACHE_ON = {"enable_image_cache": "true", "image_cache_age_seconds": "0"}
COW = {"vmware_snapshot_format": "COW"}

DISK = filesystem_disk(16 << 20, payload_bytes=1 << 20)
IMAGE = as_stream_optimized(DISK)
OTHER_IMAGE = as_stream_optimized(bytes(reversed(DISK)))


@dataclass
class Road:
    """One way to make volumes, and what was made on it.

    :ivar backend: name of the backend, and of the volume type that leads to it
    :ivar image_fields: what a request for a volume from an image adds
    :ivar made: (collection, id) in the order of creation
    """

    name: str
    cloud: Cloud
    backend: str
    image_id: str
    image_fields: dict[str, Any] = field(default_factory=dict)
    made: list[tuple[str, str]] = field(default_factory=list)

    def create(self, size_gb: int = 1, **fields: Any) -> str:
        """A volume on this road's backend, available."""
        fields = {"volume_type": self.backend, **fields}
        volume_id = self.cloud.cinder.create_volume(size_gb, **fields)
        self.made.append(("volumes", volume_id))
        self.cloud.cinder.wait("volumes", volume_id, "available")
        return volume_id

    def create_from_image(
        self, size_gb: int = 1, image_id: str | None = None, **fields: Any
    ) -> str:
        image_id = image_id or self.image_id
        return self.create(size_gb, imageRef=image_id, **self.image_fields, **fields)

    def post(self, collection: str, kind: str, wanted: str, **fields: Any) -> str:
        """Make a snapshot or backup and wait for it."""
        made: Resource = self.cloud.cinder.request("POST", f"/{collection}", {kind: fields})[kind]
        self.made.append((collection, made["id"]))
        self.cloud.cinder.wait(collection, made["id"], wanted)
        resource_id: str = made["id"]
        return resource_id

    def snapshot(self, volume_id: str) -> str:
        return self.post("snapshots", "snapshot", "available", volume_id=volume_id)

    def act(self, volume_id: str, action: str, **arguments: Any) -> Resource:
        """An action on a volume, awaited until the volume is available again."""
        self.cloud.cinder.act(volume_id, action, arguments)
        return self.cloud.cinder.wait("volumes", volume_id, "available")

    def clean_up(self) -> None:
        """Delete all that was made, children before what they hang on."""
        cinder = self.cloud.cinder
        for collection in ("backups", "snapshots", "volumes"):
            ids = [made for kind, made in self.made if kind == collection]
            for resource_id in ids:
                cinder.delete(collection, resource_id)
            cinder.wait_gone(collection, *ids)
        self.made.clear()


@pytest.fixture(scope="module")
def the_cloud() -> Iterator[Cloud]:
    backends = {
        "upstream": (UPSTREAM_DRIVER, {}),
        "ours": (OUR_DRIVER, CACHE_ON),
        "upstream_cow": (UPSTREAM_DRIVER, COW),
        "ours_cow": (OUR_DRIVER, {**CACHE_ON, **COW}),
    }
    with cloud(backends) as running:
        for name in backends:
            running.cinder.create_volume_type(name, volume_backend_name=name)
            running.cinder.create_volume_type(
                f"{name}_thick",
                **{
                    "volume_backend_name": name,
                    "vmware:vmdk_type": "thick",
                    "vmware:adapter_type": "paraVirtual",
                },
            )
        yield running
        assert running.vcenter.errors == []


@pytest.fixture(scope="module")
def images(the_cloud: Cloud) -> dict[str, tuple[str, FakeImage]]:
    """By format: the id in Glance and the image."""
    formats = {
        "streamOptimized": IMAGE,
        "sparse": as_monolithic_sparse(DISK),
        "preallocated": as_flat(DISK),
    }
    return {name: (the_cloud.upload(name, image), image) for name, image in formats.items()}


@pytest.fixture(scope="module")
def other_image_id(the_cloud: Cloud) -> str:
    return the_cloud.upload("other", OTHER_IMAGE)


@pytest.fixture(scope="module")
def warm(the_cloud: Cloud, images: dict[str, tuple[str, FakeImage]]) -> None:
    """The image is cached on both of our backends: what is made from it from now on is a hit."""
    for backend in ("ours", "ours_cow"):
        road = Road("warm-up", the_cloud, backend, images["streamOptimized"][0])
        road.create_from_image(metadata=USE_CACHE)
        road.clean_up()


@pytest.fixture(params=["upstream", "ours, not cached", "ours, hit"])
def road(
    request: pytest.FixtureRequest, the_cloud: Cloud, images: dict[str, tuple[str, FakeImage]]
) -> Iterator[Road]:
    yield from _road(request, the_cloud, images, cow=False)


@pytest.fixture(params=["upstream", "ours, hit"])
def short_road(
    request: pytest.FixtureRequest, the_cloud: Cloud, images: dict[str, tuple[str, FakeImage]]
) -> Iterator[Road]:
    """Without the road that differs least, for operations in which upstream waits a lot."""
    yield from _road(request, the_cloud, images, cow=False)


@pytest.fixture(params=["upstream", "ours, not cached", "ours, hit"])
def cow_road(
    request: pytest.FixtureRequest, the_cloud: Cloud, images: dict[str, tuple[str, FakeImage]]
) -> Iterator[Road]:
    """The same with snapshots as snapshots of the virtual machine, not as templates."""
    yield from _road(request, the_cloud, images, cow=True)


def _road(
    request: pytest.FixtureRequest,
    the_cloud: Cloud,
    images: dict[str, tuple[str, FakeImage]],
    *,
    cow: bool,
) -> Iterator[Road]:
    name: str = request.param
    if name.endswith("hit"):
        request.getfixturevalue("warm")
    backend = name.partition(",")[0] + ("_cow" if cow else "")
    road = Road(name, the_cloud, backend, images["streamOptimized"][0])
    if name.endswith("hit"):
        road.image_fields["metadata"] = USE_CACHE
    before = inventory(the_cloud)
    yield road
    road.clean_up()
    assert inventory(the_cloud) - before == set(), "left behind"
    assert the_cloud.vcenter.leases() == []


def inventory(the_cloud: Cloud) -> set[str]:
    """Virtual machines and datastore files, but for those of cached templates."""
    names = {f"{vm.moref} {vm.name}" for vm in the_cloud.vcenter.vms()} | set(the_cloud.files())
    return {name for name in names if "_image_cache" not in name}


def test_a_volume_from_an_image_holds_its_bytes(road: Road) -> None:
    volume_id = road.create_from_image()
    road.cloud.assert_holds(volume_id, IMAGE, 1)
    volume = road.cloud.cinder.show("volumes", volume_id)
    assert volume["bootable"] == "true"
    assert outcome(volume) == ("hit" if road.name.endswith("hit") else None)
    assert read_fat_files(road.cloud.disk(volume_id).read(0, len(DISK))) == read_fat_files(DISK)


def test_a_volume_larger_than_its_image_has_its_own_size(road: Road) -> None:
    road.cloud.assert_holds(road.create_from_image(3), IMAGE, 3)


@pytest.mark.parametrize("disk_type", ["sparse", "preallocated"])
def test_images_of_the_other_disk_types_arrive_too(
    road: Road, images: dict[str, tuple[str, FakeImage]], disk_type: str
) -> None:
    image_id, image = images[disk_type]
    road.cloud.assert_holds(road.create_from_image(image_id=image_id), image, 1)


def test_a_grown_volume_keeps_its_bytes(road: Road) -> None:
    volume_id = road.create_from_image()
    road.act(volume_id, "os-extend", new_size=2)
    road.cloud.assert_holds(volume_id, IMAGE, 2)


def test_a_snapshot_keeps_what_the_volume_held_then(road: Road) -> None:
    volume_id = road.create_from_image()
    snapshot_id = road.snapshot(volume_id)
    road.cloud.disk(volume_id).write(0, b"written after the snapshot")
    from_snapshot = road.create(1, snapshot_id=snapshot_id)
    larger = road.create(2, snapshot_id=snapshot_id)
    road.cloud.assert_holds(from_snapshot, IMAGE, 1)
    road.cloud.assert_holds(larger, IMAGE, 2)


def test_a_snapshot_of_the_virtual_machine_keeps_what_the_volume_held_then(
    cow_road: Road,
) -> None:
    volume_id = cow_road.create_from_image()
    snapshot_id = cow_road.snapshot(volume_id)
    cow_road.cloud.disk(volume_id).write(0, b"written after the snapshot")
    from_snapshot = cow_road.create(2, snapshot_id=snapshot_id)
    cow_road.cloud.assert_holds(from_snapshot, IMAGE, 2)


def test_reverting_undoes_what_was_written_since(cow_road: Road) -> None:
    volume_id = cow_road.create_from_image()
    snapshot_id = cow_road.snapshot(volume_id)
    cow_road.cloud.disk(volume_id).write(0, b"written after the snapshot")
    cow_road.act(volume_id, "revert", snapshot_id=snapshot_id)
    cow_road.cloud.assert_holds(volume_id, IMAGE, 1)


@pytest.mark.parametrize("size_gb", [1, 2])
def test_a_clone_lives_apart_from_its_source(road: Road, size_gb: int) -> None:
    volume_id = road.create_from_image()
    clone_id = road.create(size_gb, source_volid=volume_id)
    road.cloud.disk(volume_id).write(0, b"written to the source")
    road.cloud.assert_holds(clone_id, IMAGE, size_gb)


def test_an_attached_volume_leads_to_its_backing(road: Road, instance: str) -> None:
    volume_id = road.create_from_image()
    attachment = attach(road, volume_id, instance)
    assert attachment["connection_info"]["driver_volume_type"] == "vmdk"
    assert attachment["connection_info"]["volume"] == road.cloud.backing(volume_id).moref
    detach(road, volume_id, attachment)
    road.cloud.assert_holds(volume_id, IMAGE, 1)


def test_an_empty_volume_gets_its_backing_when_it_is_attached(road: Road, instance: str) -> None:
    volume_id = road.create(1)
    assert road.cloud.backing(volume_id) is None
    detach(road, volume_id, attach(road, volume_id, instance))
    assert road.cloud.disk(volume_id).size_bytes == GIB


def test_retype_changes_disk_type_and_keeps_the_bytes(road: Road) -> None:
    volume_id = road.create_from_image()
    new_type = f"{road.backend}_thick"
    road.act(volume_id, "os-retype", new_type=new_type, migration_policy="never")
    assert road.cloud.cinder.show("volumes", volume_id)["volume_type"] == new_type
    assert not disk_device(road, volume_id).backing.thinProvisioned
    road.cloud.assert_holds(volume_id, IMAGE, 1)


def test_an_uploaded_volume_makes_an_image_with_its_bytes(road: Road) -> None:
    volume_id = road.create_from_image()
    upload = road.cloud.cinder.act(
        volume_id,
        "os-volume_upload_image",
        {"image_name": "copy", "disk_format": "vmdk", "container_format": "bare"},
    )["os-volume_upload_image"]
    road.cloud.cinder.wait("volumes", volume_id, "available")
    assert road.cloud.glance.image(upload["image_id"])["status"] == "active"
    road.cloud.assert_holds(road.create_from_image(image_id=upload["image_id"]), IMAGE, 1)


def test_a_restored_backup_holds_the_volumes_bytes(short_road: Road) -> None:
    volume_id = short_road.create_from_image()
    backup_id = short_road.post("backups", "backup", "available", volume_id=volume_id)
    target_id = short_road.create(1)
    short_road.cloud.cinder.request(
        "POST", f"/backups/{backup_id}/restore", {"restore": {"volume_id": target_id}}
    )
    short_road.cloud.cinder.wait("volumes", target_id, "available")
    short_road.cloud.cinder.wait("backups", backup_id, "available")
    short_road.cloud.assert_holds(target_id, IMAGE, 1)


def test_a_transferred_volume_moves_to_the_other_projects_folder(road: Road) -> None:
    cinder = road.cloud.cinder
    volume_id = road.create_from_image()
    transfer = cinder.request(
        "POST", "/volume-transfers", {"transfer": {"volume_id": volume_id, "name": "gift"}}
    )["transfer"]
    cinder.as_user("bob", "other").request(
        "POST",
        f"/volume-transfers/{transfer['id']}/accept",
        {"accept": {"auth_key": transfer["auth_key"]}},
    )
    cinder.wait("volumes", volume_id, "available")
    assert road.cloud.backing(volume_id).parent.parent.name == "Project (other)"


def test_a_reimaged_volume_holds_the_new_image(short_road: Road, other_image_id: str) -> None:
    volume_id = short_road.create_from_image()
    short_road.act(volume_id, "os-reimage", image_id=other_image_id)
    short_road.cloud.assert_holds(volume_id, OTHER_IMAGE, 1)


@pytest.fixture(scope="module")
def instance(the_cloud: Cloud) -> Iterator[str]:
    """Managed object id of a virtual machine as Nova makes one."""
    vcenter = the_cloud.vcenter
    si = SmartConnect(
        host=vcenter.host,
        port=vcenter.port,
        user=vcenter.user,
        pwd=vcenter.password,
        sslContext=ssl.create_default_context(cafile=vcenter.ca_file),
    )
    datacenter = si.content.rootFolder.childEntity[0]
    cluster = datacenter.hostFolder.childEntity[0]
    spec = vim.vm.ConfigSpec(
        name="instance",
        guestId="otherGuest",
        numCPUs=1,
        memoryMB=128,
        files=vim.vm.FileInfo(vmPathName=f"[{datacenter.datastore[0].name}]"),
    )
    task = datacenter.vmFolder.CreateVM_Task(spec, cluster.resourcePool, cluster.host[0])
    WaitForTask(task, si=si)
    vm = task.info.result
    yield vm._moId
    WaitForTask(vm.Destroy_Task(), si=si)
    Disconnect(si)


def attach(road: Road, volume_id: str, instance: str) -> Resource:
    """What Nova asks of Cinder before it adds a volume's disk to an instance."""
    cinder = road.cloud.cinder
    connector = {"host": "compute", "instance": instance}
    body = {"attachment": {"volume_uuid": volume_id, "connector": connector}}
    attachment: Resource = cinder.request("POST", "/attachments", body)["attachment"]
    cinder.request("POST", f"/attachments/{attachment['id']}/action", {"os-complete": {}})
    cinder.wait("volumes", volume_id, "in-use")
    return attachment


def detach(road: Road, volume_id: str, attachment: Resource) -> None:
    road.cloud.cinder.delete("attachments", attachment["id"])
    road.cloud.cinder.wait("volumes", volume_id, "available")


def disk_device(road: Road, volume_id: str) -> Any:
    """The one virtual disk among the devices of the volume's backing."""
    devices = road.cloud.backing(volume_id).config.hardware.device
    (disk,) = (d for d in devices if isinstance(d, vim.vm.device.VirtualDisk))
    return disk

"""Every volume operation of Cinder on a backing in vCenter that was created in three ways.

The unmodified upstream driver; ours on volumes that did not request the cache; ours on clones of a
cached template. An operation that works on the first must work on the others. After each test
everything is deleted, and then no virtual machine, file or lease may be left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.e2e.cloud import GIB, OUR_DRIVER, UPSTREAM_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.road import Road, an_instance
from tests.e2e.stack.glance import Glance
from tests.fakes.images import (
    FakeImage,
    as_flat,
    as_monolithic_sparse,
    as_stream_optimized,
    filesystem_disk,
    not_a_vmdk,
)
from tests.fakes.images import read_files as read_fat_files
from tests.fakes.vcenter.fault_rules import Where

CACHE_ON = {"enable_image_cache": "true", "image_cache_age_seconds": "0"}
COW = {"vmware_snapshot_format": "COW"}

DISK = filesystem_disk(16 << 20, payload_bytes=1 << 20)
IMAGE = as_stream_optimized(DISK)
OTHER_IMAGE = as_stream_optimized(bytes(reversed(DISK)))


@pytest.fixture(scope="module")
def the_cloud(glance: Glance) -> Iterator[Cloud]:
    backends = {
        "upstream": (UPSTREAM_DRIVER, {}),
        "ours": (OUR_DRIVER, CACHE_ON),
        "upstream_cow": (UPSTREAM_DRIVER, COW),
        "ours_cow": (OUR_DRIVER, {**CACHE_ON, **COW}),
    }
    with cloud(backends, glance=glance) as running:
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
    """The image is cached on both of our backends, so every later volume from it is a hit."""
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
    """All roads except the one that differs least, for operations in which upstream waits a lot."""
    yield from _road(request, the_cloud, images, cow=False)


@pytest.fixture(params=["upstream", "ours, not cached", "ours, hit"])
def cow_road(
    request: pytest.FixtureRequest, the_cloud: Cloud, images: dict[str, tuple[str, FakeImage]]
) -> Iterator[Road]:
    """The same with snapshots of the virtual machine as snapshots, not templates."""
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
    """Virtual machines and datastore files, except those of cached templates."""
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
    attachment = road.attach(volume_id, instance)
    assert attachment["connection_info"]["driver_volume_type"] == "vmdk"
    assert attachment["connection_info"]["volume"] == road.cloud.backing(volume_id).moref
    road.detach(volume_id, attachment)
    road.cloud.assert_holds(volume_id, IMAGE, 1)


def test_an_empty_volume_gets_its_backing_when_it_is_attached(road: Road, instance: str) -> None:
    volume_id = road.create(1)
    assert road.cloud.backing(volume_id) is None
    road.detach(volume_id, road.attach(volume_id, instance))
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


@pytest.mark.parametrize("disk_type", ["sparse", "preallocated"])
def test_a_reimage_from_an_image_of_another_disk_type_takes_the_volumes_bytes(
    short_road: Road, images: dict[str, tuple[str, FakeImage]], disk_type: str
) -> None:
    """Cinder's own driver creates the new volume under a name that is taken, and fails; a clone of
    the cache replaces the old volume."""
    cinder, (image_id, image) = short_road.cloud.cinder, images[disk_type]
    volume_id = short_road.create_from_image()
    cinder.act(volume_id, "os-reimage", {"image_id": image_id})
    volume = cinder.wait("volumes", volume_id, "available", "error")
    cached = short_road.name.endswith("hit")
    assert volume["status"] == ("available" if cached else "error")
    short_road.cloud.assert_holds(volume_id, image if cached else IMAGE, 1)


@pytest.fixture
def cached_road(
    the_cloud: Cloud, images: dict[str, tuple[str, FakeImage]], warm: None
) -> Iterator[Road]:
    """The road of a user who requests the cache."""
    image_id, _ = images["streamOptimized"]
    road = Road("cached", the_cloud, "ours", image_id, {"metadata": USE_CACHE})
    before = inventory(the_cloud)
    yield road
    road.clean_up()
    assert inventory(the_cloud) - before == set(), "left behind"
    assert the_cloud.vcenter.leases() == []


def test_each_reimage_downloads_the_image(cached_road: Road) -> None:
    """The volumes keep their names and ids in vCenter, and their size."""
    road, cloud_of = cached_road, cached_road.cloud
    new_id = cloud_of.upload("for many", OTHER_IMAGE)
    made = [road.create_from_image(2) for _ in range(3)]

    def identity(volume_id: str) -> tuple[str, str, str, str]:
        backing = cloud_of.backing(volume_id)
        return backing.name, backing.instance_uuid, backing.disks[0].uuid, backing.parent.moref

    before = [identity(volume_id) for volume_id in made]
    for volume_id in made:
        cloud_of.cinder.act(volume_id, "os-reimage", {"image_id": new_id})
    volumes = [cloud_of.cinder.wait("volumes", volume_id, "available") for volume_id in made]
    assert sorted(filter(None, map(outcome, volumes))) == ["hit", "hit", "miss"]
    assert cloud_of.glance.downloads(new_id) == 1
    assert {volume["volume_image_metadata"]["image_id"] for volume in volumes} == {new_id}
    assert [identity(volume_id) for volume_id in made] == before
    for volume_id in made:
        cloud_of.assert_holds(volume_id, OTHER_IMAGE, 2)
        road.act(volume_id, "os-extend", new_size=3)
        assert road.cloud.disk(volume_id).size_bytes == 3 * GIB


@pytest.mark.parametrize("on", ["call", "task"])
def test_a_fault_of_the_cache_costs_a_reimage(
    cached_road: Road, other_image_id: str, on: Where
) -> None:
    """The clone fails after the volume's VM has gone; upstream's import follows."""
    volume_id = cached_road.create_from_image()
    fault = vim.fault.NoPermission()
    rule = cached_road.cloud.vcenter.fault_rules.add("CloneVM_Task", fault, on=on)
    volume = cached_road.act(volume_id, "os-reimage", image_id=other_image_id)
    assert rule.hits == 1
    assert outcome(volume) == "bypass: fault"
    cached_road.cloud.assert_holds(volume_id, OTHER_IMAGE, 1)


def test_a_reimage_with_an_unfit_image_loses_the_volumes_bytes(
    cached_road: Road, other_image_id: str
) -> None:
    road, cinder = cached_road, cached_road.cloud.cinder
    volume_id = road.create_from_image()
    unfit_id = road.cloud.upload("unfit", not_a_vmdk())
    cinder.act(volume_id, "os-reimage", {"image_id": unfit_id})
    volume = cinder.wait("volumes", volume_id, "error")
    assert (outcome(volume) or "").startswith("failed: image ")
    road.cloud.assert_holds(volume_id, IMAGE, 1)
    again = road.act(volume_id, "os-reset_status", status="available")
    assert again["status"] == "available"
    assert outcome(road.act(volume_id, "os-reimage", image_id=other_image_id)) in ("hit", "miss")
    road.cloud.assert_holds(volume_id, OTHER_IMAGE, 1)


@pytest.fixture(scope="module")
def instance(the_cloud: Cloud) -> Iterator[str]:
    with an_instance(the_cloud.vcenter) as moref:
        yield moref


def disk_device(road: Road, volume_id: str) -> Any:
    """The only virtual disk among the devices of the volume's backing."""
    devices = road.cloud.backing(volume_id).config.hardware.device
    (disk,) = (d for d in devices if isinstance(d, vim.vm.device.VirtualDisk))
    return disk

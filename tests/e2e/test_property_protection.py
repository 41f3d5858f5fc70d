"""Volumes of a member in a cloud where Glance protects the properties of images.

Glance runs with the protections that docs/security.rst prints, first unchanged and then with all
unknown properties closed to members.
"""

from __future__ import annotations

import textwrap
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from tests.e2e.cloud import OUR_DRIVER, UPSTREAM_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.road import Road, an_instance
from tests.e2e.stack.client import CinderClient, RequestRefused, Resource
from tests.e2e.stack.service_process import StackError
from tests.fakes.images import as_stream_optimized, filesystem_disk, not_a_vmdk

IMAGE = as_stream_optimized(filesystem_disk(16 << 20, payload_bytes=1 << 20))
ALICE = "alice:project-a:member"
PAGE = Path(__file__).parents[2] / "docs" / "security.rst"
CACHE_ON = {"enable_image_cache": "true", "image_cache_replicas": "off"}
FILTERS = "AvailabilityZoneFilter,CapacityFilter,CapabilitiesFilter,IgnoreAttemptedHostsFilter"
NOTE = "image_cache"


def recipe() -> str:
    """The protections that the page prints."""
    _, _, behind = PAGE.read_text().partition("``property_protection_file``")
    _, _, block = behind.partition(".. code-block:: ini\n\n")
    lines = block.splitlines()
    end = next(n for n, line in enumerate(lines) if line and not line.startswith(" "))
    return textwrap.dedent("\n".join(lines[:end]))


def known_properties_only() -> str:
    """The page's protections, with everything that they open to all users closed, except known
    properties.
    """
    ours, _, _ = recipe().partition("[.*]")
    rights = ("create", "read", "update", "delete")
    known = "\n".join(f"{right} = @" for right in rights)
    unknown = "\n".join(f"{right} = {'@' if right == 'read' else 'admin'}" for right in rights)
    return f"{ours}[^(vmware_.*|owner_id|use_image_cache)$]\n{known}\n\n[.*]\n{unknown}\n"


#: Which of the two clouds a test uses.
BOTH = pytest.mark.parametrize("running", [recipe, known_properties_only], indirect=True)
STRICT = pytest.mark.parametrize("running", [known_properties_only], indirect=True)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    backends = {
        "ours": (OUR_DRIVER, CACHE_ON),
        # Half of its capacity is reserved, so the scheduler tries the other backend first.
        "stock": (UPSTREAM_DRIVER, {"reserved_percentage": "50"}),
    }
    with cloud(
        backends,
        projects=True,
        property_protections=request.param(),
        defaults={"scheduler_default_filters": FILTERS},
    ) as up:
        up.cinder.create_volume_type("ours", volume_backend_name="ours")
        up.cinder.create_volume_type("either")
        yield up
        assert up.vcenter.errors == []


@pytest.fixture(scope="module")
def image_id(running: Cloud) -> str:
    """An image that the administrator has marked."""
    return running.upload("marked", IMAGE, image_cache_warm="true")


@pytest.fixture
def road(running: Cloud, alice: CinderClient, image_id: str) -> Iterator[Road]:
    road = Road("member", running, "ours", image_id, {"metadata": USE_CACHE}, user=alice)
    yield road
    road.clean_up()


def upload(road: Road, volume_id: str) -> str:
    """:returns: id of the image made of the volume"""
    what = {"image_name": "copy", "disk_format": "vmdk", "container_format": "bare"}
    answer = road.cinder.act(volume_id, "os-volume_upload_image", what)
    image_id: str = answer["os-volume_upload_image"]["image_id"]
    road.cinder.wait("volumes", volume_id, "available")
    return image_id


def image_metadata(volume: Resource) -> Resource:
    found: Resource = volume.get("volume_image_metadata") or {}
    return found


@BOTH
def test_a_member_cannot_make_an_image_of_a_volume_of_the_cache(road: Road) -> None:
    volume_id = road.create_from_image()
    volume = road.cinder.show("volumes", volume_id)
    assert outcome(volume) in ("hit", "miss")
    assert volume["metadata"].keys() == {*USE_CACHE, NOTE}
    assert not [key for key in image_metadata(volume) if key.startswith(NOTE)]

    copy_id = upload(road, volume_id)
    image = road.cloud.glance.image(copy_id)
    assert image["status"] == "active"
    assert not [key for key in image if key.startswith(NOTE)]
    again = road.create_from_image(image_id=copy_id)
    road.cloud.assert_holds(again, IMAGE, 1)
    assert outcome(road.cinder.show("volumes", again)) == "miss"


@STRICT
def test_copies_of_a_volume_have_no_note(road: Road) -> None:
    """A snapshot, a volume from it and a clone were not created from an image by the cache."""
    volume_id = road.create_from_image()
    snapshot_id = road.snapshot(volume_id)
    assert road.cinder.show("snapshots", snapshot_id)["metadata"] == {}
    for made in (road.create(snapshot_id=snapshot_id), road.create(source_volid=volume_id)):
        road.cloud.assert_holds(made, IMAGE, 1)
        volume = road.cinder.show("volumes", made)
        assert volume["metadata"] == {}
        assert NOTE not in image_metadata(volume)
        assert road.cloud.glance.image(upload(road, made))["status"] == "active"


@STRICT
def test_every_operation_of_a_member_works(road: Road, bob: CinderClient) -> None:
    volume_id = road.create_from_image()
    note = outcome(road.cinder.show("volumes", volume_id))
    path = f"/volumes/{volume_id}/metadata"
    shown = road.cinder.request("POST", path, {"metadata": {"colour": "red"}})["metadata"]
    assert shown == {**USE_CACHE, NOTE: note, "colour": "red"}
    for said, found in ((note, [volume_id]), ("bypass: no-room", [])):
        query = urllib.parse.quote(str({NOTE: said}))
        listed = road.cinder.request("GET", f"/volumes/detail?metadata={query}")["volumes"]
        assert [volume["id"] for volume in listed] == found
    road.act(volume_id, "os-extend", new_size=2)
    with an_instance(road.cloud.vcenter) as instance:
        road.detach(volume_id, road.attach(volume_id, instance))
    road.cloud.assert_holds(volume_id, IMAGE, 2)
    retyped = road.act(volume_id, "os-retype", new_type="either", migration_policy="never")
    assert (retyped["volume_type"], outcome(retyped)) == ("either", note)

    backup_id = road.post("backups", "backup", "available", volume_id=volume_id)
    target_id = road.create(2)
    body = {"restore": {"volume_id": target_id}}
    road.cinder.request("POST", f"/backups/{backup_id}/restore", body)
    road.cinder.wait("backups", backup_id, "available")
    restored = road.cinder.wait("volumes", target_id, "available")
    # Cinder restores a volume's metadata with its bytes, and adds the backup's id.
    assert restored["metadata"].pop("src_backup_id") == backup_id
    assert restored["metadata"] == {**USE_CACHE, NOTE: note, "colour": "red"}
    assert road.cloud.glance.image(upload(road, target_id))["status"] == "active"

    transfer = {"transfer": {"volume_id": volume_id, "name": "gift"}}
    transfer = road.cinder.request("POST", "/volume-transfers", transfer)["transfer"]
    accept = {"accept": {"auth_key": transfer["auth_key"]}}
    bob.request("POST", f"/volume-transfers/{transfer['id']}/accept", accept)
    hers = bob.wait("volumes", volume_id, "available")
    assert outcome(hers) == note
    road.made.remove(("volumes", volume_id))
    bob.delete("volumes", volume_id)
    bob.wait_gone("volumes", volume_id)


@STRICT
def test_a_volume_that_another_driver_creates_after_a_failure_is_in_error(
    running: Cloud, road: Road
) -> None:
    """The image has a property with the note's name, which earlier versions could leave."""
    image_id = running.upload("inherited", IMAGE, image_cache="hit")
    refused = vim.fault.NoPermission()
    # Both the cache's import and the plain one fail; Cinder then tries the stock driver's backend.
    rule = running.vcenter.fault_rules.add("ImportVApp", refused, times=2)
    volume_id = road.create(imageRef=image_id, volume_type="either", metadata=USE_CACHE)
    assert rule.hits == 2
    hosts = running.cinder.show("volumes", volume_id)["os-vol-host-attr:host"]
    assert "@stock" in hosts
    assert outcome(road.cinder.show("volumes", volume_id)) == "bypass: fault"
    running.assert_holds(volume_id, IMAGE, 1)


@STRICT
def test_the_cause_of_a_failure_is_on_the_volume(running: Cloud, road: Road) -> None:
    image_id = running.upload("no vmdk", not_a_vmdk())
    volume_id = road.cinder.create_volume(
        1, imageRef=image_id, volume_type="ours", metadata=USE_CACHE
    )
    volume = road.cinder.wait("volumes", volume_id, "error")
    assert (outcome(volume) or "").startswith("failed: image ")
    assert NOTE not in image_metadata(volume)
    road.cinder.delete("volumes", volume_id)
    road.cinder.wait_gone("volumes", volume_id)


@STRICT
def test_a_note_of_an_earlier_version_keeps_a_volume_from_becoming_an_image(road: Road) -> None:
    """docs/upgrade.rst says how to remove it."""
    volume_id = road.create_from_image()
    road.cinder.act(volume_id, "os-set_image_metadata", {"metadata": {NOTE: "hit"}})
    with pytest.raises(RequestRefused, match="403"):
        upload(road, volume_id)
    road.cinder.act(volume_id, "os-unset_image_metadata", {"key": NOTE})
    assert road.cloud.glance.image(upload(road, volume_id))["status"] == "active"


@BOTH
def test_a_member_keeps_images_warm(running: Cloud, image_id: str) -> None:
    own = running.upload("own", IMAGE, token=ALICE, visibility="private")
    with pytest.raises(StackError, match="403"):
        running.glance.change(own, token=ALICE, image_cache_warm="true")
    with pytest.raises(StackError, match="403"):
        running.upload("own", IMAGE, token=ALICE, visibility="private", image_cache_warm="true")
    running.glance.change(own, image_cache_warm="true")
    # A member of the image's project does not even see it; the users that Cinder uses for Glance
    # do.
    assert "image_cache_warm" not in running.glance.image(own, token=ALICE)
    for role in ("admin", "service"):
        shown = running.glance.image(image_id, token=f"cinder:services:{role}")
        assert shown["image_cache_warm"] == "true"

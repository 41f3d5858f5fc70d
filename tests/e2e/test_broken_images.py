"""Images that cannot become a volume: a clear result for the user, and nothing left in vCenter."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.client import RequestRefused, Resource
from tests.e2e.stack.glance import Glance
from tests.fakes.images import (
    FakeImage,
    as_ova,
    as_stream_optimized,
    damaged,
    filesystem_disk,
    not_a_vmdk,
)

IMAGE = as_stream_optimized(filesystem_disk(16 << 20))


@pytest.fixture(scope="module")
def running(glance: Glance) -> Iterator[Cloud]:
    # One attempt, one try: the tests look at how an attempt ends, not at how often Cinder repeats
    # it.
    defaults = {"scheduler_max_attempts": "1", "glance_num_retries": "0"}
    options = {"enable_image_cache": "true"}
    with cloud({"vmware": (OUR_DRIVER, options)}, glance=glance, defaults=defaults) as running:
        yield running
        assert running.vcenter.errors == []


@pytest.fixture(autouse=True)
def nothing_is_left(running: Cloud) -> Iterator[None]:
    """After each test, with the volumes deleted, vCenter holds what it held before."""
    vms, files = {vm.moref for vm in running.vcenter.vms()}, set(running.files())
    yield
    ids = [volume["id"] for volume in running.cinder.volumes()]
    for volume_id in ids:
        running.cinder.delete("volumes", volume_id)
    running.cinder.wait_gone("volumes", *ids)
    left = {vm.name for vm in running.vcenter.vms() if vm.moref not in vms}
    assert {name for name in left if "_image_cache" not in name} == set()
    assert {path for path in set(running.files()) - files if "_image_cache" not in path} == set()
    assert running.vcenter.leases() == []


def create(running: Cloud, image_id: str, wanted: str, size_gb: int = 1) -> Resource:
    volume_id = running.cinder.create_volume(size_gb, imageRef=image_id, metadata=USE_CACHE)
    return running.cinder.wait("volumes", volume_id, wanted)


def log_of(running: Cloud, volume: Resource) -> str:
    """Lines above INFO of our driver about this volume."""
    lines = running.openstack.cinder.log_lines(r" (WARNING|ERROR) vmdk_cache\.")
    return "\n".join(line for line in lines if volume["id"] in line)


def templates(running: Cloud, image_id: str) -> list[str]:
    return [vm.name for vm in running.vcenter.vms() if image_id in vm.name]


def test_a_stream_that_breaks_off_leaves_no_template_and_the_next_create_succeeds(
    running: Cloud,
) -> None:
    image_id = running.upload("breaks off", IMAGE)
    with running.glance.broken(image_id, after_bytes=len(IMAGE.file_bytes) // 2):
        volume = create(running, image_id, "error")
    assert templates(running, image_id) == []
    assert "bypasses the image cache" in log_of(running, volume)
    assert outcome(volume) == "bypass: image-data-missing"
    again = create(running, image_id, "available")
    assert outcome(again) == "miss"
    running.assert_holds(again["id"], IMAGE, 1)


def lose(stored: pathlib.Path, keep: float | None) -> None:
    """Cut the image's file in Glance's store to this part of its length, or delete it."""
    if keep is None:
        stored.unlink()
    else:
        os.truncate(stored, int(stored.stat().st_size * keep))


@pytest.mark.parametrize("keep", [None, 0.0, 0.5], ids=["no file", "empty file", "half a file"])
def test_an_image_whose_file_glance_has_lost_is_named_as_one(
    running: Cloud, keep: float | None
) -> None:
    """Glance still lists the image; without a file it answers 204."""
    image_id = running.upload("lost", IMAGE)
    stored = running.glance.stored_file(image_id)
    lose(stored, keep)
    volume = create(running, image_id, "error")
    assert outcome(volume) == "bypass: image-data-missing"
    assert f"(image-data-missing): Glance {'has no' if keep is None else 'ended the'} data of " in (
        log_of(running, volume)
    )
    assert templates(running, image_id) == []
    stored.write_bytes(IMAGE.file_bytes)
    again = create(running, image_id, "available")
    assert outcome(again) == "miss"
    running.assert_holds(again["id"], IMAGE, 1)


def test_volumes_that_wait_for_an_image_without_data_fail_with_the_reason(running: Cloud) -> None:
    image_id = running.upload("lost, wanted by many", IMAGE)
    lose(running.glance.stored_file(image_id), None)
    ids = running.create_at_once(6, 1, imageRef=image_id, metadata=USE_CACHE)
    ended = [running.cinder.wait("volumes", volume_id, "error") for volume_id in ids]
    assert {outcome(volume) for volume in ended} == {"bypass: image-data-missing"}
    assert templates(running, image_id) == []


def test_a_glance_that_refuses_the_download_leaves_nothing(running: Cloud) -> None:
    image_id = running.upload("refused", IMAGE)
    with running.glance.broken(image_id):
        volume = create(running, image_id, "error")
    assert templates(running, image_id) == []
    assert image_id in log_of(running, volume)
    assert outcome(volume) == "bypass: fault"


def test_a_cached_image_needs_no_download(running: Cloud) -> None:
    image_id = running.upload("cached", IMAGE)
    create(running, image_id, "available")
    with running.glance.broken(image_id):
        hit = create(running, image_id, "available")
    assert outcome(hit) == "hit"
    running.assert_holds(hit["id"], IMAGE, 1)


def test_bytes_altered_in_glances_store_are_refused(running: Cloud) -> None:
    image_id = running.upload("altered", IMAGE)
    stored = running.glance.stored_file(image_id)
    data = bytearray(stored.read_bytes())
    data[-700] ^= 1  # near the end: most of the data has been sent to vCenter before
    stored.write_bytes(data)
    create(running, image_id, "error")
    assert templates(running, image_id) == []


def test_a_damaged_image_is_refused_with_a_message(running: Cloud) -> None:
    """Glance sends what it promised, and Cinder's own driver makes a volume without the bytes."""
    image_id = running.upload("damaged", damaged(IMAGE))
    volume = create(running, image_id, "error")
    assert any("driver" in text.lower() for text in running.cinder.messages(volume["id"]))
    assert templates(running, image_id) == []
    assert running.glance.downloads(image_id) == 2


def test_raw_bytes_without_a_label_are_a_disk(running: Cloud) -> None:
    """As for Cinder's own driver, whose default is preallocated."""
    image = FakeImage(IMAGE.disk, len(IMAGE.disk), IMAGE.disk)
    image_id = running.upload("raw bytes", image)
    volume = create(running, image_id, "available")
    assert outcome(volume) == "miss"
    running.assert_holds(volume["id"], image, 1)


def test_an_image_that_is_not_a_vmdk_is_refused_with_a_message(running: Cloud) -> None:
    image_id = running.upload("not a vmdk", not_a_vmdk())
    volume = create(running, image_id, "error")
    assert any("format" in text for text in running.cinder.messages(volume["id"]))
    assert templates(running, image_id) == []


def test_a_raw_image_is_refused_with_a_message(running: Cloud) -> None:
    image_id = running.upload("raw", FakeImage(IMAGE.disk, len(IMAGE.disk), disk_format="raw"))
    volume = create(running, image_id, "error")
    assert any("format" in text for text in running.cinder.messages(volume["id"]))
    assert running.glance.downloads(image_id) == 0


def test_a_volume_smaller_than_the_image_is_refused_before_anything_is_imported(
    running: Cloud,
) -> None:
    image_id = running.upload("large", as_stream_optimized(IMAGE.disk, capacity_bytes=2 << 30))
    with pytest.raises(RequestRefused) as refused:  # by the API: Glance knows the virtual size
        create(running, image_id, "error")
    assert refused.value.status == 400
    assert running.glance.downloads(image_id) == 0


def test_a_volume_smaller_than_the_disk_in_an_ova_is_refused(running: Cloud) -> None:
    ova = as_ova(as_stream_optimized(IMAGE.disk, capacity_bytes=2 << 30))
    image_id = running.upload("large ova", ova)
    volume = create(running, image_id, "error")
    assert "2 GiB" in log_of(running, volume) or running.cinder.messages(volume["id"])
    fits = create(running, image_id, "available", size_gb=2)
    running.assert_holds(fits["id"], ova, 2)

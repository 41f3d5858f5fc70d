"""Two backends, two projects: where the scheduler sends a volume, and what its owner sees of it.

``one`` and ``two`` have the cache and one name, so the scheduler chooses between them; ``off`` has
no cache; ``kept`` keeps images warm. Users other than the administrator are plain members of a
project, under Cinder's own policies.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.client import CinderClient, RequestRefused, Resource
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until
from tests.fakes.images import as_stream_optimized, filesystem_disk, not_a_vmdk
from vmdk_cache.cache.record import Notes
from vmdk_cache.cinder import cached_images

IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
CACHED = {
    "volume_backend_name": "cached",
    "enable_image_cache": "true",
    "image_cache_max_size_gb": "1",
    "image_cache_opt_in": "metadata,volume_type",
    "image_cache_replicas": "off",
}
KEPT_AGE_S = 10_000
KEPT = {
    "enable_image_cache": "true",
    "image_cache_auto_warm": "true",
    "image_cache_purge_interval": "1",
    "image_cache_age_seconds": str(KEPT_AGE_S),
}


@pytest.fixture(scope="module")
def running(glance: Glance) -> Iterator[Cloud]:
    backends = {
        "one": (OUR_DRIVER, CACHED),
        "two": (OUR_DRIVER, CACHED),
        "off": (OUR_DRIVER, {}),
        "kept": (OUR_DRIVER, KEPT),
    }
    defaults = {"scheduler_default_weighers": "CapacityWeigher,ImageCacheWeigher"}
    with cloud(backends, glance=glance, defaults=defaults) as running:
        for name in ("cached", "off", "kept"):
            running.cinder.create_volume_type(name, volume_backend_name=name)
        yield running
        assert running.vcenter.errors == []


def create(user: CinderClient, image_id: str, wanted: str = "available", **fields: Any) -> Resource:
    body = {"volume_type": "cached", "metadata": USE_CACHE, **fields}
    volume_id = user.create_volume(body.pop("size_gb", 1), imageRef=image_id, **body)
    return user.wait("volumes", volume_id, wanted)


def pool_of(volume: Resource) -> str:
    name: str = volume["os-vol-host-attr:host"]
    return name


def pools_with(running: Cloud, image_id: str) -> list[str]:
    """Pools whose cache has the image, according to the scheduler."""
    return [
        pool["name"]
        for pool in running.cinder.pools()
        if cached_images.holds(pool["capabilities"], image_id)
    ]


def templates(running: Cloud) -> list[str]:
    return [vm.name for vm in running.vcenter.vms() if vm.config.template]


def test_volumes_follow_their_image_where_room_alone_would_send_them_elsewhere(
    running: Cloud,
) -> None:
    image_id = running.upload("followed", IMAGE)
    first = create(running.cinder, image_id)
    home = pool_of(first)
    wait_until(lambda: pools_with(running, image_id), what="the report", timeout_s=60)
    assert pools_with(running, image_id) == [home]

    followers = [create(running.cinder, image_id) for _ in range(4)]
    assert [pool_of(volume) for volume in followers] == [home] * 4
    assert [outcome(volume) for volume in followers] == ["hit"] * 4
    assert running.glance.downloads(image_id) == 1

    # This proves that the cache attracted them: without a request for it, free space decides.
    others = [create(running.cinder, image_id, metadata={}) for _ in range(4)]
    assert home not in [pool_of(volume) for volume in others]
    assert [outcome(volume) for volume in others] == [None] * 4


def test_volumes_whose_type_asks_for_the_cache_follow_their_image_as_well(running: Cloud) -> None:
    running.cinder.create_volume_type(
        "asking", volume_backend_name="cached", **{"vmware:use_image_cache": "true"}
    )
    image_id = running.upload("asked for by type", IMAGE)
    asks: dict[str, Any] = {"metadata": {}, "volume_type": "asking"}
    # much less space there now
    home = pool_of(create(running.cinder, image_id, size_gb=50, **asks))
    wait_until(lambda: pools_with(running, image_id), what="the report", timeout_s=60)
    follower = create(running.cinder, image_id, **asks)
    assert (pool_of(follower), outcome(follower)) == (home, "hit")
    assert pool_of(create(running.cinder, image_id, metadata={})) != home


def test_a_member_sees_on_the_volume_that_the_backend_has_no_cache(
    running: Cloud, alice: CinderClient
) -> None:
    volume = create(alice, running.upload("off", IMAGE), volume_type="off")
    assert outcome(volume) == "bypass: cache-disabled"


def test_a_member_sees_on_the_volume_that_its_image_is_too_large(
    running: Cloud, alice: CinderClient
) -> None:
    large = as_stream_optimized(IMAGE.disk, capacity_bytes=2 << 30)
    volume = create(alice, running.upload("large", large), size_gb=2)
    assert outcome(volume) == "bypass: image-too-large"


def test_a_member_gets_a_message_why_no_volume_can_be_made(
    running: Cloud, alice: CinderClient
) -> None:
    volume = create(alice, running.upload("no vmdk", not_a_vmdk()), "error")
    assert any("format" in text for text in alice.messages(volume["id"]))


def test_projects_share_a_template_and_see_nothing_of_it_nor_of_each_other(
    running: Cloud, alice: CinderClient, bob: CinderClient
) -> None:
    image_id = running.upload("shared", IMAGE)
    hers = create(alice, image_id)
    wait_until(lambda: pools_with(running, image_id), what="the report", timeout_s=60)
    his = create(bob, image_id)
    assert (outcome(hers), outcome(his)) == ("miss", "hit")
    running.assert_holds(his["id"], IMAGE, 1)

    assert [volume["id"] for volume in bob.volumes()] == [his["id"]]
    with pytest.raises(RequestRefused) as refused:
        bob.show("volumes", hers["id"])
    assert refused.value.status == 404
    # Cinder 29 lists the messages of all projects to every user (cinder.db.api.message_get_all
    # filters by no project), so they may contain only fixed texts and ids.
    shown = json.dumps([bob.volumes(), his, bob.request("GET", "/messages")])
    assert templates(running)
    for secret in ("project-a", "(vmware_", "_image_cache (", *templates(running)):
        assert secret not in shown


def test_a_member_cannot_ask_which_images_others_have_used(alice: CinderClient) -> None:
    with pytest.raises(RequestRefused) as refused:
        alice.pools()
    assert refused.value.status == 403


def test_an_image_that_is_marked_is_there_before_the_first_volume_and_stays(
    running: Cloud,
) -> None:
    def kept() -> list[Any]:
        return [vm for vm in running.vcenter.vms() if vm.name.startswith("kept_image_cache (")]

    def warmed_at() -> datetime.datetime | None:
        """When the template was last warmed; the import itself records it earlier."""
        notes = [Notes.from_json(text) for vm in kept() for text in vm.custom_values.values()]
        return notes[0].warmed_at if notes else None

    image_id = running.upload("marked", IMAGE, image_cache_warm="True")
    wait_until(warmed_at, what="the image to be warmed", timeout_s=120)
    (template,) = kept()
    for _ in range(3):  # nearly twice its age limit
        before = warmed_at()
        running.vcenter.clock.advance(KEPT_AGE_S * 0.6)
        wait_until(
            lambda before=before: warmed_at() != before,
            what="the image to be warmed again",
            timeout_s=120,
        )
    assert kept() == [template]
    volume = create(running.cinder, image_id, volume_type="kept")
    assert outcome(volume) == "hit"
    assert running.glance.downloads(image_id) == 1
    running.glance.delete(image_id)
    wait_until(lambda: not kept(), what="the template of a deleted image to go", timeout_s=60)

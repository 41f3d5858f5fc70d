"""Warming an image in advance: an import, a copy elsewhere, or a refreshed age."""

from __future__ import annotations

import dataclasses

import pytest

from tests.fakes.memory import PLACE, MemoryPlacement
from tests.unit.cache.conftest import GIB, IMAGE, World, image
from vmdk_cache import conf, errors
from vmdk_cache.cache.engine import ImageCache, Warmth
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings

OTHER = dataclasses.replace(PLACE, datastore="datastore-2", datastore_name="ds2", host="host-2")


def engine(world: World, **settings: int | str) -> ImageCache:
    world.placement = MemoryPlacement(PLACE, OTHER)
    return world.process(Settings(enabled=True, **settings))  # type: ignore[arg-type]


def where(world: World) -> list[str | None]:
    return sorted(entry.datastore or "" for entry in world.store.vms.values())


def test_the_first_datastore_is_imported_to_and_glance_is_not_asked_again(world: World) -> None:
    warm = engine(world, replicas=conf.REPLICAS_OFF).warm
    steps = [warm(IMAGE, "lsiLogic", world.source, d) for d in ("datastore-1", "datastore-2")]
    assert [step.how for step in steps] == [Warmth.IMPORTED, Warmth.REPLICATED]
    assert [step.entry.datastore for step in steps] == ["datastore-1", "datastore-2"]
    assert (world.source.opened, world.kinds()) == (1, ["ImportStarted", "Imported", "Replicated"])


def test_an_existing_copy_is_neither_imported_nor_copied(world: World) -> None:
    warm = engine(world).warm
    warm(IMAGE, "lsiLogic", world.source, "datastore-1")
    world.clock.advance(1000)
    again = warm(IMAGE, "lsiLogic", world.source, "datastore-1")
    assert (again.how, world.source.opened, len(world.store.vms)) == (Warmth.THERE, 1, 1)
    (entry,) = world.store.vms.values()
    assert entry.warmed_at == world.clock.now()


def test_a_new_copy_restarts_the_age_of_every_copy(world: World) -> None:
    warm = engine(world).warm
    warm(IMAGE, "lsiLogic", world.source, "datastore-1")
    world.clock.advance(1000)
    warm(IMAGE, "lsiLogic", world.source, "datastore-2")
    assert {entry.warmed_at for entry in world.store.vms.values()} == {world.clock.now()}


def test_a_datastore_without_the_space_is_no_reason_to_import_elsewhere(world: World) -> None:
    with pytest.raises(errors.NoPlacement):
        engine(world).warm(IMAGE, "lsiLogic", world.source, "datastore-9")
    assert world.store.vms == {}


def test_a_copy_that_fails_leaves_the_first_one(world: World) -> None:
    warm = engine(world).warm
    warm(IMAGE, "lsiLogic", world.source, "datastore-1")
    world.store.faults["replicate"] = [errors.NoSpace("full")]
    with pytest.raises(errors.NoSpace):
        warm(IMAGE, "lsiLogic", world.source, "datastore-2")
    assert where(world) == ["datastore-1"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"disk_format": "qcow2"}, errors.ImageFormatError),
        ({"status": "deactivated"}, errors.NotCacheable),
        ({"virtual_size_bytes": 101 * GIB}, errors.NotCacheable),
    ],
    ids=["format", "status", "size"],
)
def test_a_check_refuses_what_a_warm_up_would(
    world: World, changes: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error, match=IMAGE.id):
        engine(world).check_warm(dataclasses.replace(IMAGE, **changes), "lsiLogic")  # type: ignore[arg-type]


def test_a_check_finds_a_datastore_that_does_not_fit_before_the_first_byte(world: World) -> None:
    cache = engine(world)
    with pytest.raises(errors.NoPlacement):
        cache.check_warm(IMAGE, "lsiLogic", "datastore-9")
    cache.check_warm(IMAGE, "lsiLogic", "datastore-2")
    cache.check_warm(IMAGE, "lsiLogic")
    assert (world.source.opened, world.store.vms, world.placement.reserved) == (0, {}, 0)


def test_a_check_knows_the_limits_and_removes_nothing_for_them(world: World) -> None:
    cache = engine(world, max_total_bytes=2 * GIB)
    cache.warm(image(1), "lsiLogic", world.source)
    cache.check_warm(dataclasses.replace(image(2), virtual_size_bytes=2 * GIB), "lsiLogic")
    assert len(world.store.vms) == 1
    with pytest.raises(errors.NotCacheable, match="image_cache_max_total_gb"):
        cache.check_warm(dataclasses.replace(image(2), virtual_size_bytes=3 * GIB), "lsiLogic")


def test_an_existing_copy_passes_the_check_on_a_full_datastore(world: World) -> None:
    cache = engine(world, min_free_percent=50)
    world.placement.sizes = {PLACE.datastore: Space(10 * GIB, 10 * GIB)}
    cache.warm(IMAGE, "lsiLogic", world.source)
    world.placement.sizes = {PLACE.datastore: Space(10 * GIB, 0)}
    cache.check_warm(IMAGE, "lsiLogic")


def test_an_import_takes_no_image_that_is_to_be_kept(world: World) -> None:
    cache = engine(world, max_count=2)
    cache.warm(image(1), "lsiLogic", world.source)
    world.clock.advance(1000)
    cache.warm(image(2), "lsiLogic", world.source)
    world.kept.set([image(1).id])
    cache.warm(image(3), "lsiLogic", world.source)  # 1 has been unused the longest
    assert {entry.image_id for entry in world.store.vms.values()} == {image(1).id, image(3).id}
    world.kept.set([image(1).id, image(3).id])
    with pytest.raises(errors.NotCacheable) as refusal:
        cache.warm(image(2), "lsiLogic", world.source)
    assert refusal.value.reason == Reason.NO_ROOM


def test_a_spare_copy_of_an_image_to_be_kept_makes_room(world: World) -> None:
    cache = engine(world, max_count=2)
    for datastore in ("datastore-1", "datastore-2"):
        cache.warm(image(1), "lsiLogic", world.source, datastore)
    world.kept.set([image(1).id])
    cache.warm(image(2), "lsiLogic", world.source)
    assert {entry.image_id for entry in world.store.vms.values()} == {image(1).id, image(2).id}


def test_a_check_uses_the_size_of_the_existing_copy(world: World) -> None:
    """Glance may not know the size of the image's disk."""
    cache = engine(world, max_total_bytes=2 * GIB - 1)
    cache.warm(IMAGE, "lsiLogic", world.source, "datastore-1")
    world.kept.set([IMAGE.id])
    with pytest.raises(errors.NotCacheable, match="image_cache_max_total_gb"):
        cache.check_warm(IMAGE, "lsiLogic", "datastore-2")


def test_the_images_own_adapter_wins(world: World) -> None:
    cache, own = engine(world), dataclasses.replace(IMAGE, adapter_type="ide")
    made = cache.warm(own, "lsiLogic", world.source, "datastore-1").entry
    assert made.record is not None
    assert made.record.key.adapter_type == "ide"
    cache = engine(world, max_count=1)
    world.kept.set([IMAGE.id])
    cache.check_warm(own, "lsiLogic")  # it exists, so nothing needs space
    with pytest.raises(errors.NotCacheable, match="image_cache_max_count"):
        cache.check_warm(IMAGE, "lsiLogic")

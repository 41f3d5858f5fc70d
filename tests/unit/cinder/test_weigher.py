"""The weigher prefers a host that has the image, and breaks nothing: with Cinder's own handler."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import pytest
from cinder import objects
from cinder.scheduler import host_manager, weights
from cinder.scheduler.weights.capacity import CapacityWeigher
from oslo_config import cfg
from stevedore import extension

from vmdk_cache import conf
from vmdk_cache.cinder import weigher
from vmdk_cache.cinder.cached_images import as_text
from vmdk_cache.cinder.weigher import ImageCacheWeigher, Wish, holds_image, wish_of

IMAGE = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
ASKS = {"use_image_cache": "true"}


def capabilities(*images: str, opt_in: tuple[str, ...] = ("metadata",)) -> dict[str, Any]:
    return {"cached_images": as_text(images), "image_cache_opt_in": list(opt_in)}


@pytest.mark.parametrize(
    ("opt_in", "metadata", "extra_spec", "drawn"),
    [
        ("metadata", {"use_image_cache": "yes"}, None, True),
        ("metadata", {}, "true", False),
        ("volume_type", {}, "<is> True", True),
        ("volume_type", {}, None, False),
        ("volume_type", {"use_image_cache": "no"}, "true", False),
        ("always", {}, None, True),
        ("always", {"use_image_cache": "no"}, None, False),
        # The scheduler does not know the image's properties; that the image is cached is enough.
        ("image", {}, None, True),
        ("image", {"use_image_cache": "false"}, None, False),
        ("", {"use_image_cache": "yes"}, "true", False),
    ],
)
def test_a_volume_that_the_cache_would_not_create_is_not_attracted(
    opt_in: str, metadata: dict[str, str], extra_spec: str | None, drawn: bool
) -> None:
    reported = capabilities(IMAGE, opt_in=(opt_in,) if opt_in else ())
    assert holds_image(reported, Wish(IMAGE, metadata, extra_spec)) is drawn


@pytest.mark.parametrize("wish", [Wish(OTHER, ASKS), Wish(None, ASKS)])
def test_another_image_or_none_attracts_nothing(wish: Wish) -> None:
    assert not holds_image(capabilities(IMAGE), wish)


@pytest.mark.parametrize(
    "reported",
    [
        None,
        "nonsense",
        {},
        {"cached_images": as_text([IMAGE])},
        {"cached_images": [IMAGE], "image_cache_opt_in": ["metadata"]},
        {"cached_images": IMAGE, "image_cache_opt_in": ["metadata"]},
        {"cached_images": as_text([IMAGE])[:-1], "image_cache_opt_in": ["metadata"]},
        {"cached_images": "", "image_cache_opt_in": ["metadata"]},
        {"cached_image_ids": IMAGE, "image_cache_opt_in": ["metadata"]},
        {"cached_image_ids": None, "image_cache_opt_in": ["metadata"]},
        {"cached_image_ids": {IMAGE: 1}, "image_cache_opt_in": ["metadata"]},
        {"cached_image_ids": [None, 7, [IMAGE]], "image_cache_opt_in": ["metadata"]},
        {"cached_image_ids": [IMAGE], "image_cache_opt_in": "metadata"},
        {"cached_image_ids": [IMAGE], "image_cache_opt_in": [["metadata"], None]},
    ],
)
def test_a_senseless_report_counts_for_nothing(reported: Any) -> None:
    assert not holds_image(reported, Wish(IMAGE, ASKS))


def test_the_report_of_a_driver_that_is_not_upgraded_is_read() -> None:
    earlier = {"cached_image_ids": [OTHER, IMAGE], "image_cache_opt_in": ["metadata"]}
    assert holds_image(earlier, Wish(IMAGE, ASKS))
    assert not holds_image({**earlier, "cached_image_ids": [OTHER]}, Wish(IMAGE, ASKS))


def test_a_report_of_any_length_is_read() -> None:
    many = [f"{number:036}" for number in range(100_000)]
    assert holds_image(capabilities(*many, IMAGE), Wish(IMAGE, ASKS))


def test_the_request_is_read_from_the_schedulers_arguments() -> None:
    properties = {
        "request_spec": {"image_id": IMAGE},
        "metadata": ASKS,
        "volume_type": {"extra_specs": {"vmware:use_image_cache": "true"}},
        "retry": {"backends": ["h@one#p"]},
    }
    assert wish_of(properties) == Wish(IMAGE, ASKS, "true", ["h@one#p"])


def test_a_volume_type_is_read_as_the_object_that_it_is_in_the_scheduler() -> None:
    kind = objects.VolumeType(extra_specs={"vmware:use_image_cache": "<is> True"})
    assert wish_of({"volume_type": kind}).extra_spec == "<is> True"


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"request_spec": None, "metadata": None, "volume_type": None, "retry": None},
        {"request_spec": {}, "volume_type": {"extra_specs": None}, "retry": {"backends": None}},
    ],
)
def test_a_request_without_the_property_is_no_opt_in(properties: dict[str, Any]) -> None:
    assert wish_of(properties) == Wish()


def pool(name: str, free_gb: int, **reported: Any) -> host_manager.PoolState:
    """A pool as Cinder's scheduler keeps it, of a backend with several pools."""
    state = host_manager.PoolState("h@vmware", None, None, name)
    state.update_capabilities(reported)
    state.total_capacity_gb = 1000
    state.free_capacity_gb = free_gb
    return state


def best(
    pools: list[host_manager.PoolState],
    *weighers: type,
    metadata: Mapping[str, str] = ASKS,
    **properties: Any,
) -> str:
    """Name of the first pool by Cinder's own weight handler."""
    handler = weights.OrderedHostWeightHandler("cinder.scheduler.weights")
    weighed = handler.get_weighed_objects(
        list(weighers),
        pools,
        {"request_spec": {"image_id": IMAGE}, "metadata": metadata, **properties},
    )
    name: str = weighed[0].obj.pool_name
    return name


@pytest.fixture
def two_pools() -> list[host_manager.PoolState]:
    """Two pools; the fuller one has the image."""
    return [
        pool("roomy", 900, **capabilities(OTHER)),
        pool("cached", 100, **capabilities(IMAGE)),
    ]


def test_the_cached_pool_wins_over_the_roomier_one_that_cinder_would_choose(
    two_pools: list[host_manager.PoolState],
) -> None:
    assert best(two_pools, CapacityWeigher) == "roomy"
    assert best(two_pools, CapacityWeigher, ImageCacheWeigher) == "cached"


def test_a_volume_without_a_request_goes_where_cinder_would_place_it(
    two_pools: list[host_manager.PoolState],
) -> None:
    assert best(two_pools, CapacityWeigher, ImageCacheWeigher, metadata={}) == "roomy"


def test_a_cache_where_the_volume_has_failed_no_longer_attracts_it(
    two_pools: list[host_manager.PoolState],
) -> None:
    retry = {"num_attempts": 2, "backends": ["h@vmware#cached"]}
    assert best(two_pools, CapacityWeigher, ImageCacheWeigher, retry=retry) == "roomy"


@pytest.mark.parametrize(("multiplier", "wins"), [(0.0, "roomy"), (0.9, "roomy"), (1.1, "cached")])
def test_the_operator_says_how_much_it_counts(
    two_pools: list[host_manager.PoolState], multiplier: float, wins: str
) -> None:
    cfg.CONF.set_override("image_cache_weight_multiplier", multiplier)
    try:
        assert best(two_pools, CapacityWeigher, ImageCacheWeigher) == wins
    finally:
        cfg.CONF.clear_override("image_cache_weight_multiplier")


def test_an_unusable_multiplier_keeps_the_previous_one(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cinder.conf"
    options = cfg.ConfigOpts()
    options.register_opts(conf.SCHEDULER_OPTIONS)
    multiplier = weigher.Multiplier(options)

    def told(value: str) -> float:
        path.write_text(f"[DEFAULT]\nimage_cache_weight_multiplier = {value}\n")
        options.mutate_config_files()
        return multiplier()

    path.write_text("")
    options(["--config-file", str(path)], default_config_files=[])
    assert multiplier() == 1.5
    assert told("0.5") == 0.5
    assert [told("much"), told("much")] == [0.5, 0.5]
    (line,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "image_cache_weight_multiplier = 0.5: " in line.getMessage()
    assert f"{path}" in line.getMessage()
    assert told("2") == 2.0
    assert told("much") == 2.0
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 2, "reported again"
    assert weigher.Multiplier(options)() == 1.5, "the default, without a previous value"


def test_among_those_that_have_the_image_room_decides(
    two_pools: list[host_manager.PoolState],
) -> None:
    other = pool("cached and roomier", 200, **capabilities(IMAGE))
    assert best([*two_pools, other], CapacityWeigher, ImageCacheWeigher) == "cached and roomier"


@pytest.mark.parametrize(
    ("free_gb", "wins"), [(100, "cached"), (0.5, "cached"), ("infinite", "cached"),
                          ("unknown", "roomy"), (None, "roomy"), (True, "roomy")]
)  # fmt: skip
def test_a_backend_that_does_not_report_its_free_capacity_is_not_preferred(
    two_pools: list[host_manager.PoolState], free_gb: Any, wins: str
) -> None:
    """No filter of Cinder would keep volumes away from it once it is full."""
    two_pools[1].free_capacity_gb = free_gb
    assert best(two_pools, ImageCacheWeigher) == wins


def test_a_defect_costs_the_preference_and_no_volume(
    two_pools: list[host_manager.PoolState], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            raise RuntimeError("not loaded")

    handler = weights.OrderedHostWeightHandler("cinder.scheduler.weights")
    (first, _) = handler.get_weighed_objects(
        [ImageCacheWeigher], two_pools, {"request_spec": Broken(image_id=IMAGE)}
    )
    assert first.weight == 0
    assert "not loaded" in caplog.text


def test_cinder_finds_it_under_its_name() -> None:
    """scheduler_default_weighers names classes of this entry point."""
    found: Any = extension.ExtensionManager("cinder.scheduler.weights")
    assert ImageCacheWeigher in [one.plugin for one in found]

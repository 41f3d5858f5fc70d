"""Which images the cache accepts, by Glance's description alone; refusals name what to change."""

from __future__ import annotations

import pytest

from tests.unit.cache.conftest import GIB, image, volume
from vmdk_cache import errors
from vmdk_cache.cache.admission import (
    ADAPTER_TYPES,
    CONTAINER_FORMATS,
    check_fits,
    check_image,
    check_limit,
)
from vmdk_cache.cache.events import Reason
from vmdk_cache.conf import Settings

ENABLED = Settings(enabled=True)


@pytest.mark.parametrize("container_format", CONTAINER_FORMATS)
@pytest.mark.parametrize("adapter_type", [None, *ADAPTER_TYPES])
def test_an_image_of_each_container_format_and_adapter_type_is_taken(
    container_format: str, adapter_type: str | None
) -> None:
    check_image(image(container_format=container_format, adapter_type=adapter_type), ENABLED)


@pytest.mark.parametrize("status", ["queued", "saving", "deactivated", "deleted"])
def test_an_image_that_is_not_active_is_left_to_the_plain_import(status: str) -> None:
    with pytest.raises(errors.NotCacheable, match=status) as refused:
        check_image(image(status=status), ENABLED)
    assert refused.value.reason == Reason.NOT_ACTIVE


def test_a_disabled_cache_takes_no_image_and_looks_no_further() -> None:
    with pytest.raises(errors.NotCacheable, match="enable_image_cache") as refused:
        check_image(image(disk_format="raw"), Settings(enabled=False))
    assert refused.value.reason == Reason.DISABLED


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"disk_format": "raw"}, "qemu-img"),
        ({"disk_format": ""}, "disk_format"),
        ({"container_format": "docker"}, "bare, ova"),
        ({"adapter_type": "nvme"}, "lsiLogic, busLogic"),
        ({"adapter_type": ""}, "vmware_adaptertype"),
        ({"adapter_type": "LSILOGIC"}, "vmware_adaptertype"),
    ],
)
def test_an_image_that_no_volume_can_be_made_of_is_refused_for_good(
    changes: dict[str, str], named: str
) -> None:
    with pytest.raises(errors.ImageFormatError, match=named):
        check_image(image(**changes), ENABLED)


def test_an_image_that_is_not_active_is_not_judged_by_its_format() -> None:
    """Glance may not know the format before the upload ends."""
    with pytest.raises(errors.NotCacheable):
        check_image(image(status="queued", disk_format="raw"), ENABLED)


@pytest.mark.parametrize("excess_bytes", [0, 1])
def test_the_limit_is_the_largest_size_that_is_cached(excess_bytes: int) -> None:
    settings = Settings(enabled=True, max_size_bytes=10 * GIB)
    asked = image(virtual_size_bytes=10 * GIB + excess_bytes)
    if not excess_bytes:
        check_image(asked, settings)
        check_limit(asked, 10 * GIB, settings)
        return
    with pytest.raises(errors.NotCacheable, match="image_cache_max_size_gb = 10") as refused:
        check_image(asked, settings)
    assert refused.value.reason == Reason.IMAGE_TOO_LARGE


def test_the_size_in_the_file_counts_where_glance_names_a_smaller_one() -> None:
    settings = Settings(enabled=True, max_size_bytes=GIB)
    asked = image(virtual_size_bytes=GIB)
    check_image(asked, settings)
    with pytest.raises(errors.NotCacheable):
        check_limit(asked, 2 * GIB, settings)


def test_without_a_limit_every_size_is_taken() -> None:
    check_limit(image(), 1 << 60, Settings(enabled=True, max_size_bytes=0))


def test_a_volume_as_large_as_the_image_is_large_enough() -> None:
    check_fits(image(), 2 * GIB, volume(size_bytes=2 * GIB))
    with pytest.raises(errors.VolumeTooSmall, match=r"disk of 2 GiB.*has only 2 GiB"):
        check_fits(image(), 2 * GIB + 1, volume(size_bytes=2 * GIB))

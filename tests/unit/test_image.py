"""Images are described whatever the source, and whatever is missing."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from vmdk_cache.image import Image, describe


def test_an_image_is_described_in_full() -> None:
    updated_at = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
    assert describe(
        {
            "id": "abc",
            "size": 65536,
            "virtual_size": 1 << 20,
            "disk_format": "vmdk",
            "container_format": "bare",
            "checksum": "c" * 32,
            "os_hash_algo": "sha512",
            "os_hash_value": "d" * 128,
            "updated_at": updated_at,
            "status": "deactivated",
            "properties": {"vmware_disktype": "streamOptimized", "vmware_adaptertype": "ide"},
        }
    ) == Image(
        id="abc",
        size_bytes=65536,
        disk_format="vmdk",
        container_format="bare",
        disk_type="streamOptimized",
        adapter_type="ide",
        os_hash_algo="sha512",
        os_hash_value="d" * 128,
        checksum="c" * 32,
        updated_at="2026-03-01T12:00:00+00:00",
        virtual_size_bytes=1 << 20,
        status="deactivated",
    )


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"properties": None},
        {"size": None, "properties": {}},
        {"size": "many", "checksum": "", "updated_at": None},
    ],
)
def test_fields_that_glance_omits_are_unset(nothing: dict[str, Any]) -> None:
    assert describe({"id": "abc", **nothing}) == Image(
        id="abc", size_bytes=0, disk_format="", container_format=""
    )


def test_one_moment_is_one_text_however_it_is_given() -> None:
    aware = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
    moments = [
        aware,
        aware.replace(tzinfo=None),
        "2026-03-01T12:00:00Z",
        aware.astimezone(datetime.timezone(datetime.timedelta(hours=2))),
    ]
    assert {describe({"id": "a", "updated_at": m}).updated_at for m in moments} == {
        "2026-03-01T12:00:00+00:00"
    }


def test_glances_flat_shape_and_cinders_nested_one_describe_the_same_image() -> None:
    custom = {"vmware_disktype": "sparse", "vmware_adaptertype": "ide", "image_cache_warm": "True"}
    known = {"id": "abc", "size": 512, "disk_format": "vmdk", "container_format": "bare"}
    flat, nested = describe({**known, **custom}), describe({**known, "properties": custom})
    assert flat == nested
    assert (flat.disk_type, flat.adapter_type, flat.keep_warm) == ("sparse", "ide", True)


def test_a_custom_property_that_is_called_properties_hides_no_other() -> None:
    shown = {"id": "abc", "properties": "none", "vmware_disktype": "sparse"}
    assert describe(shown).disk_type == "sparse"


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ("true", True),
        ("YES", True),
        (True, True),
        ("false", False),
        ("maybe", False),
        (None, False),
    ],
)
def test_the_mark_is_read_as_cinder_reads_booleans(says: object, wanted: bool) -> None:
    assert describe({"id": "abc", "image_cache_warm": says}).keep_warm is wanted

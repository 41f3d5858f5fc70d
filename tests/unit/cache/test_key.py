from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.conftest import IMAGE
from vmdk_cache.cache.key import (
    MAX_NAME_LENGTH,
    CacheKey,
    fingerprint,
    folder_name,
    template_name,
)

KEY = CacheKey.of(IMAGE, "lsiLogic")


@given(st.text(min_size=1, max_size=300))
def test_no_backend_name_breaks_vcenters_limit_or_needs_escaping(backend: str) -> None:
    name = template_name(backend, KEY)
    assert len(name) <= MAX_NAME_LENGTH
    assert not set(name) & set("/\\%")
    assert IMAGE.id in name


@given(st.text(min_size=1, max_size=300))
def test_no_backend_name_makes_a_folder_that_vcenter_refuses(backend: str) -> None:
    assert len(f"Project ({folder_name(backend)})") <= MAX_NAME_LENGTH


def test_the_folder_of_a_usual_backend_bears_its_plain_name() -> None:
    assert folder_name("vmware-az1_gold.2") == "vmware-az1_gold.2_image_cache"


@given(st.text(max_size=200))
def test_no_image_id_breaks_the_limit(image_id: str) -> None:
    key = dataclasses.replace(KEY, image_id=image_id)
    assert len(template_name("b" * 20, key)) <= MAX_NAME_LENGTH


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_backends_never_share_a_name(one: str, other: str) -> None:
    assert (template_name(one, KEY) == template_name(other, KEY)) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"os_hash_value": "cd" * 64},
        {"size_bytes": 5},
        {"disk_type": "sparse"},
        {"container_format": "ova"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_content_is_another_copy(change: dict[str, object]) -> None:
    changed = dataclasses.replace(IMAGE, **change)  # type: ignore[arg-type]
    assert template_name("b", CacheKey.of(changed, "lsiLogic")) != template_name("b", KEY)


def test_a_tag_on_the_image_does_not_make_the_copy_stale() -> None:
    assert fingerprint(dataclasses.replace(IMAGE, updated_at="2026-02-02")) == KEY.fingerprint


def test_without_any_digest_the_time_of_change_counts() -> None:
    bare = dataclasses.replace(IMAGE, os_hash_value=None, checksum=None, updated_at="2026-01-01")
    later = dataclasses.replace(bare, updated_at="2026-02-02")
    assert fingerprint(bare) != fingerprint(later)

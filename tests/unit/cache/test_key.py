from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.conftest import IMAGE
from vmdk_cache.cache.key import (
    CacheKey,
    fingerprint,
    folder_name,
    free_replica_name,
    has_tag,
    image_id_in,
    is_copy_name,
    lock_name,
    name_prefix,
    replica_name,
    template_name,
)

KEY = CacheKey.of(IMAGE, "lsiLogic")
#: vCenter's limit (vSphere API reference, ManagedEntity.name).
MAX_NAME_LENGTH = 80


def test_a_key_is_a_value_by_which_threads_find_things() -> None:
    assert len({KEY, CacheKey.of(IMAGE, "lsiLogic")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        KEY.image_id = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "tagged"),
    [
        ("golden image", False),
        (f"b1_image_cache ({IMAGE.id})", False),
        (template_name("b1", KEY), True),
        (f"{template_name('b1', KEY)} old", False),
    ],
)
def test_only_a_name_that_we_give_has_a_tag(name: str, tagged: bool) -> None:
    assert has_tag(name) is tagged


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


UUIDS = st.from_regex(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", fullmatch=True)


@given(image_id=UUIDS, backend=st.text("ab_-.", min_size=1, max_size=20))
def test_an_image_id_in_any_case_comes_back_from_the_name_of_each_copy(
    image_id: str, backend: str
) -> None:
    key = dataclasses.replace(KEY, image_id=image_id)
    for name in (template_name(backend, key), replica_name(backend, key, "datastore-1")):
        assert image_id_in(name, backend) == image_id_in(name) == image_id
        assert has_tag(name)
        assert is_copy_name(name, backend, key)
    assert lock_name(template_name(backend, key)) == f"{image_id}-{key.tag}"


@given(backend=st.text("ab_-.", min_size=1, max_size=20), taken=st.integers(0, 5))
def test_a_replica_whose_name_is_taken_gets_another_of_the_same_kind(
    backend: str, taken: int
) -> None:
    names: list[str] = []
    for _ in range(taken):
        names.append(free_replica_name(backend, KEY, "datastore-1", names))
    name = free_replica_name(backend, KEY, "datastore-1", names)
    assert name not in names
    assert name == free_replica_name(backend, KEY, "datastore-1", set(names)), "not repeatable"
    assert is_copy_name(name, backend, KEY)
    assert image_id_in(name, backend) == KEY.image_id
    assert (name == replica_name(backend, KEY, "datastore-1")) is (taken == 0)


@given(image_id=UUIDS)
def test_ids_that_differ_in_case_share_no_name_whatever_compares_it(image_id: str) -> None:
    """vCenter and datastores may compare names without regard to case."""
    spellings = {image_id, image_id.upper(), image_id.lower(), image_id.swapcase()}
    keys = [dataclasses.replace(KEY, image_id=spelling) for spelling in spellings]
    for name_of in (
        lambda key: template_name("b", key),
        lambda key: replica_name("b", key, "datastore-1"),
        lambda key: lock_name(template_name("b", key)),
    ):
        assert len({name_of(key).lower() for key in keys}) == len(keys)


def test_the_name_of_an_image_with_a_usual_id_is_as_in_earlier_versions() -> None:
    """Otherwise an upgrade would import every image again."""
    key = CacheKey("a0000000-0000-4000-8000-000000000001", "f" * 32, "lsiLogic")
    assert template_name("b1", key) == (
        "b1_image_cache (a0000000-0000-4000-8000-000000000001) a6cb23bd"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"image_id": "b0000000-0000-4000-8000-000000000001"},
        {"fingerprint": "e" * 32},
        {"adapter_type": "ide"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_copy_of_another_key_is_not_the_keys(other: dict[str, str]) -> None:
    key = CacheKey("a0000000-0000-4000-8000-000000000001", "f" * 32, "lsiLogic")
    theirs = dataclasses.replace(key, **other)
    for name in (template_name("b1", theirs), replica_name("b1", theirs, "datastore-1")):
        assert not is_copy_name(name, "b1", key)
    for name in (template_name("b2", key), f"{template_name('b1', key)}-1234x", "b1-abcd"):
        assert not is_copy_name(name, "b1", key)


@pytest.mark.parametrize("length", [57, 58, 59, 60])
def test_a_backends_name_is_kept_whole_in_the_folders_as_long_as_it_fits(length: int) -> None:
    backend = "b" * length
    name = folder_name(backend)
    assert len(f"Project ({name})") == min(length + 22, MAX_NAME_LENGTH)
    assert (name == f"{backend}_image_cache") == (length <= 58)
    assert name != folder_name("b" * (length + 1))


@pytest.mark.parametrize("length", [14, 15, 16, 17])
def test_a_backends_name_is_kept_whole_in_a_templates_as_long_as_it_fits(length: int) -> None:
    backend = "b" * length
    assert name_prefix(backend).startswith(f"{backend}_image_cache (") == (length <= 15)
    assert len(replica_name(backend, KEY, "datastore-1")) == min(length, 15) + 65
    assert name_prefix(backend) != name_prefix("b" * (length + 1))
    assert image_id_in(template_name(backend, KEY), backend) == IMAGE.id


@pytest.mark.parametrize("length", [35, 36, 37])
def test_an_image_id_is_kept_whole_as_long_as_it_fits(length: int) -> None:
    key = dataclasses.replace(KEY, image_id="a" * length)
    assert (f"({'a' * length})" in template_name("b", key)) == (length <= 36)
    assert len(template_name("b" * 15, key)) == 15 + 24 + min(length, 36)

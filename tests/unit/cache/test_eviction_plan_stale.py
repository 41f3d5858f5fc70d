"""Which copies are stale, and which are proven ours, by Glance's answers and silences."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.fakes.entries import entry
from tests.unit.cache.conftest import image
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.eviction_plan import images_of, proven_ours, stale_copies
from vmdk_cache.cache.key import CacheKey, fingerprint, template_name
from vmdk_cache.image import Image

IMAGE = image(1)


def copy(moref: str = "vm-1", of: Image = IMAGE, **known: Any) -> CacheEntry:
    return entry(moref, image=of.id, fingerprint=fingerprint(of), **known)


def adopted(moref: str = "vm-1", of: Image = IMAGE) -> CacheEntry:
    """A template with an unreadable record: its name says which image it is of."""
    made = entry(moref, image=of.id, phase=Phase.ADOPTED)
    return dataclasses.replace(made, name=template_name("b1", CacheKey.of(of, "lsiLogic")))


def test_a_copy_of_the_image_as_it_is_now_is_valid() -> None:
    assert stale_copies([copy()], {IMAGE.id: IMAGE}) == {}


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (None, "deleted"),
        (image(1, status="deactivated"), "deactivated"),
        (image(1, os_hash_value="cd" * 64), "changed"),
        (image(1, disk_type="sparse"), "changed"),
    ],
)
def test_a_copy_of_an_image_that_is_gone_or_changed_is_stale(now: Image | None, why: str) -> None:
    (reason,) = stale_copies([copy()], {IMAGE.id: now}).values()
    assert why in reason


def test_a_copy_stays_while_glance_does_not_say() -> None:
    """No answer about an image is not its deletion."""
    assert stale_copies([copy(), copy("vm-2", image(2))], {image(3).id: None}) == {}


def test_each_copy_is_judged_by_its_own_image() -> None:
    entries = [copy("vm-1"), copy("vm-2", image(2)), copy("vm-3")]
    assert stale_copies(entries, {IMAGE.id: None, image(2).id: image(2)}).keys() == {"vm-1", "vm-3"}


@pytest.mark.parametrize("phase", [Phase.IMPORTING, Phase.ALTERED, Phase.FOREIGN])
def test_only_copies_can_be_stale(phase: Phase) -> None:
    asked = copy(phase=phase)
    assert stale_copies([asked], {IMAGE.id: None}) == {}
    assert images_of([asked]) == []


@pytest.mark.parametrize("owner", [Owner.UNKNOWN, Owner.ANOTHER])
def test_glance_proves_nothing_about_a_copy_that_may_be_another_clouds(owner: Owner) -> None:
    assert stale_copies([copy(owner=owner)], {IMAGE.id: None}) == {}


def test_an_adopted_template_is_stale_when_its_image_is_gone_and_not_when_it_changed() -> None:
    """Without a record, its content is unknown."""
    assert stale_copies([adopted()], {IMAGE.id: None}).keys() == {"vm-1"}
    assert stale_copies([adopted()], {IMAGE.id: image(1, os_hash_value="cd" * 64)}) == {}


def test_glance_is_asked_once_for_each_image_in_order() -> None:
    entries = [copy("vm-1", image(2)), copy("vm-2"), copy("vm-3", image(2)), adopted("vm-4")]
    assert images_of(entries) == [IMAGE.id, image(2).id]


def test_the_very_image_in_glance_proves_a_copy_ours() -> None:
    unknown = copy(owner=Owner.UNKNOWN)
    assert proven_ours([unknown], {IMAGE.id: IMAGE}) == [unknown]


@pytest.mark.parametrize(
    "images",
    [{}, {IMAGE.id: None}, {IMAGE.id: image(1, os_hash_value="cd" * 64)}],
    ids=["not known", "deleted", "changed"],
)
def test_anything_less_proves_nothing(images: dict[str, Image | None]) -> None:
    assert proven_ours([copy(owner=Owner.UNKNOWN)], images) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": Owner.OURS},
        {"owner": Owner.ANOTHER},
        {"owner": Owner.UNKNOWN, "phase": Phase.IMPORTING},
        {"owner": Owner.UNKNOWN, "phase": Phase.ADOPTED},
    ],
)
def test_only_ready_copies_of_an_unknown_owner_are_proven(changes: dict[str, Any]) -> None:
    assert proven_ours([copy(**changes)], {IMAGE.id: IMAGE}) == []

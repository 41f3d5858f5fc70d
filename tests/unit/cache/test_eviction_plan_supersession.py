"""Which copy supersedes which: by age, unless the old one was requested since."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from tests.fakes.entries import entry
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.eviction_plan import Supersession


def copy(moref: str, fingerprint: str, age_s: float, **known: Any) -> CacheEntry:
    return entry(moref, age_s, image="image-1", fingerprint=fingerprint, **known)


OLD, NEW = copy("vm-old", "f1", 200), copy("vm-new", "f2", 100)


def test_the_newer_copy_of_a_changed_image_supersedes_the_older() -> None:
    for entries in ([OLD, NEW], [NEW, OLD]):
        found = Supersession(entries)
        assert found.of(OLD) == NEW
        assert found.of(NEW) is None


def test_without_a_newer_copy_nothing_is_superseded() -> None:
    assert Supersession([OLD]).of(OLD) is None
    assert Supersession().of(OLD) is None


@pytest.mark.parametrize("noted", ["used_s", "warmed_s"])
@pytest.mark.parametrize(("since_s", "stays"), [(50, True), (150, False)])
def test_a_copy_that_was_requested_after_the_newer_import_stays(
    noted: str, since_s: float, stays: bool
) -> None:
    """The request came with Glance's description of the image at that time."""
    old = copy("vm-old", "f1", 200, **{noted: since_s})
    assert (Supersession([old, NEW]).of(old) is None) == stays


def test_copies_of_the_same_content_do_not_supersede_each_other() -> None:
    replica = dataclasses.replace(NEW, moref="vm-replica", name=f"{NEW.name}-ab", datastore="ds2")
    found = Supersession([NEW, replica])
    assert (found.of(NEW), found.of(replica)) == (None, None)


def test_every_copy_of_the_old_content_is_superseded() -> None:
    replica = dataclasses.replace(OLD, moref="vm-replica", name=f"{OLD.name}-ab", datastore="ds2")
    found = Supersession([OLD, replica, NEW])
    assert (found.of(OLD), found.of(replica)) == (NEW, NEW)


@pytest.mark.parametrize(
    "changes", [{"adapter": "ide"}, {"image": "image-2"}], ids=["adapter", "image"]
)
def test_images_and_adapter_types_are_looked_at_apart(changes: dict[str, Any]) -> None:
    other = entry("vm-other", 100, **{"image": "image-1", "fingerprint": "f2", **changes})
    assert Supersession([OLD, other]).of(OLD) is None


@pytest.mark.parametrize("phase", [Phase.IMPORTING, Phase.ALTERED, Phase.FOREIGN])
def test_only_a_ready_copy_supersedes(phase: Phase) -> None:
    newer = dataclasses.replace(NEW, phase=phase)
    assert Supersession([OLD, newer]).of(OLD) is None


@pytest.mark.parametrize("owner", [Owner.UNKNOWN, Owner.ANOTHER])
def test_a_copy_that_may_be_another_clouds_neither_supersedes_nor_is_superseded(
    owner: Owner,
) -> None:
    theirs = dataclasses.replace(NEW, owner=owner)
    assert Supersession([OLD, theirs]).of(OLD) is None
    assert Supersession([OLD, NEW]).of(dataclasses.replace(OLD, owner=owner)) is None


def test_an_adopted_template_is_never_superseded_by_age() -> None:
    """Without a record, its content is unknown."""
    adopted = entry("vm-adopted", 900, image="image-1", phase=Phase.ADOPTED)
    assert Supersession([adopted, NEW]).of(adopted) is None


def duplicate(moref: str, suffix: str = "", **changes: Any) -> CacheEntry:
    return dataclasses.replace(NEW, moref=moref, name=NEW.name + suffix, **changes)


def test_of_twins_on_one_datastore_the_template_stays_whatever_the_order() -> None:
    template, replica, other = duplicate("vm-1"), duplicate("vm-2", "-aa"), duplicate("vm-3", "-bb")
    for entries in itertools.permutations([template, replica, other]):
        found = Supersession(entries)
        assert found.duplicate_of(template) is None
        assert found.duplicate_of(replica) == found.duplicate_of(other) == template


def test_of_twins_one_that_can_be_read_stays() -> None:
    template, replica = duplicate("vm-1", accessible=False), duplicate("vm-2", "-aa")
    found = Supersession([template, replica])
    assert found.duplicate_of(template) == replica
    assert found.duplicate_of(replica) is None


def test_copies_on_two_datastores_are_no_twins() -> None:
    template, replica = duplicate("vm-1"), duplicate("vm-2", "-aa", datastore="ds2")
    found = Supersession([template, replica])
    assert (found.duplicate_of(template), found.duplicate_of(replica)) == (None, None)


def test_a_copy_on_an_unknown_datastore_has_no_twin() -> None:
    template, replica = duplicate("vm-1", datastore=None), duplicate("vm-2", "-aa", datastore=None)
    found = Supersession([template, replica])
    assert (found.duplicate_of(template), found.duplicate_of(replica)) == (None, None)

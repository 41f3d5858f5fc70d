"""Pinned images in the plans of cache/eviction_plan.py."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from tests.fakes.entries import GIB, NOW, entry
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.eviction_plan import EvictionPlan, plan_eviction, plan_requested, plan_room
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings

PIN = Pin("alice@ctl1", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
SAYS = "pinned by alice@ctl1 since 2026-01-02 00:00 UTC"
SPACES = {"ds1": Space(100 * GIB, 5 * GIB)}


def removed(plan: EvictionPlan) -> dict[str, Rule | None]:
    return {verdict.entry.moref: verdict.rule for verdict in plan.remove}


def kept(plan: EvictionPlan) -> dict[str, str]:
    return {verdict.entry.moref: verdict.reason for verdict in plan.keep}


def test_no_copy_of_a_pinned_image_expires() -> None:
    entries = [
        entry("pinned", 900, image="i", pinned=PIN),
        entry("its replica", 900, image="i", datastore="ds2"),
        entry("other", 900),
    ]
    plan = plan_eviction(entries, NOW, Settings(age_s=100))
    assert removed(plan) == {"other": Rule.EXPIRED}
    assert kept(plan) == {"pinned": SAYS, "its replica": SAYS}


@pytest.mark.parametrize(
    "limit",
    [{"max_count": 1}, {"max_total_bytes": 1}, {"max_percent": 1}, {"min_free_percent": 90}],
    ids=lambda limit: next(iter(limit)),
)
def test_no_limit_removes_a_pinned_image(limit: dict[str, int]) -> None:
    entries = [
        entry("old", 900, image="i", pinned=PIN),
        entry("new", 1, image="i", datastore="ds2"),
        entry("other", 1),
    ]
    settings = Settings(age_s=0, **limit)  # type: ignore[arg-type]
    plan = plan_eviction(entries, NOW, settings, spaces=SPACES)
    assert removed(plan) == {"other": Rule.LIMIT}
    assert kept(plan) == {"old": SAYS, "new": SAYS}


def test_a_pinned_template_counts_for_the_limits() -> None:
    entries = [entry("pinned", 900, pinned=PIN), entry("other", 1)]
    assert removed(plan_eviction(entries, NOW, Settings(age_s=0, max_count=1))) == {
        "other": Rule.LIMIT
    }


def test_no_request_removes_a_pinned_image() -> None:
    entries = [entry("pinned", image="i", pinned=PIN), entry("other", image="j")]
    for image_ids in (None, {"i", "j"}):
        plan = plan_requested(entries, image_ids)
        assert removed(plan) == {"other": Rule.REQUESTED}
        assert kept(plan) == {"pinned": f"{SAYS}: unpin it first"}


def _useless() -> dict[str, tuple[CacheEntry, Rule]]:
    """Templates that volumes can no longer be cloned from, by what they are."""
    old = entry("vm-1", 900, image="i", pinned=PIN)
    return {
        "altered": (dataclasses.replace(old, phase=Phase.ALTERED), Rule.ALTERED),
        "stale": (dataclasses.replace(old, moref="stale"), Rule.STALE),
        "superseded": (old, Rule.SUPERSEDED),
    }


@pytest.mark.parametrize("what", ["altered", "stale", "superseded"])
def test_a_pin_keeps_no_template_that_cannot_be_served(what: str) -> None:
    useless, rule = _useless()[what]
    now = entry("now", 10, image="i", fingerprint="f2")
    plan = plan_eviction(
        [useless, now], NOW, Settings(age_s=5), stale={"stale": "its image is deleted in Glance"}
    )
    assert removed(plan) == {useless.moref: rule}
    assert kept(plan) == {"now": SAYS}, "the pin is of the image, so it protects the new template"


def test_an_import_evicts_no_pinned_image_and_says_so() -> None:
    entries = [
        entry("pinned", 900, image="i", pinned=PIN),
        entry("replica", 900, image="i", datastore="ds2"),
        entry("other", 1),
    ]
    (verdict,) = plan_room(entries, GIB, "ds1", Settings(max_count=3))
    assert verdict.entry.moref == "other"
    with pytest.raises(errors.NotCacheable, match="while 2 templates are pinned") as refusal:
        plan_room(entries[:2], GIB, "ds1", Settings(max_count=2))
    assert refusal.value.reason == Reason.NO_ROOM


def test_another_clouds_pin_protects_nothing_here() -> None:
    theirs = entry("theirs", 900, image="i", phase=Phase.FOREIGN, owner=Owner.ANOTHER, pinned=PIN)
    ours = entry("ours", 900, image="i")
    assert removed(plan_eviction([theirs, ours], NOW, Settings(age_s=100))) == {
        "ours": Rule.EXPIRED
    }

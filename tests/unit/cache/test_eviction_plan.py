"""The plans of cache/eviction_plan.py: fixed ones of a few lines, and properties of every plan.

A world is a list of one-line facts (see ``entry``); times are seconds before NOW.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.entries import GIB, NOW, ago, entry
from vmdk_cache import conf, errors
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.eviction_plan import (
    MAX_REMOVALS_FOR_ROOM,
    EvictionPlan,
    expires_at,
    plan_eviction,
    plan_requested,
    plan_room,
)
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings

SPACES = {"ds1": Space(100 * GIB, 50 * GIB), "ds2": Space(100 * GIB, 50 * GIB)}


def limits(age_s: int = 0, **options: Any) -> Settings:
    """Settings with these limits and no others."""
    return Settings(age_s=age_s, **options)


def removed(plan: EvictionPlan) -> dict[str, str]:
    return {verdict.entry.moref: verdict.reason for verdict in plan.remove}


def kept(plan: EvictionPlan) -> dict[str, str]:
    return {verdict.entry.moref: verdict.reason for verdict in plan.keep}


# -- age and use


@pytest.mark.parametrize(
    ("expiry", "facts", "goes"),
    [
        ("age", {"age_s": 101}, True),
        ("age", {"age_s": 100}, False),
        ("age", {"age_s": 101, "used_s": 1}, True),
        ("age", {"age_s": 500, "warmed_s": 100}, False),
        ("age", {"age_s": 500, "warmed_s": 101}, True),
        ("idle", {"age_s": 101}, True),
        ("idle", {"age_s": 500, "used_s": 100}, False),
        ("idle", {"age_s": 500, "used_s": 101}, True),
        ("idle", {"age_s": 500, "used_s": 400, "warmed_s": 100}, False),
        ("idle", {"age_s": 50, "used_s": 500}, False),
        ("age", {"age_s": 101, "phase": Phase.ADOPTED}, True),
        ("age", {"age_s": 100, "phase": Phase.ADOPTED}, False),
        ("age", {"age_s": None, "phase": Phase.ADOPTED}, False),
        ("age", {"age_s": -3600}, False),
    ],
)
def test_age_counts_from_the_events_that_the_option_names(
    expiry: str, facts: dict[str, float | None], goes: bool
) -> None:
    one = entry("vm-1", **facts)  # type: ignore[arg-type]
    plan = plan_eviction([one], NOW, limits(age_s=100, expiry=expiry))
    assert bool(plan.remove) is goes
    if goes:
        assert "more than 100 s" in removed(plan)["vm-1"]
    moment = expires_at(one, limits(age_s=100, expiry=expiry))
    assert (moment is not None and moment < NOW) is goes


@pytest.mark.parametrize(("expiry", "says"), [("age", "50 s old"), ("idle", "20 s unused")])
def test_a_kept_entry_says_when_its_age_begins(expiry: str, says: str) -> None:
    plan = plan_eviction([entry("vm-1", 50, used_s=20)], NOW, limits(age_s=100, expiry=expiry))
    assert kept(plan) == {"vm-1": f"{says}, less than 100 s"}


def test_an_entry_that_does_not_expire_has_no_expiry_time() -> None:
    assert expires_at(entry("vm-1"), limits(age_s=0)) is None
    # later than the last possible date
    assert expires_at(entry("vm-1"), limits(age_s=10**12)) is None
    assert expires_at(entry("vm-1", None, phase=Phase.ADOPTED), limits(age_s=100)) is None
    assert expires_at(entry("vm-1", 40), limits(age_s=100)) == ago(-60)


def test_age_zero_removes_nothing_however_old() -> None:
    old = [entry("vm-1", 10**9), entry("vm-2", 10**9, phase=Phase.ADOPTED)]
    plan = plan_eviction(old, NOW, limits(age_s=0))
    assert removed(plan) == {}
    assert all("expiry is off" in reason for reason in kept(plan).values())


# -- superseded and stale


@pytest.mark.parametrize("step", [1, -1], ids=["oldest listed first", "newest listed first"])
def test_of_two_contents_of_one_image_and_adapter_the_newer_stays(step: int) -> None:
    entries = [
        entry("old", 90, image="i", fingerprint="f1"),
        entry("new", 10, image="i", fingerprint="f2"),
        entry("other-adapter", 80, image="i", fingerprint="f1", adapter="ide"),
        entry("other-image", 80),
    ]
    plan = plan_eviction(entries[::step], NOW, limits())
    assert list(removed(plan)) == ["old"]
    assert "the image has changed" in removed(plan)["old"]


@pytest.mark.parametrize("unknown", ["old", "new"])
def test_a_template_of_unknown_owner_neither_supersedes_nor_is_superseded(unknown: str) -> None:
    entries = [
        entry(name, age_s, image="i", fingerprint=name,
              owner=Owner.UNKNOWN if name == unknown else Owner.OURS)
        for name, age_s in (("old", 90), ("new", 10))
    ]  # fmt: skip
    assert removed(plan_eviction(entries, NOW, limits())) == {}


def test_a_template_of_another_deployment_is_kept_for_that_reason() -> None:
    theirs = entry("vm-1", 10**6, phase=Phase.FOREIGN, owner=Owner.ANOTHER)
    theirs = dataclasses.replace(theirs, deployment="there")
    for plan in (plan_eviction([theirs], NOW, limits(age_s=1)), plan_requested([theirs], None)):
        assert kept(plan) == {"vm-1": "a template of another deployment, 'there'"}


def test_an_import_under_way_supersedes_nothing_yet() -> None:
    plan = plan_eviction(
        [
            entry("old", 90, image="i", fingerprint="f1"),
            entry("new", 10, image="i", fingerprint="f2", phase=Phase.IMPORTING),
        ],
        NOW,
        limits(),
    )
    assert removed(plan) == {}


def test_replicas_of_one_key_do_not_supersede_each_other() -> None:
    replicas = [entry("vm-1", 90, image="i"), entry("vm-2", 10, image="i", datastore="ds2")]
    assert removed(plan_eviction(replicas, NOW, limits())) == {}


def test_a_stale_copy_goes_with_the_reason_given_whatever_its_age() -> None:
    entries = [entry("vm-1", 1), entry("vm-2", 1), entry("vm-3", 1, phase=Phase.ADOPTED)]
    stale = {"vm-1": "image i was deleted in Glance", "vm-3": "image j is deactivated"}
    plan = plan_eviction(entries, NOW, limits(age_s=100), stale=stale)
    assert removed(plan) == stale


def test_a_stale_copy_supersedes_no_good_one() -> None:
    """A property was set, a copy was made with it, and the property was removed again."""
    entries = [
        entry("good", 90, image="i", fingerprint="f1"),
        entry("stale", 10, image="i", fingerprint="f2"),
    ]
    plan = plan_eviction(entries, NOW, limits(), stale={"stale": "its image has changed"})
    assert removed(plan) == {"stale": "its image has changed"}


@pytest.mark.parametrize(
    ("facts", "stays"),
    [
        ({"used_s": 9}, True),
        ({"warmed_s": 9}, True),
        ({"used_s": 10}, False),
        ({"used_s": 50, "warmed_s": 50}, False),
        ({}, False),
    ],
)
def test_a_copy_used_after_a_newer_one_was_imported_is_not_superseded(
    facts: dict[str, float], stays: bool
) -> None:
    """As long as Glance does not say which of the two is the present image."""
    entries = [
        entry("old", 90, image="i", fingerprint="f1", **facts),  # type: ignore[arg-type]
        entry("new", 10, image="i", fingerprint="f2"),
    ]
    assert list(removed(plan_eviction(entries, NOW, limits()))) == ([] if stays else ["old"])


# -- limits, one at a time

LRU = [
    entry("first", 400, used_s=10),
    entry("second", 300, used_s=200),
    entry("third", 250, datastore="ds2"),
    entry("fourth", 100, warmed_s=5, datastore="ds2"),
]


@pytest.mark.parametrize(
    ("settings", "option", "gone"),
    [
        (limits(), "", []),
        (limits(max_count=4), "", []),
        (limits(max_count=2), "image_cache_max_count", ["third", "second"]),
        (limits(max_total_bytes=40 * GIB), "", []),
        (limits(max_total_bytes=39 * GIB), "image_cache_max_total_gb", ["third"]),
        (limits(max_percent=20), "", []),
        (limits(max_percent=19), "image_cache_max_percent", ["third"]),
        (limits(max_percent=5), "image_cache_max_percent", ["third", "second", "first"]),
        (limits(min_free_percent=50), "", []),
        (limits(min_free_percent=51), "image_cache_min_free_percent", ["second", "third"]),
        (
            limits(min_free_percent=100),
            "image_cache_min_free_percent",
            ["second", "first", "third", "fourth"],
        ),
    ],
    ids=str,
)
def test_each_limit_alone_removes_those_used_longest_ago(
    settings: Settings, option: str, gone: list[str]
) -> None:
    plan = plan_eviction(LRU, NOW, settings, spaces=SPACES)
    assert list(removed(plan)) == gone
    assert all(option in reason for reason in removed(plan).values())


@pytest.mark.parametrize(("missing_bytes", "gone"), [(0, []), (1, ["vm-1"])])
def test_a_byte_less_than_must_be_free_is_too_little(missing_bytes: int, gone: list[str]) -> None:
    spaces = {"ds1": Space(100 * GIB, 20 * GIB - missing_bytes)}
    plan = plan_eviction([entry("vm-1")], NOW, limits(min_free_percent=20), spaces=spaces)
    assert list(removed(plan)) == gone


def test_expired_entries_do_not_count_against_the_others() -> None:
    entries = [entry("expired", 500), entry("a", 50), entry("b", 40)]
    plan = plan_eviction(entries, NOW, limits(age_s=100, max_count=2))
    assert list(removed(plan)) == ["expired"]


def test_expired_entries_free_their_datastore_for_the_others() -> None:
    spaces = {"ds1": Space(100 * GIB, 15 * GIB)}
    entries = [entry("expired", 500), entry("a", 50), entry("b", 40)]
    plan = plan_eviction(entries, NOW, limits(age_s=100, min_free_percent=25), spaces=spaces)
    assert list(removed(plan)) == ["expired"]


def test_a_copy_that_is_never_served_goes_before_one_that_is() -> None:
    entries = [entry("served", 90, used_s=80), entry("adopted", 10, phase=Phase.ADOPTED)]
    assert list(removed(plan_eviction(entries, NOW, limits(max_count=1)))) == ["adopted"]


def test_images_that_are_to_be_kept_go_after_all_others_and_only_for_a_limit() -> None:
    entries = [entry("marked", 90, image="m"), entry("old", 80), entry("new", 10)]
    policies = [limits(max_count=2), limits(max_count=1), limits(max_total_bytes=1)]
    gone = [list(removed(plan_eviction(entries, NOW, one, kept={"m"}))) for one in policies]
    assert gone == [["old"], ["old", "new"], ["old", "new", "marked"]]
    made = plan_room(entries, GIB, "ds1", limits(max_count=3), kept={"m"})
    assert [verdict.entry.moref for verdict in made] == ["old"]
    with pytest.raises(errors.NotCacheable, match="nothing more can be removed"):
        plan_room(entries, GIB, "ds1", limits(max_count=1), kept={"m"})


@pytest.mark.parametrize("spaces", [None, {}], ids=["not asked", "none usable now"])
@pytest.mark.parametrize("settings", [limits(max_percent=50), limits(min_free_percent=50)], ids=str)
def test_datastores_that_cannot_be_seen_do_not_empty_the_cache(
    settings: Settings, spaces: Mapping[str, Space] | None
) -> None:
    """While every host is disconnected, the usable capacity is unknown, not zero."""
    assert removed(plan_eviction(LRU, NOW, settings, spaces=spaces)) == {}
    assert plan_room(LRU, GIB, "ds1", settings, spaces=spaces) == ()


def test_an_import_takes_its_share_of_the_limits() -> None:
    entries = [entry("a", 50), entry("b", 40), entry("importing", 1, phase=Phase.IMPORTING)]
    assert list(removed(plan_eviction(entries, NOW, limits(max_count=2)))) == ["a"]
    assert list(removed(plan_eviction(entries, NOW, limits(max_total_bytes=20 * GIB)))) == ["a"]


def test_a_foreign_vm_is_neither_counted_nor_removed() -> None:
    entries = [entry("a", 50), entry("admins", 10**6, phase=Phase.FOREIGN, size_gib=90)]
    settings = limits(age_s=100, max_count=1, max_total_bytes=10 * GIB)
    plan = plan_eviction(entries, NOW, settings, stale={"admins": "stale"})
    assert removed(plan) == {}
    assert kept(plan)["admins"] == "not a template of this cache"


# -- room for one more


@pytest.mark.parametrize(
    ("settings", "size_gib", "gone"),
    [
        (limits(), 10, []),
        (limits(max_count=5), 10, []),
        (limits(max_count=4), 10, ["third"]),
        (limits(max_total_bytes=50 * GIB), 10, []),
        (limits(max_total_bytes=50 * GIB), 11, ["third"]),
        (limits(max_percent=25), 10, []),
        (limits(max_percent=25), 21, ["third", "second"]),
        (limits(min_free_percent=40), 10, []),
        (limits(min_free_percent=40), 11, ["second"]),
        (limits(min_free_percent=40), 30, ["second", "first"]),
    ],
    ids=str,
)
def test_room_is_made_by_each_limit_alone(
    settings: Settings, size_gib: int, gone: list[str]
) -> None:
    verdicts = plan_room(LRU, size_gib * GIB, "ds1", settings, spaces=SPACES)
    assert [verdict.entry.moref for verdict in verdicts] == gone
    assert all(verdict.reason.startswith("makes room") for verdict in verdicts)


@pytest.mark.parametrize(
    ("settings", "size_gib", "reason"),
    [
        (limits(max_total_bytes=50 * GIB), 51, Reason.IMAGE_TOO_LARGE),
        (limits(max_percent=25), 51, Reason.IMAGE_TOO_LARGE),
        (limits(min_free_percent=40), 31, Reason.NO_ROOM),
    ],
    ids=str,
)
def test_an_oversize_image_is_refused_before_anything_is_removed(
    settings: Settings, size_gib: int, reason: Reason
) -> None:
    """The refusal is raised, so no plan exists by which anything could be removed."""
    with pytest.raises(errors.NotCacheable) as refusal:
        plan_room(LRU, size_gib * GIB, "ds1", settings, spaces=SPACES)
    assert refusal.value.reason == reason


def test_no_request_waits_for_more_than_a_few_deletions() -> None:
    many = [entry(f"vm-{n}", n + 1, size_gib=1) for n in range(50)]
    settings = limits(max_total_bytes=50 * GIB)
    most = plan_room(many, MAX_REMOVALS_FOR_ROOM * GIB, "ds1", settings)
    assert len(most) == MAX_REMOVALS_FOR_ROOM
    with pytest.raises(errors.NotCacheable, match="too little can be removed") as refusal:
        plan_room(many, (MAX_REMOVALS_FOR_ROOM + 1) * GIB, "ds1", settings)
    assert refusal.value.reason == Reason.NO_ROOM


def test_entries_in_use_or_being_imported_make_no_room() -> None:
    with pytest.raises(errors.NotCacheable, match="nothing more can be removed"):
        plan_room(
            [entry("a", 50), entry("b", 1, phase=Phase.IMPORTING)],
            GIB,
            "ds1",
            limits(max_count=2),
            in_use={"a"},
        )


# -- replicas

COPIES = [
    entry("hot-1", 100, used_s=1, image="hot"),
    entry("hot-2", 100, used_s=2, image="hot", datastore="ds2"),
    entry("cold", 100, used_s=50, datastore="ds2"),
    entry("adopted", 1, phase=Phase.ADOPTED),
]


def test_no_copy_is_superseded_by_another_of_its_key() -> None:
    assert removed(plan_eviction(COPIES, NOW, limits())) == {}


def test_a_changed_image_supersedes_all_copies_of_what_it_was() -> None:
    changed = entry("new", 1, image="hot", fingerprint="f2")
    plan = plan_eviction([*COPIES, changed], NOW, limits())
    assert set(removed(plan)) == {"hot-1", "hot-2"}


def test_copies_expire_together_however_young_the_replica_is() -> None:
    plan = plan_eviction(COPIES[:2], NOW, limits(age_s=99))
    assert set(removed(plan)) == {"hot-1", "hot-2"}


@pytest.mark.parametrize(
    ("max_count", "gone"),
    [
        (4, []),
        (3, ["adopted"]),
        (2, ["adopted", "hot-2"]),
        (1, ["adopted", "hot-2", "cold"]),
    ],
)
def test_a_spare_copy_goes_before_the_last_copy_of_an_unused_image(
    max_count: int, gone: list[str]
) -> None:
    assert list(removed(plan_eviction(COPIES, NOW, limits(max_count=max_count)))) == gone
    made = plan_room(COPIES[:3], GIB, "ds1", limits(max_count=3))
    assert [verdict.entry.moref for verdict in made] == ["hot-2"]


def test_a_copy_is_not_spare_once_the_other_goes_anyway() -> None:
    """The image's other copy is stale, so this one is the last."""
    plan = plan_eviction(COPIES[:3], NOW, limits(max_count=1), stale={"hot-1": "is stale"})
    assert list(removed(plan)) == ["hot-1", "cold"]


def test_a_full_datastore_loses_its_spare_copies_first_and_others_none() -> None:
    spaces = {"ds1": SPACES["ds1"], "ds2": Space(100 * GIB, 15 * GIB)}
    plan = plan_eviction(COPIES[:3], NOW, limits(min_free_percent=20), spaces=spaces)
    assert list(removed(plan)) == ["hot-2"]


# -- properties of every plan

MOREFS = [f"vm-{n}" for n in range(12)]
seconds = st.none() | st.integers(0, 300)


@st.composite
def worlds(draw: st.DrawFn) -> list[CacheEntry]:
    return [
        entry(
            moref,
            draw(st.integers(0, 300)),
            used_s=draw(seconds),
            warmed_s=draw(seconds),
            phase=draw(st.sampled_from(Phase)),
            image=draw(st.sampled_from(["i1", "i2", "i3"])),
            fingerprint=draw(st.sampled_from(["f1", "f2"])),
            size_gib=draw(st.integers(0, 30)),
            unshared_gib=draw(st.integers(0, 30)),
            datastore=draw(st.sampled_from(["ds1", "ds2", "ds3", None])),
        )
        for moref in MOREFS[: draw(st.integers(0, len(MOREFS)))]
    ]


policies = st.builds(
    Settings,
    age_s=st.sampled_from([0, 100, 250]),
    expiry=st.sampled_from([conf.EXPIRY_AGE, conf.EXPIRY_IDLE]),
    max_count=st.integers(0, 6),
    max_total_bytes=st.integers(0, 100).map(lambda gib: gib * GIB),
    max_percent=st.integers(0, 60),
    min_free_percent=st.integers(0, 90),
)
spaces_of_two = st.fixed_dictionaries(
    {
        name: st.integers(0, 100).map(lambda gib: Space(100 * GIB, gib * GIB))
        for name in ("ds1", "ds2")
    }
)
some_morefs = st.frozensets(st.sampled_from(MOREFS))


def removable(entries: list[CacheEntry], in_use: frozenset[str]) -> list[CacheEntry]:
    return [
        entry
        for entry in entries
        if entry.phase in (Phase.READY, Phase.ALTERED, Phase.ADOPTED) and entry.moref not in in_use
    ]


def limits_exceeded(
    entries: list[CacheEntry],
    gone: list[CacheEntry],
    settings: Settings,
    spaces: Mapping[str, Space],
) -> dict[str, str | None]:
    """Option -> datastore that it limits (None: all), for each limit that the rest exceeds."""
    rest = [e for e in entries if e.phase is not Phase.FOREIGN and e not in gone]
    total = sum(e.size_bytes for e in rest)
    capacity = sum(space.capacity_bytes for space in spaces.values())
    exceeded: dict[str, str | None] = {}
    if settings.max_count and len(rest) > settings.max_count:
        exceeded["count"] = None
    if settings.max_total_bytes and total > settings.max_total_bytes:
        exceeded["total"] = None
    if settings.max_percent and total > capacity * settings.max_percent // 100:
        exceeded["percent"] = None
    for name, space in spaces.items():
        free = space.free_bytes + sum(e.unshared_bytes for e in gone if e.datastore == name)
        if (
            settings.min_free_percent
            and free * 100 < space.capacity_bytes * settings.min_free_percent
        ):
            exceeded[f"free on {name}"] = name
    return exceeded


@given(worlds(), policies, spaces_of_two, some_morefs, some_morefs)
def test_every_entry_is_in_one_part_of_the_plan_with_a_reason(
    entries: list[CacheEntry],
    settings: Settings,
    spaces: dict[str, Space],
    stale: frozenset[str],
    in_use: frozenset[str],
) -> None:
    plan = plan_eviction(
        entries,
        NOW,
        settings,
        spaces=spaces,
        stale=dict.fromkeys(stale, "is stale"),
        in_use=in_use,
    )
    verdicts = [*plan.keep, *plan.remove]
    assert sorted(v.entry.moref for v in verdicts) == sorted(e.moref for e in entries)
    assert all(verdict.reason for verdict in verdicts)


@given(worlds(), policies, spaces_of_two, some_morefs, some_morefs)
def test_only_what_may_go_goes_and_what_is_stale_does(
    entries: list[CacheEntry],
    settings: Settings,
    spaces: dict[str, Space],
    stale: frozenset[str],
    in_use: frozenset[str],
) -> None:
    plan = plan_eviction(
        entries,
        NOW,
        settings,
        spaces=spaces,
        stale=dict.fromkeys(stale, "is stale"),
        in_use=in_use,
    )
    candidates = removable(entries, in_use)
    assert all(verdict.entry in candidates for verdict in plan.remove)
    gone = {verdict.entry.moref for verdict in plan.remove}
    assert {e.moref for e in candidates if e.moref in stale} <= gone


@given(worlds(), policies, spaces_of_two, some_morefs)
def test_no_limit_is_exceeded_while_something_could_be_removed(
    entries: list[CacheEntry],
    settings: Settings,
    spaces: dict[str, Space],
    in_use: frozenset[str],
) -> None:
    plan = plan_eviction(entries, NOW, settings, spaces=spaces, in_use=in_use)
    gone = [verdict.entry for verdict in plan.remove]
    left = [e for e in removable(entries, in_use) if e not in gone]
    for datastore in limits_exceeded(entries, gone, settings, spaces).values():
        assert [e for e in left if datastore in (None, e.datastore)] == []


@given(worlds(), policies, spaces_of_two)
def test_nothing_goes_for_a_limit_that_is_kept_without_it(
    entries: list[CacheEntry], settings: Settings, spaces: dict[str, Space]
) -> None:
    """The entry removed last for a limit was still over it."""
    plan = plan_eviction(entries, NOW, settings, spaces=spaces)
    for number, verdict in enumerate(plan.remove):
        if "exceeded" in verdict.reason:
            before = [earlier.entry for earlier in plan.remove[:number]]
            exceeded = limits_exceeded(entries, before, settings, spaces)
            assert {None, verdict.entry.datastore} & set(exceeded.values())


@given(worlds(), policies, spaces_of_two)
def test_a_second_purge_has_nothing_to_remove(
    entries: list[CacheEntry], settings: Settings, spaces: dict[str, Space]
) -> None:
    plan = plan_eviction(entries, NOW, settings, spaces=spaces)
    gone = [verdict.entry for verdict in plan.remove]
    later = {
        name: Space(
            space.capacity_bytes,
            space.free_bytes + sum(e.unshared_bytes for e in gone if e.datastore == name),
        )
        for name, space in spaces.items()
    }
    left = [e for e in entries if e not in gone]
    assert plan_eviction(left, NOW, settings, spaces=later).remove == ()


@given(
    worlds(),
    policies,
    spaces_of_two,
    some_morefs,
    st.integers(0, 40),
    st.sampled_from(["ds1", "ds2"]),
)
def test_room_that_was_made_suffices(
    entries: list[CacheEntry],
    settings: Settings,
    spaces: dict[str, Space],
    in_use: frozenset[str],
    size_gib: int,
    datastore: str,
) -> None:
    size_bytes = size_gib * GIB
    try:
        verdicts = plan_room(entries, size_bytes, datastore, settings, spaces=spaces, in_use=in_use)
    except errors.NotCacheable as refusal:
        assert refusal.reason in (Reason.NO_ROOM, Reason.IMAGE_TOO_LARGE)
        return
    gone = [verdict.entry for verdict in verdicts]
    assert len(gone) <= MAX_REMOVALS_FOR_ROOM
    assert all(e in removable(entries, in_use) for e in gone)
    one_more = entry("one-more", size_gib=size_gib, phase=Phase.IMPORTING, datastore=datastore)
    taken = {
        datastore: Space(
            spaces[datastore].capacity_bytes, spaces[datastore].free_bytes - size_bytes
        )
    }
    after = limits_exceeded([*entries, one_more], gone, settings, {**spaces, **taken})
    assert set(after) - {f"free on {name}" for name in spaces if name != datastore} == set()


# -- rules


def test_each_removal_names_its_rule_and_nothing_that_is_kept_does() -> None:
    plan = plan_eviction(
        [
            entry("expired", 101, image="a"),
            entry("old", 90, image="b", fingerprint="f1"),
            entry("new", 10, image="b", fingerprint="f2"),
            entry("stale", 10, image="c"),
            entry("surplus", 50, image="d"),
            entry("altered", 1, image="f", phase=Phase.ALTERED),
            entry("fresh", 1, image="e"),
        ],
        NOW,
        limits(age_s=100, max_count=2),
        stale={"stale": "its image is deleted in Glance"},
    )
    assert {verdict.entry.moref: verdict.rule for verdict in plan.remove} == {
        "expired": Rule.EXPIRED,
        "old": Rule.SUPERSEDED,
        "stale": Rule.STALE,
        "surplus": Rule.LIMIT,
        "altered": Rule.ALTERED,
    }
    assert {verdict.rule for verdict in plan.keep} == {None}


def test_an_altered_template_that_is_being_cloned_goes_later() -> None:
    altered = entry("vm-1", phase=Phase.ALTERED)
    assert "altered by hand" in removed(plan_eviction([altered], NOW, limits()))["vm-1"]
    assert kept(plan_eviction([altered], NOW, limits(), in_use={"vm-1"})) == {
        "vm-1": "being cloned or waited for"
    }


def test_room_is_made_of_an_altered_template_first() -> None:
    world = [entry("vm-1", 1000, image="a"), entry("vm-2", 1, image="b", phase=Phase.ALTERED)]
    (verdict,) = plan_room(world, GIB, "ds1", limits(max_count=2))
    assert verdict.entry.moref == "vm-2"


def test_an_eviction_for_room_says_so() -> None:
    (verdict,) = plan_room([entry("vm-1", 10)], GIB, "ds1", limits(max_count=1))
    assert verdict.rule is Rule.ROOM


# -- an operator's requests


@pytest.mark.parametrize(
    ("images", "goes"), [({"i1"}, ["vm-1", "vm-2"]), (None, ["vm-1", "vm-2", "vm-3"])]
)
def test_only_requested_images_are_removed_however_young(
    images: set[str] | None, goes: list[str]
) -> None:
    world = [
        entry("vm-1", image="i1"),
        entry("vm-2", image="i1", adapter="ide", age_s=10_000),
        entry("vm-3", image="i2", age_s=10_000),
        entry("vm-4", image="i1", phase=Phase.IMPORTING),
        entry("vm-5", image="i1", phase=Phase.FOREIGN),
        entry("vm-6", image="i1"),
    ]
    plan = plan_requested(world, images, in_use={"vm-6"})
    assert sorted(removed(plan)) == goes
    assert {verdict.rule for verdict in plan.remove} == {Rule.REQUESTED}
    assert (
        kept(plan).items()
        >= {
            "vm-4": "import in progress",
            "vm-5": "not a template of this cache",
            "vm-6": "being cloned or waited for",
        }.items()
    )

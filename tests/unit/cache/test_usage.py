from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.conftest import IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.engine import Warmth
from vmdk_cache.cache.eviction import Policy, plan_eviction
from vmdk_cache.cache.usage import WRITE_EVERY_S, Times, Usage

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize("times", [Times(), Times(NOW), Times(None, NOW), Times(NOW, NOW)])
def test_times_survive_their_template(times: Times) -> None:
    assert Times.from_json(times.to_json()) == times


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.text() | json_values.map(json.dumps) | st.none())
def test_what_somebody_else_writes_there_means_never(text: str | None) -> None:
    assert Times.from_json(text) == Times()


@given(json_values, json_values)
def test_altered_times_never_crash(used: object, warmed: object) -> None:
    Times.from_json(json.dumps({"used_at": used, "warmed_at": warmed}))


def test_a_time_without_a_zone_is_no_time() -> None:
    assert Times.from_json('{"used_at": "2026-01-01T00:00:00"}') == Times()


def test_a_burst_of_clones_writes_once(world: World) -> None:
    for number in range(1, 20):
        world.engine.create_volume(IMAGE, volume(number), world.source)
    assert world.store.calls["touch"] == 1
    world.clock.advance(WRITE_EVERY_S)
    world.engine.create_volume(IMAGE, volume(20), world.source)
    assert world.store.calls["touch"] == 2


def test_a_use_that_cannot_be_noted_costs_no_volume(world: World) -> None:
    world.store.faults["touch"] = [errors.Unreachable("reset")]
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.store.volumes == {volume().id: made.entry.moref}


def test_a_use_that_is_only_remembered_keeps_an_idle_template(world: World) -> None:
    """The account may not set attributes: the store gives the time and writes nothing."""
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    unwritten = world.store.vms[made.entry.moref]
    world.clock.advance(1000)
    usage = Usage(world.store, world.clock)
    usage.note(unwritten)
    idle = Policy(age_s=500, expiry="idle")
    (seen,) = usage.applied([unwritten])
    assert not plan_eviction([seen], world.clock.now(), idle).remove
    assert plan_eviction([unwritten], world.clock.now(), idle).remove


def test_a_warm_up_counts_the_age_anew(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(), world.source)
    world.clock.advance(1000)
    entry, how = world.engine.warm(IMAGE, "lsiLogic", world.source)
    assert how == Warmth.THERE
    policy = Policy(age_s=500)
    assert not plan_eviction(world.store.entries(), world.clock.now(), policy).remove
    assert plan_eviction([entry], world.clock.now(), policy).remove


def test_a_warm_up_of_what_is_not_there_imports_it(world: World) -> None:
    _, how = world.engine.warm(IMAGE, "lsiLogic", world.source)
    assert how == Warmth.IMPORTED
    assert world.engine.create_volume(IMAGE, volume(), world.source).hit

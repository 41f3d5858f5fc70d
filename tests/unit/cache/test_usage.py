from __future__ import annotations

import dataclasses
import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.conftest import IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.engine import Warmth
from vmdk_cache.cache.eviction_plan import plan_eviction
from vmdk_cache.cache.record import Notes
from vmdk_cache.cache.usage import RETRY_AFTER_S, WRITE_EVERY_S, Usage, write_every_s
from vmdk_cache.conf import EXPIRY_IDLE, Settings

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "times",
    [
        Notes(),
        Notes(NOW),
        Notes(None, NOW),
        Notes(NOW, NOW),
        Notes(ready_vm="vm-1"),
        Notes(NOW, None, "vm-1", "c1"),
    ],
)
def test_times_survive_their_template(times: Notes) -> None:
    assert Notes.from_json(times.to_json()) == times


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"used_at":' * 100_000, '{"used_at": ' + "[" * 100_000 + "]" * 100_000 + "}"],
)
def test_deeply_nested_notes_are_unreadable_and_no_error(text: str) -> None:
    assert Notes.from_json(text) == Notes()


def test_notes_name_the_vm_of_the_content() -> None:
    noted = Notes(ready_vm="vm-1", content_id="c1")
    assert noted.content_of("vm-1") == "c1"
    assert noted.content_of("vm-2") is None
    assert Notes(content_id="c1").content_of("") is None


def test_the_deployment_is_that_of_the_noted_vm_only() -> None:
    noted = Notes.from_json(Notes(ready_vm="vm-1", deployment="here").to_json())
    assert noted.deployment_of("vm-1") == "here"
    assert noted.deployment_of("vm-2") == ""
    assert Notes(ready_vm="vm-1").deployment_of("vm-1") == ""
    assert Notes(deployment="here").deployment_of("") == ""


def test_any_note_says_that_it_was_ready() -> None:
    assert not Notes().is_any
    for notes in (Notes(NOW), Notes(None, NOW), Notes(ready_vm="vm-1")):
        assert notes.is_any


def test_notes_fit_into_what_vcenter_keeps_of_an_attribute() -> None:
    moment = datetime.datetime(2026, 1, 1, 23, 59, 59, 999999, datetime.UTC)
    assert len(Notes(moment, moment, "vm-12345678", "c" * 32, "d" * 32).to_json()) <= 255


@pytest.mark.parametrize("value", [None, "", 0, 7, [], {}, True])
def test_a_content_id_must_be_text(value: object) -> None:
    assert Notes.from_json(json.dumps({"content_id": value, "ready_vm": value})) == Notes()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.text() | json_values.map(json.dumps) | st.none())
def test_foreign_text_means_never(text: str | None) -> None:
    assert Notes.from_json(text) == Notes()


@given(json_values, json_values)
def test_altered_times_never_crash(used: object, warmed: object) -> None:
    Notes.from_json(json.dumps({"used_at": used, "warmed_at": warmed}))


def test_a_time_without_a_zone_is_no_time() -> None:
    assert Notes.from_json('{"used_at": "2026-01-01T00:00:00"}') == Notes()


def test_a_burst_of_clones_writes_once(world: World) -> None:
    for number in range(1, 20):
        world.engine.create_volume(IMAGE, volume(number), world.source)
    assert world.store.calls["touch"] == 1
    world.clock.advance(WRITE_EVERY_S)
    world.engine.create_volume(IMAGE, volume(20), world.source)
    assert world.store.calls["touch"] == 2


def test_a_use_that_cannot_be_noted_fails_no_volume(world: World) -> None:
    world.store.faults["touch"] = [errors.Unreachable("reset")]
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    assert world.store.volumes == {volume().id: made.entry.moref}


def test_a_use_that_is_only_remembered_keeps_an_idle_template(world: World) -> None:
    """The account may not set attributes: the store reports the time and writes nothing."""
    made = world.engine.create_volume(IMAGE, volume(), world.source)
    unwritten = world.store.vms[made.entry.moref]
    world.clock.advance(1000)
    usage = Usage(world.store, world.clock)
    usage.note(unwritten)
    idle = Settings(age_s=500, expiry="idle")
    (seen,) = usage.applied([unwritten])
    assert not plan_eviction([seen], world.clock.now(), idle).remove
    assert plan_eviction([unwritten], world.clock.now(), idle).remove


def test_a_first_use_that_is_only_remembered_counts_like_a_written_one(world: World) -> None:
    """The template has no record of any use, but this process knows of one."""
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    unwritten = dataclasses.replace(entry, used_at=None)
    usage = Usage(world.store, world.clock)
    usage.note(unwritten)
    (seen,) = usage.applied([unwritten])
    assert seen == dataclasses.replace(entry, used_at=world.clock.now())


def idle(age_s: int) -> Settings:
    return Settings(enabled=True, expiry=EXPIRY_IDLE, age_s=age_s)


def expired(world: World, usage: Usage, settings: Settings) -> bool:
    """Whether a purge of a process with ``usage`` removes anything."""
    entries = usage.applied(world.store.entries())
    return bool(plan_eviction(entries, world.clock.now(), settings).remove)


@pytest.mark.parametrize("age_s", [8, 60, 300, 600])
def test_a_template_that_was_used_does_not_expire_by_idleness(world: World, age_s: int) -> None:
    """This holds in every process: half of the age has not passed since the last use."""
    settings = idle(age_s)
    used_by = Usage(world.store, world.clock, lambda: settings)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    for _ in range(20):
        world.clock.advance(age_s / 8)
        used_by.note(entry)
        world.clock.advance(age_s / 2)
        assert not expired(world, used_by, settings)
        assert not expired(world, Usage(world.store, world.clock), settings)
        used_by.note(entry)
    world.clock.advance(age_s + 1)
    assert expired(world, used_by, settings)
    assert expired(world, Usage(world.store, world.clock), settings)


def test_the_process_that_cloned_knows_of_uses_that_are_not_written(world: World) -> None:
    settings = idle(100)
    usage = Usage(world.store, world.clock, lambda: settings)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    usage.note(entry)
    writes = world.store.calls["touch"]
    world.clock.advance(24)
    usage.note(entry)
    assert world.store.calls["touch"] == writes
    world.clock.advance(99)
    (seen,) = usage.applied(world.store.entries())
    assert seen.used_at == world.clock.now() - datetime.timedelta(seconds=99)
    assert not expired(world, usage, settings)
    world.clock.advance(2)
    assert expired(world, usage, settings)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (Settings(age_s=40), WRITE_EVERY_S),
        (idle(0), WRITE_EVERY_S),
        (idle(40), 10.0),
        (idle(1200), WRITE_EVERY_S),
        (idle(1196), 299.0),
        (idle(86400), WRITE_EVERY_S),
    ],
)
def test_uses_are_written_four_times_an_age_where_idleness_counts(
    settings: Settings, seconds: float
) -> None:
    assert write_every_s(settings) == seconds


def test_a_use_that_could_not_be_written_is_written_soon_after(world: World) -> None:
    usage = Usage(world.store, world.clock)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    world.store.faults["touch"] = [errors.Unreachable("reset")]
    usage.note(entry)
    writes = world.store.calls["touch"]
    world.clock.advance(RETRY_AFTER_S - 1)
    usage.note(entry)
    assert world.store.calls["touch"] == writes, "each volume of a burst meets the fault"
    world.clock.advance(1)
    usage.note(entry)
    assert world.store.calls["touch"] == writes + 1
    (seen,) = world.store.entries()
    assert seen.used_at == world.clock.now()


def test_a_failed_write_does_not_hide_the_use_from_its_own_process(world: World) -> None:
    usage = Usage(world.store, world.clock)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    usage.note(entry)
    world.clock.advance(WRITE_EVERY_S)
    world.store.faults["touch"] = [errors.Unreachable("reset")]
    usage.note(entry)
    world.clock.advance(50)
    (seen,) = usage.applied(world.store.entries())
    assert seen.used_at == world.clock.now() - datetime.timedelta(seconds=50)


def test_a_process_without_vcenters_time_uses_the_written_times(
    world: World,
) -> None:
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    (written,) = world.store.entries()
    usage = Usage(world.store, world.clock)
    world.store.faults["touch"] = [errors.Unreachable("reset")]
    usage.note(entry)
    assert usage.applied([written]) == [written]


def test_the_volume_is_made_whatever_goes_wrong_with_its_note(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    usage = Usage(world.store, world.clock)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    world.store.faults["touch"] = [ValueError("a bug")]
    usage.note(entry)
    assert world.store.faults["touch"] == []
    assert [r.getMessage() for r in caplog.records if "a bug" in r.getMessage()] != []


def test_uses_of_templates_that_are_gone_are_forgotten(world: World) -> None:
    usage = Usage(world.store, world.clock)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    usage.note(entry)
    writes = world.store.calls["touch"]
    assert usage.applied([]) == []
    usage.note(entry)
    assert world.store.calls["touch"] == writes + 1, "it may be another template"


def test_a_later_use_of_another_process_counts(world: World) -> None:
    usage = Usage(world.store, world.clock)
    entry = world.engine.create_volume(IMAGE, volume(), world.source).entry
    usage.note(entry)
    world.clock.advance(10)
    later = dataclasses.replace(entry, used_at=world.clock.now())
    assert usage.applied([later]) == [later]


def test_a_warm_up_restarts_the_age(world: World) -> None:
    world.engine.create_volume(IMAGE, volume(), world.source)
    world.clock.advance(1000)
    entry, how = world.engine.warm(IMAGE, "lsiLogic", world.source)
    assert how == Warmth.THERE
    settings = Settings(age_s=500)
    assert not plan_eviction(world.store.entries(), world.clock.now(), settings).remove
    assert plan_eviction([entry], world.clock.now(), settings).remove


def test_a_warm_up_of_a_missing_image_imports_it(world: World) -> None:
    _, how = world.engine.warm(IMAGE, "lsiLogic", world.source)
    assert how == Warmth.IMPORTED
    assert world.engine.create_volume(IMAGE, volume(), world.source).hit

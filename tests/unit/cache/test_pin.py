"""A pin as text in a custom attribute, and which images are pinned."""

from __future__ import annotations

import dataclasses
import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.entries import entry
from vmdk_cache.cache.entry import Phase, pins_of
from vmdk_cache.cache.pin import Pin

AT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
PIN = Pin("alice@ctl1", AT)
JSON = {"vm": "vm-1", "by": "alice@ctl1", "at": "2026-01-02T03:04:05+00:00"}


def test_a_pin_is_read_as_it_was_written() -> None:
    assert json.loads(PIN.to_json("vm-1")) == JSON
    assert Pin.from_json(PIN.to_json("vm-1"), "vm-1") == PIN
    assert str(PIN) == "pinned by alice@ctl1 since 2026-01-02 03:04 UTC"


def test_a_user_cannot_forge_the_sentence_that_names_them() -> None:
    forged = Pin.of("bob since yesterday: unpin it", "ctl1", AT)
    assert str(forged).startswith("pinned by 'bob since yesterday: unpin it@ctl1' since 2026")


def test_a_time_in_another_zone_is_shown_in_utc() -> None:
    text = json.dumps({**JSON, "at": "2026-01-02T05:04:05+02:00"})
    assert Pin.from_json(text, "vm-1") == PIN


def test_a_pin_that_a_clone_has_inherited_does_not_count() -> None:
    assert Pin.from_json(PIN.to_json("vm-1"), "vm-2") is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "null",
        "[]",
        PIN.to_json("vm-1")[:-1],
        "[" * 100_000,
        json.dumps({**JSON, "by": ""}),
        json.dumps({**JSON, "by": 7}),
        json.dumps({**JSON, "by": "x" * 200}),
        json.dumps({**JSON, "by": "red \x1b[31m"}),
        json.dumps({**JSON, "by": "a\u202eb"}),
        json.dumps({**JSON, "at": "2026-01-02T03:04:05"}),
        json.dumps({**JSON, "at": "0001-01-01T00:00:00+23:59"}),
        json.dumps({**JSON, "at": 1}),
        json.dumps({"by": "alice@ctl1", "at": JSON["at"]}),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_no_pin_command_has_written_is_ignored(text: str | None) -> None:
    assert Pin.from_json(text, "vm-1") is None


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_text_breaks_the_reader(text: str) -> None:
    Pin.from_json(text, "vm-1")


@given(st.text(), st.text())
def test_every_pin_fits_the_attribute_and_is_read_again(user: str, host: str) -> None:
    pin = Pin.of(user, host, AT)
    text = pin.to_json("vm-1234567890")
    assert len(text) < 255
    assert Pin.from_json(text, "vm-1234567890") == pin


def test_an_image_has_the_oldest_pin_of_its_copies() -> None:
    later = Pin("bob@ctl2", AT + datetime.timedelta(hours=1))
    entries = [
        entry("vm-1", image="i", pinned=later),
        entry("vm-2", image="i", pinned=PIN),
        entry("vm-3", image="i"),
        entry("vm-4", image="j"),
    ]
    assert pins_of(entries) == pins_of(entries[::-1]) == {"i": PIN}


@pytest.mark.parametrize(
    ("phase", "counts"), [(Phase.READY, True), (Phase.ALTERED, True), (Phase.FOREIGN, False)]
)
def test_a_pin_counts_on_templates_of_this_cache(phase: Phase, counts: bool) -> None:
    one = dataclasses.replace(entry("vm-1", image="i"), phase=phase, pinned=PIN)
    assert bool(pins_of([one])) is counts

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdk_cache.cache.entry import Phase, classify
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.record import Record

RECORD = Record(
    backend="b1",
    key=CacheKey("11111111-2222-3333-4444-555555555555", "f" * 32, "lsiLogic"),
    virtual_size_bytes=1 << 30,
    created_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    owner="host:1",
)
PRIOR_ART = "b1_image_cache (11111111-2222-3333-4444-555555555555)"
JSON = json.loads(RECORD.to_json())


def test_a_record_survives_its_template() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.text() | json_values.map(json.dumps) | st.none())
def test_whatever_somebody_writes_there_is_no_record_and_no_crash(text: str | None) -> None:
    assert Record.from_json(text) is None


@given(st.sampled_from(sorted(JSON)), json_values)
def test_one_altered_field_never_crashes(field: str, value: object) -> None:
    Record.from_json(json.dumps({**JSON, field: value}))


@pytest.mark.parametrize("field", sorted(JSON))
def test_a_record_without_one_of_its_fields_is_none(field: str) -> None:
    assert Record.from_json(json.dumps({k: v for k, v in JSON.items() if k != field})) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_id", "\ud800"),
        ("fingerprint", "\ud800"),
        ("created_at", "0001-01-01T00:00:00+14:00"),
        ("created_at", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_what_nothing_can_be_reckoned_with_is_no_record(field: str, value: str) -> None:
    """One template altered by hand would keep all the others from being listed."""
    assert Record.from_json(json.dumps({**JSON, field: value})) is None


LATER = json.dumps({"schema": 2, "everything": "else"})


@pytest.mark.parametrize("more", [{}, {k: v for k, v in JSON.items() if k != "schema"}])
def test_a_record_of_a_later_version_is_known_as_such_and_nothing_else_of_it(
    more: dict[str, object],
) -> None:
    record = Record.from_json(json.dumps({"schema": 2, **more}))
    assert record is not None
    assert record.is_of_later_version
    assert (record.backend, record.key.image_id, record.schema) == ("", "", 2)
    assert not RECORD.is_of_later_version
    with pytest.raises(AssertionError):
        record.to_json()


@pytest.mark.parametrize("schema", [0, -1, "2", 2.5, None, [2]])
def test_what_no_version_writes_as_its_schema_is_no_record(schema: object) -> None:
    assert Record.from_json(json.dumps({**JSON, "schema": schema})) is None


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({}, Phase.READY),
        ({"is_template": False}, Phase.IMPORTING),
        ({"record": None}, Phase.ADOPTED),
        ({"record": None, "name": PRIOR_ART}, Phase.ADOPTED),
        ({"record": None, "name": PRIOR_ART, "is_template": False}, Phase.FOREIGN),
        ({"record": None, "name": PRIOR_ART, "backend": "b2"}, Phase.FOREIGN),
        ({"record": None, "name": "golden image"}, Phase.FOREIGN),
        ({"backend": "b2"}, Phase.FOREIGN),
        ({"name": "renamed"}, Phase.FOREIGN),
        ({"disks": 0}, Phase.FOREIGN),
        ({"disks": 2}, Phase.FOREIGN),
        ({"record": Record.from_json(LATER)}, Phase.FOREIGN),
        ({"record": Record.from_json(LATER), "is_template": False}, Phase.FOREIGN),
    ],
    ids=str,
)
def test_only_a_complete_template_of_ours_under_its_own_name_is_served(
    change: dict[str, object], phase: Phase
) -> None:
    facts: dict[str, object] = {
        "backend": "b1",
        "name": template_name("b1", RECORD.key),
        "is_template": True,
        "disks": 1,
        "record": RECORD,
    }
    assert classify(**{**facts, **change}) is phase  # type: ignore[arg-type]

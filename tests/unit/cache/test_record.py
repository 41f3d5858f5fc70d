from __future__ import annotations

import dataclasses
import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.record import IMAGE_NAME_LENGTH, Record

RECORD = Record(
    backend="b1",
    key=CacheKey("11111111-2222-3333-4444-555555555555", "f" * 32, "lsiLogic"),
    virtual_size_bytes=1 << 30,
    created_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    owner="host:1",
    deployment="here",
    lock_domain="0123456789abcdef",
    image_name="Ubuntu 24.04 \x00\U0001f427",
    image_bytes=600 << 20,
)
JSON = json.loads(RECORD.to_json())


def test_a_record_survives_its_template() -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD
    assert list(JSON) == sorted(JSON), "the order of a record's facts varies"


def test_a_record_of_the_first_schema_names_no_deployment() -> None:
    first = {k: v for k, v in JSON.items() if k != "deployment"} | {"schema": 1}
    record = Record.from_json(json.dumps(first))
    assert record == dataclasses.replace(RECORD, deployment="", schema=1)
    assert not record.is_of_later_version
    lying = Record.from_json(json.dumps({**first, "deployment": "there"}))
    assert lying is not None
    assert lying.deployment == ""


def test_a_record_of_an_earlier_version_names_no_locks() -> None:
    earlier = {name: value for name, value in JSON.items() if name != "lock_domain"}
    assert Record.from_json(json.dumps(earlier)) == dataclasses.replace(RECORD, lock_domain="")


def test_a_record_of_an_earlier_version_does_not_name_the_image() -> None:
    earlier = {name: value for name, value in JSON.items() if name != "image_name"}
    assert Record.from_json(json.dumps(earlier)) == dataclasses.replace(RECORD, image_name="")


@pytest.mark.parametrize("size", [None, -1, "12", True])
def test_a_record_of_an_earlier_version_does_not_say_how_large_the_image_is(size: object) -> None:
    earlier = {name: value for name, value in JSON.items() if name != "image_bytes"}
    unknown = dataclasses.replace(RECORD, image_bytes=0)
    assert Record.from_json(json.dumps(earlier)) == unknown
    assert Record.from_json(json.dumps({**earlier, "image_bytes": size})) == unknown


def test_a_long_name_of_an_image_is_cut() -> None:
    long = dataclasses.replace(RECORD, image_name="x" * 300)
    kept = dataclasses.replace(RECORD, image_name="x" * IMAGE_NAME_LENGTH)
    assert Record.from_json(long.to_json()) == kept
    assert Record.from_json(json.dumps({**JSON, "image_name": "x" * 300})) == kept


def test_a_record_is_a_value_that_threads_may_share() -> None:
    assert len({RECORD, Record.from_json(RECORD.to_json())}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.owner = "host:2"  # type: ignore[misc]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.text() | json_values.map(json.dumps) | st.none())
def test_any_foreign_text_is_no_record_and_no_crash(text: str | None) -> None:
    assert Record.from_json(text) is None


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"schema":' * 100_000])
def test_deeply_nested_json_is_no_record_and_no_crash(nested: str) -> None:
    assert Record.from_json(nested) is None
    altered = {**JSON, "owner": "NESTED"}
    assert Record.from_json(json.dumps(altered).replace('"NESTED"', nested)) is None


@given(st.sampled_from(sorted(JSON)), json_values)
def test_one_altered_field_never_crashes(field: str, value: object) -> None:
    Record.from_json(json.dumps({**JSON, field: value}))


@pytest.mark.parametrize(
    "field", sorted(JSON.keys() - {"lock_domain", "image_name", "image_bytes"})
)
def test_a_record_without_one_of_its_fields_is_no_record(field: str) -> None:
    assert Record.from_json(json.dumps({k: v for k, v in JSON.items() if k != field})) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_id", "\ud800"),
        ("fingerprint", "\ud800"),
        ("created_at", "0001-01-01T00:00:00+14:00"),
        ("created_at", "9999-12-31T23:59:59-14:00"),
        ("created_at", "2026-01-01T00:00:00"),
        ("created_at", 1),
        ("virtual_size_bytes", "1"),
        ("virtual_size_bytes", 1.5),
        ("virtual_size_bytes", True),
        ("schema", True),
    ],
)
def test_a_record_with_unusable_values_is_no_record(field: str, value: object) -> None:
    """Otherwise one template with a manual change would prevent all others from being listed."""
    assert Record.from_json(json.dumps({**JSON, field: value})) is None


@pytest.mark.parametrize("more", [{}, {k: v for k, v in JSON.items() if k != "schema"}])
def test_a_record_of_a_later_version_is_known_as_such_and_nothing_else_of_it(
    more: dict[str, object],
) -> None:
    record = Record.from_json(json.dumps({"schema": 99, **more}))
    assert record is not None
    assert record.is_of_later_version
    assert (record.backend, record.key.image_id, record.schema) == ("", "", 99)
    assert (record.virtual_size_bytes, record.created_at.timestamp()) == (0, 0.0)
    assert not RECORD.is_of_later_version
    with pytest.raises(AssertionError):
        record.to_json()


@pytest.mark.parametrize("schema", [0, -1, "2", 1.0, 2.5, None, [2], True])
def test_a_record_with_an_impossible_schema_is_no_record(schema: object) -> None:
    assert Record.from_json(json.dumps({**JSON, "schema": schema})) is None

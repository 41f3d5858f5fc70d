"""Cells are rounded for people, exact for programs, and sort with the unknown first."""

from __future__ import annotations

import datetime

import pytest

from vmdk_cache.cli.columns import (
    Ago,
    Percent,
    Plain,
    Seconds,
    Size,
    Time,
    Until,
    cleaned,
    machine_readable,
)

MOMENT = datetime.datetime(2026, 1, 31, 13, 5, 9, 700_000, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("cell", "human", "machine"),
    [
        (Plain("ds1"), "ds1", "ds1"),
        (Size(0), "0 B", 0),
        (Size(1023), "1023 B", 1023),
        (Size(1024), "1 KiB", 1024),
        (Size(1536 << 20), "1.5 GiB", 1536 << 20),
        (Size(12_345 << 20), "12.1 GiB", 12_345 << 20),
        (Size(102_399 << 20), "100 GiB", 102_399 << 20),
        (Size(1_047_859 << 20), "1023 GiB", 1_047_859 << 20),
        (Size((1 << 40) - 1), "1 TiB", (1 << 40) - 1),
        (Size(5000 << 40), "5000 TiB", 5000 << 40),
        (Time(MOMENT), "2026-01-31 13:05:09", "2026-01-31T13:05:09Z"),
        (Percent(33.333), "33.3 %", 33.33),
        (Seconds(1.23456), "1.23 s", 1.235),
    ],
)
def test_a_value_is_rounded_for_people_and_exact_for_programs(
    cell: Plain, human: str, machine: object
) -> None:
    assert cell.human_readable() == human
    assert machine_readable(cell) == machine


@pytest.mark.parametrize(
    ("cell", "human"),
    [
        (Ago(MOMENT, MOMENT + datetime.timedelta(minutes=2)), "2 min ago"),
        (Until(MOMENT, MOMENT - datetime.timedelta(hours=21)), "in 21 h"),
        (Until(MOMENT, MOMENT), "expired"),
    ],
)
def test_a_relative_time_stays_exact_for_programs(cell: Time, human: str) -> None:
    assert cleaned(cell).human_readable() == human
    assert machine_readable(cleaned(cell)) == "2026-01-31T13:05:09Z"


def test_what_was_never_used_and_what_never_expires_are_told_apart() -> None:
    assert (Ago(None, MOMENT).human_readable(), Until(None, MOMENT).human_readable()) == (
        "never",
        "-",
    )


def test_a_time_is_shown_in_utc_whatever_its_zone() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    assert Time(MOMENT.astimezone(zone)).human_readable() == "2026-01-31 13:05:09"
    assert Time(MOMENT.astimezone(zone)).machine_readable() == "2026-01-31T13:05:09Z"


@pytest.mark.parametrize("kind", [Plain, Size, Time, Percent, Seconds])
def test_an_unknown_value_is_a_dash_for_people_and_null_for_programs(kind: type[Plain]) -> None:
    assert kind(None).human_readable() == "-"
    assert machine_readable(kind(None)) is None


def test_unknown_values_sort_first() -> None:
    cells = [Size(2048), Size(None), Size(10), Size(None)]
    assert [machine_readable(cell) for cell in sorted(cells)] == [None, None, 10, 2048]


def test_a_cell_that_is_no_column_is_its_own_value() -> None:
    assert machine_readable("text") == "text"

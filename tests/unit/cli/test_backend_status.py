"""The status of a backend: progress of imports, the next purge, what needs attention."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from tests.fakes.entries import GIB, NOW, ago, entry
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.ports import Space
from vmdk_cache.cli.backend_status import (
    BackendStatus,
    Contents,
    RunningImport,
    progress_text,
    purge_text,
    status_of,
)
from vmdk_cache.cli.metrics import Look
from vmdk_cache.conf import Settings
from vmdk_cache.ledger import LastPurge
from vmdk_cache.vim.recent_task import ImportProgress

MIB = 1 << 20
SPACES = {"ds1": Space(100 * GIB, 40 * GIB), "ds2": Space(200 * GIB, 20 * GIB)}


def status(
    *entries: CacheEntry,
    imports: dict[str, ImportProgress] | None = None,
    purge: LastPurge | None = None,
    **settings: int,
) -> BackendStatus:
    names = {"ds1": "gold", "ds2": "silver"}
    look = Look(entries, SPACES, names, "8.0.3", imports or {}, NOW)
    return status_of("b1", Settings(enabled=True, **settings), "", look, (), purge, NOW)


def contents(*entries: CacheEntry, **more: dict[str, ImportProgress]) -> Contents:
    found = status(*entries, **more).contents  # type: ignore[arg-type]
    assert found is not None
    return found


def import_of(image_bytes: int, age_s: float) -> CacheEntry:
    made = entry("vm-1", age_s, phase=Phase.IMPORTING, size_gib=20)
    assert made.record is not None
    record = dataclasses.replace(made.record, image_bytes=image_bytes, image_name="debian-13")
    return dataclasses.replace(made, record=record)


def running(percent: int, age_s: float, image_bytes: int = 1000 * MIB) -> RunningImport:
    seen = {"vm-1": ImportProgress(percent, ago(age_s))}
    (found,) = contents(import_of(image_bytes, age_s + 5), imports=seen).imports
    return found


@pytest.mark.parametrize(
    ("percent", "age_s", "rate_mib", "left_s"),
    [
        (0, 100.0, None, None),
        (50, 20.0, None, None),  # nothing has been reported yet
        (25, 100.0, 250 / 90, 270 - 10),  # the report is 10 s old
        (50, 60.0, 500 / 60, 60),
        (99, 119.0, 990 / 90, 0),
    ],
)
def test_the_rate_counts_to_the_last_report(
    percent: int, age_s: float, rate_mib: float | None, left_s: float | None
) -> None:
    found = running(percent, age_s)
    assert (found.percent, found.done_bytes) == (percent, 1000 * MIB * percent // 100)
    rate = None if rate_mib is None else pytest.approx(rate_mib * MIB)
    assert found.bytes_per_s == rate
    assert found.left_s == (None if left_s is None else pytest.approx(left_s))


def test_an_image_of_unknown_size_has_a_percentage() -> None:
    found = running(50, 60.0, image_bytes=0)
    assert (found.done_bytes, found.total_bytes, found.bytes_per_s) == (None, None, None)
    assert progress_text(found, NOW) == "50%, done in 1 min"


def test_progress_in_words() -> None:
    assert progress_text(running(25, 100.0), NOW) == (
        "250 MiB of 1000 MiB (25%), 2.8 MiB/s, done in 4 min"
    )
    assert progress_text(running(0, 5.0), NOW) == "0 B of 1000 MiB (0%)"


def test_an_import_in_its_last_step_has_no_progress_and_is_no_finding() -> None:
    found = contents(import_of(MIB, 59))
    assert [each.percent for each in found.imports] == [None]
    assert progress_text(found.imports[0], NOW) == "progress unknown"
    assert (found.findings, found.under_way) == ((), 1)


def test_an_import_that_nothing_works_on_is_half_imported() -> None:
    found = contents(import_of(MIB, 61))
    assert found.imports == ()
    assert [each.kind for each in found.findings] == [Kind.HALF_IMPORTED]


def test_the_fullest_datastore_is_the_one_that_is_shown() -> None:
    found = status(min_free_percent=20)
    assert found.contents is not None and found.contents.floor is not None
    assert (found.contents.floor.datastore, found.contents.floor.free) == ("silver", 10.0)
    assert found.needs_attention == [
        "datastore silver: 10.0 % free, less than image_cache_min_free_percent = 20"
    ]


@pytest.mark.parametrize(("limit", "attention"), [(1, ["100% of image_cache_max_count"]), (2, [])])
def test_a_limit_that_is_nearly_reached_needs_attention(limit: int, attention: list[str]) -> None:
    assert status(entry("vm-1"), max_count=limit).needs_attention == attention


@pytest.mark.parametrize(
    ("age_s", "error", "says", "attention"),
    [
        (180, "", "3 min ago; next in 7 min", 0),
        (600, "", "10 min ago; next is due", 0),
        (600 + 2400, "", "50 min ago; next is due", 0),
        (600 + 2401, "", "50 min ago; next is due", 1),
        (180, "LockTimeout", "3 min ago, by another process; next in 7 min", 0),
        (180, "Unreachable", "failed 3 min ago (Unreachable); next in 7 min", 1),
    ],
)
def test_the_next_purge_follows_the_last(
    age_s: float, error: str, says: str, attention: int
) -> None:
    began_at = NOW - datetime.timedelta(seconds=age_s)
    found = status(purge=LastPurge(began_at, error), purge_interval_s=600)
    assert purge_text(found) == says
    assert found.next_purge_at == began_at + datetime.timedelta(seconds=600)
    assert len(found.needs_attention) == attention


def test_without_a_last_purge_the_next_is_unknown() -> None:
    found = status(purge_interval_s=600)
    assert found.next_purge_at is None
    assert purge_text(found) == "none recorded on this host, due every 600 s"

"""Which rows and columns ``list`` shows, in which order."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from tests.fakes.entries import GIB, NOW, entry
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.eviction_plan import plan_eviction
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cli.columns import text
from vmdk_cache.cli.listing import (
    COLUMNS,
    ORDERS,
    Row,
    by_image,
    for_people,
    for_programs,
    in_order,
    templates_in,
    total,
)
from vmdk_cache.conf import Settings

DATASTORES = {f"ds{number}": f"DS{number}" for number in (1, 2, 3)}
AGE_S = 86400


def rows(*entries: CacheEntry, backend: str = "b1", max_count: int = 0) -> list[Row]:
    settings = Settings(enabled=True, age_s=AGE_S, max_count=max_count)
    return templates_in(backend, plan_eviction(entries, NOW, settings), DATASTORES, settings)


def table(listed: list[Row], backends: int = 1) -> tuple[list[str], list[list[str]]]:
    ids = [row.image_id or "" for row in listed]
    columns, cells = for_people(listed, ids, [f"b{number}" for number in range(backends)])
    return columns, [[text(cell) for cell in row] for row in cells]


def named(made: CacheEntry, name: str) -> CacheEntry:
    assert made.record is not None
    return dataclasses.replace(made, record=dataclasses.replace(made.record, image_name=name))


def test_copies_of_an_image_are_one_row_with_the_first_datastore() -> None:
    web = [
        named(entry(f"vm-{n}", 3 * 3600, image="web-0001", datastore=f"ds{n}", used_s=used), "web")
        for n, used in ((2, None), (1, 125), (3, 7300))
    ]
    columns, [row] = table(by_image(rows(*web)))
    assert columns == [
        "Image", "Image Name", "Datastore", "Copies", "Size", "Used", "Last Used", "Expires",
    ]  # fmt: skip
    assert row == ["web-0001", "web", "DS1 +2", "3", "10 GiB", "30 GiB", "2 min ago", "in 21 h"]


def test_what_was_never_used_and_has_no_name_says_so() -> None:
    _, [row] = table(by_image(rows(entry("vm-1", image="web-0001", datastore=None))))
    assert row[1:3] == ["-", "-"] and row[6:] == ["never", "in 24 h"]


def test_other_columns_are_shown_only_where_they_tell_something() -> None:
    lsi, ide = entry("vm-1", image="web"), entry("vm-2", image="web", adapter="ide")
    columns, cells = table(by_image(rows(lsi, ide)))
    assert columns[2] == "Adapter" and {row[2] for row in cells} == {"lsiLogic", "ide"}
    importing = entry("vm-3", image="db", phase=Phase.IMPORTING)
    columns, cells = table(by_image(rows(lsi, importing)))
    assert columns[2] == "Phase" and {row[2] for row in cells} == {"ready", "importing"}
    assert table(by_image(rows(lsi)), backends=2)[0][0] == "Backend"


def test_what_the_next_purge_deletes_says_so() -> None:
    old, young = entry("vm-1", AGE_S + 60, image="old"), entry("vm-2", 5, image="young")
    surplus = entry("vm-3", 600, image="surplus")
    _, cells = table(in_order(by_image(rows(old, young, surplus, max_count=1)), "created"))
    assert [(row[0], row[-1]) for row in cells] == [
        ("young", "in 23 h"),
        ("surplus", "next purge"),
        ("old", "expired"),
    ]


def test_a_pinned_image_does_not_expire() -> None:
    pinned = entry("vm-1", 2 * AGE_S, image="web", pinned=Pin("ann@host", NOW))
    listed = rows(pinned, entry("vm-2", 5, image="web", datastore="ds2"))
    assert [row.pinned_by for row in listed] == ["ann@host", "ann@host"]
    assert table(by_image(listed))[1][0][-1] == "pinned"
    altered = entry("vm-3", 5, image="db", phase=Phase.ALTERED, pinned=Pin("ann@host", NOW))
    [row] = rows(altered)
    assert row.pinned_by is None and table([row])[1][0][-1] == "next purge"


def test_an_image_expires_with_its_last_copy_or_never() -> None:
    [row] = by_image(rows(entry("vm-1", 60, image="web"), entry("vm-2", 7, image="web")))
    assert row.expires_at == NOW + datetime.timedelta(seconds=AGE_S - 7)
    settings = Settings(enabled=True, age_s=0)
    plan = plan_eviction([entry("vm-1", 60)], NOW, settings)
    [row] = templates_in("b1", plan, DATASTORES, settings)
    assert row.expires_at is None and table([row])[1][0][-1] == "-"


@pytest.mark.parametrize(
    ("column", "first"),
    [
        ("last-used", "used"), ("expires", "expiring"), ("created", "new"), ("size", "large"),
        ("used", "large"), ("copies", "twice"), ("image", "aaa"), ("image-name", "large"),
        ("datastore", "expiring"),
    ],
)  # fmt: skip
def test_rows_are_sorted_with_the_most_telling_one_first(column: str, first: str) -> None:
    everything = rows(
        entry("vm-1", 900, image="used", used_s=5, datastore="ds2"),
        entry("vm-2", 9000, image="expiring", datastore="ds1"),
        entry("vm-3", 1, image="new", datastore="ds3"),
        named(entry("vm-4", 800, image="large", size_gib=80, datastore="ds2"), "A name"),
        entry("vm-5", 800, image="aaa", datastore="ds2"),
        *(entry(f"vm-{n}", 800, image="twice", datastore=f"ds{n - 4}") for n in (6, 7)),
    )
    everything = [
        row if row.image_name else dataclasses.replace(row, image_name="b") for row in everything
    ]
    listed = in_order(by_image(everything), column)
    assert listed[0].image_id == first
    assert set(ORDERS) >= {column} and len(listed) == 6


def test_rows_that_are_never_used_come_last_and_by_image() -> None:
    used = entry("vm-1", image="web", used_s=5)
    listed = in_order(rows(entry("vm-2", image="b"), used, entry("vm-3", image="a")), "last-used")
    assert [row.image_id for row in listed] == ["web", "a", "b"]


def test_programs_get_a_row_for_each_template_with_exact_values() -> None:
    one = named(entry("vm-1", 60, image="web", used_s=5), "web")
    foreign = entry("vm-2", 60, image="db", phase=Phase.FOREIGN)
    columns, cells = for_programs(rows(one, foreign), why=True)
    assert columns == (*COLUMNS, "Why")
    theirs, ours = (dict(zip(columns, map(exact, row), strict=True)) for row in cells)
    assert (ours["Image Name"], ours["Virtual Size"], ours["Copies"]) == ("web", 10 * GIB, 1)
    assert (ours["Created"], ours["Last Used"]) == ("2026-01-30T23:59:00Z", "2026-01-30T23:59:55Z")
    assert (theirs["Image"], theirs["Expires"], theirs["Copies"]) == (None, None, 0)
    assert theirs["Why"] == "not a template of this cache"


def exact(cell: Any) -> Any:
    return cell.machine_readable() if hasattr(cell, "machine_readable") else cell


def test_the_total_counts_templates_images_and_datastores() -> None:
    web = [entry(f"vm-{n}", image="web", datastore=f"ds{n}") for n in (1, 2)]
    db = entry("vm-3", image="db", datastore="ds1")
    assert total(rows(*web, db)) == "3 templates of 2 images on 2 datastores, 30 GiB used"
    assert total(rows(db)) == "1 template of 1 image on 1 datastore, 10 GiB used"

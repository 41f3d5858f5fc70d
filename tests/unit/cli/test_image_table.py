from __future__ import annotations

from typing import Any

import pytest

from vmdk_cache.cli.columns import Plain, text
from vmdk_cache.cli.image_table import readable

COLUMNS = ("Backend", "Image", "Name", "Outcome")
ROWS: list[list[Any]] = [
    ["b1", Plain("2f6c0f0e-1111"), "vm one", "removed"],
    ["b1", Plain(None), "vm two", "stayed"],
    ["b1", "9c1e77aa-2222", "vm three", "removed"],
]


@pytest.mark.parametrize("backend", ["b1", "b2"])
def test_ids_are_short_and_the_backend_is_shown_if_there_are_several(backend: str) -> None:
    rows = [*ROWS[:2], [backend, *ROWS[2][1:]]]
    columns, cells = readable(COLUMNS, rows, ("Backend", "Image", "Outcome"))
    shown = [[text(cell) for cell in row] for row in cells]
    several = backend == "b2"
    assert columns == ["Backend", "Image", "Outcome"][not several :]
    assert [row[several:] for row in shown] == [
        ["2f6c0f0e", "removed"],
        ["-", "stayed"],
        ["9c1e77aa", "removed"],
    ]


def test_a_table_may_be_of_something_else() -> None:
    rows = [["b1", "2026-01-31", 7], ["b1", "2026-02-01", 8]]
    columns = ("Backend", "Day", "Hits")
    assert readable(columns, rows, columns) == (["Day", "Hits"], [row[1:] for row in rows])


def test_a_table_without_rows_keeps_its_columns() -> None:
    assert readable(COLUMNS, [], ("Image", "Outcome")) == (["Image", "Outcome"], [])

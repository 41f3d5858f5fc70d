from __future__ import annotations

import io
from typing import Any

import pytest
from cliff.columns import FormattableColumn
from cliff.formatters.table import TableFormatter
from rich.cells import cell_len

from vmdk_cache.cli.columns import Size, text
from vmdk_cache.cli.narrow_table import fit

COLUMNS = ["Image", "Image Name", "Size", "Used"]
ROWS = [
    ["2f6c0f0e", "ubuntu-24.04-server-cloudimg-amd64", Size(10 << 30), Size(1 << 30)],
    ["9c1e77aa", "web", Size(512 << 20), Size(1 << 20)],
]


def printed(columns: list[str], rows: list[list[Any]]) -> list[str]:
    """The table as cliff prints it."""
    out = io.StringIO()
    options = type("Options", (), {"print_empty": True, "max_width": 0, "fit_width": False})
    TableFormatter().emit_list(columns, rows, out, options)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [50, 60, 66, 67, 70])
def test_a_long_cell_is_cut_so_that_the_table_is_as_wide_as_the_terminal(width: int) -> None:
    lines = printed(*fit(COLUMNS, ROWS, width, flexible={"Image Name": 12}))
    assert {len(line) for line in lines} == {min(width, 67)}
    assert ("…" in lines[3]) == (width < 67)
    assert "ubuntu-24.0" in lines[3] and "| web " in lines[4]


def test_columns_are_left_out_in_order_until_the_others_have_their_width() -> None:
    def kept(width: int) -> list[str]:
        optional = ["Used", "Size"]
        return fit(COLUMNS, ROWS, width, flexible={"Image Name": 12}, optional=optional)[0]

    assert kept(45) == COLUMNS
    assert kept(44) == ["Image", "Image Name", "Size"]
    assert kept(30) == ["Image", "Image Name"]


def test_flexible_columns_give_way_if_nothing_else_can() -> None:
    rows = [["2f6c0f0e", "ubuntu-24.04-server", "nfs-rack-12-east"]]
    flexible = {"Image Name": 12, "Datastore": 12}
    _, [row] = fit(["Image", "Image Name", "Datastore"], rows, 40, flexible=flexible)
    assert row == ["2f6c0f0e", "ubuntu-24.0…", "nfs-rack-…"]
    _, [row] = fit(["Image", "Image Name", "Datastore"], rows, 20, flexible=flexible)
    assert row == ["2f6c0f0e", "ubuntu-24…", "nfs-rack…"]  # as wide as the names of the columns


def test_no_cell_changes_in_a_wide_terminal() -> None:
    assert fit(COLUMNS, ROWS, 200, flexible={"Image Name": 12}) == (COLUMNS, ROWS)


def test_characters_that_take_two_cells_count_as_two() -> None:
    rows = [["1", "雲のための画像ファイル"], ["2", "small"]]
    lines = printed(*fit(["Id", "Name"], rows, 21, flexible={"Name": 8}))
    assert {cell_len(line) for line in lines} == {20}  # half a character is not shown
    assert "雲のための…" in lines[3]


def test_a_wrapped_cell_keeps_all_its_words() -> None:
    rows = [["1", "90000 s old, more than 86400 s"]]
    lines = printed(*fit(["Id", "Why"], rows, 25, flexible={"Why": 10}, wrapped=["Why"]))
    assert max(map(len, lines)) <= 25
    shown = " ".join(line.split("|")[2].strip() for line in lines[3:-1])
    assert shown == rows[0][1] and len(lines) > 5


def test_a_word_is_broken_only_if_it_is_longer_than_a_line() -> None:
    image = "5b1f0c9e-3d74-4a86-92be-e07c14d8f263"
    cells = [[f"of image {image}"], ["to " + "x" * 45]]
    lines = printed(*fit(["Why"], cells, 40, flexible={"Why": 10}, wrapped=["Why"]))
    shown = [line.strip("| ") for line in lines if line.startswith("| ")][1:]
    assert shown == ["of image", image, "to", "x" * 36, "x" * 9]


def test_a_cell_of_several_lines_is_as_wide_as_its_longest_line() -> None:
    limits = Lines(["max_count: 3 of 10", "max_percent: 7 of 50"])
    assert fit(["Limits"], [[limits]], 24, flexible={"Limits": 8}) == (["Limits"], [[limits]])
    _, [[cell]] = fit(["Limits"], [[limits]], 16, flexible={"Limits": 8}, wrapped=["Limits"])
    assert text(cell).split("\n") == ["max_count: 3", "of 10", "max_percent:", "7 of 50"]


class Lines(FormattableColumn[list[str]]):
    def human_readable(self) -> str:
        return "\n".join(self._value)


def test_escapes_count_as_they_are_shown() -> None:
    _, [[cell]] = fit(["Name"], [["\x1b[2Jabcdef"]], 14, flexible={"Name": 4})
    assert cell == "\\x1b[2Jab…"


def test_a_table_without_rows_has_its_columns() -> None:
    assert fit(COLUMNS, [], 80, flexible={"Image Name": 12}) == (COLUMNS, [])

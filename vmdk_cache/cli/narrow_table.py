"""Makes a table fit a terminal: cuts or wraps the cells that can be long, and leaves out columns.

cliff would wrap every cell of a table that is too wide, in the middle of words. Widths are counted
in cells of the terminal: a Chinese, Japanese or Korean character takes two.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from vmdk_cache.cli.columns import Lines, cleaned, text

#: If neither the terminal nor COLUMNS says how wide it is.
DEFAULT_WIDTH = 80
_CUT = "…"
#: The frame of a column, "| " before and " " after a cell, and of the table, "|" at the end.
_FRAME_OF_COLUMN, _FRAME = 3, 1


def width() -> int:
    """Cells in a line of the terminal."""
    return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


def fit(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    width: int,
    *,
    flexible: Mapping[str, int],
    wrapped: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> tuple[list[str], list[list[Any]]]:
    """The table with cells short enough for ``width``. It stays wider if the cells of columns that
    are not flexible need more.

    :param flexible: column -> width that its cells keep, if they have it; the first ones get what
        is left, and give way last if no optional column is left
    :param wrapped: the flexible columns that are wrapped rather than cut
    :param optional: columns to leave out, in this order, until the flexible ones have their width
    """
    rows = [[cleaned(cell) for cell in row] for row in rows]
    needed = {
        column: max([cell_len(column), *(_len(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    }
    least = {
        column: min(needed[column], size) for column, size in flexible.items() if column in needed
    }
    kept = list(columns)

    def room() -> int:
        return width - _FRAME - sum(_FRAME_OF_COLUMN + {**needed, **least}[each] for each in kept)

    for column in optional:
        if room() < 0 and column in kept:
            kept.remove(column)
    for column in reversed(least):
        if room() < 0 and column in kept:
            least[column] = max(cell_len(column), least[column] + room())
    left = max(0, room())
    sizes = dict(needed)
    for column, size in least.items():
        sizes[column] = min(needed[column], size + left)
        left -= sizes[column] - size
    indexes = [columns.index(column) for column in kept]
    return kept, [
        [_fitted(row[i], sizes[columns[i]], columns[i] in wrapped) for i in indexes] for row in rows
    ]


def _len(cell: Any) -> int:
    return max(map(cell_len, text(cell).split("\n")))


def _fitted(cell: Any, size: int, is_wrapped: bool) -> Any:
    if _len(cell) <= size:
        return cell
    lines = text(cell).split("\n")
    if is_wrapped:
        return Lines([part for line in lines for part in _wrapped(line, size)])
    return set_cell_size(" ".join(lines), size - 1).rstrip() + _CUT


def _wrapped(line: str, size: int) -> list[str]:
    """The line in parts; a long word begins a part of its own, and is broken only if it must be."""
    words = textwrap.wrap(line, size, break_long_words=False, break_on_hyphens=False)
    return [part for whole in words for part in textwrap.wrap(whole, size)]

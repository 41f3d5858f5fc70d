"""A page of docs/ whose tables a program writes (``python -m PROGRAM``), or compares (``--check``).

The tables stand between two comments; what is around them is written by hand.
"""

from __future__ import annotations

import itertools
import pathlib
import sys
from collections.abc import Sequence

TABLE = ".. list-table::"
DOCS = pathlib.Path(__file__).parents[1] / "docs"


class GeneratedPage:
    """One page.

    :param program: the module that writes its tables
    """

    END = ".. to here\n"

    def __init__(self, name: str, program: str) -> None:
        self.path = DOCS / name
        self.begin = f".. Written by python -m {program} from here\n"
        self._program = program

    def written(self, page: str, tables: str) -> str:
        """The page with other tables.

        :raises ValueError: it lacks one of the two comments
        """
        head, begin, rest = page.partition(self.begin)
        _, end, tail = rest.partition(self.END)
        if not begin or not end:
            missing = (self.END if begin else self.begin).strip()
            raise ValueError(f"{self.path.name} lacks the line {missing!r}")
        return f"{head}{self.begin}\n{tables}\n{self.END}{tail}"

    def shown(self, heading: str) -> list[tuple[str, ...]]:
        """The rows of the ``list-table`` that follows a line of the page; none if no table does.

        :raises ValueError: the page lacks the line
        """
        lines = self.path.read_text(encoding="utf-8").split("\n")
        rest = lines[lines.index(heading) + 2 :]
        rows: list[list[str]] = []
        for line in itertools.takewhile(bool, rest[3:] if rest[0] == TABLE else []):
            if line.startswith("   * -"):
                rows.append([])
            rows[-1].append(line[7:])
        return [tuple(row) for row in rows[1:]]

    def write(self, tables: str) -> int:
        """Write the page, or with ``--check`` on the command line only say whether it would change;
        returns the exit code."""
        before = self.path.read_text(encoding="utf-8")
        after = self.written(before, tables)
        if "--check" in sys.argv[1:]:
            if before != after:
                print(f"docs/{self.path.name} is out of date: run python -m {self._program}")
            return int(before != after)
        self.path.write_text(after, encoding="utf-8")
        return 0


def list_table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a ``list-table`` of reStructuredText."""
    lines = [TABLE, "   :header-rows: 1", ""]
    for row in (headings, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}".rstrip())
    return [*lines, ""]

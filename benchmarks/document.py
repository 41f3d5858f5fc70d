"""The tables of docs/performance.rst, written from results.json: ``python -m benchmarks.document``.

They stand between two comments; what is around them is written by hand. ``--check`` only says
whether they are up to date, with exit code 1 if not.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.rows import all_rows

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "performance.rst"
BEGIN = ".. Written by python -m benchmarks.document from here\n"
END = ".. to here\n"


def written(page: str, measured: dict[str, Any]) -> str:
    """The page with its tables made anew.

    :raises ValueError: it lacks one of the two comments
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks the line {(END if begin else BEGIN).strip()!r}")
    return f"{head}{BEGIN}\n{tables(measured)}\n{END}{tail}"


def tables(measured: dict[str, Any]) -> str:
    """One table of bars, one of figures, and a line on the machine."""
    order = {name: number for number, name in enumerate(all_rows())}
    rows = dict(sorted(measured["rows"].items(), key=lambda row: order.get(row[0], len(order))))
    bars = [
        (row["title"], bar["text"], bar["found"], "yes" if bar["met"] else "**no**")
        for row in rows.values()
        for bar in row["bars"]
    ]
    figures = [
        (row["title"] if number == 0 else "", what, found)
        for row in rows.values()
        for number, (what, found) in enumerate(row["figures"])
    ]
    return "\n".join(
        [
            _machine(measured["machine"]),
            *_table(("Measure", "Bar", "Found", "Met"), bars),
            *_table(("Measure", "What", "Found"), figures),
        ]
    )


def _machine(machine: dict[str, Any]) -> str:
    if not machine:
        return "Nothing has been measured yet.\n"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Measured on {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} "
        f"GiB,\n{machine['system']}, Python {machine['python']}, {machine['openssl']};\n"
        f"{packages}.\n"
    )


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (headings, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}".rstrip())
    return [*lines, ""]


def main() -> int:
    """See the module's text."""
    before = PAGE.read_text(encoding="utf-8")
    after = written(before, results.load())
    if "--check" in sys.argv[1:]:
        if before != after:
            print(f"docs/{PAGE.name} is out of date: run python -m benchmarks.document")
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

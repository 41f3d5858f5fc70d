"""``make matrix``, or ``python -m tests.matrix cinder26 py313-threading`` for the cells whose names
contain one of the words.

Cells are tried one after the other; each prints its line of the table when it is done. Exit code 1
if one did not hold: it failed, or its Python is not on this machine.
"""

from __future__ import annotations

import os
import platform
import sys

from tests.matrix import cells
from tests.matrix.trial import Result, try_cell

WIDTHS = (6, 6, 9, 7, 10, 15, 6, 10)
HEADINGS = ("Cinder", "Python", "threads", "holds", "unit tests", "volume's life",
            "run, s", "install, s")  # fmt: skip


def main() -> int:
    """See the module's text."""
    try:
        chosen = cells.named(sys.argv[1:])
    except ValueError as failure:
        print(failure, file=sys.stderr)
        return 2
    rule = "  ".join("=" * width for width in WIDTHS)
    print(rule, line(HEADINGS), rule, sep="\n", flush=True)
    results = []
    for cell in chosen:
        results.append(try_cell(cell))
        print(line(row(results[-1])), flush=True)
    print(rule)
    held = sum(not result.failure for result in results)
    print(f"{held} of {len(results)} cells hold, on {os.cpu_count()} cores ({platform.machine()}).")
    for result in results:
        if result.failure:
            print(f"\n{result.cell.name}: {result.failure}", file=sys.stderr)
    return int(held < len(results))


def row(result: Result) -> tuple[str, ...]:
    """The cell's line of the table, column by column."""
    cell = result.cell
    return (
        cell.release.cinder,
        cell.python,
        cell.threads,
        "no" if result.failure else "yes",
        f"{result.unit} passed",
        f"{result.life} passed",
        f"{result.tried_s:.0f}",
        f"{result.installed_s:.0f}" if result.installed_s >= 1 else "there",
    )


def line(columns: tuple[str, ...]) -> str:
    padded = (text.ljust(width) for text, width in zip(columns, WIDTHS, strict=True))
    return "  ".join(padded).rstrip()


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks [ROW ...]``: measure, print, save.

Exit codes: 0 if every bar was met, 1 if one was not, 2 if a row could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import time


def main() -> int:
    """See the module's docstring."""
    # Imported here, so that processes spawned from this one start small.
    from rich.console import Console
    from rich.table import Table

    from benchmarks import pictures, results
    from benchmarks.row import NotMeasured, Outcome
    from benchmarks.rows import all_rows

    rows = all_rows()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"all of {', '.join(rows)}")
    names = parser.parse_args().rows or list(rows)
    unknown = sorted(set(names) - set(rows))
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(rows)}")

    console = Console()
    table = Table(title="Measured now", title_justify="left")
    for heading in ("row", "bar", "found", "met"):
        table.add_column(heading)
    measured: list[Outcome] = []
    failures = 0
    for name in names:
        row = rows[name]
        console.print(f"[bold]{row.name}[/]  {row.title}", highlight=False)
        started = time.monotonic()
        try:
            outcome = row.measure()
        except (NotMeasured, RuntimeError) as why:
            failures += 1
            console.print(f"  not measured: {why}", markup=False)
            table.add_row(name, "", "not measured", "-")
            continue
        seconds = time.monotonic() - started
        measured.append(outcome)
        results.save(row, outcome, seconds)
        for what, found in outcome.figures:
            console.print(f"  {what}: {found}", markup=False, highlight=False)
        console.print(f"  ({seconds:.0f} s)", style="dim", highlight=False)
        for bar in outcome.bars:
            table.add_row(name, bar.text, bar.found, "yes" if bar.met else "[red]no[/]")
    pictures.draw(results.load())
    console.print(table)
    if failures:
        return 2
    return 0 if all(bar.met for outcome in measured for bar in outcome.bars) else 1


if __name__ == "__main__":
    sys.exit(main())

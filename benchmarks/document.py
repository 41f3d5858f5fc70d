"""The tables of docs/performance.rst, written from results.json: ``python -m benchmarks.document``.

The tables are between two comments; the text around them is written by hand. ``--check`` only
reports whether they are up to date, with exit code 1 if not.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks import results
from benchmarks.rows import all_rows
from tests.generated_page import GeneratedPage, list_table

PAGE = GeneratedPage("performance.rst", "benchmarks.document")


def tables(measured: dict[str, Any]) -> str:
    """One table of bars, one of figures, and a line about the machine."""
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
            *list_table(("Measure", "Bar", "Found", "Met"), bars),
            *list_table(("Measure", "What", "Found"), figures),
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


def main() -> int:
    """See the module's docstring."""
    return PAGE.write(tables(results.load()))


if __name__ == "__main__":
    sys.exit(main())

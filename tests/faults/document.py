"""docs/faults.rst, written from the results of a complete run: ``python -m tests.faults.document``.

``make faults`` writes the results to results.json, which git ignores, and then the page. Tests
compare the page with the matrix (test_matrix.py).
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tests.generated_page import GeneratedPage, list_table

PAGE = GeneratedPage("faults.rst", "tests.faults.document")
METHODS = "Methods that each operation calls:"
NOT_HELD = "Cells that did not hold:"
RESULTS = pathlib.Path(__file__).parent / "results.json"


def load() -> dict[str, Any]:
    """Results of the last complete run, see tests/faults/__main__.py."""
    loaded: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return loaded


def tables(results: dict[str, Any]) -> str:
    """One table by operation, one by fault, and one for each operation's outcomes."""
    cells = results["cells"]
    tried, held = len(cells), sum(not cell["problems"] for cell in cells)
    lines = [
        f"``make faults`` tried {tried} cells on {results['date']},",
        f"in {results['minutes']:g} minutes on {results['cores']} cores: {held} held,",
        f"{tried - held} did not.",
        "",
        "By operation:",
        "",
        *list_table(
            ("Operation", "Calls", "Tried", "Held", "As without a fault", "Most requests more"),
            [
                (
                    name,
                    str(len(calls)),
                    *_counts([cell for cell in cells if cell["operation"] == name]),
                )
                for name, calls in results["calls"].items()
            ],
        ),
        METHODS,
        "",
        *list_table(
            ("Operation", "Methods"),
            [
                (name, ", ".join(sorted({method_of(call) for call in calls}, key=str.lower)))
                for name, calls in results["calls"].items()
            ],
        ),
        "By fault:",
        "",
        *list_table(
            ("Fault", "Tried", "Held", "As without a fault", "Most requests more"),
            [
                (kind, *_counts([cell for cell in cells if cell["kind"] == kind]))
                for kind in sorted({cell["kind"] for cell in cells}, key=str.lower)
            ],
        ),
        *_not_held(cells),
        "What became of the volume or the work, and in how many cells:",
        "",
        *list_table(("Operation", "Outcome", "Cells"), list(_outcomes(results))),
    ]
    return "\n".join(lines)


def method_of(call: str) -> str:
    """The method of a call in the form "FindChild" or "2nd FindChild"."""
    return call.split(" ")[-1]


def methods() -> dict[str, set[str]]:
    """Operation -> the methods that it calls according to the page."""
    return {name: set(shown.split(", ")) for name, shown in PAGE.shown(METHODS)}


def not_held() -> list[tuple[str, str, str]]:
    """Operation, call and fault of each cell that did not hold according to the page."""
    return [(operation, call, fault) for operation, call, fault, _ in PAGE.shown(NOT_HELD)]


def _not_held(cells: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (cell["operation"], cell["call"], cell["fault"], "; ".join(cell["problems"]))
        for cell in cells
        if cell["problems"]
    ]
    if not rows:
        return [NOT_HELD, "", "None.", ""]
    return [NOT_HELD, "", *list_table(("Operation", "Call", "Fault", "Problem"), rows)]


def _counts(cells: Sequence[dict[str, Any]]) -> tuple[str, str, str, str]:
    return (
        str(len(cells)),
        str(sum(not cell["problems"] for cell in cells)),
        str(sum(cell["unharmed"] for cell in cells)),
        str(max(0, *(cell["extra_requests"] for cell in cells), 0)),
    )


def _outcomes(results: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in results["calls"]:
        counts: dict[str, int] = {}
        for cell in results["cells"]:
            if cell["operation"] == name:
                counts[cell["outcome"]] = counts.get(cell["outcome"], 0) + 1
        shown = name
        for outcome, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            yield shown, outcome, str(count)
            shown = ""


def main() -> int:
    """See the module's docstring."""
    return PAGE.write(tables(load()))


if __name__ == "__main__":
    sys.exit(main())

"""docs/images.rst, written from a run of both drivers: ``python -m tests.images.document``.

The table stands between two comments; what is around it is written by hand. ``--check`` only says
whether it is up to date, with exit code 1 if not; ``test_comparison.py`` does so too.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections.abc import Sequence

from tests.generated_page import GeneratedPage, list_table
from tests.images.comparison import Outcome, comparison
from tests.images.odd_images import OddImage, odd_images

PAGE = GeneratedPage("images.rst", "tests.images.document")
HEADINGS = ("Image", "vmware_disktype", "Cinder's own driver", "With the cache", "How")


def tables(results: Sequence[tuple[OddImage, Outcome]]) -> str:
    """One row for each image."""
    rows = [
        (row.name, row.disk_type, outcome.upstream, outcome.cached,
         outcome.how + (f"; on purpose: {row.on_purpose}" if row.on_purpose else ""))
        for row, outcome in results
    ]  # fmt: skip
    same = sum(outcome.upstream == outcome.cached for _, outcome in results)
    better = sum(outcome.is_as_good for _, outcome in results) - same
    lines = [
        f"{len(results)} images: {same} end alike, {better} better with the cache, "
        f"{len(results) - same - better} in error on purpose.",
        "",
        *list_table(HEADINGS, rows),
    ]
    return "\n".join(lines)


def main() -> int:
    """See the module's text."""
    with tempfile.TemporaryDirectory() as directory, comparison(pathlib.Path(directory)) as both:
        return PAGE.write(tables([(row, both.of(row)) for row in odd_images()]))


if __name__ == "__main__":
    sys.exit(main())

"""No image of which Cinder's own driver makes a volume is in error with the cache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("cinder", reason="needs the extra [cinder]")

from tests.images.comparison import Comparison, Outcome, comparison
from tests.images.document import PAGE, tables
from tests.images.odd_images import OddImage, odd_images

ROWS = list(odd_images())


class Outcomes:
    """What became of each image; each is tried once."""

    def __init__(self, both: Comparison) -> None:
        self._both = both
        self._known: dict[tuple[str, str], Outcome] = {}

    def of(self, row: OddImage) -> Outcome:
        name = row.name, row.disk_type
        if name not in self._known:
            self._known[name] = self._both.of(row)
        return self._known[name]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    with comparison(tmp_path_factory.mktemp("odd-images")) as both:
        yield Outcomes(both)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}, {row.disk_type}")
def test_an_image_is_worse_off_with_the_cache(outcomes: Outcomes, row: OddImage) -> None:
    outcome = outcomes.of(row)
    if row.on_purpose:
        assert not outcome.is_as_good, "it is in error on purpose no more: say so in the table"
        assert outcome.how == "ImageUnacceptable"
    else:
        assert outcome.is_as_good, outcome


def test_the_page_says_something_else(outcomes: Outcomes) -> None:
    page = PAGE.path.read_text(encoding="utf-8")
    written = PAGE.written(page, tables([(row, outcomes.of(row)) for row in ROWS]))
    assert written == page, "run python -m tests.images.document"

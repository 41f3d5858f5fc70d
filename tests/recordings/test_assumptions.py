"""What docs/assumptions.rst says of the recordings."""

from __future__ import annotations

import re

from tests.recordings import recordings
from tests.recordings.test_exchanges import FILES
from tests.recordings.test_log_in import BAD_PASSWORD
from tests.unit.test_assumptions import ASSUMPTIONS, TEXT

#: The inventory that no exchange belongs to; see recordings.py.
INVENTORY = "8.0.1"


def test_a_recording_holds_a_call_that_the_page_says_none_covers() -> None:
    listed, _, _ = TEXT.partition("No recording covers these:")[2].partition("\nA report")
    uncovered = set(re.findall(r"``(\w+)``", listed))
    assert "ImportVApp" in uncovered
    recorded = {one.method for file in FILES for one in recordings.read(file).exchanges}
    assert uncovered & recorded == set()


def test_an_assumption_names_a_release_that_was_not_recorded() -> None:
    releases = {recordings.read(file).vcenter.removesuffix(".0") for file in (*FILES, BAD_PASSWORD)}
    recorded = {
        release
        for assumption in ASSUMPTIONS
        if assumption.kind == "Recording"
        for release in assumption.source.split(", ")
    }
    assert recorded <= releases | {INVENTORY}

"""A cell of the matrix is not said to hold because nothing was tried in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix import cells, trial

PASSED = '<testcase classname="{}" name="test_one"><system-out>text</system-out></testcase>'
UNIT = PASSED.format("tests.unit.cinder.test_upstream")
LIFE = PASSED.format("tests.e2e.test_cinder_release")
SKIPPED = '<testcase classname="tests.e2e.x" name="test_one"><skipped message="no"/></testcase>'
FAILED = '<testcase classname="tests.e2e.x" name="test_one"><failure message="no"/></testcase>'


def judge(tmp_path: Path, *cases: str) -> str:
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return trial.verdict(*trial.counts(report))


def test_a_cell_in_which_all_passed_holds(tmp_path: Path) -> None:
    assert judge(tmp_path, UNIT, LIFE) == ""


@pytest.mark.parametrize("case", [SKIPPED, FAILED])
def test_a_cell_holds_only_if_each_test_passed(tmp_path: Path, case: str) -> None:
    assert "tests.e2e.x::test_one" in judge(tmp_path, UNIT, LIFE, case)


@pytest.mark.parametrize("case", [UNIT, LIFE])
def test_a_cell_holds_only_if_each_part_was_tried(tmp_path: Path, case: str) -> None:
    assert "ran no test of" in judge(tmp_path, case)


def test_a_pytest_that_ends_without_a_report_does_not_hold(tmp_path: Path) -> None:
    assert trial.verdict(*trial.counts(tmp_path / "none.xml")) != ""


def test_a_misspelt_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="cinder26-py311-eventlet"):
        cells.named(["cinder62"])
    assert {cell.release.major for cell in cells.named(["cinder26"])} == {26}
    assert cells.named([]) == cells.all_cells()

"""docs/assumptions.rst is complete, and everything that it names exists."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.vcenter.switches import Switches
from vmdk_cache.preflight import checklist, live

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "assumptions.rst").read_text()
TABLES, _, WITHOUT_ASSUMPTION = TEXT.partition("\nSwitches without an assumption\n")
COLUMNS = ("No.", "We assume", "Source", "If it is wrong", "Probe")
#: The kinds that the page's first table explains.
KINDS = ("Recording", "Reference", "Production", "Unconfirmed")
#: Releases of the vCenters whose answers are in the recordings that tests/recordings reads.
RECORDED = {"5.5", "6.0", "6.5", "8.0.1", "8.0.3", "9.0.1"}
READ_ONLY_PROBES = {probe.id for probe in checklist.READ_ONLY}
LIVE_PROBES = {probe.id for probe in live.LIVE}
SWITCHES = {field.name for field in dataclasses.fields(Switches)}
_NUMBER = re.compile(r"\bA\d\d\b")
_SOURCE = re.compile(
    r"(?:(\w+): ([^.].*?)|(Unconfirmed))(?:\. Switch(?:es)? ((?:``\w+``(?:, )?)+))?$"
)


@dataclass(frozen=True)
class Assumption:
    """A row of the page."""

    cells: tuple[str, ...]

    @property
    def number(self) -> str:
        return self.cells[0]

    @property
    def kind(self) -> str:
        found = _SOURCE.match(self.cells[2])
        assert found, f"{self.number}: {self.cells[2]!r} is not KIND: SOURCE. Switch ``NAME``"
        return found[1] or found[3]

    @property
    def source(self) -> str:
        found = _SOURCE.match(self.cells[2])
        return (found and found[2]) or ""

    @property
    def switches(self) -> set[str]:
        found = _SOURCE.match(self.cells[2])
        return set(re.findall(r"``(\w+)``", (found and found[4]) or ""))

    @property
    def probes(self) -> set[str]:
        """Empty if the cell is ``none``."""
        if self.cells[4] == "none":
            return set()
        probes = re.findall(r"``([\w.-]+)``", self.cells[4])
        assert ", ".join(f"``{probe}``" for probe in probes) == self.cells[4], self.cells
        return set(probes)


def rows() -> list[tuple[str, ...]]:
    """The cells of all rows of the page's list-tables, without their headings."""
    found = []
    for row in re.split(r"^   \* - ", TABLES, flags=re.MULTILINE)[1:]:
        table, _, _ = row.partition("\n\n")
        cells = [" ".join(cell.split()) for cell in re.split(r"^     - ", table, flags=re.M)]
        if cells[0] != COLUMNS[0]:
            found.append(tuple(cells))
    return found


ASSUMPTIONS = [Assumption(cells) for cells in rows() if len(cells) == len(COLUMNS)]


def test_each_row_has_all_its_cells() -> None:
    assert [row for row in rows() if len(row) != len(COLUMNS) or not all(row)] == []
    headings = "\n".join(
        f"   {'*' if column == COLUMNS[0] else ' '} - {column}" for column in COLUMNS
    )
    assert TABLES.count(headings) == TABLES.count(".. list-table::") > 1


def test_each_number_is_given_once() -> None:
    numbers = [assumption.number for assumption in ASSUMPTIONS]
    assert numbers == sorted(set(numbers))
    assert [number for number in numbers if not _NUMBER.fullmatch(number)] == []


@pytest.mark.parametrize("assumption", ASSUMPTIONS, ids=lambda each: each.number)
def test_each_source_is_of_its_kind(assumption: Assumption) -> None:
    assert assumption.kind in KINDS
    assert (assumption.kind == "Unconfirmed") == (not assumption.source)
    if assumption.kind == "Recording":
        assert set(assumption.source.split(", ")) <= RECORDED


def test_the_count_by_kind_is_that_of_the_tables() -> None:
    counted = Counter(assumption.kind for assumption in ASSUMPTIONS)
    assert {
        kind: int(number)
        for kind, number in re.findall(r"^(\w+) +(\d+)  \w", TABLES, flags=re.MULTILINE)
    } == {kind: counted[kind] for kind in KINDS}
    with_probe = sum(bool(assumption.probes) for assumption in ASSUMPTIONS)
    assert f"{with_probe} of these {len(ASSUMPTIONS)} assumptions have a probe" in " ".join(
        TEXT.split()
    )


def test_each_probe_that_is_named_exists() -> None:
    named = {probe for assumption in ASSUMPTIONS for probe in assumption.probes}
    assert named - READ_ONLY_PROBES - LIVE_PROBES == set()


def test_each_live_probe_confirms_an_assumption() -> None:
    named = {probe for assumption in ASSUMPTIONS for probe in assumption.probes}
    assert LIVE_PROBES - named == set()


def test_each_switch_of_the_fake_is_named_once() -> None:
    by_assumptions = [name for assumption in ASSUMPTIONS for name in assumption.switches]
    without = re.findall(r"^- ``(\w+)``: \w", WITHOUT_ASSUMPTION, flags=re.MULTILINE)
    assert sorted([*by_assumptions, *without]) == sorted(SWITCHES)


def test_each_number_that_a_module_or_page_refers_to_exists() -> None:
    numbers = {assumption.number for assumption in ASSUMPTIONS}
    files = [
        *ROOT.glob("docs/*.rst"),
        *ROOT.glob("vmdk_cache/**/*.py"),
        *ROOT.glob("tests/fakes/vcenter/*"),
    ]
    texts = {file.name: file.read_text() for file in files if file.suffix in (".rst", ".py", ".md")}
    referred = {(name, number) for name, text in texts.items() for number in _NUMBER.findall(text)}
    assert {(name, number) for name, number in referred if number not in numbers} == set()
    assert any(name.endswith(".py") for name, _ in referred)


@pytest.mark.parametrize("file", ["docs/assumptions.rst", "README.md"])
def test_a_text_names_what_no_recording_covers(file: str) -> None:
    text = (ROOT / file).read_text()
    _, _, said = text.partition("No recording ")
    for name in (
        "ImportVApp",
        "lease",
        "MarkAsTemplate",
        "CloneVM_Task",
        "ReconfigVM_Task",
        "fault",
    ):
        assert name in said[:500], name

"""Every promise of docs/reliability.rst and docs/security.rst names the test that proves it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix import cells

ROOT = Path(__file__).parents[2]
RELIABILITY = (ROOT / "docs" / "reliability.rst").read_text()
SECURITY = (ROOT / "docs" / "security.rst").read_text()
#: ``tests/file.py``: ``test_one``, ``test_two``
_TESTS = re.compile(r"``(tests/[\w/]+\.py)``((?:[:,\s]+``test_\w+``)*)")
_PROMISE = re.compile(r"^(\w.*)\n( {4}.*\n(?: {4}.*\n|\n)*)", re.MULTILINE)
#: Sections of reliability.rst without promises.
_NO_PROMISES = ("Longer searches", "Cinder, Python, threads", "What is not promised")


def named_tests(text: str) -> Iterator[tuple[str, str]]:
    """(file, name of a test in it); an empty name if the text names only the file."""
    for path, names in _TESTS.findall(text):
        yield from ((path, name) for name in re.findall(r"test_\w+", names) or [""])


@pytest.mark.parametrize(
    ("path", "name"), dict.fromkeys([*named_tests(RELIABILITY), *named_tests(SECURITY)])
)
def test_each_test_that_a_page_names_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not name or name in known, f"{path} has no {name}"


def test_each_promise_has_a_test() -> None:
    promises = RELIABILITY.split(_NO_PROMISES[0])[0]
    found = {promise: list(named_tests(body)) for promise, body in _PROMISE.findall(promises)}
    assert len(found) >= 10, "this test does not understand the page's format"
    assert [promise for promise, tests in found.items() if not tests] == []


def test_each_threat_has_a_test_or_a_reason() -> None:
    section = SECURITY.partition("Threats\n-------\n")[2].partition("\nWhat is left to you\n")[0]
    rows = re.split(r"^   \* - ", section, flags=re.MULTILINE)[2:]
    assert len(rows) >= 10, "this test does not understand the page's format"
    bare = [
        row.splitlines()[0] for row in rows if not [*named_tests(row)] and "Not ours" not in row
    ]
    assert bare == []


def test_each_cell_of_the_matrix_is_in_the_table() -> None:
    for cell in cells.all_cells():
        columns = (cell.release.cinder, cell.python, cell.threads, "yes")
        assert re.search(r"^" + r" +".join(map(re.escape, columns)), RELIABILITY, re.MULTILINE), (
            f"{cell.name}: run make matrix, and put its table into docs/reliability.rst"
        )


def test_the_constraints_name_the_release_of_the_table() -> None:
    for release in cells.RELEASES:
        pinned = (ROOT / release.constraints).read_text().splitlines()
        assert f"cinder=={release.cinder}" in pinned, release.constraints


def test_the_matrix_reaches_as_far_as_the_package_claims() -> None:
    setup = (ROOT / "setup.cfg").read_text()
    majors = [release.major for release in cells.RELEASES]
    assert f"cinder>={majors[0]}.0.0,<{majors[-1] + 1}" in setup
    for python in cells.RELEASES[-1].pythons:
        assert f"Programming Language :: Python :: {python}\n" in setup

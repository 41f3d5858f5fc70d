"""Each cell of the matrix holds; by default a part of them, always the same one.

``VMDK_CACHE_FAULT_CELLS=1`` runs all of them, ``=3`` a third; ``make faults`` does so on all cores.
"""

from __future__ import annotations

import copy
import itertools
import os
import pathlib
from collections.abc import Callable

import pytest

from tests.faults import cell, document, matrix
from tests.faults.faults import Fault
from tests.faults.operations import BY_NAME, OPERATIONS, Operation
from tests.faults.recording import Call
from tests.faults.world import DATASTORES, World

#: One cell in this many, which take about a minute in all.
ONE_IN = int(os.environ.get("VMDK_CACHE_FAULT_CELLS", "25"))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_page_shows_every_method_that_an_operation_calls(operation: Operation) -> None:
    recorded = {call.method for call in matrix.recording(operation).calls}
    assert document.methods()[operation.name] == recorded, "run make faults"


def test_the_page_shows_every_operation_and_no_other() -> None:
    assert list(document.methods()) == list(BY_NAME), "run make faults"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_no_fault_loses_or_leaves_anything(operation: Operation) -> None:
    tried = matrix.sample(list(matrix.cells([operation])), ONE_IN)
    results = [result for one in tried if (result := cell.run(one)) is not None]
    assert len(results) >= len(tried) // 2, "almost no poll of the recording is sent again"
    assert [f"{one.cell}: {one.problems}" for one in results if one.problems] == []


def test_a_cell_without_its_call_or_with_leftovers_does_not_hold() -> None:
    def litter(world: World, call: Call) -> Callable[[], int]:
        with world.vcenter.lock:
            world.vcenter.datastore(DATASTORES[0]).storage.make_directory("unused")
        return lambda: 0

    operation = BY_NAME["report"]
    call = Call("RetrievePropertiesEx", 1)
    assert call in matrix.recording(operation).calls
    result = cell.run(matrix.Cell(operation, call, Fault("litter", "", litter)))
    assert result is not None
    assert result.problems[0] == cell.NOT_MADE
    assert "unused" in result.problems[1]


def test_a_poll_that_is_never_sent_is_no_failure() -> None:
    """One poll can bring both the start of a task and its end."""
    operation = BY_NAME["report"]
    struck = []

    def never(world: World, call: Call) -> Callable[[], int]:
        struck.append(call)
        return lambda: 0

    poll = matrix.Cell(operation, Call("WaitForUpdatesEx", 99), Fault("none", "", never))
    assert cell.run(poll) is None
    assert len(struck) == cell.POLL_TRIES


def test_a_poll_that_is_sent_in_the_second_run_counts() -> None:
    operation = BY_NAME["report"]
    struck = []

    def second(world: World, call: Call) -> Callable[[], int]:
        struck.append(call)
        return lambda: len(struck) - 1

    poll = matrix.Cell(operation, Call("WaitForUpdatesEx", 1), Fault("none", "", second))
    result = cell.run(poll)
    assert result is not None
    assert (result.problems, len(struck)) == ((), 2)


def test_a_table_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    written = {
        "date": "2026-01-01",
        "minutes": 1,
        "cores": 2,
        "calls": {"hit": ["FindChild", "2nd FindChild", "CloneVM_Task"]},
        "cells": [
            {
                "operation": "hit",
                "call": "2nd FindChild",
                "kind": "HTTP 401",
                "fault": "HTTP 401, once",
                "outcome": "hit",
                "unharmed": True,
                "extra_requests": 3,
                "left": "",
                "problems": ["a lease is left", "a snapshot is left"],
            }
        ],
    }
    page = copy.copy(document.PAGE)
    page.path = tmp_path / "faults.rst"
    page.path.write_text(page.written(f"{page.begin}{page.END}", document.tables(written)))
    assert page.shown(document.METHODS) == [("hit", "CloneVM_Task, FindChild")]
    assert page.shown(document.NOT_HELD) == [
        ("hit", "2nd FindChild", "HTTP 401, once", "a lease is left; a snapshot is left")
    ]


def test_all_cells_of_the_last_complete_run_held() -> None:
    assert document.not_held() == []


def test_each_cell_is_in_one_share() -> None:
    whole = list(matrix.cells([BY_NAME["report"]]))
    shares = [matrix.sample(whole, 4, number) for number in range(4)]
    assert max(map(len, shares)) < len(whole)
    assert sorted(map(str, itertools.chain(*shares))) == sorted(map(str, whole))

"""Each cell of the matrix holds; by default a part of them, always the same.

``VMDK_CACHE_FAULT_CELLS=1`` runs all of them, ``=3`` a third; ``make faults`` does so on all cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.faults import cell, document, matrix
from tests.faults.faults import Fault
from tests.faults.operations import BY_NAME, OPERATIONS, Operation
from tests.faults.recording import Call
from tests.faults.world import DATASTORES, World

#: One cell in so many, which take about a minute in all.
ONE_IN = int(os.environ.get("VMDK_CACHE_FAULT_CELLS", "25"))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_no_call_of_an_operation_is_missing_from_the_results(operation: Operation) -> None:
    recorded = {call.method for call in matrix.recording(operation).calls}
    shown = {call.split(" ")[-1] for call in document.load()["calls"][operation.name]}
    assert recorded == shown, "run make faults"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whatever_goes_wrong_nothing_is_lost_and_nothing_is_left(operation: Operation) -> None:
    tried = matrix.sample(list(matrix.cells([operation])), ONE_IN)
    results = [result for one in tried if (result := cell.run(one)) is not None]
    assert len(results) >= len(tried) // 2, "hardly a poll of the recording is made again"
    assert [f"{one.cell}: {one.problems}" for one in results if one.problems] == []


def test_a_cell_whose_call_is_not_made_or_that_leaves_something_does_not_hold() -> None:
    def litter(world: World, call: Call) -> Callable[[], int]:
        with world.vcenter.lock:
            world.vcenter.datastore(DATASTORES[0]).storage.make_directory("of nobody")
        return lambda: 0

    operation = BY_NAME["report"]
    call = Call("RetrievePropertiesEx", 1)
    assert call in matrix.recording(operation).calls
    result = cell.run(matrix.Cell(operation, call, Fault("litter", "", litter)))
    assert result is not None
    assert result.problems[0] == cell.NOT_MADE
    assert "of nobody" in result.problems[1]


def test_a_poll_that_a_fast_machine_does_not_make_is_no_failure() -> None:
    """One poll can bring both the start of a task and its end."""
    operation = BY_NAME["report"]
    struck = []

    def never(world: World, call: Call) -> Callable[[], int]:
        struck.append(call)
        return lambda: 0

    poll = matrix.Cell(operation, Call("WaitForUpdatesEx", 99), Fault("none", "", never))
    assert cell.run(poll) is None
    assert len(struck) == cell.POLL_TRIES


def test_a_poll_that_is_made_at_the_second_run_counts() -> None:
    operation = BY_NAME["report"]
    struck = []

    def second(world: World, call: Call) -> Callable[[], int]:
        struck.append(call)
        return lambda: len(struck) - 1

    poll = matrix.Cell(operation, Call("WaitForUpdatesEx", 1), Fault("none", "", second))
    result = cell.run(poll)
    assert result is not None
    assert (result.problems, len(struck)) == ((), 2)


def test_the_document_shows_the_results() -> None:
    page = document.PAGE.path.read_text(encoding="utf-8")
    assert document.PAGE.written(page, document.tables(document.load())) == page


#: Did not hold in the last whole run: it waited until vCenter ended the lost import's lease, which
#: took 454 requests more, and held when it was tried again. The cause is not known yet.
OPEN = [("first volume", "ImportVApp", "dropped after it acted")]


def test_all_other_cells_of_the_last_whole_run_held() -> None:
    cells = document.load()["cells"]
    missed = [one for one in cells if one["problems"]]
    assert [(one["operation"], one["call"], one["fault"]) for one in missed] == OPEN

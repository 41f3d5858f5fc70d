"""A share of the matrix, run in its own process."""

from __future__ import annotations

import logging
from typing import Any

from tests.faults import cell, matrix
from tests.faults.operations import BY_NAME


def run_share(operation: str, first: int, step: int, words: str) -> list[dict[str, Any]]:
    """Every ``step``-th cell of an operation from the ``first`` on, of those whose names contain
    the words, in the form that the document needs. Leaves out a poll that no run sends.
    """
    logging.disable(logging.CRITICAL)
    whole = [c for c in matrix.cells([BY_NAME[operation]]) if words in str(c)]
    results = [cell.run(one) for one in whole[first::step]]
    return [_as_json(result) for result in results if result is not None]


def record_calls(operation: str) -> tuple[list[str], int]:
    """The calls of the operation, and the number of their cells."""
    logging.disable(logging.CRITICAL)
    calls = [str(call) for call in matrix.recording(BY_NAME[operation]).calls]
    return calls, sum(1 for _ in matrix.cells([BY_NAME[operation]]))


def _as_json(result: cell.Result) -> dict[str, Any]:
    return {
        "operation": result.cell.operation.name,
        "call": str(result.cell.call),
        "kind": result.cell.fault.kind,
        "fault": str(result.cell.fault),
        "outcome": result.outcome,
        "unharmed": result.outcome == result.cell.operation.clean,
        "extra_requests": result.extra_requests,
        "left": result.left,
        "problems": list(result.problems),
    }

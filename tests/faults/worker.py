"""A share of the matrix, run in its own process."""

from __future__ import annotations

import logging
from typing import Any

from tests.faults import cell, matrix
from tests.faults.operations import BY_NAME


def run_share(operation: str, number: int, shares: int, words: str) -> list[dict[str, Any]]:
    """One of so many shares of an operation's cells, of those whose names contain the words, in the
    form that the document needs. Leaves out a poll that no run sends.
    """
    logging.disable(logging.CRITICAL)
    share = matrix.sample(matrix.cells([BY_NAME[operation]]), shares, number)
    results = [cell.run(one) for one in share if words in str(one)]
    return [_as_json(result) for result in results if result is not None]


def record_calls(operation: str) -> list[str]:
    """The calls of the operation."""
    logging.disable(logging.CRITICAL)
    return [str(call) for call in matrix.recording(BY_NAME[operation]).calls]


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

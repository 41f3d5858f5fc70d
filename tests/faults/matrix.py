"""The cells: operation x call x fault."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults.faults import Fault, faults_of
from tests.faults.operations import OPERATIONS, Operation
from tests.faults.recording import Call, Recording, record


@dataclass(frozen=True)
class Cell:
    """One fault at one call."""

    operation: Operation
    call: Call
    fault: Fault

    def __str__(self) -> str:
        return f"{self.operation.name}: {self.call}: {self.fault}"


@functools.cache
def recording(operation: Operation) -> Recording:
    """Recorded at the first use."""
    return record(operation)


def cells(operations: Sequence[Operation] = OPERATIONS) -> Iterator[Cell]:
    """All cells, in the order of the calls."""
    for operation in operations:
        for call in recording(operation).calls:
            for fault in faults_of(call):
                yield Cell(operation, call, fault)


def sample(whole: Iterable[Cell], one_in: int, number: int = 0) -> list[Cell]:
    """About one cell in ``one_in``, always the same ones.

    Chosen by name, not by position: a recording may have a poll more or less than that of another
    process.

    :param number: which of the ``one_in`` samples; each cell is in exactly one
    """

    def chosen(cell: Cell) -> bool:
        return int(hashlib.sha256(str(cell).encode()).hexdigest(), 16) % one_in == number

    return [cell for cell in whole if chosen(cell)]

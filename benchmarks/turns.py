"""Clients that alternate on one vCenter, so that other load on the machine affects all of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.fresh_process import FreshProcess


def take_turns(clients: Mapping[str, FreshProcess], rounds: int) -> dict[str, dict[str, Any]]:
    """Every client runs one round, then every client the next; returns their results by name.

    They must be ready. The first client changes from round to round.
    """
    names = list(clients)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            clients[name].work()
    return {name: client.result() for name, client in clients.items()}


def spread(values: Sequence[float]) -> str:
    """The range of the rounds: "1.20 (1.15 to 1.32)"."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

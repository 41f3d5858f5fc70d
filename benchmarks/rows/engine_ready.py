"""Seconds and memory from nothing to a working session, each in a process that did nothing else.

The row measures from the first import to the session. Inside Cinder it is less, because most
modules are already loaded. There the engine uses Cinder's coordinator, so it is measured without
one of its own, and on a separate line with one, as in other processes that import images.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import fresh_process
from benchmarks.row import Bar, Outcome, Row
from benchmarks.turns import spread
from benchmarks.vcenter_process import VCenterProcess
from tests.fakes.vcenter import Model

BAR_S = 0.5
BAR_MIB = 60.0
OURS = "this cache"
PEER = "oslo.vmware on suds"
CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: ("cache", {}),
    "this cache with a coordinator of its own": ("cache", {"coordinated": True}),
    PEER: ("oslo_session", {}),
}


def measure(rounds: int = 5, peer_rounds: int = 3) -> Outcome:
    """
    :param rounds: fresh processes of ours; ``peer_rounds``: of oslo.vmware's, which alternate with
        ours
    """
    results: dict[str, list[dict[str, float]]] = {label: [] for label in CLIENTS}
    with VCenterProcess(Model()) as vcenter:
        for number in range(max(rounds, peer_rounds)):
            for label, (function, more) in CLIENTS.items():
                if number < (peer_rounds if label == PEER else rounds):
                    client = f"benchmarks.clients.start_up:{function}"
                    results[label].append(
                        fresh_process.run(client, endpoint=vcenter.endpoint, **more)
                    )
    ready_s = {
        label: [one["import_s"] + one["connect_s"] for one in found]
        for label, found in results.items()
    }

    def median(label: str, key: str) -> float:
        return statistics.median(one[key] for one in results[label])

    ours_s, mib = statistics.median(ready_s[OURS]), median(OURS, "mib")
    figures = [
        (
            label,
            f"{spread(ready_s[label])} s, of it imports {median(label, 'import_s'):.2f} s; "
            f"{median(label, 'mib'):.0f} MiB",
        )
        for label in CLIENTS
        if results[label]
    ]
    return Outcome(
        bars=(
            Bar(f"within {BAR_S:g} s, imports included", f"{ours_s:.2f} s", ours_s <= BAR_S),
            Bar(f"at most {BAR_MIB:g} MiB", f"{mib:.0f} MiB", mib <= BAR_MIB),
        ),
        figures=tuple(figures),
        values={"rounds": results},
    )


ROW = Row("engine_ready", "engine ready", measure)

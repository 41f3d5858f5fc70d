"""Seconds and memory from nothing to a session that works, each in a process that did nothing else.

The bar on time is on connecting, as the suds session's well-known seconds are; importing the
modules comes on top for both, and inside Cinder most of them are there already.
"""

from __future__ import annotations

import statistics

from benchmarks import fresh_process
from benchmarks.row import Bar, Outcome, Row
from benchmarks.turns import spread
from benchmarks.vcenter_process import VCenterProcess
from tests.fakes.vcenter import Model

BAR_S = 0.5
BAR_MIB = 60.0


def measure(rounds: int = 5, peer_rounds: int = 3) -> Outcome:
    """
    :param rounds: fresh processes of ours; ``peer_rounds``: of oslo.vmware's, in turns with ours
    """
    results: dict[str, list[dict[str, float]]] = {"cache": [], "oslo_session": []}
    with VCenterProcess(Model()) as vcenter:
        for number in range(max(rounds, peer_rounds)):
            for name, wanted in (("cache", rounds), ("oslo_session", peer_rounds)):
                if number < wanted:
                    function = f"benchmarks.clients.start_up:{name}"
                    results[name].append(fresh_process.run(function, endpoint=vcenter.endpoint))

    def median(name: str, key: str) -> float:
        return statistics.median(result[key] for result in results[name])

    connect_s, mib = median("cache", "connect_s"), median("cache", "mib")
    figures = [
        (
            label,
            f"connected in {spread([one['connect_s'] for one in results[name]])} s, "
            f"imports {median(name, 'import_s'):.2f} s, {median(name, 'mib'):.0f} MiB",
        )
        for name, label in (("cache", "this cache"), ("oslo_session", "oslo.vmware on suds"))
        if results[name]
    ]
    return Outcome(
        bars=(
            Bar(f"connected within {BAR_S:g} s", f"{connect_s:.2f} s", connect_s <= BAR_S),
            Bar(f"at most {BAR_MIB:g} MiB", f"{mib:.0f} MiB", mib <= BAR_MIB),
        ),
        figures=tuple(figures),
        values={"rounds": results},
    )


ROW = Row("engine_ready", "engine ready", measure)

"""Wall time of parallel hits against bare pyVmomi, which sends the same two tasks per volume.

The fake's tasks take no time here, so the comparison covers only the cost of the clients themselves
and their number of requests. With tasks that take seconds, both wait for vCenter.
"""

from __future__ import annotations

import statistics

from benchmarks.fresh_process import FreshProcess
from benchmarks.row import Bar, Outcome, Row, ratio
from benchmarks.rows.requests import MODEL
from benchmarks.turns import spread, take_turns
from benchmarks.vcenter_process import VCenterProcess

BAR = 1.25
CLIENTS = {
    "this cache": ("cache:create_volumes", {}),
    "bare pyVmomi, waiting by property collector": (
        "bare_pyvmomi:create_volumes",
        {"waits": "collector"},
    ),
    "bare pyVmomi, reading task.info every 0.1 s": (
        "bare_pyvmomi:create_volumes",
        {"waits": "poll"},
    ),
}


def measure(volumes: int = 200, rounds: int = 4) -> Outcome:
    """
    :param volumes: created at once, one thread each
    :param rounds: of every client, alternating
    """
    with VCenterProcess(MODEL) as vcenter:
        common = {"endpoint": vcenter.endpoint, "volumes": volumes, "rounds": rounds}
        # Bare pyVmomi clones the first template that it finds, so the cache creates it beforehand.
        clients = {}
        try:
            for name, (function, more) in CLIENTS.items():
                clients[name] = FreshProcess(f"benchmarks.clients.{function}", **common, **more)
                clients[name].wait_until_ready()
            results = take_turns(clients, rounds)
        finally:
            for client in clients.values():
                client.close()
    wall_s = {name: result["wall_s"] for name, result in results.items()}
    ours = statistics.median(wall_s.pop("this cache"))
    floor = min(statistics.median(rounds_s) for rounds_s in wall_s.values())
    found = ratio(ours, floor)
    return Outcome(
        bars=(
            Bar(
                f"at most {BAR:g} times the faster bare client", f"{found:.2f} times", found <= BAR
            ),
        ),
        figures=tuple(
            (name, f"{spread(result['wall_s'])} s, of it CPU {spread(result['cpu_s'])} s")
            for name, result in results.items()
        ),
        values={"volumes": volumes, "ratio": found, "clients": results},
    )


ROW = Row("wall_time", "wall time, 200 parallel hits", measure)

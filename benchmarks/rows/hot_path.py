"""What the client's CPU does during parallel hits, by cProfile."""

from __future__ import annotations

from benchmarks import fresh_process
from benchmarks.row import Outcome, Row
from benchmarks.rows.requests import MODEL
from benchmarks.vcenter_process import VCenterProcess


def measure(volumes: int = 200) -> Outcome:
    """
    :param volumes: created at once, in a thread each
    """
    with VCenterProcess(MODEL) as vcenter:
        profile = fresh_process.run(
            "benchmarks.clients.profiled:create_volumes",
            endpoint=vcenter.endpoint,
            volumes=volumes,
        )
    shares = [(part, f"{100 * share:.0f} %") for part, share in profile["cpu_shares"].items()]
    top = ", ".join(
        f"``{each['function']}`` {100 * each['share']:.0f} %" for each in profile["top"][:5]
    )
    return Outcome(
        figures=(
            *shares,
            ("waiting, of the wall time", f"{100 * profile['waiting_share']:.0f} %"),
            ("dearest functions by themselves", top),
        ),
        values=profile,
    )


ROW = Row("hot_path", "client CPU of 200 parallel hits, profiled", measure)

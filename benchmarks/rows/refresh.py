"""Refreshing what the cache knows when nothing has changed, in a large vCenter.

Ours sends one request, whatever the inventory holds (vim/inventory_index.py). The scans that it
replaces: upstream reads name and uuid of every VM, page by page, over suds; the same over pyVmomi,
with pages ten times as large, is the fastest possible scan.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import population
from benchmarks.clients.cache import BACKEND, FOLDER
from benchmarks.fresh_process import FreshProcess
from benchmarks.row import Bar, Outcome, Row, ratio
from benchmarks.rows.requests import MODEL
from benchmarks.turns import spread
from benchmarks.vcenter_process import VCenterProcess

BAR_REQUESTS = 1.0
BAR_MS = 10.0
BAR_RATIO = 50.0
ROUNDS = 20
SCANS = {
    "full scan over pyVmomi": ("scans:pyvmomi", 3),
    "full scan by upstream": ("upstream:scan", 1),
}


def measure(vms: int = 20_000, templates: int = 1000, scans: bool = True) -> Outcome:
    """
    :param vms: of other tenants; ``templates``: of the cache, included in them
    :param scans: False leaves the peers out
    """
    with VCenterProcess(MODEL) as vcenter:
        vcenter.call(population.add_vms, vms)
        records = population.template_records(BACKEND, templates)
        vcenter.call(population.add_templates, list(FOLDER), records)
        ours = _measured(vcenter, "cache:refresh", ROUNDS)
        peers = {
            name: _measured(vcenter, function, rounds)
            for name, (function, rounds) in SCANS.items()
            if scans
        }
    ms = statistics.median(ours["ms"])
    bars = [
        Bar("at most 1 request", f"{ours['requests']:g}", ours["requests"] <= BAR_REQUESTS),
        Bar(f"at most {BAR_MS:g} ms", f"{ms:.1f} ms", ms <= BAR_MS),
    ]
    if peers:
        fastest_ms = min(statistics.median(peer["ms"]) for peer in peers.values())
        found = ratio(fastest_ms, ms)
        bars.append(
            Bar(
                f"at least {BAR_RATIO:g} times less than the fastest full scan",
                f"{found:.0f} times",
                found >= BAR_RATIO,
            )
        )
    return Outcome(
        bars=tuple(bars),
        figures=tuple(
            (name, f"{each['requests']:g} requests, {spread(each['ms'])} ms")
            for name, each in {"this cache": ours, **peers}.items()
        ),
        values={"vms": vms, "templates": templates, "ours": ours, "peers": peers},
    )


def _measured(vcenter: VCenterProcess, function: str, rounds: int) -> dict[str, Any]:
    with FreshProcess(
        f"benchmarks.clients.{function}", endpoint=vcenter.endpoint, rounds=rounds
    ) as client:
        client.wait_until_ready()
        vcenter.reset()
        client.work()
        requests = sum(vcenter.requests().values()) / rounds
        return {"requests": requests, **client.result()}


ROW = Row("refresh", "refresh of 1,000 templates among 20,000 VMs, nothing changed", measure)

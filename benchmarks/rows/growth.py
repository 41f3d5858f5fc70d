"""The cost of a volume as things grow: the burst, the cache, the vCenter around it.

Parallel hits, requests counted at the server, CPU time of the client's process alone. Flat lines
mean that a volume costs the same in a large cloud as in a small one.
"""

from __future__ import annotations

from typing import Any

from benchmarks import population
from benchmarks.clients.cache import BACKEND, FOLDER
from benchmarks.fresh_process import FreshProcess
from benchmarks.row import Outcome, Row
from benchmarks.rows.requests import MODEL
from benchmarks.vcenter_process import VCenterProcess

BURST = 50


def measure(
    bursts: tuple[int, ...] = (1, 5, 20, 100, 500),
    templates: tuple[int, ...] = (10, 1000, 5000),
    vms: tuple[int, ...] = (1000, 10_000, 50_000),
) -> Outcome:
    """
    :param bursts: volumes at once
    :param templates: of the cache; BURST volumes at once
    :param vms: of other tenants in the same vCenter; BURST volumes at once
    """
    curves = {
        "volumes at once": _bursts(bursts),
        "templates in the cache": _templates(templates),
        "other VMs in vCenter": _vms(vms),
    }
    figures = []
    for name, points in curves.items():
        for key, unit in (("requests", "requests"), ("cpu_ms", "ms of client CPU")):
            steps = ", ".join(f"{point[key]:.1f} at {point['size']:,}" for point in points)
            figures.append((f"{unit} a volume by {name}", steps))
    return Outcome(figures=tuple(figures), values={"burst": BURST, "curves": curves})


def _bursts(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    with VCenterProcess(MODEL) as vcenter:
        return [_point(vcenter, size, size) for size in sizes]


def _templates(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    points, there = [], 0
    records = population.template_records(BACKEND, max(sizes))
    with VCenterProcess(MODEL) as vcenter:
        for size in sorted(sizes):
            vcenter.call(population.add_templates, list(FOLDER), records[there:size])
            there = size
            points.append(_point(vcenter, size, BURST))
    return points


def _vms(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    points, there = [], 0
    with VCenterProcess(MODEL) as vcenter:
        for size in sorted(sizes):
            vcenter.call(population.add_vms, size - there)
            there = size
            points.append(_point(vcenter, size, BURST))
    return points


def _point(vcenter: VCenterProcess, size: int, volumes: int) -> dict[str, Any]:
    with FreshProcess(
        "benchmarks.clients.cache:create_volumes", endpoint=vcenter.endpoint, volumes=volumes
    ) as client:
        client.wait_until_ready()
        vcenter.reset()
        client.work()
        requests = sum(vcenter.requests().values())
        result = client.result()
    return {
        "size": size,
        "requests": requests / volumes,
        "cpu_ms": 1000 * result["cpu_s"][0] / volumes,
        "wall_s": result["wall_s"][0],
    }


ROW = Row("growth", "growth curves", measure)

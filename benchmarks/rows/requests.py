"""SOAP requests per volume, counted at the server.

Parallel creates from an image that has a template; the peers do the same work in their own way,
also in parallel. How many more requests a peer sends on a real vCenter depends on how long tasks
take: upstream polls each task every two seconds, and here tasks take no time, which favors the
peers.
"""

from __future__ import annotations

from typing import Any

from benchmarks import population
from benchmarks.fresh_process import FreshProcess
from benchmarks.row import Bar, Outcome, Row
from benchmarks.turns import spread
from benchmarks.vcenter_process import VCenterProcess
from tests.fakes.vcenter import Model

BAR = 4.0
MODEL = Model(hosts_per_cluster=8, datastores=4)
#: Other VMs in the same vCenter.
OTHER_VMS = 500
PEERS = {
    "upstream, plain import": "import",
    "upstream, clone of a volume": "clone",
    "prior art's flow": "prior art",
}


def measure(
    volumes: int = 100,
    peer_volumes: int = 15,
    other_vms: int = OTHER_VMS,
    rounds: int = 5,
) -> Outcome:
    """
    :param rounds: of the cache: how many threads share a request differs from burst to burst, so
        the median is judged
    :param volumes: created at once by the cache and by bare pyVmomi
    :param peer_volumes: by the peers, whose requests cost so much more CPU; 0 leaves them out
    """
    with VCenterProcess(MODEL) as vcenter:
        vcenter.call(population.add_vms, other_vms)
        counted = count_requests(vcenter, "cache:create_volumes", volumes, rounds, rounds=rounds)
        by_method = {
            "this cache": sorted(counted, key=lambda counts: sum(counts.values()))[rounds // 2],
            "bare pyVmomi": count_requests(vcenter, "bare_pyvmomi:create_volumes", volumes)[0],
        }
    for name, flow in PEERS.items() if peer_volumes else ():
        with VCenterProcess(MODEL) as vcenter:
            vcenter.call(population.add_vms, other_vms)
            by_method[name] = count_requests(
                vcenter, "upstream:create_volumes", peer_volumes, flow=flow
            )[0]
    per_volume = {name: sum(counts.values()) for name, counts in by_method.items()}
    ours = per_volume["this cache"]
    every_round = [sum(counts.values()) for counts in counted]
    return Outcome(
        bars=(Bar(f"at most {BAR:g} requests a volume", spread(every_round), ours <= BAR),),
        figures=tuple((name, f"{count:.2f} requests") for name, count in per_volume.items()),
        values={
            "volumes": volumes,
            "peer_volumes": peer_volumes,
            "per_volume": by_method,
            "rounds": every_round,
        },
    )


def count_requests(
    vcenter: VCenterProcess, client: str, volumes: int, times: int = 1, **arguments: Any
) -> list[dict[str, float]]:
    """Requests per volume of each round, by method, most frequent first."""
    counted = []
    with FreshProcess(
        f"benchmarks.clients.{client}", endpoint=vcenter.endpoint, volumes=volumes, **arguments
    ) as process:
        process.wait_until_ready()
        for _ in range(times):
            vcenter.reset()
            process.work()
            ordered = sorted(vcenter.requests().items(), key=lambda item: -item[1])
            counted.append({method: round(count / volumes, 3) for method, count in ordered})
        process.result()
    return counted


ROW = Row("requests", "SOAP requests a volume, 100 parallel hits", measure)

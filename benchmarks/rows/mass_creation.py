"""Volumes of a large image all at once, in the fake's cost model and virtual time.

Here the clients hardly matter: the row compares how much vCenter, its hosts and its datastores must
move, and over which of them. Each byte that really moves counts as 4,096 (CostModel), so an image
of 5 MiB counts as 20 GiB. The rates are the model's (tests/fakes/vcenter/cost_model.py, each with
its source). Everything is measured with and without arrays that clone by themselves (VAAI), and
judged with them. Without VAAI, hosts write each volume, and the write rate of four datastores (a
hundred times 20 GiB in 912 s, after an import of 180 s) limits any cache: 10 times faster than
without one, and twice as fast as with one template.

The placement of volumes is random, so each burst is measured several times; medians count.

    this cache              empty at first: one import, replicas where they pay
    this cache, replicas    the next burst, with the replicas that the first one left
    one template            a single template in the vCenter: replicas off
    no cache                upstream's driver, unmodified, in its own process
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.clients.cache import create_at_once, running_cache
from benchmarks.fresh_process import FreshProcess
from benchmarks.row import Bar, Outcome, Row, ratio
from benchmarks.stream_image import StreamImage
from tests.fakes.clock import WaitingClock
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter, VirtualTime

BAR_NO_CACHE = 10.0
BAR_ONE_TEMPLATE = 3.0
BYTES_SCALE = 4096
IMAGE_BYTES = 5 << 20
MODEL = Model(hosts_per_cluster=8, datastores=4)
#: Upstream polls its tasks in real time; virtual time passes while it is quiet between two polls.
POLL_S = 1.0


def measure(volumes: int = 100, upstream_volumes: int = 4, rounds: int = 3) -> Outcome:
    """
    :param rounds: measurements of each burst
    :param volumes: created at once, one thread each
    :param upstream_volumes: imported at once without the cache. They share one process's bandwidth,
        so their time per volume is that of any larger number. 0: none
    """
    took_s: dict[str, list[float]] = {}
    for vaai in (False, True):
        suffix = ", VAAI" if vaai else ""
        for replicas, first, then in (
            ("on_demand", "this cache", "this cache, replicas there"),
            ("off", "one template", "one template, there already"),
        ):
            bursts = [_bursts(volumes, vaai, replicas=replicas) for _ in range(rounds)]
            took_s[f"{first}{suffix}"] = [first_s for first_s, _next_s in bursts]
            took_s[f"{then}{suffix}"] = [next_s for _first_s, next_s in bursts]
    if upstream_volumes:
        took_s["no cache"] = [_without(upstream_volumes) * volumes / upstream_volumes]
    seconds = {name: statistics.median(times) for name, times in took_s.items()}
    return Outcome(
        bars=tuple(_bars(seconds)),
        figures=tuple((name, _spread(times)) for name, times in took_s.items()),
        values={
            "volumes": volumes,
            "upstream_volumes": upstream_volumes,
            "seconds": seconds,
            "rounds": took_s,
        },
    )


def _spread(times: list[float]) -> str:
    median = f"{statistics.median(times):,.0f}"
    return f"{median} ({min(times):,.0f} to {max(times):,.0f}) s" if times[1:] else f"{median} s"


def _bars(seconds: dict[str, float]) -> Iterator[Bar]:
    """Each promise for the first burst and for the next one, which finds the replicas of the
    first.
    """
    for burst, ours, one in (
        ("first burst", "this cache", "one template"),
        ("next burst", "this cache, replicas there", "one template, there already"),
    ):
        if "no cache" in seconds:
            plain = ratio(seconds["no cache"], seconds[ours])
            vaai = ratio(seconds["no cache"], seconds[f"{ours}, VAAI"])
            yield Bar(
                f"{burst}, VAAI: at least {BAR_NO_CACHE:g} times faster than without a cache",
                f"{vaai:.1f} times; {plain:.1f} without VAAI",
                vaai >= BAR_NO_CACHE,
            )
        plain = ratio(seconds[one], seconds[ours])
        vaai = ratio(seconds[f"{one}, VAAI"], seconds[f"{ours}, VAAI"])
        yield Bar(
            f"{burst}, VAAI: at least {BAR_ONE_TEMPLATE:g} times faster than one template",
            f"{vaai:.1f} times; {plain:.1f} without VAAI",
            vaai >= BAR_ONE_TEMPLATE,
        )


@contextmanager
def _vcenter(vaai: bool) -> Iterator[VCenter]:
    costs = CostModel(enabled=True, vaai=vaai, bytes_scale=BYTES_SCALE)
    with VCenter(MODEL, clock=Clock(scale=0), cost_model=costs) as vcenter:
        yield vcenter
        if vcenter.errors:
            raise RuntimeError(f"the fake vCenter failed: {vcenter.errors[0]}")


def _endpoint(vcenter: VCenter) -> dict[str, Any]:
    return {
        "host": vcenter.host,
        "port": vcenter.port,
        "user": vcenter.user,
        "password": vcenter.password,
        "ca_file": str(vcenter.ca_file),
    }


def _bursts(volumes: int, vaai: bool, *, replicas: str) -> tuple[float, float]:
    """Seconds of the fake's time for a burst on an empty cache, and for a second one."""
    stream = StreamImage(IMAGE_BYTES)
    image = stream.image()
    took_s = []
    with _vcenter(vaai) as vcenter, VirtualTime(vcenter.clock):
        clock = WaitingClock(vcenter.clock)
        with running_cache(_endpoint(vcenter), clock=clock, replicas=replicas) as cache:
            for _ in range(2):
                began = clock.monotonic()
                create_at_once(cache, image, stream, volumes)
                took_s.append(clock.monotonic() - began)
    return took_s[0], took_s[1]


def _without(volumes: int) -> float:
    """Seconds of the fake's time if upstream imports every volume."""
    with _vcenter(vaai=False) as vcenter:
        vcenter.cost_model.enabled = False
        with FreshProcess(
            "benchmarks.clients.upstream:create_volumes",
            endpoint=_endpoint(vcenter),
            volumes=volumes,
            flow="import",
            image_bytes=IMAGE_BYTES,
            options={"vmware_task_poll_interval": POLL_S},
        ) as client:
            client.wait_until_ready()
            vcenter.cost_model.enabled = True
            with VirtualTime(vcenter.clock, processes=[client.pid]):
                began = vcenter.clock.monotonic()
                client.work()
                took_s = vcenter.clock.monotonic() - began
            client.result()
    return took_s


ROW = Row("mass_creation", "100 volumes of a 20 GiB image, 4 datastores, 8 hosts", measure)

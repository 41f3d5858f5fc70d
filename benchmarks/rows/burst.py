"""How long other operations take during a burst of volumes from one image.

A real Cinder and Glance run on the fake vCenter, all of Cinder in one process. The image has a
template, and each clone takes some seconds, so nearly all volumes wait for a slot. The row measures
how long a user waits for a blank volume, and Nova for an attachment: before the burst and during
it, with as many workers as oslo.messaging has by default and with as many as the driver asks for.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.row import Bar, NotMeasured, Outcome, Row, ratio
from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud
from tests.e2e.road import Road, an_instance
from tests.e2e.stack.client import RequestRefused
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model
from vmdk_cache.cinder.workers import OPTION

BAR = 5.0
USUAL, OURS = "64 workers, as without the cache", "workers as the driver asks for"
OPTIONS = {
    "enable_image_cache": "true",
    "image_cache_replicas": "off",
    "vmware_enable_volume_stats": "false",
}


class Waits(NamedTuple):
    """Waits in seconds."""

    attach_s: float
    blank_s: float


def measure(volumes: int = 160, clone_s: float = 3.0) -> Outcome:
    """
    :param volumes: of the burst
    :param clone_s: how long each clone runs
    """
    before: dict[str, Waits] = {}
    within: dict[str, Waits] = {}
    for name, defaults in ((USUAL, {OPTION: "64"}), (OURS, {})):
        before[name], within[name] = _measured(volumes, clone_s, defaults)
    figures = []
    for name in (USUAL, OURS):
        for when, waits in (("no burst", before[name]), ("in the burst", within[name])):
            figures.append(
                (f"{name}, {when}", f"attach {waits.attach_s:.1f} s, blank {waits.blank_s:.1f} s")
            )
    bars = []
    for what, usual_s, ours_s in zip(
        ("attach", "blank volume"), within[USUAL], within[OURS], strict=True
    ):
        sooner = ratio(usual_s, ours_s)
        bars.append(
            Bar(
                f"{what}: at least {BAR:g} times sooner than with 64 workers",
                f"{sooner:.1f} times",
                sooner >= BAR,
            )
        )
    return Outcome(
        bars=tuple(bars),
        figures=tuple(figures),
        values={
            "volumes": volumes,
            "clone_s": clone_s,
            "before": {name: waits._asdict() for name, waits in before.items()},
            "within": {name: waits._asdict() for name, waits in within.items()},
        },
    )


def _measured(volumes: int, clone_s: float, defaults: dict[str, str]) -> tuple[Waits, Waits]:
    """Waits before a burst, and during it."""
    model = Model(hosts_per_cluster=2, datastores=1)
    with (
        cloud({"vmware": (OUR_DRIVER, OPTIONS)}, model=model, defaults=defaults) as running,
        an_instance(running.vcenter) as instance,
    ):
        image_id = running.upload("fleet", as_stream_optimized(filesystem_disk(8 << 20)))
        road = Road("cached", running, "vmware", image_id)
        there = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
        running.cinder.wait("volumes", there, "available")
        road.detach(there, road.attach(there, instance))  # costs of the very first one
        before = _waits(running, road, there, instance)
        running.vcenter.fault_rules.add("CloneVM_Task", on="task", times=None, delay_s=clone_s)
        ids = running.create_at_once(volumes, 1, imageRef=image_id, metadata=USE_CACHE)
        within = _waits(running, road, there, instance)
        if all(running.cinder.show("volumes", one)["status"] == "available" for one in ids):
            raise NotMeasured("the burst was over before the measurement was")
        return before, within


def _waits(running: Cloud, road: Road, volume_id: str, instance: str) -> Waits:
    with ThreadPoolExecutor(2) as pool:
        attach, blank = (
            pool.submit(_attach, road, volume_id, instance),
            pool.submit(_blank, running),
        )
        return Waits(attach.result(), blank.result())


def _attach(road: Road, volume_id: str, instance: str) -> float:
    """:raises NotMeasured: Cinder gives up: rpc_response_timeout"""
    began = time.monotonic()
    try:
        attachment = road.attach(volume_id, instance)
    except RequestRefused as failure:
        waited_s = time.monotonic() - began
        raise NotMeasured(f"an attach failed after {waited_s:.0f} s: {failure}") from failure
    waited_s = time.monotonic() - began
    road.detach(volume_id, attachment)
    return waited_s


def _blank(running: Cloud) -> float:
    began = time.monotonic()
    volume_id = running.cinder.create_volume(1, name="blank")
    running.cinder.wait("volumes", volume_id, "available")
    return time.monotonic() - began


ROW = Row("burst", "An attach and a blank volume in a burst of 160 volumes", measure)

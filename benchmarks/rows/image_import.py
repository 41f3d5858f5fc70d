"""The import of an image: its speed against oslo.vmware's transfer, and its memory.

Both read the image from the same HTTP server and send it to the same receiver, which is faster than
either (receiver.py). Ours checks the format and the hash on the way, verifies the disk and marks it
as a template. The peer is measured without and with the hash check that python-glanceclient does
for it in Cinder. All are measured again with both links limited to 100 MiB/s, as by a network.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import receiver
from benchmarks.fresh_process import FreshProcess
from benchmarks.image_server import ImageServer
from benchmarks.row import Bar, Outcome, Row, ratio
from benchmarks.rows.requests import MODEL
from benchmarks.stream_image import StreamImage
from benchmarks.turns import spread, take_turns
from benchmarks.vcenter_process import VCenterProcess

BAR = 2.0
BAR_MIB = 64.0
#: The rate of Glance and of the ESXi host each, with a network in between.
LINK_BYTES_PER_S = 100 * (1 << 20)
OURS = "this cache"
OURS_GREEN = "this cache on eventlet"
PEER = "oslo.vmware on eventlet, hash checked"
PEER_UNCHECKED = "oslo.vmware on eventlet, no hash"
CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: ("cache:import_image", {}),
    OURS_GREEN: ("green:import_image", {}),
    PEER: ("upstream:import_image", {"checked": True}),
    PEER_UNCHECKED: ("upstream:import_image", {"checked": False}),
}


def measure(image_mib: int = 256, large_mib: int = 2048, rounds: int = 3) -> Outcome:
    """
    :param image_mib: size of the image's file, for speed and memory
    :param large_mib: size of a second one, for memory alone
    """
    results = _imports(CLIENTS, image_mib, rounds)
    slow = _imports({OURS: CLIENTS[OURS], PEER: CLIENTS[PEER]}, image_mib, 1, LINK_BYTES_PER_S)
    large = _imports({OURS_GREEN: CLIENTS[OURS_GREEN]}, large_mib, 1)
    speed = {
        name: [image_mib / seconds for seconds in result["wall_s"]]
        for name, result in results.items()
    }
    found = ratio(statistics.median(speed[OURS_GREEN]), statistics.median(speed[PEER]))
    peak_mib = {
        f"{image_mib} MiB": max(results[OURS_GREEN]["peak_mib"]),
        f"{large_mib} MiB": max(large[OURS_GREEN]["peak_mib"]),
    }
    worst_mib = max(peak_mib.values())
    return Outcome(
        bars=(
            Bar(f"at least {BAR:g} times oslo.vmware's", f"{found:.2f} times", found >= BAR),
            Bar(
                f"memory at most {BAR_MIB:g} MiB over idle, for any size",
                ", ".join(f"{mib:.0f} MiB for {size}" for size, mib in peak_mib.items()),
                worst_mib <= BAR_MIB,
            ),
        ),
        figures=tuple(
            (name, f"{spread(speed[name])} MiB/s, CPU {statistics.median(result['cpu_s']):.2f} s")
            for name, result in results.items()
        )
        + tuple(
            (f"{name}, both links at 100 MiB/s", f"{image_mib / result['wall_s'][0]:.0f} MiB/s")
            for name, result in slow.items()
        ),
        values={
            "image_mib": image_mib,
            "ratio": found,
            "peak_mib": peak_mib,
            "mib_per_s": speed,
            "clients": results,
            "clients_100_mib_per_s": slow,
        },
    )


def _imports(
    clients: dict[str, tuple[str, dict[str, Any]]],
    image_mib: int,
    rounds: int,
    link_bytes_per_s: float = 0,
) -> dict[str, dict[str, Any]]:
    with (
        ImageServer(StreamImage(image_mib << 20), link_bytes_per_s) as images,
        VCenterProcess(MODEL) as vcenter,
    ):
        vcenter.call(receiver.count_only, link_bytes_per_s)
        common = {"endpoint": vcenter.endpoint, "source": images.facts, "rounds": rounds}
        running: dict[str, FreshProcess] = {}
        try:
            for name, (function, more) in clients.items():
                running[name] = FreshProcess(f"benchmarks.clients.{function}", **common, **more)
                running[name].wait_until_ready()
            return take_turns(running, rounds)
        finally:
            for client in running.values():
                client.close()


ROW = Row("import", "import of an image", measure)

"""How often Glance sends an image whose first volumes are created all at once."""

from __future__ import annotations

import contextlib
import tempfile

from benchmarks.fresh_process import FreshProcess
from benchmarks.image_server import ImageServer
from benchmarks.row import Bar, Outcome, Row
from benchmarks.rows.requests import MODEL
from benchmarks.stream_image import StreamImage
from benchmarks.vcenter_process import VCenterProcess


def measure(volumes: int = 200, processes: int = 4, image_mib: int = 32) -> Outcome:
    """
    :param volumes: created at once, in a thread each, by all processes together
    :param processes: that share a lock directory, as those of one host do
    """
    with (
        contextlib.ExitStack() as stack,
        tempfile.TemporaryDirectory(prefix="vmdk-cache-bench-") as locks,
        ImageServer(StreamImage(image_mib << 20)) as images,
        VCenterProcess(MODEL) as vcenter,
    ):
        clients = [
            stack.enter_context(
                FreshProcess(
                    "benchmarks.clients.cache:create_first_volumes",
                    endpoint=vcenter.endpoint,
                    locks=locks,
                    source=images.facts,
                    volumes=volumes // processes,
                )
            )
            for _ in range(processes)
        ]
        for client in clients:
            client.wait_until_ready()
        vcenter.reset()
        for client in clients:
            client.go()
        for client in clients:
            client.wait_until_ready()
        imports = vcenter.requests().get("ImportVApp", 0)
        results = [client.result() for client in clients]
    hits = sum(result["hits"] for result in results)
    return Outcome(
        bars=(Bar("exactly 1 download", str(images.downloads), images.downloads == 1),),
        figures=(
            ("volumes", f"{volumes} by {processes} processes, {hits} of them hits"),
            ("imports", f"{imports}"),
            ("slowest process", f"{max(result['wall_s'] for result in results):.1f} s"),
        ),
        values={"downloads": images.downloads, "imports": imports, "hits": hits},
    )


ROW = Row("downloads", "Glance downloads, 200 first creates over 4 processes", measure)

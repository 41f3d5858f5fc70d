"""The demo's story, from an empty vCenter to an empty vCenter.

Boot; upload an image; create all volumes with Cinder's own driver, then with this one, on the same
vCenter with the same costs; prove the result; delete them; advance vCenter's clock, by which the
cache measures ages, past the template's age; show that the purge removed it; compare.
"""

from __future__ import annotations

import contextlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from demo import large_burst, proofs
from demo.costs import BYTES_SCALE, COSTS, DISK_BYTES
from demo.screen import Row, Screen
from tests.e2e.cloud import OUR_DRIVER, UPSTREAM_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.cinder import Threads
from tests.e2e.stack.service_process import StackError, wait_until
from tests.fakes.images import FakeImage, as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model

VOLUME_GB = 1
AGE_S = 3600
"""image_cache_age_seconds. The demo advances vCenter's clock by it once the volumes are gone, so no
template expires before that, however slow the machine."""
STEP_TIMEOUT_S = 180.0
STOCK = "stock"


@dataclass(frozen=True)
class Plan:
    """What varies between two runs of the demo."""

    volumes: int
    threads: Threads


@dataclass(frozen=True)
class Burst:
    """All volumes, created at once by one driver.

    :ivar seconds: from the first request until the last volume is available
    """

    ids: list[str]
    rows: list[Row]
    seconds: float
    downloads: int


def tell(plan: Plan, screen: Screen) -> bool:
    """Run the demo; :returns: whether every proof held."""
    options = {
        "enable_image_cache": "true",
        "image_cache_age_seconds": str(AGE_S),
        "image_cache_purge_interval": "1",
    }
    image = as_stream_optimized(filesystem_disk(DISK_BYTES))
    with contextlib.ExitStack() as stack:
        with screen.step("Boot", "Cinder, Glance and a fake vCenter"):
            running = stack.enter_context(
                cloud(
                    {STOCK: (UPSTREAM_DRIVER, {}), proofs.CACHED: (OUR_DRIVER, options)},
                    model=Model(datastores=2),
                    threads=plan.threads,
                    cost_model=COSTS,
                )
            )
            for name in (STOCK, proofs.CACHED):
                running.cinder.create_volume_type(name, volume_backend_name=name)
        try:
            return _tell(plan, screen, running, image)
        except StackError:
            screen.plain(running.openstack.logs())
            raise


def _tell(plan: Plan, screen: Screen, running: Cloud, image: FakeImage) -> bool:
    held = []

    def prove(proof: proofs.Proof) -> None:
        held.append(proof.holds)
        screen.proof(proof)

    image_id = running.upload("demo", image)
    screen.say(
        "Upload",
        f"a disk of {len(image.disk) >> 20} MiB as a streamOptimized VMDK of "
        f"{len(image.file_bytes) / (1 << 20):.1f} MiB",
    )
    screen.say(
        "Costs",
        f"each byte counts as {BYTES_SCALE}: the fake vCenter takes as long as for "
        f"{len(image.file_bytes) * BYTES_SCALE / (1 << 20):.0f} MiB",
    )
    screen.chapter("Cinder's own driver")
    stock = _create(plan, screen, running, image_id, STOCK)
    prove(proofs.downloads(stock.downloads, plan.volumes))
    _delete(screen, running, stock.ids)

    screen.chapter("This driver")
    ours = _create(plan, screen, running, image_id, proofs.CACHED)
    screen.volumes(ours.rows)
    prove(proofs.one_miss_and_hits([row.outcome for row in ours.rows]))
    prove(proofs.downloads(ours.downloads, 1))
    prove(proofs.same_bytes(running, ours.ids, image, VOLUME_GB))
    prove(proofs.one_template(running))
    _await_pool(running, extra_gb=1)
    prove(proofs.pool_counts(running, 1))
    _delete(screen, running, ours.ids)
    # Cinder calls once a minute; in a real hour its sessions would never be idle this long.
    running.vcenter.sessions.idle_timeout_s = 2.0 * AGE_S
    running.vcenter.clock.advance(AGE_S)
    with screen.step("Wait", f"for the purge: vCenter's clock is {AGE_S} s ahead now"):
        wait_until(
            lambda: not running.vcenter.vms(),
            what="the purge to remove the template",
            timeout_s=STEP_TIMEOUT_S,
        )
    prove(proofs.no_template(running))
    _await_pool(running, extra_gb=0)
    prove(proofs.pool_counts(running, 0))
    prove(proofs.Proof("vCenter saw no error of its own", not running.vcenter.errors))

    screen.chapter("Compared")
    screen.comparison(_compared(plan.volumes, len(image.file_bytes), stock, ours))
    screen.bars(
        f"Simulated: {large_burst.TITLE}",
        large_burst.seconds(),
        large_burst.SOURCE,
    )
    if not all(held):
        screen.plain(running.openstack.logs())
    return all(held)


def _compared(
    volumes: int, image_bytes: int, stock: Burst, ours: Burst
) -> list[tuple[str, str, str]]:
    def sent(burst: Burst) -> str:
        return f"{burst.downloads * image_bytes / (1 << 20):.1f} MiB"

    return [
        (f"{volumes} volumes of one image", "Cinder's own driver", "this driver"),
        ("downloads from Glance", str(stock.downloads), str(ours.downloads)),
        ("bytes from Glance", sent(stock), sent(ours)),
        ("until the last volume is ready", f"{stock.seconds:.0f} s", f"{ours.seconds:.0f} s"),
    ]


def _create(plan: Plan, screen: Screen, running: Cloud, image_id: str, backend: str) -> Burst:
    """Request all volumes at once and watch them."""
    text = f"{plan.volumes} volumes of {VOLUME_GB} GiB at once"
    asked_at = time.monotonic()
    available_at: dict[str, float] = {}
    downloads = running.glance.downloads(image_id)
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(
            running.create_at_once,
            plan.volumes,
            VOLUME_GB,
            imageRef=image_id,
            volume_type=backend,
            metadata=USE_CACHE if backend == proofs.CACHED else {},
        )
        with screen.counting("Create", text, plan.volumes) as report:

            def all_available() -> bool:
                if asked.done():
                    asked.result()  # raises at once if a request was refused
                for volume in running.cinder.volumes():
                    if volume["status"] == "available":
                        available_at.setdefault(volume["id"], time.monotonic())
                    elif volume["status"] == "error":
                        messages = "; ".join(running.cinder.messages(volume["id"]))
                        raise StackError(f"{volume['name']} went to error: {messages}")
                report(len(available_at))
                return len(available_at) == plan.volumes

            wait_until(all_available, what="all volumes", timeout_s=STEP_TIMEOUT_S, interval_s=0.5)
        ids = asked.result()
    driver_s = _seconds_in_the_driver(running)
    rows = [
        Row(
            name=volume["name"],
            outcome=outcome(volume) or "",
            driver_s=driver_s.get(volume["id"]),
            available_after_s=available_at[volume["id"]] - asked_at,
        )
        for volume in sorted(running.cinder.volumes(), key=lambda volume: str(volume["name"]))
    ]
    seconds = max(available_at.values()) - asked_at
    return Burst(ids, rows, seconds, running.glance.downloads(image_id) - downloads)


def _seconds_in_the_driver(running: Cloud) -> dict[str, float]:
    """By volume id: how long the driver took, from the events in Cinder's log."""
    event = r"Image cache (hit|miss): volume ([-0-9a-f]{36}) .* in ([0-9.]+) s \("
    lines = running.openstack.cinder.log_lines(event)
    matches = [match for line in lines if (match := re.search(event, line))]
    return {match[2]: float(match[3]) for match in matches}


def _delete(screen: Screen, running: Cloud, ids: list[str]) -> None:
    with screen.step("Delete", "all volumes"):
        running.delete_all(ids)


def _await_pool(running: Cloud, extra_gb: int) -> None:
    """Wait for the backend's next report; the next proof judges its content."""
    try:
        wait_until(
            lambda: proofs.pool(running).get("extra_provisioned_capacity_gb") == extra_gb,
            what="the scheduler",
            timeout_s=60,
        )
    except StackError:
        return

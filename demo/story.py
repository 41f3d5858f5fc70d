"""The demo's story, from an empty vCenter to an empty vCenter.

Boot; upload an image; ask for all volumes at once; show and prove what became of them; delete
them; let the template's age pass on vCenter's clock, by which the cache tells ages; show that the
purge removed it.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from demo import proofs
from demo.screen import Row, Screen
from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.cinder import Threads
from tests.e2e.stack.service_process import StackError, wait_until
from tests.fakes.images import FakeImage, as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model

DISK_BYTES = 32 << 20
VOLUME_GB = 1
AGE_S = 3600
"""image_cache_age_seconds. vCenter's clock is put forward by so much once the volumes are gone, so
that no template expires before, however slow the machine."""
STEP_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Plan:
    """What varies between two runs of the demo."""

    volumes: int
    threads: Threads


def tell(plan: Plan, screen: Screen) -> bool:
    """Run the demo; :returns: whether everything held."""
    options = {
        "enable_image_cache": "true",
        "image_cache_age_seconds": str(AGE_S),
        "image_cache_purge_interval": "1",
    }
    image = as_stream_optimized(filesystem_disk(DISK_BYTES))
    booted_at = time.monotonic()
    with cloud(
        {"vmware": (OUR_DRIVER, options)}, model=Model(datastores=2), threads=plan.threads
    ) as running:
        seconds = time.monotonic() - booted_at
        screen.say("Boot", f"Cinder, Glance and a fake vCenter [dim]({seconds:.1f} s)[/dim]")
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
        f"a FAT file system of {len(image.disk) >> 20} MiB as a streamOptimized VMDK of "
        f"{len(image.file_bytes) / (1 << 20):.1f} MiB",
    )
    ids, rows = _create(plan, screen, running, image_id)
    screen.volumes(rows)
    prove(proofs.one_miss_and_hits([row.outcome for row in rows]))
    prove(proofs.one_download(running, image_id))
    prove(proofs.same_bytes(running, ids, image, VOLUME_GB))
    prove(proofs.one_template(running))
    _await_pool(running, extra_gb=1)
    prove(proofs.pool_counts(running, 1))
    _delete(screen, running, ids)
    # Cinder calls once a minute: in an hour that really passed its sessions would not be idle.
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
    if not all(held):
        screen.plain(running.openstack.logs())
    return all(held)


def _create(
    plan: Plan, screen: Screen, running: Cloud, image_id: str
) -> tuple[list[str], list[Row]]:
    """Ask for all volumes at once and watch them; :returns: their ids and rows for the table."""
    text = f"{plan.volumes} volumes of {VOLUME_GB} GiB at once, use_image_cache=true"
    asked_at = time.monotonic()
    available_at: dict[str, float] = {}
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(
            running.create_at_once, plan.volumes, VOLUME_GB, imageRef=image_id, metadata=USE_CACHE
        )
        with screen.counting("Create", text, plan.volumes) as report:

            def all_available() -> bool:
                if asked.done():
                    asked.result()  # a refused request is told at once
                for volume in running.cinder.volumes():
                    if volume["status"] == "available":
                        available_at.setdefault(volume["id"], time.monotonic())
                    elif volume["status"] == "error":
                        told = "; ".join(running.cinder.messages(volume["id"]))
                        raise StackError(f"{volume['name']} went to error: {told}")
                report(len(available_at))
                return len(available_at) == plan.volumes

            wait_until(all_available, what="all volumes", timeout_s=STEP_TIMEOUT_S, interval_s=0.5)
        ids = asked.result()
    driver_s = _seconds_in_the_driver(running)
    rows = [
        Row(
            name=volume["name"],
            outcome=outcome(volume) or "no answer",
            driver_s=driver_s.get(volume["id"]),
            available_after_s=available_at[volume["id"]] - asked_at,
        )
        for volume in sorted(running.cinder.volumes(), key=lambda volume: str(volume["name"]))
    ]
    return ids, rows


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
    """Wait for the backend's next report; what it says is judged by the proof that follows."""
    try:
        wait_until(
            lambda: proofs.pool(running).get("extra_provisioned_capacity_gb") == extra_gb,
            what="the scheduler",
            timeout_s=60,
        )
    except StackError:
        return

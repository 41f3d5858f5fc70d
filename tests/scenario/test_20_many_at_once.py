"""Mass creation: one import for all threads and processes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import threading
from collections import Counter
from multiprocessing.synchronize import Barrier

from tests.fakes.images import FakeImage, FakeImageSource
from tests.scenario.conftest import Lab, running_cache, volume
from vmdk_cache.vim.session import Endpoint


def test_fifty_first_volumes_in_one_process_import_once(lab: Lab) -> None:
    barrier = threading.Barrier(50)

    def create(number: int) -> bool:
        barrier.wait(60)
        return lab.create(number)

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        hits = list(pool.map(create, range(50)))
    assert hits.count(False) == 1
    assert lab.source.opened == 1
    assert lab.vcenter.request_log.count("ImportVApp") == 1
    assert len(lab.templates()) == 1
    assert len(lab.vcenter.vms()) == 51


def test_templates_spread_over_the_hosts(lab: Lab) -> None:
    """vCenter charges every clone to the template's host as well."""
    for number in range(1, 5):
        image = dataclasses.replace(lab.image, id=f"a0000000-0000-4000-8000-{number:012}")
        lab.cache.images.create_volume(image, volume(number), lab.source)
    hosts = Counter(vm.host.name for vm in lab.vcenter.vms() if vm.config.template)
    assert sorted(hosts.values()) == [2, 2]


def create_in_a_process(
    endpoint: Endpoint, locks_url: str, disk_image: FakeImage, first: int, barrier: Barrier
) -> tuple[int, int]:
    """Create 12 volumes at once; (misses, downloads) of this process."""
    source = FakeImageSource(disk_image)
    with running_cache(endpoint, locks_url, lambda event: None) as cache:
        barrier.wait(60)

        def create(number: int) -> bool:
            made = cache.images.create_volume(disk_image.image(), volume(number), source)
            return made.hit

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            hits = list(pool.map(create, range(first, first + 12)))
    return hits.count(False), source.opened


def over_processes(lab: Lab, locks_urls: list[str]) -> list[tuple[int, int]]:
    context = multiprocessing.get_context("spawn")
    endpoint = dataclasses.replace(lab.endpoint)
    with (
        context.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(len(locks_urls), mp_context=context) as pool,
    ):
        barrier = manager.Barrier(len(locks_urls))
        futures = [
            pool.submit(
                create_in_a_process,
                endpoint,
                url,
                lab.disk_image,
                100 * (number + 1),
                barrier,  # type: ignore[arg-type]
            )
            for number, url in enumerate(locks_urls)
        ]
        return [future.result(240) for future in futures]


def test_first_volumes_over_four_processes_import_once(lab: Lab) -> None:
    results = over_processes(lab, [lab.locks_url] * 4)
    assert sum(misses for misses, _ in results) == 1
    assert sum(downloads for _, downloads in results) == 1
    assert lab.vcenter.request_log.count("ImportVApp") == 1
    assert len(lab.vcenter.vms()) == 49


def test_processes_that_share_no_locks_share_the_template_anyway(lab: Lab) -> None:
    """vCenter's DuplicateName decides; the losers wait for the winner's template."""
    results = over_processes(lab, [f"{lab.locks_url}-{number}" for number in range(3)])
    assert sum(misses for misses, _ in results) == 1
    assert len(lab.templates()) == 1
    assert len(lab.vcenter.vms()) == 37
    assert lab.vcenter.leases() == []

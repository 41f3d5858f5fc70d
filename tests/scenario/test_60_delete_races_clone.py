"""Templates are deleted while others clone from them and import them anew, over three processes.

Every template has expired as soon as it is made, and every volume is followed by a purge that
deletes whatever is not in use just then. So a look-up finds what the next moment deletes, a clone
meets a template under deletion, a deletion meets clones, and imports of one name follow each other.
No volume may notice.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import pathlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

import pytest

from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.cost_model import CostModel
from tests.scenario.conftest import MIB, Lab, running_cache, volume
from vmdk_cache.cache.events import Event, Evicted, Imported
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.image import Image
from vmdk_cache.vim.session import Endpoint

PROCESSES = 3
CREATORS = 3
ROUNDS = 6
#: One copy of an image: replicas are made in the background, also when all else has ended.
EXPIRING = Settings(enabled=True, age_s=1, replicas=REPLICAS_OFF)
DATASTORES = ("DC0_DS0", "DC0_DS1")


@pytest.fixture(scope="module")
def disk_images() -> list[FakeImage]:
    """Three images, every byte of which tells them apart."""
    return [as_stream_optimized(noise(MIB, seed)) for seed in (b"red", b"green", b"blue")]


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """Tasks take a moment, so that others meet them; a template is two seconds old at birth."""
    costs = CostModel(enabled=True, fixed_clone_s=0.05, fixed_task_s=0.15, request_s=0.002)
    with VCenter(Model(hosts_per_cluster=2, datastores=2), cost_model=costs) as running:
        running.fault_rules.add(
            "MarkAsTemplate", times=None, action=lambda: running.clock.advance(2)
        )
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vcenter: VCenter, disk_images: list[FakeImage], tmp_path: pathlib.Path) -> Iterator[Lab]:
    made = Lab(vcenter, disk_images[0], tmp_path)
    with made.stack:
        made.cache = made.process(EXPIRING)
        yield made


def describe(disk_images: list[FakeImage], number: int) -> Image:
    return disk_images[number].image(f"a0000000-0000-4000-8000-{number:012}")


def image_of(number: int) -> int:
    """Which image a volume is made from: the creators of one moment ask for different ones."""
    creator, turn = divmod(number, ROUNDS)
    return (creator + turn) % 3


@dataclass(frozen=True)
class Raced:
    """:ivar failures: of volumes and purges, as text"""

    failures: list[str]
    imports: int
    deletions: int


def race_in_a_process(
    endpoint: Endpoint, locks_url: str, disk_images: list[FakeImage], process: int, start: Barrier
) -> Raced:
    """Each of some threads makes its volumes one after another, and purges after each."""
    events: list[Event] = []
    failures: list[str] = []
    with running_cache(endpoint, locks_url, events.append, EXPIRING) as cache:
        threads = threading.Barrier(CREATORS)
        start.wait(120)

        def create(creator: int) -> None:
            threads.wait(60)
            for number in range(creator * ROUNDS, (creator + 1) * ROUNDS):
                wanted = image_of(number)
                image, source = describe(disk_images, wanted), FakeImageSource(disk_images[wanted])
                try:
                    cache.images.create_volume(image, volume(number), source)
                    cache.purge.run()
                except Exception as failure:
                    failures.append(f"volume {number}: {failure!r}")

        first = process * CREATORS
        with concurrent.futures.ThreadPoolExecutor(CREATORS) as pool:
            list(pool.map(create, range(first, first + CREATORS)))
    return Raced(failures, count(events, Imported), count(events, Evicted))


def count(events: list[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


def race(lab: Lab, disk_images: list[FakeImage], locks_urls: list[str]) -> list[Raced]:
    context = multiprocessing.get_context("spawn")
    endpoint = dataclasses.replace(lab.endpoint)
    with (
        context.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(PROCESSES, mp_context=context) as pool,
    ):
        barrier = manager.Barrier(PROCESSES)
        futures = [
            pool.submit(
                race_in_a_process,
                endpoint,
                url,
                disk_images,
                process,
                barrier,  # type: ignore[arg-type]
            )
            for process, url in enumerate(locks_urls)
        ]
        return [future.result(240) for future in futures]


@pytest.mark.parametrize("shared_locks", [True, False])
def test_deletions_and_clones_over_processes_never_fail_or_alter_a_volume(
    lab: Lab, disk_images: list[FakeImage], shared_locks: bool
) -> None:
    urls = [lab.locks_url + ("" if shared_locks else f"-{n}") for n in range(PROCESSES)]
    raced = race(lab, disk_images, urls)

    assert [failure for process in raced for failure in process.failures] == []
    for number in range(PROCESSES * CREATORS * ROUNDS):
        disk = lab.vcenter.read_disk(volume(number).name)
        assert disk.size_bytes == volume(number).size_bytes
        assert disk.read(0, MIB) == disk_images[image_of(number)].disk, f"volume {number}"

    left = lab.cache.purge.run()
    assert lab.cache.reconcile.check(fix=True, remove_directories=True).findings == ()
    assert lab.templates() == []
    assert lab.vcenter.leases() == []
    volumes = {volume(number).name for number in range(PROCESSES * CREATORS * ROUNDS)}
    assert {vm.name for vm in lab.vcenter.vms()} == volumes
    paths = [path for name in DATASTORES for path in lab.vcenter.datastore(name).files()]
    assert {path.split("/")[0] for path in paths} == volumes

    imports = sum(process.imports for process in raced)
    deletions = sum(process.deletions for process in raced) + len(left)
    # Two processes without a common lock may both see to the end of one template.
    assert deletions == imports if shared_locks else deletions >= imports
    assert imports > len(disk_images), "nothing was deleted while volumes were made"

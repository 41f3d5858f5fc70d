"""An importer that was killed, stopped, or cut off from the coordinator while it imported.

Time is vCenter's, and passes with requests and sleeps only. A lease that is still held when a
volume is made shows that the volume did not wait for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event

import pytest

from tests.fakes.clock import SharedClock
from tests.fakes.images import FakeImage, FakeImageSource
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter
from tests.scenario.conftest import FOLDER, SETTINGS, Lab, running_cache, volume
from vmdk_cache import errors, wiring
from vmdk_cache.cache.entry import Phase
from vmdk_cache.vim.session import Endpoint

LEASE_TIMEOUT_S = 300
ONE_DATASTORE = Model(hosts_per_cluster=2, datastores=1)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """Two copies can only be on the same datastore."""
    clock = Clock(scale=0.0)
    with VCenter(ONE_DATASTORE, clock=clock, cost_model=CostModel.plain()) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    made = Lab(vcenter, disk_image, tmp_path)
    with made.stack:
        made.clock = SharedClock(vcenter.clock)
        made.cache = made.process()
        yield made


def half_then_wait(file_bytes: bytes, half_sent: Event, go_on: Event) -> Iterator[bytes]:
    """In pieces: the reader withholds the last one, until it knows that the whole is right."""
    pieces = [file_bytes[at : at + (1 << 16)] for at in range(0, len(file_bytes), 1 << 16)]
    yield from pieces[: len(pieces) // 2]
    half_sent.set()
    go_on.wait(60)
    yield from pieces[len(pieces) // 2 :]


def create_first(
    endpoint: Endpoint, locks_url: str, image: FakeImage, half_sent: Event, go_on: Event
) -> None:
    """The work of the other process: volume 1."""
    source = FakeImageSource(lambda: half_then_wait(image.file_bytes, half_sent, go_on))
    with running_cache(endpoint, locks_url, lambda event: None) as cache:
        cache.images.create_volume(image.image(), volume(1), source)


class Importer:
    """Another process, in the middle of its upload."""

    def __init__(self, lab: Lab, locks_url: str | None = None, held: int = 1) -> None:
        half_sent, self.go_on = CONTEXT.Event(), CONTEXT.Event()
        arguments = (
            lab.endpoint,
            locks_url or lab.locks_url,
            lab.disk_image,
            half_sent,
            self.go_on,
        )
        self._process = CONTEXT.Process(target=create_first, args=arguments, daemon=True)
        self._process.start()
        assert half_sent.wait(60)
        lab.eventually(lambda: is_held(lab, held))

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def join(self) -> int | None:
        self._process.join(60)
        return self._process.exitcode


def is_held(lab: Lab, leases: int = 1) -> None:
    assert [lease.state for lease in lab.vcenter.leases()] == leases * ["ready"]


def all_is_well(lab: Lab, *volumes: int) -> None:
    """One template, whole volumes, and nothing else."""
    assert lab.vcenter.leases() == []
    entries = lab.cache.store.entries()
    assert [entry.phase for entry in entries] == [Phase.READY]
    names = {entries[0].name, *(volume(number).name for number in volumes)}
    with lab.vcenter.lock:
        assert {vm.name for vm in lab.vcenter.vms()} == names
        for name in names:
            disk = lab.vcenter.read_disk(name)
            assert disk.read(0, len(lab.disk_image.disk)) == lab.disk_image.disk, name
        assert len(lab.vcenter.datastore("DC0_DS0").directories()) == len(names)


def test_no_volume_waits_for_the_lease_of_a_killed_importer(lab: Lab) -> None:
    importer = Importer(lab)
    importer.signal(signal.SIGKILL)
    assert importer.join() == -signal.SIGKILL
    assert not lab.create(2)
    is_held(lab)
    assert lab.create(3)
    lab.vcenter.clock.advance(LEASE_TIMEOUT_S + 1)
    lab.eventually(lambda: all_is_well(lab, 2, 3))


def test_a_second_killed_importer_makes_no_volume_wait_either(lab: Lab) -> None:
    for held in (1, 2):
        importer = Importer(lab, held=held)
        importer.signal(signal.SIGKILL)
        importer.join()
    assert not lab.create(2)
    is_held(lab, 2)
    lab.vcenter.clock.advance(LEASE_TIMEOUT_S + 1)
    lab.eventually(lambda: all_is_well(lab, 2))


def test_without_room_for_two_imports_the_second_waits(lab: Lab) -> None:
    importer = Importer(lab)
    importer.signal(signal.SIGKILL)
    importer.join()
    lab.cache = lab.process(dataclasses.replace(SETTINGS, max_count=1))
    assert not lab.create(2)
    all_is_well(lab, 2)


def test_an_importer_with_locks_of_its_own_is_waited_for(lab: Lab, tmp_path: pathlib.Path) -> None:
    """This process cannot know whether the importer is dead."""
    elsewhere = tmp_path / "another host"
    elsewhere.mkdir()
    importer = Importer(lab, f"file://{elsewhere}")
    importer.signal(signal.SIGKILL)
    importer.join()
    assert not lab.create(2)
    all_is_well(lab, 2)


def test_an_importer_that_is_stopped_keeps_its_lock_and_its_import(lab: Lab) -> None:
    importer = Importer(lab)
    importer.signal(signal.SIGSTOP)
    hasty = lab.process(dataclasses.replace(SETTINGS, lock_timeout_s=1))
    with pytest.raises(errors.LockTimeout):
        hasty.images.create_volume(lab.image, volume(2), lab.source)
    importer.signal(signal.SIGCONT)
    importer.go_on.set()
    assert importer.join() == 0
    assert lab.create(2)
    all_is_well(lab, 1, 2)
    assert lab.source.opened == 0


# -- alive, although its lock is lost


class LostLocks:
    """Those of a process that lost its locks to all others without noticing it."""

    domain = "etcd"

    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float) -> Iterator[None]:
        yield


def cut_off(lab: Lab) -> wiring.RunningCache:
    """A process that has lost its locks, as the others see it."""
    cache = wiring.build(
        SETTINGS,
        wiring.Backend(name="b1", endpoint=lab.endpoint, folder=FOLDER),
        LostLocks(),
        events=lab.events.append,
        clock=lab.clock,
    )
    lab.stack.callback(cache.close)
    return cache


class Paused:
    """An image whose download stops in the middle until the test lets it continue."""

    def __init__(self, lab: Lab) -> None:
        self.half_sent, self.go_on = threading.Event(), threading.Event()
        self.source = FakeImageSource(
            lambda: half_then_wait(lab.disk_image.file_bytes, self.half_sent, self.go_on)
        )


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def test_whichever_of_two_importers_ends_first_one_template_stays(
    lab: Lab, pool: ThreadPoolExecutor
) -> None:
    first, second = Paused(lab), Paused(lab)
    for number, (slow, fast) in enumerate(((first, second), (second, first))):
        image = dataclasses.replace(lab.image, id=lab.image.id[:-1] + str(number))
        for one in (first, second):
            one.half_sent.clear()
            one.go_on.clear()
        made = {}
        for which, one in enumerate((first, second)):
            request = volume(2 * number + which)
            made[one] = pool.submit(cut_off(lab).images.create_volume, image, request, one.source)
            assert one.half_sent.wait(60)
            lab.eventually(lambda held=which + 1: is_held(lab, held))
        fast.go_on.set()
        assert not made[fast].result(60).hit
        slow.go_on.set()
        assert made[slow].result(60).hit, "its own import gave way"
        templates = [entry for entry in lab.cache.store.entries() if entry.image_id == image.id]
        assert [entry.phase for entry in templates] == [Phase.READY]
        assert lab.vcenter.leases() == []


def test_two_importers_that_end_at_the_same_moment_leave_one_template(
    lab: Lab, pool: ThreadPoolExecutor
) -> None:
    """Each has seen no other copy when it makes its own ready."""
    both = threading.Barrier(2)
    lab.vcenter.fault_rules.add("MarkAsTemplate", action=lambda: both.wait(60), times=2)
    sources = [Paused(lab), Paused(lab)]
    made = []
    for number, one in enumerate(sources, 1):
        made.append(
            pool.submit(cut_off(lab).images.create_volume, lab.image, volume(number), one.source)
        )
        assert one.half_sent.wait(60)
        lab.eventually(lambda held=number: is_held(lab, held))
    for one in sources:
        one.go_on.set()
    for outcome in made:
        outcome.result(60)
    lab.cache.purge.run()
    lab.eventually(lambda: all_is_well(lab, 1, 2))

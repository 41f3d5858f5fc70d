"""Hosts that are killed at random moments lose no volume but those they were at work on, and leave
nothing behind that a reconcile or a user's deletion does not find.

``VMDK_CACHE_KILL_ROUNDS`` says how many rounds of 200 volumes of three new images there are; the
seed of a round is its number, from ``VMDK_CACHE_KILL_SEED`` on. What it came to is printed: run it
with ``-s``.
"""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.fakes.images import FakeImage, as_stream_optimized, noise
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter
from tests.hosts import host
from tests.hosts.cloud import Cloud, doubled
from tests.scenario.conftest import GIB, MIB, Lab, volume
from tests.services.etcd import Etcd
from tests.services.redis import Redis
from vmdk_cache.cache.entry import Phase

HOSTS = 4
VOLUMES = 200
IMAGES = 3
#: By vCenter's clock.
REQUEST_S = 0.06
KILLS = 6
#: Requests to vCenter from one kill to the next.
BETWEEN = (10, 160)
ROUNDS = int(os.environ.get("VMDK_CACHE_KILL_ROUNDS", "1"))
FIRST_SEED = int(os.environ.get("VMDK_CACHE_KILL_SEED", "1"))
LEASE_TIMEOUT_S = 300
DATASTORES = ("DC0_DS0", "DC0_DS1")
#: Two minutes a round, most of them for a machine that is busy with other things.
TIMEOUT_S = 300.0


@pytest.fixture(scope="module")
def files() -> list[FakeImage]:
    """Three images, every byte of which tells them apart."""
    return [as_stream_optimized(noise(MIB, seed)) for seed in (b"red", b"green", b"blue")]


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """Tasks take long enough to be killed in: a clone 1/5 s, by our clocks; a request 2 ms."""
    costs = CostModel(enabled=True, fixed_clone_s=6.0, fixed_task_s=2.0, request_s=REQUEST_S)
    model = Model(hosts_per_cluster=4, datastores=2)
    with VCenter(model, clock=Clock(scale=host.SCALE), cost_model=costs) as running:
        yield running
        assert running.errors == []


@pytest.fixture(params=["etcd", "none", *(["redis"] if ROUNDS > 1 else [])])
def coordination(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[list[str]]:
    """``[coordination] backend_url`` of each host."""
    if request.param == "none":
        yield [f"file://{tmp_path}/{number}" for number in range(HOSTS)]
        return
    with {"etcd": Etcd, "redis": Redis}[request.param]() as server:
        yield [server.url] * HOSTS


@pytest.fixture
def lab(vcenter: VCenter, files: list[FakeImage], tmp_path: pathlib.Path) -> Iterator[Lab]:
    """A cache on a further host, which looks at it all when the others have ended."""
    made = Lab(vcenter, files[0], tmp_path / "further")
    with made.stack:
        yield made


@pytest.mark.timeout(60 + ROUNDS * TIMEOUT_S)
def test_whoever_is_killed_volumes_are_whole_or_in_error_and_nothing_stays_without_an_owner(
    lab: Lab, files: list[FakeImage], coordination: list[str]
) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + ROUNDS):
        images = [
            (file.image(f"a0000000-0000-4000-8000-{seed:06}{number:06}"), file)
            for number, file in enumerate(files)
        ]
        parts = [
            host.Part(f"host{number}", lab.endpoint, url, images)
            for number, url in enumerate(coordination)
        ]
        cloud = work_and_kill(lab, parts, seed)
        what_users_have(lab, cloud, files)
        what_is_left(lab, cloud)
        tidy_up(lab, cloud)


def work_and_kill(lab: Lab, parts: list[host.Part], seed: int) -> Cloud:
    lab.vcenter.request_log.reset()
    with Cloud(lab.vcenter, parts, seed) as cloud:
        cloud.wait_ready()
        cloud.kill_at_random(KILLS, BETWEEN)
        cloud.create(seed * VOLUMES, VOLUMES, IMAGES)
        cloud.wait(TIMEOUT_S)
    statuses = Counter(one.status for one in cloud.volumes.values())
    marked = lab.vcenter.request_log.count("MarkAsTemplate")
    print(
        f"seed {seed}: {cloud.kills} kills ({cloud.kills_of_importers} of importers), "
        f"{cloud.retries} volumes cast again, "
        f"{statuses['available']} available, {statuses['error']} in error, "
        f"{sum(cloud.downloads.values())} downloads and {marked} imports of {IMAGES} images",
        flush=True,
    )
    assert cloud.kills >= KILLS / 2, "the volumes were made too soon: make BETWEEN smaller"
    assert cloud.complaints == []
    assert cloud.doubled == set()
    # A kill costs one import at most.
    assert marked <= IMAGES + cloud.kills
    return cloud


def what_users_have(lab: Lab, cloud: Cloud, files: list[FakeImage]) -> None:
    """Available volumes are whole; those in error are deleted, which leaves nothing of them."""
    lab.eventually(lambda: at_rest(lab))
    for one in cloud.volumes.values():
        made = volume(one.number)
        if one.status == "available":
            disk = lab.vcenter.read_disk(made.name)
            assert disk.size_bytes == GIB
            assert disk.read(0, MIB) == files[one.image].disk, one
            assert lab.vcenter.find_vm(made.name).config.instanceUuid == made.instance_uuid
        else:
            delete(lab, one.number)


def what_is_left(lab: Lab, cloud: Cloud) -> None:
    """After one reconcile all has an owner: a user, or an image."""
    lab.vcenter.clock.advance(LEASE_TIMEOUT_S + 1)
    lab.eventually(lambda: at_rest(lab))
    report = lab.cache.reconcile.check(fix=True, remove_directories=True)
    assert all(finding.fixed for finding in report.findings), report
    assert lab.cache.reconcile.check().findings == ()
    entries = lab.cache.store.entries()
    assert {entry.phase for entry in entries} == {Phase.READY}
    assert doubled(lab.vcenter) == set()
    volumes = {volume(v.number).name for v in cloud.volumes.values() if v.status == "available"}
    names = volumes | {entry.name for entry in entries}
    assert {vm.name for vm in lab.vcenter.vms()} == names
    paths = [path for name in DATASTORES for path in lab.vcenter.datastore(name).files()]
    assert {path.split("/")[0] for path in paths} == names
    assert lab.vcenter.leases() == []


def tidy_up(lab: Lab, cloud: Cloud) -> None:
    """For the next round."""
    for number in cloud.volumes:
        delete(lab, number)
    lab.vcenter.clock.advance(host.SETTINGS.age_s + 1)
    lab.cache.purge.run()
    lab.eventually(lab.assert_nothing_left)


def at_rest(lab: Lab) -> None:
    """What vCenter went on with for hosts that are dead has ended."""
    with lab.vcenter.lock:
        leases = len(lab.vcenter.leases())
        assert len(lab.vcenter.tasks.running()) == leases


def delete(lab: Lab, number: int) -> None:
    """As Cinder's driver does: whatever bears the volume's uuid."""
    with lab.vcenter.lock:
        for vm in lab.vcenter.vms():
            if vm.instance_uuid == volume(number).instance_uuid:
                vm.destroy()

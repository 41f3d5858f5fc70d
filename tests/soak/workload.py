"""Batches of volumes: created in parallel, some of them hit by faults, then deleted.

Every batch brings new images; from time to time a day passes, all templates expire, and the cache
is empty again: then is the time to take a reading, for what is still there is there for good.
"""

from __future__ import annotations

import concurrent.futures
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.vcenter_process import VCenterProcess
from tests.fakes.clock import HastyClock
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise
from tests.fakes.vcenter import CostModel, Model
from tests.scenario.conftest import running_cache, volume
from tests.soak import vcenter_side
from tests.soak.readings import Reading, read
from vmdk_cache import errors, wiring
from vmdk_cache.cache.replication import THREAD_NAME
from vmdk_cache.conf import Settings
from vmdk_cache.ledger import Ledger
from vmdk_cache.vim.session import Endpoint

AT_A_TIME = 8
BATCH = 50
IMAGES_PER_BATCH = 2
FAULTS_PER_BATCH = 6
LEASE_TIMEOUT_S = 300
SETTINGS = Settings(enabled=True)
FILE_BYTES = 64 << 10
#: In real time, since the cache runs in another process than the vCenter.
COSTS = CostModel(request_s=0.002, task_s=0.02)


@dataclass
class Soak:
    """One run.

    :ivar outcomes: how many volumes were made (``made``), and how many not, by the error's class
    :ivar faults: that happened
    :ivar lost: what should not have been: a volume that was made and is not there, or the reverse;
        what stayed when all had gone
    """

    seed: int
    volumes: int
    readings_taken: int
    directory: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    lost: list[str] = field(default_factory=list)
    clock: HastyClock = field(default_factory=HastyClock)

    def run(self) -> Iterator[Reading]:
        """Take a reading now and then, the first one before the first volume."""
        every = max(BATCH, self.volumes // self.readings_taken)
        file = as_stream_optimized(noise(FILE_BYTES, b"soak"))
        ledger = Ledger.open(str(self.directory / "ledger.sqlite"))
        model = Model(hosts_per_cluster=2, datastores=2)
        with VCenterProcess(model, cost_model=COSTS) as vcenter:
            endpoint = Endpoint(**vcenter.endpoint)
            with running_cache(
                endpoint, f"file://{self.directory}", ledger, SETTINGS, self.clock
            ) as cache:
                yield self._reading(0, vcenter, cache)
                for done in range(BATCH, self.volumes + BATCH, BATCH):
                    self._batch(vcenter, cache, file, done)
                    if done % every < BATCH:
                        self._empty(vcenter, cache)
                        yield self._reading(done, vcenter, cache)
        ledger.close()

    def _reading(self, done: int, vcenter: VCenterProcess, cache: wiring.RunningCache) -> Reading:
        return read(done, vcenter.call(vcenter_side.sessions), cache)

    def _batch(
        self, vcenter: VCenterProcess, cache: wiring.RunningCache, file: FakeImage, done: int
    ) -> None:
        images = [file.image(str(uuid.UUID(int=done + n))) for n in range(IMAGES_PER_BATCH)]

        def create(number: int) -> str:
            wanted = images[number % IMAGES_PER_BATCH]
            try:
                cache.images.create_volume(wanted, volume(number), FakeImageSource(file))
            except errors.VmdkCacheError as failure:
                return type(failure).__name__
            return "made"

        numbers = range(done - BATCH, done)
        vcenter.call(vcenter_side.add_faults, self.seed * 1_000_003 + done, FAULTS_PER_BATCH)
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            outcomes = dict(zip(numbers, pool.map(create, numbers), strict=True))
        self.faults += vcenter.call(vcenter_side.no_more_faults)
        self.outcomes.update(outcomes.values())
        made = {volume(n).instance_uuid for n, outcome in outcomes.items() if outcome == "made"}
        there = set(vcenter.call(vcenter_side.delete, [volume(n).instance_uuid for n in numbers]))
        self.lost += [f"volume {one}" for one in made ^ there]

    def _empty(self, vcenter: VCenterProcess, cache: wiring.RunningCache) -> None:
        """A day passes; with it all templates, and what faults have left."""
        for thread in threading.enumerate():
            if thread.name == THREAD_NAME:
                thread.join(60)
        vcenter.call(vcenter_side.advance, LEASE_TIMEOUT_S + SETTINGS.age_s)
        self.clock.advance(LEASE_TIMEOUT_S + SETTINGS.age_s)
        cache.purge.run()
        cache.reconcile.check(fix=True, remove_directories=True)
        self.lost += vcenter.call(vcenter_side.left)

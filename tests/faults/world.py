"""One fake vCenter, one image, and processes of the cache on it that share a coordinator.

Time passes when the cache sleeps, with each request, and with each task.
"""

from __future__ import annotations

import functools
import time
from types import TracebackType
from typing import Any

from pyVmomi import vim

from tests.fakes.clock import SharedClock
from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_stream_optimized,
    filesystem_disk,
)
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter
from tests.faults.coordinator import Coordinator
from tests.scenario.conftest import FOLDER, GIB, MIB, volume
from vmdk_cache import wiring
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.locks import ToozLocks
from vmdk_cache.vim.endpoint import Endpoint

__all__ = ["AGE_S", "DATASTORES", "GIB", "LEASE_TIMEOUT_S", "RECORD_KEY", "World", "volume"]

AGE_S = 86400
LEASE_TIMEOUT_S = 300
#: Seconds that vCenter takes to remove the VM of a failed import.
LEASE_CLEANUP_S = 5
DATASTORES = ("DC0_DS0", "DC0_DS1")
#: Only what a test requests: background replicas would appear at an unpredictable time.
SETTINGS = Settings(enabled=True, age_s=AGE_S, replicas=REPLICAS_OFF)
#: Cinder's default of ``vmware_api_retry_count``.
API_RETRY_COUNT = 10


@functools.cache
def small_image() -> FakeImage:
    """A real file system of 1 MiB in a streamOptimized VMDK."""
    return as_stream_optimized(filesystem_disk(1 * MIB))


class World:
    """Use it in a ``with`` block.

    :ivar cache: the process in which an operation runs, None before it starts
    """

    def __init__(self) -> None:
        self.vcenter = VCenter(
            Model(hosts_per_cluster=2, datastores=2),
            clock=Clock(scale=0.0),
            cost_model=CostModel.plain(),
        )
        self.vcenter.switches.lease_cleanup_s = LEASE_CLEANUP_S
        self.coordinator = Coordinator()
        self.clock = SharedClock(self.vcenter.clock)
        self.disk_image = small_image()
        self.image = self.disk_image.image()
        self.source = self.whole_source = FakeImageSource(self.disk_image)
        self.cache: wiring.RunningCache | None = None

    def __enter__(self) -> World:
        self.vcenter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self.vcenter.stop()

    def open(self) -> wiring.RunningCache:
        """Start a new process; the previous one is closed."""
        self.close()
        endpoint = Endpoint(
            host=self.vcenter.host,
            port=self.vcenter.port,
            user=self.vcenter.user,
            password=self.vcenter.password,
            ca_file=str(self.vcenter.ca_file),
            api_retry_count=API_RETRY_COUNT,
        )
        self.cache = wiring.build(
            SETTINGS,
            wiring.Backend(name="b1", endpoint=endpoint, folder=FOLDER),
            ToozLocks(self.coordinator.get_lock, "fake/b1"),
            events=lambda event: None,
            clock=self.clock,
        )
        return self.cache

    @property
    def running(self) -> wiring.RunningCache:
        """The process, started if necessary."""
        return self.cache or self.open()

    def close(self) -> None:
        """End the process, if there is one."""
        cache, self.cache = self.cache, None
        if cache is not None:
            cache.close()

    def create(self, number: int) -> bool:
        """Create a volume; returns whether it was a hit."""
        made = volume(number)
        return self.running.images.create_volume(self.image, made, self.source).hit

    @property
    def key(self) -> CacheKey:
        return CacheKey.of(self.image, volume().adapter_type)

    def mend(self) -> None:
        """Undo what a fault did to the world."""
        self.source = self.whole_source
        for host in self.hosts():
            host.set_connected(True)
            host.set_maintenance(False)
        for name in DATASTORES:
            self.vcenter.datastore(name).fill(0)

    def settle(self) -> None:
        """vCenter ends what it has begun: tasks run to their end, leases without a client
        expire.
        """
        self._until_no_task_runs()
        self.vcenter.clock.advance(LEASE_TIMEOUT_S + LEASE_CLEANUP_S + 1)
        self._until_no_task_runs()

    def _until_no_task_runs(self) -> None:
        deadline = time.monotonic() + 20
        while self._working() and time.monotonic() < deadline:
            time.sleep(0.005)

    def _working(self) -> bool:
        with self.vcenter.lock:
            running = [task.method for task in self.vcenter.tasks.running()]
            return running != ["ImportVAppLRO"] * len(self.vcenter.leases())

    def templates(self) -> list[Any]:
        return [vm for vm in self.vcenter.vms() if vm.config.template]

    def hosts(self) -> list[Any]:
        with self.vcenter.lock:
            return self.vcenter.registry.of_type(vim.HostSystem)

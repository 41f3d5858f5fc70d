"""The engine's ports: in memory, on our fake vCenter, on govmomi's simulator."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from tests.contract.ground import Ground
from tests.contract.vcenters import IS_GIVEN, PARAMETERS, STARTS, Target, running_fake
from tests.fakes.clock import ManualClock
from tests.fakes.memory import PLACE, MemoryStore
from tests.fakes.vcenter.busy import busy_vcenter
from vmdk_cache.adapters.template_store import VCenterTemplateStore
from vmdk_cache.backend import Backend
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import replica_name
from vmdk_cache.cache.ports import Place, TemplateStore
from vmdk_cache.cache.record import ATTRIBUTES, RECORD_KEY
from vmdk_cache.vim import inventory
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter


class Subject:
    """A TemplateStore with an empty folder of its own, and places to put VMs.

    :ivar elsewhere: another host of the same cluster, and another datastore, if there is one
    :ivar folder: for volumes
    """

    def __init__(
        self,
        store: TemplateStore,
        backend: str,
        place: Place,
        elsewhere: Place,
        *,
        folder: tuple[str, ...] = ("OpenStack", "Project (p)", "Volumes"),
        is_vcsim: bool = False,
    ) -> None:
        self.folder = folder
        self.is_vcsim = is_vcsim
        self.store = store
        self.backend = backend
        self.place = place
        self.elsewhere = elsewhere

    def replicate(self, entry: CacheEntry, place: Place) -> CacheEntry:
        """A replica under the usual name."""
        assert entry.record is not None
        name = replica_name(self.backend, entry.record.key, place.datastore)
        return self.store.replicate(entry, place, name)


@contextlib.contextmanager
def on_vcenter(target: Target) -> Iterator[Subject]:
    backend = target.run.new_backend()
    clock = target.clock()
    with Session(target.endpoint(), clock) as session:
        waiter = TaskWaiter(session)
        folder = target.run.path(f"Project ({backend}_image_cache)", "Volumes")
        store = VCenterTemplateStore(
            session,
            waiter,
            InventoryIndex(
                session,
                clock,
                folder=folder,
                record_key=RECORD_KEY,
                cluster_names=target.choice.clusters,
                attributes=ATTRIBUTES,
            ),
            backend=Backend(backend, target.endpoint(), folder, task_timeout_s=120),
        )
        try:
            found = inventory.snapshot(session, target.choice.clusters)
            yield Subject(
                store,
                backend,
                *_two_places(target.ground(found)),
                folder=target.run.path(f"Project ({backend}-p)", "Volumes"),
                is_vcsim=target.is_vcsim,
            )
        finally:
            waiter.close()


def _two_places(where: Ground) -> tuple[Place, Place]:
    """Places on two hosts and two datastores, as far as they exist."""
    first, second = (
        Place(at.moref, at.name, host.moref, host.pool, host.datacenter)
        for at, host in (
            (where.datastores[0], where.hosts[0]),
            (where.datastores[-1], where.hosts[-1]),
        )
    )
    return first, second


@pytest.fixture(scope="session")
def targets() -> Iterator[dict[str, Target]]:
    """Running vCenters, each started at its first use."""
    with contextlib.ExitStack() as stack:
        yield _Targets(stack)


class _Targets(dict[str, Target]):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, name: str) -> Target:
        start = running_fake(busy_vcenter) if name == "fake" else STARTS[name]()
        self[name] = self._stack.enter_context(start)
        return self[name]


@pytest.fixture(params=PARAMETERS)
def target(request: pytest.FixtureRequest, targets: dict[str, Target]) -> Target:
    """A running vCenter; if it is our fake, its requests and tasks take time."""
    return targets[request.param]


@pytest.fixture(params=PARAMETERS if IS_GIVEN else ["memory", *PARAMETERS])
def subject(request: pytest.FixtureRequest, targets: dict[str, Target]) -> Iterator[Subject]:
    if request.param == "memory":
        elsewhere = dataclasses.replace(
            PLACE, datastore="datastore-2", datastore_name="ds2", host="host-2"
        )
        yield Subject(MemoryStore(ManualClock()), "b1", PLACE, elsewhere)
    else:
        with on_vcenter(targets[request.param]) as made:
            yield made

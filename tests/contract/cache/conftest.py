"""The engine's ports: in memory, on our fake vCenter, on govmomi's simulator."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from tests.contract.vcenters import Target, running_fake, running_vcsim
from tests.fakes.clock import HastyClock, ManualClock
from tests.fakes.memory import PLACE, MemoryStore
from vmdk_cache.cache.ports import Place, TemplateStore
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.cache.template_store import VCenterTemplateStore
from vmdk_cache.cache.usage import ATTRIBUTE
from vmdk_cache.vim import inventory
from vmdk_cache.vim.inventory import Inventory
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

_numbers = itertools.count(1)


class Subject:
    """A TemplateStore with an empty folder of its own, and places to put VMs.

    :ivar elsewhere: another host of the same cluster, and another datastore if there is one
    """

    def __init__(
        self, name: str, store: TemplateStore, backend: str, place: Place, elsewhere: Place
    ) -> None:
        self.name = name
        self.store = store
        self.backend = backend
        self.place = place
        self.elsewhere = elsewhere


@contextlib.contextmanager
def on_vcenter(target: Target) -> Iterator[Subject]:
    backend = f"b{next(_numbers)}"
    clock = HastyClock()
    with Session(target.endpoint(), clock) as session:
        waiter = TaskWaiter(session)
        folder = ("OpenStack", f"Project ({backend}_image_cache)", "Volumes")
        store = VCenterTemplateStore(
            session,
            waiter,
            InventoryIndex(
                session, clock, folder=folder, record_key=RECORD_KEY, attributes=[ATTRIBUTE]
            ),
            backend=backend,
            folder=folder,
            task_timeout_s=60,
            clock=clock,
        )
        try:
            yield Subject(target.name, store, backend, *_two_places(inventory.snapshot(session)))
        finally:
            waiter.close()


def _two_places(found: Inventory) -> tuple[Place, Place]:
    """On two hosts of one cluster."""
    host, other = next(
        (one, another)
        for one, another in itertools.combinations(found.hosts, 2)
        if one.cluster == another.cluster
    )
    datastores = (found.datastores[0], found.datastores[-1])
    first, second = (
        Place(at.moref, at.name, one.moref, one.pool, one.datacenter)
        for at, one in zip(datastores, (host, other), strict=True)
    )
    return first, second


@pytest.fixture(scope="session")
def targets() -> Iterator[dict[str, Target]]:
    """vCenters that are running, started when first wanted."""
    with contextlib.ExitStack() as stack:
        yield _Targets(stack)


class _Targets(dict[str, Target]):
    def __init__(self, stack: contextlib.ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, name: str) -> Target:
        start = running_fake if name == "fake" else running_vcsim
        self[name] = self._stack.enter_context(start())
        return self[name]


@pytest.fixture(params=["memory", "fake", pytest.param("vcsim", marks=pytest.mark.vcsim)])
def subject(request: pytest.FixtureRequest, targets: dict[str, Target]) -> Iterator[Subject]:
    if request.param == "memory":
        elsewhere = dataclasses.replace(
            PLACE, datastore="datastore-2", datastore_name="ds2", host="host-2"
        )
        yield Subject("memory", MemoryStore(ManualClock()), "b1", PLACE, elsewhere)
    else:
        with on_vcenter(targets[request.param]) as made:
            yield made

"""A separate fake vCenter for each test, to break at will, on a clock that stands still."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import RECORD_KEY, Place, import_vm
from tests.fakes.vcenter import Clock, Model, VCenter
from vmdk_cache.vim import folder, inventory, template, virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import PendingTask, TaskWaiter

PATIENCE_S = 60.0


#: A client's monotonic clock counts from some fixed point, not from the start of the test.
UPTIME_S = 1_000_000.0


@dataclass
class ClientClock:
    """The fake's time. A sleep takes none of it, and is recorded."""

    clock: Clock
    slept_s: float = 0.0

    def now(self) -> datetime.datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return UPTIME_S + self.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        time.sleep(0.001)


class PassingClock(ClientClock):
    """The same, but a sleep moves the time of client and fake at once."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.clock.advance(seconds)


class Background:
    """A call in its own thread, with its outcome."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    def ended_within(self, seconds: float) -> bool:
        """Whether it ends within this much real time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def join(self) -> object:
        """Wait for the call; returns its result or raises its error."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the call never ended"
        if self.error is not None:
            raise self.error
        return self.result


def pending(waiter: TaskWaiter) -> list[PendingTask]:
    """Tasks that threads wait for now. Read without the lock, so a new task may interrupt the
    reading.
    """
    with waiter._lock:
        return list(waiter._pending.values())


@pytest.fixture
def vc() -> Iterator[VCenter]:
    clock = Clock(scale=0.0)
    clock.advance(1e6)  # a monotonic clock shows a large number
    with VCenter(Model(), clock=clock) as running:
        yield running


@pytest.fixture
def target(vc: VCenter) -> Target:
    return Target("fake", vc.host, vc.port, vc.user, vc.password, vc.ca_file, vc)


@pytest.fixture
def session(target: Target, vc: VCenter) -> Iterator[Session]:
    with Session(target.endpoint(), ClientClock(vc.clock)) as opened:
        yield opened


@pytest.fixture
def passing(target: Target, vc: VCenter) -> Iterator[Session]:
    """A session whose pauses take time."""
    with Session(target.endpoint(), PassingClock(vc.clock)) as opened:
        yield opened


@pytest.fixture
def waiter(session: Session) -> Iterator[TaskWaiter]:
    made = TaskWaiter(session)
    yield made
    made.close()


@pytest.fixture
def place(session: Session) -> Place:
    found = inventory.snapshot(session)
    datacenter = found.datacenters[0]
    own = folder.ensure_folder(session, datacenter, ["tests"])
    return Place(own, found.hosts[0], found.datastores[0], datacenter)


@pytest.fixture
def source(session: Session, waiter: TaskWaiter, place: Place) -> virtual_machine.VmInfo:
    """A ready template."""
    moref = import_vm(session, waiter, place)
    template.mark_as_template(session, moref)
    found = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert found is not None
    return found

"""The calls of an operation, recorded from clean runs of it."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.operations import Operation
from tests.faults.world import World

#: Besides methods of the vSphere API, the requests of an operation.
GLANCE = "glance:GET"
LOCK = "lock"
#: How often a thread polls depends on the machine, so only calls of every run count.
CLEAN_RUNS = 3


@dataclass(frozen=True, order=True)
class Call:
    """The ``number``-th call of a method in an operation, from 1.

    :ivar leased: an NFC lease of the operation is open
    """

    method: str
    number: int
    leased: bool = False

    @property
    def is_poll(self) -> bool:
        """Whether its number depends on how often a thread polls."""
        return self.method == "WaitForUpdatesEx"

    def __str__(self) -> str:
        if self.number == 1:
            return self.method
        ending = {2: "nd", 3: "rd"}.get(self.number, "th")
        return f"{self.number}{ending} {self.method}"


@dataclass(frozen=True)
class Recording:
    """:ivar requests: to vCenter in a clean run, the highest number of several runs"""

    calls: tuple[Call, ...]
    requests: int


def record(operation: Operation) -> Recording:
    """The requests of the operation without a fault, in order.

    :raises AssertionError: it does not do what it should
    """
    runs = []
    for _ in range(CLEAN_RUNS):
        with World() as world:
            operation.prepare(world)
            if not operation.opens:
                world.open()
            world.vcenter.request_log.reset()
            world.coordinator.reset()
            opened = world.source.opened
            outcome = operation.run(world)
            assert outcome == operation.clean, f"{operation.name}: {outcome}"
            methods = [request.method for request in world.vcenter.request_log.recent()]
            others = [LOCK] * world.coordinator.acquisitions
            others += [GLANCE] * (world.source.opened - opened)
            runs.append((methods, others))
    always = collections.Counter(runs[0][0])
    for methods, _ in runs[1:]:
        always &= collections.Counter(methods)
    methods, others = runs[0]
    calls = [call for call in _numbered(methods) if call.number <= always[call.method]]
    return Recording((*calls, *_numbered(others)), max(len(methods) for methods, _ in runs))


def _numbered(methods: list[str]) -> Iterator[Call]:
    seen: collections.Counter[str] = collections.Counter()
    leased = False
    for method in methods:
        seen[method] += 1
        yield Call(method, seen[method], leased)
        leased = (leased or method == "ImportVApp") and method != "HttpNfcLeaseComplete"

"""HistoryCollector: reads past items, as the latest page or step by step.

The latest page has the newest matching items, newest first. The read position lies between two
items, at first before the oldest. ReadNext... reads towards the newest and ReadPrevious... towards
the oldest. RewindCollector goes before the oldest item, ResetCollector before the latest page.
(vSphere API reference, EventHistoryCollector) A collector ends with its session; a session may have
32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

MOST_COLLECTORS = 32
_FIRST_PAGE_SIZE = 10
_LARGEST_PAGE = 1000


@dataclass(frozen=True)
class Item:
    """:ivar number: orders the items"""

    number: int
    describe: Callable[[], Any]


class HistoryCollector(ManagedObject):
    """:ivar filter: as the client gave it"""

    def __init__(self, vcenter: VCenter, ctx: Context, spec: Any) -> None:
        assert ctx.session is not None
        mine = [each for each in ctx.session.objects.values() if type(each) is type(self)]
        if len(mine) >= MOST_COLLECTORS:
            raise vim.fault.InvalidState(
                msg=f"The session has {MOST_COLLECTORS} collectors, and may have no more."
            )
        super().__init__(vcenter, ctx.session.new_moref())
        self.session = ctx.session
        ctx.session.own(self)
        self.filter = spec
        self._page_size = _FIRST_PAGE_SIZE
        self._read_up_to = -1

    def items(self) -> Sequence[Item]:
        """Matching items, oldest first."""
        raise NotImplementedError

    @property
    def latestPage(self) -> list[Any]:
        """The newest items, newest first."""
        return [item.describe() for item in reversed(self._latest())]

    def _latest(self) -> Sequence[Item]:
        return self.items()[-self._page_size :]

    def read_next(self, count: int) -> list[Any]:
        """The next newer items, oldest first."""
        _check_count(count)
        newer = [item for item in self.items() if item.number > self._read_up_to][:count]
        if newer:
            self._read_up_to = newer[-1].number
        return [item.describe() for item in newer]

    def read_previous(self, count: int) -> list[Any]:
        """The next older items, newest first."""
        _check_count(count)
        older = [item for item in self.items() if item.number <= self._read_up_to][-count:]
        if older:
            self._read_up_to = older[0].number - 1
        return [item.describe() for item in reversed(older)]

    def SetCollectorPageSize(self, ctx: Context, maxCount: int) -> None:
        """Set the size of the latest page."""
        _check_count(maxCount)
        self._page_size = maxCount
        self.changed("latestPage")

    def RewindCollector(self, ctx: Context) -> None:
        """Go before the oldest item."""
        self._read_up_to = -1

    def ResetCollector(self, ctx: Context) -> None:
        """Go before the latest page."""
        latest = self._latest()
        self._read_up_to = latest[0].number - 1 if latest else -1

    def DestroyCollector(self, ctx: Context) -> None:
        """Destroy the collector."""
        self.destroy_object()

    def destroy_object(self) -> None:
        """Remove it from its session as well."""
        if self.session is not None:
            self.session.disown(self)
        super().destroy_object()


def _check_count(count: int) -> None:
    if not 0 < count <= _LARGEST_PAGE:
        raise vmodl.fault.InvalidArgument(invalidProperty="maxCount")

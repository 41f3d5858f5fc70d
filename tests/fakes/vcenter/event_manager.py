"""EventManager: the newest thousand events of this vCenter.

An event of a task has the task's chain id, which is the key of the TaskEvent posted when the task
was queued; any other event has a chain id of its own. (vSphere API reference, Event and
TaskInfo.eventChainId; recordings of 5.x and 6.5) Posting an event needs Global.LogEvent. An EventEx
has the message that its sender gives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import event_kinds
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Event, Place, argument
from tests.fakes.vcenter.event_filter import EventFilter
from tests.fakes.vcenter.history_collector import MOST_COLLECTORS, HistoryCollector, Item
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.permissions import principal_of

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

KEPT = 1000
_FIRST_KEY = 57_000_000


class EventManager(ManagedObject):
    """Keeps events; `post` adds one."""

    TYPE = vim.event.EventManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="EventManager")
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._next_key = _FIRST_KEY

    def post(
        self,
        kind: str,
        user: str,
        place: Place,
        *,
        chain_id: int | None = None,
        posted: Any = None,
        **fields: Any,
    ) -> Event:
        """Add an event.

        :param kind: a key of `event_kinds.KINDS`, or the type of the event that was posted
        :param user: name as in sessions
        """
        with self.vcenter.lock:
            key, self._next_key = self._next_key, self._next_key + 1
            event = Event(
                key,
                key if chain_id is None else chain_id,
                self.vcenter.clock.now(),
                principal_of(user),
                kind,
                place,
                fields,
                posted,
            )
            self._events.append(event)
            self.changed("latestEvent")
            self.vcenter.alarms.happened(event)
            for collector in self.vcenter.registry.of_class(EventHistoryCollector):
                if collector.wants.matches(event):
                    collector.changed("latestPage")
            return event

    def kept(self) -> list[Event]:
        """The events that are still kept, oldest first."""
        return list(self._events)

    def matching(self, wanted: EventFilter) -> list[Event]:
        """Matching events, oldest first."""
        return [event for event in self._events if wanted.matches(event)]

    # -- the vSphere API

    @property
    def description(self) -> Any:
        """Categories and kinds."""
        return event_kinds.description()

    @property
    def latestEvent(self) -> Any:
        """The newest event."""
        return self._events[-1].describe() if self._events else None

    @property
    def maxCollector(self) -> int:
        """Most collectors that a session may have."""
        return MOST_COLLECTORS

    def CreateCollectorForEvents(self, ctx: Context, filter: Any) -> EventHistoryCollector:
        """Create a collector in the caller's session."""
        return EventHistoryCollector(self.vcenter, ctx, filter)

    def QueryEvents(self, ctx: Context, filter: Any, eventViewSpec: Any) -> list[Any]:
        """The events that match, newest first; the order of a real vCenter is unconfirmed."""
        found = self.matching(EventFilter(self.vcenter, filter))
        return [event.describe() for event in reversed(found[-(filter.maxCount or KEPT) :])]

    def LogUserEvent(self, ctx: Context, entity: Any, msg: str) -> None:
        """Post a GeneralUserEvent about an entity."""
        target = self.vcenter.registry.require(entity)
        self.post(
            "GeneralUserEvent",
            ctx.user,
            Place.of(target),
            message=msg,
            entity=argument("ManagedEntity", target),
        )

    def PostEvent(self, ctx: Context, eventToPost: Any, taskInfo: Any) -> None:
        """Post the caller's event; the server sets key, time and user."""
        kind = type(eventToPost).__name__.rpartition(".")[2]
        self.post(kind, ctx.user, self._place_of(eventToPost), posted=eventToPost)

    def RetrieveArgumentDescription(self, ctx: Context, eventTypeId: str) -> list[Any]:
        """Empty: the fake's events have no named arguments."""
        return []

    def _place_of(self, event: Any) -> Place:
        for argument_name, key in (("vm", "vm"), ("host", "host"), ("datacenter", "datacenter")):
            named = getattr(event, argument_name, None)
            found = named and self.vcenter.registry.find(getattr(named, key))
            if found:
                return Place.of(found)
        moref = getattr(event, "objectId", None)
        return Place.of(self.vcenter.registry.get(moref) if moref else None)


class EventHistoryCollector(HistoryCollector):
    """Events that match a filter."""

    TYPE = vim.event.EventHistoryCollector

    def __init__(self, vcenter: VCenter, ctx: Context, spec: Any) -> None:
        super().__init__(vcenter, ctx, spec)
        self.wants = EventFilter(vcenter, spec)

    def items(self) -> Sequence[Item]:
        """The events, ordered by key."""
        return list(self._items())

    def _items(self) -> Iterator[Item]:
        for event in self.vcenter.events.matching(self.wants):
            yield Item(event.key, event.describe)

    def ReadNextEvents(self, ctx: Context, maxCount: int) -> list[Any]:
        """Read towards the newest event."""
        return self.read_next(maxCount)

    def ReadPreviousEvents(self, ctx: Context, maxCount: int) -> list[Any]:
        """Read towards the oldest event."""
        return self.read_previous(maxCount)

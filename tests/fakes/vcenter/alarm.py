"""Alarm: a definition on an entity, and the status of each object below that entity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import alarm_expression
from tests.fakes.vcenter.alarm_expression import GRAY, GREEN
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Event, Place, argument
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.alarm_manager import AlarmManager


@dataclass
class State:
    """State of one alarm on one object."""

    status: str
    time: datetime
    event_key: int | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    disabled: bool = False


class Alarm(ManagedObject):
    """:ivar entity: where the alarm is defined; it watches that object and everything below"""

    TYPE = vim.alarm.Alarm
    PREFIX = "alarm"

    def __init__(self, manager: AlarmManager, entity: Any, spec: Any, user: str) -> None:
        super().__init__(manager.vcenter)
        self._manager = manager
        self.entity = entity
        self._states: dict[str, State] = {}
        self._event_key = 0
        self.set(spec, user)

    def set(self, spec: Any, user: str) -> None:
        """Replace the definition."""
        self.spec = spec
        self._user = user
        self._modified = self.vcenter.clock.now()

    def set_creation(self, event: Event) -> None:
        """Record the event of the alarm's creation."""
        self._event_key = event.key

    @property
    def info(self) -> Any:
        """The definition, and its author."""
        spec = self.spec
        names = ("name", "systemName", "description", "enabled", "expression", "action")
        names += ("actionFrequency", "setting")
        return vim.alarm.AlarmInfo(
            **{name: getattr(spec, name) for name in names},
            key=self.moref,
            alarm=self.ref,
            entity=self.entity.ref,
            lastModifiedTime=self._modified,
            lastModifiedUser=self._user,
            creationEventId=self._event_key,
        )

    def covers(self, entity: Any) -> bool:
        """Whether the object is the alarm's entity or below it."""
        return entity is self.entity or self.entity in entity.ancestors

    def watched_below(self, entity: Any) -> list[Any]:
        """The objects at an entity and below that this alarm watches."""
        registry = self.vcenter.registry
        found = {
            each.moref: each
            for kind in alarm_expression.types_of(self.spec.expression)
            for each in registry.of_type(kind)
        }
        found |= {moref: each for moref in self._states if (each := registry.get(moref))}
        return [
            each
            for each in found.values()
            if (each is entity or entity in each.ancestors) and self.covers(each)
        ]

    def state_of(self, entity: Any) -> State:
        """The current state of an object."""
        known = self._states.get(entity.moref)
        status = alarm_expression.status_by_state(self.spec.expression, entity)
        if status == GRAY and known is not None:
            status = known.status  # from its last event
        if not self.spec.enabled:
            status = GRAY
        if known is None or known.status != status:
            is_disabled = known is not None and known.disabled
            known = State(status, self.vcenter.clock.now(), disabled=is_disabled)
            self._states[entity.moref] = known
        return known

    def describe(self, entity: Any) -> Any:
        """The state as clients see it."""
        state = self.state_of(entity)
        return vim.alarm.AlarmState(
            key=f"{self.moref}.{entity.moref}",
            entity=entity.ref,
            alarm=self.ref,
            overallStatus=state.status,
            time=state.time,
            acknowledged=state.acknowledged_at is not None,
            acknowledgedByUser=state.acknowledged_by,
            acknowledgedTime=state.acknowledged_at,
            eventKey=state.event_key,
            disabled=state.disabled or None,
        )

    def happened(self, event: Event, entity: Any) -> bool:
        """Apply an event about an object; returns whether the object's status changed."""
        status = alarm_expression.status_by_event(self.spec.expression, event, entity)
        if status is None or not self.spec.enabled or not self.covers(entity):
            return False
        if self.state_of(entity).status == status:
            return False
        self._states[entity.moref] = State(status, event.created, event.key)
        return True

    def clear(self, entity: Any) -> None:
        """Set the status back to green, until the next event."""
        self._states[entity.moref] = State(GREEN, self.vcenter.clock.now())

    # -- the vSphere API

    def ReconfigureAlarm(self, ctx: Context, spec: Any) -> None:
        """Replace the definition; the entity stays."""
        self._manager.check_name(spec.name, self)
        self.set(spec, ctx.user)
        self.changed("info")
        self.post(ctx, "AlarmReconfiguredEvent")

    def RemoveAlarm(self, ctx: Context) -> None:
        """Remove the definition and all its states."""
        self._manager.remove(self)
        self.destroy_object()
        self.post(ctx, "AlarmRemovedEvent")

    def post(self, ctx: Context, kind: str) -> Event:
        """Post an event about this alarm."""
        return self.vcenter.events.post(
            kind,
            ctx.user,
            Place.of(self.entity),
            alarm=vim.event.AlarmEventArgument(name=self.spec.name, alarm=self.ref),
            entity=argument("ManagedEntity", self.entity),
        )

"""AlarmManager: alarms and the states of objects. One alarm exists from the beginning, as in every
vCenter: a host that does not respond.

States by property are computed when a client reads them; collectors get an update when an event or
a host changes one. Actions are stored, but never run. (vSphere API reference, AlarmManager; keys of
states: a recording of 8.0.1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.alarm import Alarm
from tests.fakes.vcenter.alarm_expression import RED, YELLOW, is_about
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Event
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

_TRIGGERED = (YELLOW, RED)


class AlarmManager(ManagedObject):
    """Alarms, oldest first."""

    TYPE = vim.alarm.AlarmManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="AlarmManager")
        self._alarms: list[Alarm] | None = None

    @property
    def alarms(self) -> list[Alarm]:
        """All alarms; the first read creates the first one."""
        if self._alarms is None:
            self._alarms = []
            host_alarm = Alarm(self, self.vcenter.root_folder, _host_alarm(), "")
            self._alarms.append(host_alarm)
        return self._alarms

    def check_name(self, name: str, but: Alarm | None = None) -> None:
        """:raises vim.fault.InvalidName: if the name is empty
        :raises vim.fault.DuplicateName: if another alarm has it
        """
        if not name.strip():
            raise vim.fault.InvalidName(name=name, msg="The name of an alarm must not be empty.")
        for each in self.alarms:
            if each is not but and each.spec.name == name:
                raise vim.fault.DuplicateName(
                    name=name, object=each.ref, msg=f"The name '{name}' already exists."
                )

    def remove(self, alarm: Alarm) -> None:
        """Remove an alarm."""
        self.alarms.remove(alarm)
        self._tell(alarm.entity)

    def declared(self, entity: Any) -> list[Any]:
        """States of an entity for the alarms defined on it or above it that watch the entity or
        objects that can be below it.
        """
        return [
            each.describe(entity)
            for each in self.alarms
            if each.covers(entity) and is_about(each.spec.expression, entity)
        ]

    def triggered(self, entity: Any) -> list[Any]:
        """States of an entity and of everything below it that are yellow or red."""
        return [
            alarm.describe(each)
            for alarm in self.alarms
            for each in alarm.watched_below(entity)
            if alarm.state_of(each).status in _TRIGGERED
        ]

    def happened(self, event: Event) -> None:
        """Let an event change states. Does nothing until there is an alarm for events."""
        for alarm in self._alarms or ():
            entity = self.vcenter.registry.get(event.place.moref)
            if isinstance(getattr(entity, "ancestors", None), list) and alarm.happened(
                event, entity
            ):
                self._tell(entity)

    def host_changed(self, host: Any) -> None:
        """Update the states after a host's connection has changed."""
        self._tell(host)

    def _tell(self, entity: Any) -> None:
        for each in (entity, *entity.ancestors):
            each.changed("triggeredAlarmState", "declaredAlarmState")

    # -- the vSphere API

    def GetAlarm(self, ctx: Context, entity: Any) -> list[Alarm]:
        """The alarms that are defined on an entity, or all alarms."""
        if entity is None:
            return list(self.alarms)
        target = self.vcenter.registry.require(entity)
        return [each for each in self.alarms if each.entity is target]

    def CreateAlarm(self, ctx: Context, entity: Any, spec: Any) -> Alarm:
        """Define an alarm on an entity and everything below it."""
        target = self.vcenter.registry.require(entity)
        self.check_name(spec.name)
        alarm = Alarm(self, target, spec, ctx.user)
        self.alarms.append(alarm)
        alarm.set_creation(alarm.post(ctx, "AlarmCreatedEvent"))
        self._tell(target)
        return alarm

    def GetAlarmState(self, ctx: Context, entity: Any) -> list[Any]:
        """As `declaredAlarmState`."""
        return self.declared(self.vcenter.registry.require(entity))

    def AcknowledgeAlarm(self, ctx: Context, alarm: Any, entity: Any) -> None:
        """Mark a triggered alarm as acknowledged; does nothing if it is not triggered."""
        target = self.vcenter.registry.require(entity)
        state = self.vcenter.registry.require(alarm).state_of(target)
        if state.status in _TRIGGERED and state.acknowledged_at is None:
            state.acknowledged_by, state.acknowledged_at = ctx.user, self.vcenter.clock.now()
            self._tell(target)

    def ClearTriggeredAlarms(self, ctx: Context, filter: Any) -> None:
        """Set states by event to green; states by property stay as they are."""
        wanted = filter.status or _TRIGGERED
        for alarm in self.alarms:
            for each in alarm.watched_below(self.vcenter.root_folder):
                if alarm.state_of(each).status in wanted:
                    alarm.clear(each)
                    self._tell(each)

    def EnableAlarm(self, ctx: Context, alarm: Any, entity: Any) -> None:
        """Enable an alarm for this object again."""
        self._set_disabled(alarm, entity, False)

    def DisableAlarm(self, ctx: Context, alarm: Any, entity: Any) -> None:
        """Disable an alarm for this object."""
        self._set_disabled(alarm, entity, True)

    def _set_disabled(self, alarm: Any, entity: Any, disabled: bool) -> None:
        target = self.vcenter.registry.require(entity)
        self.vcenter.registry.require(alarm).state_of(target).disabled = disabled
        self._tell(target)

    def AreAlarmActionsEnabled(self, ctx: Context, entity: Any) -> bool:
        """Whether actions are enabled for an entity."""
        return bool(self.vcenter.registry.require(entity).alarmActionsEnabled)

    def EnableAlarmActions(self, ctx: Context, entity: Any, enabled: bool) -> None:
        """Enable or disable actions for an entity."""
        target = self.vcenter.registry.require(entity)
        target.alarmActionsEnabled = enabled
        target.changed("alarmActionsEnabled")


def _host_alarm() -> Any:
    return vim.alarm.AlarmSpec(
        name="Host connection and power state",
        systemName="alarm.HostConnectionStateAlarm",
        description="Default alarm to monitor host connection and power state",
        enabled=True,
        expression=vim.alarm.OrAlarmExpression(
            expression=[
                vim.alarm.StateAlarmExpression(
                    operator="isEqual",
                    type=vim.HostSystem,
                    statePath="runtime.connectionState",
                    red="notResponding",
                )
            ]
        ),
        setting=vim.alarm.AlarmSetting(toleranceRange=0, reportingFrequency=300),
    )

"""The expression of an alarm: which objects it watches, and the status that it gives them.

A state expression compares a property; an event expression remembers the last event of its type
about the object; "or" takes the worst status, "and" the best. Metrics are not watched. (vSphere API
reference, AlarmExpression and its subtypes)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyVmomi import vim

from tests.fakes.vcenter.event import Event

GRAY, GREEN, YELLOW, RED = "gray", "green", "yellow", "red"
_WORSE = (GRAY, GREEN, YELLOW, RED)


def parts_of(expression: Any) -> Iterator[Any]:
    """The simple expressions in an expression."""
    inner = getattr(expression, "expression", None)
    if inner is None:
        yield expression
    for each in inner or []:
        yield from parts_of(each)


def types_of(expression: Any) -> set[type]:
    """Types of the objects that the expression watches."""
    found = {
        getattr(each, "type", None) or getattr(each, "objectType", None)
        for each in parts_of(expression)
    }
    return {each for each in found if each is not None}


_INVENTORY = (vim.ManagedEntity,)
_COMPUTE = (vim.ComputeResource, vim.HostSystem, vim.ResourcePool, vim.VirtualMachine)
#: Types below an object of a type, itself included; by kind for folders.
_BELOW: dict[type, tuple[type, ...]] = {
    vim.VirtualMachine: (vim.VirtualMachine,),
    vim.HostSystem: (vim.HostSystem,),
    vim.Datastore: (vim.Datastore,),
    vim.Network: (vim.Network,),
    vim.ResourcePool: (vim.ResourcePool, vim.VirtualMachine),
    vim.ComputeResource: _COMPUTE,
}
_BELOW_FOLDERS: dict[str, tuple[type, ...]] = {
    "v": (vim.Folder, vim.VirtualMachine),
    "h": (vim.Folder, *_COMPUTE),
    "s": (vim.Folder, vim.Datastore),
    "n": (vim.Folder, vim.Network),
}


def is_about(expression: Any, entity: Any) -> bool:
    """Whether the expression watches objects of this type, or of a type that can be below it. A
    recording of 8.0.1 has exactly these in `declaredAlarmState`."""
    below = _BELOW_FOLDERS.get(getattr(entity, "kind", ""), _INVENTORY)
    for kind, found in _BELOW.items():
        if issubclass(entity.TYPE, kind):
            below = found
    watched = types_of(expression)
    return not watched or any(issubclass(each, below) for each in watched)


def status_by_state(expression: Any, entity: Any) -> str:
    """The status of an object by its properties; gray if the expression does not watch it."""
    if isinstance(expression, vim.alarm.OrAlarmExpression | vim.alarm.AndAlarmExpression):
        choose = max if isinstance(expression, vim.alarm.OrAlarmExpression) else min
        found = [status_by_state(each, entity) for each in expression.expression]
        return choose(found, key=_WORSE.index)
    if not isinstance(expression, vim.alarm.StateAlarmExpression):
        return GRAY
    if not issubclass(entity.TYPE, expression.type):
        return GRAY
    value = entity
    for name in str(expression.statePath).split("."):
        value = getattr(value, name, None)
    wants_equal = expression.operator == "isEqual"
    for status, wanted in ((RED, expression.red), (YELLOW, expression.yellow)):
        if wanted is not None and (value == wanted) == wants_equal:
            return status
    return GREEN


def status_by_event(expression: Any, event: Event, entity: Any) -> str | None:
    """The status that an event gives an object; None if it gives none."""
    for each in parts_of(expression):
        if not isinstance(each, vim.alarm.EventAlarmExpression):
            continue
        if each.objectType is not None and not issubclass(entity.TYPE, each.objectType):
            continue
        wanted = each.eventTypeId or each.eventType.__name__
        names = {event.kind, str(getattr(event.posted, "eventTypeId", None) or event.kind)}
        if wanted in names or wanted.rpartition(".")[2] in names:
            return str(each.status or RED)
    return None

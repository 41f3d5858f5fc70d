"""EventFilter: which events an EventFilterSpec selects. (vSphere API reference, EventFilterSpec)

An event must match all fields that are set. The root folder with "all" includes events that belong
to no object, such as log-ins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vmodl

from tests.fakes.vcenter.event import Event, Place
from tests.fakes.vcenter.event_kinds import category_of
from tests.fakes.vcenter.permissions import principal_of

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

#: Fields that no event of the fake has, so nothing matches them.
_NEVER = ("alarm", "scheduledTask", "tag", "auditId")


def concerns(vcenter: VCenter, spec: Any, place: Place) -> bool:
    """Whether a place matches a filter's ``entity``."""
    if spec is None:
        return True
    moref = spec.entity._moId
    if spec.recursion == "self":
        return moref == place.moref
    if moref == vcenter.root_folder.moref and spec.recursion == "all":
        return True
    is_below = moref in place.within and moref != place.moref
    return is_below or (spec.recursion == "all" and moref == place.moref)


def is_by(spec: Any, user: str) -> bool:
    """Whether a user matches a filter's ``userName``."""
    if spec is None:
        return True
    users = {principal_of(each).lower() for each in spec.userList or []}
    is_systems = bool(spec.systemUser) and "\\" not in principal_of(user)
    return is_systems or principal_of(user).lower() in users


def is_within(begin: Any, end: Any, moment: Any) -> bool:
    """Whether a moment lies between two others; None means no limit."""
    if moment is None:
        return False
    return (begin is None or moment >= begin) and (end is None or moment <= end)


class EventFilter:
    """One EventFilterSpec; ManagedObjectNotFound if its entity is gone."""

    def __init__(self, vcenter: VCenter, spec: Any) -> None:
        self._vcenter = vcenter
        self._spec = spec
        if spec.entity is not None:
            vcenter.registry.require(spec.entity.entity)
        if spec.maxCount is not None and spec.maxCount < 1:
            raise vmodl.fault.InvalidArgument(invalidProperty="filter.maxCount")
        self._kinds = {each.__name__.rpartition(".")[2] for each in spec.type or []}
        self._kinds |= {each.rpartition(".")[2] for each in spec.eventTypeId or []}

    def matches(self, event: Event) -> bool:
        """Whether the filter selects this event."""
        spec = self._spec
        if any(getattr(spec, name, None) for name in _NEVER):
            return False
        if self._kinds and not self._kinds & _names(event):
            return False
        if spec.category and category_of(event.kind) not in spec.category:
            return False
        if spec.eventChainId is not None and event.chain_id != spec.eventChainId:
            return False
        time = spec.time
        if time is not None and not is_within(time.beginTime, time.endTime, event.created):
            return False
        return is_by(spec.userName, event.user) and concerns(
            self._vcenter, spec.entity, event.place
        )


def _names(event: Event) -> set[str]:
    """The type names of an event."""
    named = str(getattr(event.posted, "eventTypeId", None) or "")
    return {event.kind, named.rpartition(".")[2]}

"""Event: what happened, to which object, and the user that caused it. The API object is built when
a client reads it, because most events are never read.

The objects around the event's object (host, cluster, datacenter, datastore) are those at the moment
when it was posted. (vSphere API reference, Event; a recorded TaskEvent of 6.5)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.event_kinds import message_of

if TYPE_CHECKING:
    from tests.fakes.vcenter.managed_object import ManagedObject
    from tests.fakes.vcenter.task import Task

#: Property of an event, the type of its objects, and the type of its value.
_ARGUMENTS: tuple[tuple[str, str, str, str], ...] = (
    ("datacenter", "Datacenter", "DatacenterEventArgument", "datacenter"),
    ("computeResource", "ComputeResource", "ComputeResourceEventArgument", "computeResource"),
    ("host", "HostSystem", "HostEventArgument", "host"),
    ("vm", "VirtualMachine", "VmEventArgument", "vm"),
    ("ds", "Datastore", "DatastoreEventArgument", "datastore"),
    ("net", "Network", "NetworkEventArgument", "network"),
)


@dataclass(frozen=True)
class Place:
    """Where an event happened.

    :ivar objects: name and reference by the property of the event
    :ivar within: morefs of the object and of everything that contains it
    """

    moref: str = ""
    objects: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    within: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entity: ManagedObject | None) -> Place:
        """The place of an object at this moment."""
        if entity is None:
            return cls()
        objects: dict[str, tuple[str, Any]] = {}
        within: set[str] = set()
        for each in _around(entity):
            within.add(each.moref)
            for name, type_name, _, _ in _ARGUMENTS:
                if name not in objects and issubclass(each.TYPE, getattr(vim, type_name)):
                    objects[name] = (each.name, each.ref)
        return cls(entity.moref, objects, frozenset(within))

    def arguments(self) -> dict[str, Any]:
        """The properties of an event that name the objects."""
        return {
            name: getattr(vim.event, argument)(
                **{key: self.objects[name][1], "name": self.objects[name][0]}
            )
            for name, _, argument, key in _ARGUMENTS
            if name in self.objects
        }


def _around(entity: Any) -> Iterator[Any]:
    """The object and what contains it: its folders, and for a virtual machine its host as well."""
    starts = [entity]
    for name in ("host", "pool", "home_datastore"):
        other = getattr(entity, name, None)
        if entity.TYPE is vim.VirtualMachine and other is not None:
            starts.append(other)
    for step in starts:
        while step is not None:
            yield step
            step = getattr(step, "parent", None)


def argument(kind: str, entity: Any) -> Any:
    """An object as an argument of an event, of kind "ManagedEntity", "Folder", "Vm" and so on."""
    key = {"ManagedEntity": "entity"}.get(kind, kind[0].lower() + kind[1:])
    made = getattr(vim.event, f"{kind}EventArgument")
    return made(**{"name": entity.name, key: entity.ref})


@dataclass
class Event:
    """:ivar fields: further properties of this kind
    :ivar posted: an event that a client posted, whose own properties are kept
    """

    key: int
    chain_id: int
    created: datetime
    user: str
    kind: str
    place: Place
    fields: Mapping[str, Any] = field(default_factory=dict)
    posted: Any = None
    _made: Any = None

    def describe(self) -> Any:
        """The event as clients see it; built once."""
        if self._made is None:
            self._made = self.posted or getattr(vim.event, self.kind)(
                **self.place.arguments(), **self._own_fields()
            )
            made = self._made
            made.key, made.chainId = self.key, self.chain_id
            made.createdTime, made.userName = self.created, self.user
            made.fullFormattedMessage = message_of(self.kind, made)
        return self._made

    def _own_fields(self) -> dict[str, Any]:
        fields = dict(self.fields)
        if self.kind == "TaskEvent":
            fields = {"info": _queued(fields["task"])}
        return fields


def _queued(task: Task) -> Any:
    """The task's info when it was queued, as in a recorded TaskEvent of 6.5."""
    now = task.info
    return vim.TaskInfo(
        key=now.key,
        task=now.task,
        name=now.name,
        descriptionId=now.descriptionId,
        entity=now.entity,
        entityName=now.entityName,
        state="queued",
        cancelled=False,
        cancelable=task.was_cancelable,
        reason=now.reason,
        queueTime=now.queueTime,
        eventChainId=0,
    )

"""The kinds of events that the fake posts: their categories and messages.

Descriptions, categories and formats are those of EventManager.description in a recording of 8.0.1,
some of them shortened. A TaskEvent has its task's label. (recording of 6.5)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from tests.fakes.vcenter.task_labels import label_of


@dataclass(frozen=True)
class EventKind:
    """:ivar full_format: its message; {vm.name} is a property of the event"""

    description: str
    full_format: str
    category: str = "info"

    def describe(self, name: str) -> Any:
        """The entry of EventManager.description."""
        return vim.event.EventDescription.EventDetail(
            key=getattr(vim.event, name),
            description=self.description,
            category=self.category,
            formatOnDatacenter="",
            formatOnComputeResource="",
            formatOnHost="",
            formatOnVm="",
            fullFormat=self.full_format,
        )


_ON = "on {host.name} in {datacenter.name}"
_MADE = "on {host.name}, {ds.name} in {datacenter.name}"
KINDS = {
    "AlarmCreatedEvent": EventKind(
        "Alarm created", "Created alarm '{alarm.name}' on {entity.name}"
    ),
    "AlarmReconfiguredEvent": EventKind(
        "Alarm reconfigured", "Reconfigured alarm '{alarm.name}' on {entity.name}"
    ),
    "AlarmRemovedEvent": EventKind(
        "Alarm removed", "Removed alarm '{alarm.name}' on {entity.name}"
    ),
    "ClusterCreatedEvent": EventKind(
        "Cluster created", "Created cluster {computeResource.name} in {parent.name}"
    ),
    "ClusterDestroyedEvent": EventKind(
        "Cluster deleted", "Removed cluster {computeResource.name} in {datacenter.name}"
    ),
    "ClusterReconfiguredEvent": EventKind(
        "Cluster reconfigured",
        "Reconfigured cluster {computeResource.name} in datacenter {datacenter.name}",
    ),
    "DatacenterCreatedEvent": EventKind(
        "Datacenter created", "Created datacenter {datacenter.name} in folder {parent.name}"
    ),
    "DatacenterRenamedEvent": EventKind(
        "Datacenter renamed", "Renamed datacenter from {oldName} to {newName}"
    ),
    "DatastoreRenamedEvent": EventKind(
        "Datastore renamed",
        "Renamed datastore from {oldName} to {newName} in {datacenter.name}",
    ),
    "EnteredMaintenanceModeEvent": EventKind(
        "Entered maintenance mode",
        "Host {host.name} in {datacenter.name} has entered maintenance mode",
    ),
    "ExitMaintenanceModeEvent": EventKind(
        "Exit maintenance mode",
        "Host {host.name} in {datacenter.name} has exited maintenance mode",
    ),
    "GeneralUserEvent": EventKind("General user event", "User logged event: {message}", "user"),
    "HostAddedEvent": EventKind(
        "Host added", "Added host {host.name} to datacenter {datacenter.name}"
    ),
    "HostConnectedEvent": EventKind("Host connected", "Connected to {host.name}"),
    "HostDisconnectedEvent": EventKind(
        "Host disconnected", "Disconnected from {host.name} in {datacenter.name}."
    ),
    "HostRemovedEvent": EventKind("Host removed", "Removed host {host.name} in {datacenter.name}"),
    "PermissionAddedEvent": EventKind(
        "Permission added",
        "Permission created for {principal} on {entity.name}, role is {role.name}, propagation is "
        "{propagate}",
    ),
    "PermissionRemovedEvent": EventKind(
        "Permission removed", "Permission rule removed for {principal} on {entity.name}"
    ),
    "ResourcePoolCreatedEvent": EventKind(
        "Resource pool created",
        "Created resource pool {resourcePool.name} in compute-resource {computeResource.name} in "
        "{datacenter.name}",
    ),
    "ResourcePoolDestroyedEvent": EventKind(
        "Resource pool deleted",
        "Removed resource pool {resourcePool.name} on {computeResource.name} in {datacenter.name}",
    ),
    "RoleAddedEvent": EventKind("Role added", "New role {role.name} created"),
    "RoleRemovedEvent": EventKind("Role removed", "Role {role.name} removed"),
    "RoleUpdatedEvent": EventKind(
        "Role updated", "Role modified. Previous name: {prevRoleName}, new name: {role.name}."
    ),
    "TaskEvent": EventKind("Task event", "Task: {info.descriptionId}"),
    "UserLoginSessionEvent": EventKind(
        "User login", "User {userName}@{ipAddress} logged in as {userAgent}"
    ),
    "UserLogoutSessionEvent": EventKind(
        "User logout",
        "User {userName}@{ipAddress} logged out (login time: {loginTime}, number of API "
        "invocations: {callCount}, user agent: {userAgent})",
    ),
    "VmClonedEvent": EventKind("VM cloned", "{sourceVm.name} cloned to {vm.name} " + _MADE),
    "VmCreatedEvent": EventKind("VM created", "Created virtual machine {vm.name} " + _MADE),
    "VmPoweredOffEvent": EventKind("VM powered off", "{vm.name} " + _ON + " is powered off"),
    "VmPoweredOnEvent": EventKind("VM powered on", "{vm.name} " + _ON + " has powered on"),
    "VmReconfiguredEvent": EventKind("VM reconfigured", "Reconfigured {vm.name} " + _ON),
    "VmRegisteredEvent": EventKind("VM registered", "Registered {vm.name} " + _ON),
    "VmRelocatedEvent": EventKind(
        "VM relocated", "Completed the relocation of the virtual machine {vm.name}"
    ),
    "VmRemovedEvent": EventKind(
        "VM removed", "Removed {vm.name} on {host.name} from {datacenter.name}"
    ),
    "VmRenamedEvent": EventKind("VM renamed", "Renamed {vm.name} from {oldName} to {newName}"),
    "VmResettingEvent": EventKind("VM resetting", "{vm.name} " + _ON + " is reset"),
    "VmSuspendedEvent": EventKind("VM suspended", "{vm.name} " + _ON + " is suspended"),
}
_PLACEHOLDER = re.compile(r"\{([\w.]+)\}")


def category_of(name: str) -> str:
    """The category of a kind; "info", the most common, for kinds that clients post."""
    kind = KINDS.get(name)
    return kind.category if kind is not None else "info"


def message_of(name: str, event: Any) -> str:
    """The message of an event; properties that it lacks are left out."""
    kind = KINDS.get(name)
    if kind is None:
        return str(getattr(event, "message", None) or "")
    return _PLACEHOLDER.sub(lambda match: _text(event, match.group(1)), kind.full_format)


def _text(value: Any, path: str) -> str:
    for name in path.split("."):
        value = getattr(value, name, None)
    if path == "info.descriptionId":
        value = label_of(value)
    return "" if value is None else str(value)


def description() -> Any:
    """EventManager.description."""
    categories = {"info": "Information", "warning": "Warning", "error": "Error", "user": "User"}
    return vim.event.EventDescription(
        category=[
            vim.ElementDescription(label=key, summary=label, key=key)
            for key, label in categories.items()
        ],
        eventInfo=[kind.describe(name) for name, kind in KINDS.items()],
    )

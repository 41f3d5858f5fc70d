"""The events of a task: one when it is queued, and one about its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.event import Event, Place, argument

if TYPE_CHECKING:
    from tests.fakes.vcenter.task import Task

#: Method -> kind of the event, for methods of one type of objects.
_OF_METHODS = {
    "CloneVM_Task": "VmClonedEvent",
    "CreateVM_Task": "VmCreatedEvent",
    "DisconnectHost_Task": "HostDisconnectedEvent",
    "EnterMaintenanceMode_Task": "EnteredMaintenanceModeEvent",
    "ExitMaintenanceMode_Task": "ExitMaintenanceModeEvent",
    "PowerOffVM_Task": "VmPoweredOffEvent",
    "PowerOnVM_Task": "VmPoweredOnEvent",
    "ReconfigVM_Task": "VmReconfiguredEvent",
    "ReconfigureComputeResource_Task": "ClusterReconfiguredEvent",
    "ReconnectHost_Task": "HostConnectedEvent",
    "RegisterVM_Task": "VmRegisteredEvent",
    "RelocateVM_Task": "VmRelocatedEvent",
    "ResetVM_Task": "VmResettingEvent",
    "SuspendVM_Task": "VmSuspendedEvent",
}
_OF_DESTROYED = {
    vim.VirtualMachine: "VmRemovedEvent",
    vim.HostSystem: "HostRemovedEvent",
    vim.ClusterComputeResource: "ClusterDestroyedEvent",
    vim.ResourcePool: "ResourcePoolDestroyedEvent",
}
_OF_RENAMED = {
    vim.VirtualMachine: "VmRenamedEvent",
    vim.Datacenter: "DatacenterRenamedEvent",
    vim.Datastore: "DatastoreRenamedEvent",
}
#: Methods whose event is about their result.
_ABOUT_THE_RESULT = {"CloneVM_Task", "CreateVM_Task", "RegisterVM_Task"}


def queued(task: Task) -> Event:
    """Post the TaskEvent."""
    return task.vcenter.events.post("TaskEvent", task.user, Place.of(task.entity), task=task)


def succeeded(task: Task, result: Any, before: Event) -> None:
    """Post the event of a successful task, if the fake has a kind for it.

    :param before: the task's TaskEvent, which still has the place of a removed object
    """
    entity: Any = task.entity
    kind = _kind_of(task)
    if kind is None or entity is None:
        return
    about, place = entity, before.place
    if task.method in _ABOUT_THE_RESULT:
        about = task.vcenter.registry.find(result)
    if about is None:
        return
    if about.exists:
        place = Place.of(about)
    task.vcenter.events.post(
        kind, task.user, place, chain_id=before.chain_id, **_fields(kind, task, about, before)
    )


def _kind_of(task: Task) -> str | None:
    own = getattr(task.entity, "TYPE", None)
    if own is None:
        return None
    if task.method == "Destroy_Task":
        return _OF_DESTROYED.get(own)
    if task.method == "Rename_Task":
        return _OF_RENAMED.get(own)
    return _OF_METHODS.get(task.method)


def _fields(kind: str, task: Task, about: Any, before: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if kind.startswith("Vm"):
        fields["template"] = bool(about.template)
    if kind == "VmClonedEvent":
        fields["sourceVm"] = argument("Vm", task.entity)
    elif kind == "VmReconfiguredEvent":
        fields["configSpec"] = vim.vm.ConfigSpec()  # the changes are not reported
    elif kind == "VmRelocatedEvent":
        old = before.place.arguments()
        fields["sourceHost"] = old["host"]
        fields |= {"sourceDatacenter": old.get("datacenter"), "sourceDatastore": old.get("ds")}
    elif kind.endswith("RenamedEvent"):
        fields |= {"oldName": task.entity_name, "newName": about.name}
    elif kind == "ResourcePoolDestroyedEvent":
        fields["resourcePool"] = argument("ResourcePool", about)
    return fields

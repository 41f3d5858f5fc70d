"""Labels of tasks by their description id, from TaskManager.description in a recording of 8.0.1."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

_LABELS = {
    "ClusterComputeResource.addHost": "Add host",
    "ClusterComputeResource.moveInto": "Move host into cluster",
    "ComputeResource.reconfigureEx": "Reconfigure compute-resource",
    "Datacenter.destroy": "Remove datacenter",
    "Datacenter.rename": "Rename datacenter",
    "Datastore.rename": "Rename datastore",
    "Folder.addStandaloneHost": "Add standalone host",
    "Folder.createVm": "Create virtual machine",
    "Folder.destroy": "Delete folder",
    "Folder.moveInto": "Move entities",
    "Folder.registerVm": "Register virtual machine",
    "Folder.rename": "Rename folder",
    "HostSystem.destroy": "Remove host",
    "HostSystem.enterMaintenanceMode": "Enter maintenance mode",
    "HostSystem.reboot": "Initiate host reboot",
    "HostSystem.shutdown": "Initiate host shutdown",
    "ResourcePool.destroy": "Delete resource pool",
    "VirtualMachine.clone": "Clone virtual machine",
    "VirtualMachine.createSnapshot": "Create virtual machine snapshot",
    "VirtualMachine.destroy": "Delete virtual machine",
    "VirtualMachine.reconfigure": "Reconfigure virtual machine",
    "VirtualMachine.relocate": "Relocate virtual machine",
    "VirtualMachine.removeAllSnapshots": "Remove all snapshots",
    "VirtualMachine.rename": "Rename virtual machine",
    "VirtualMachine.reset": "Reset virtual machine",
    "VirtualMachine.revertToCurrentSnapshot": "Revert to current snapshot",
    "VirtualMachine.suspend": "Suspend virtual machine",
}
_STATES = {"queued": "Queued", "running": "Running", "success": "Success", "error": "Error"}
_REASONS = {
    "TaskReasonUser": "User task",
    "TaskReasonSchedule": "Scheduled task",
    "TaskReasonAlarm": "Alarm task",
    "TaskReasonSystem": "System task",
}


def label_of(description_id: str) -> str:
    """The label; without one, the id."""
    return _LABELS.get(description_id, description_id)


def description() -> Any:
    """TaskManager.description."""
    return vim.TaskDescription(
        methodInfo=_elements(_LABELS),
        state=_elements(_STATES),
        reason=[
            vim.TypeDescription(key=getattr(vim, key), label=label, summary=label)
            for key, label in _REASONS.items()
        ],
    )


def _elements(labels: dict[str, str]) -> list[Any]:
    return [
        vim.ElementDescription(label=label, summary=label, key=key) for key, label in labels.items()
    ]

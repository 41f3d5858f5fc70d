"""All that a vCenter has, as pyVmomi's own client sees it: compared before and after a run."""

from __future__ import annotations

import time
from typing import Any

from pyVmomi import vim, vmodl

from tests.contract import second_opinion
from tests.contract.second_opinion import SecondOpinion
from tests.contract.vcenters import Target

_PATIENCE_S = 120.0


def taken(target: Target) -> dict[str, list[str]]:
    """Virtual machines, folders, files, custom attributes and their values, sessions."""
    with second_opinion.of(target) as seen:
        machines = [one for one in seen.every(vim.VirtualMachine) if _is_there(one)]
        return {
            "machines": sorted(
                f"{_path(seen, one)} template={one.config.template} {one.config.annotation!r}"
                for one in machines
            ),
            "folders": sorted(_path(seen, one) for one in seen.every(vim.Folder)),
            "files": sorted(
                file for datastore in seen.every(vim.Datastore) for file in _files(datastore)
            ),
            "attributes": sorted(
                f"{one.name} of {one.managedObjectType}"
                for one in seen.content.customFieldsManager.field
            ),
            "values": sorted(
                f"{_path(seen, one)} {value.key}={value.value}"
                for one in machines
                for value in one.customValue
            ),
            "sessions": _sessions(seen),
        }


def somebody_elses(target: Target, *, with_attribute: str | None = None) -> None:
    """Things that no run may touch: a folder, a machine, a directory, an attribute.

    :param with_attribute: name of an attribute of which the machine has a value
    """
    with second_opinion.of(target) as seen:
        datacenter = seen.every(vim.Datacenter)[0]
        (datastore, *_) = sorted(datacenter.datastore, key=lambda one: one.name)
        hosts = [one for one in seen.every(vim.HostSystem) if datastore in one.datastore]
        folder = datacenter.vmFolder.CreateFolder("OpenStack").CreateFolder("vmdk_cache contract")
        files = vim.vm.FileInfo(vmPathName=f"[{datastore.name}]")
        spec = vim.vm.ConfigSpec(
            name="vct of somebody", guestId="otherGuest", memoryMB=4, numCPUs=1, files=files,
            annotation="not yours",
        )  # fmt: skip
        machine = waited(folder.CreateVM_Task(spec, hosts[0].parent.resourcePool, hosts[0]))
        seen.content.fileManager.MakeDirectory(f"[{datastore.name}] vct 1", datacenter, True)
        attributes = seen.content.customFieldsManager
        attributes.AddCustomFieldDef("vct-owner", vim.VirtualMachine)
        if with_attribute is not None:
            made = attributes.AddCustomFieldDef(with_attribute, vim.VirtualMachine)
            attributes.SetField(machine, made.key, "in use")


def waited(task: Any) -> Any:
    """The result of a task."""
    deadline = time.monotonic() + _PATIENCE_S
    while (info := task.info).state not in ("success", "error"):
        assert time.monotonic() < deadline, f"{info.descriptionId} never ended"
        time.sleep(0.05)
    assert info.state == "success", info.error
    return info.result


def _is_there(machine: Any) -> bool:
    """vcsim's resource pools keep machines that are gone, as references that lead nowhere."""
    try:
        return bool(machine.name)
    except vmodl.fault.ManagedObjectNotFound:
        return False


def _path(seen: SecondOpinion, entity: Any) -> str:
    """Below the root folder."""
    names: list[str] = []
    while entity._moId != seen.content.rootFolder._moId:
        names.insert(0, entity.name)
        entity = entity.parent
    return "/".join(names)


def _files(datastore: Any) -> list[str]:
    everything = vim.host.DatastoreBrowser.SearchSpec()
    search = datastore.browser.SearchDatastoreSubFolders_Task
    found = waited(search(f"[{datastore.name}]", everything))
    return [f"{one.folderPath} {file.path}" for one in found for file in one.file or ()]


def _sessions(seen: SecondOpinion) -> list[str]:
    """Of others than this one."""
    manager = seen.content.sessionManager
    own = manager.currentSession.key
    return sorted(one.userName for one in manager.sessionList if one.key != own)

"""The privileges that a call needs, and the objects on which it needs them.

Most come from pyVmomi's type data, which is generated from the API's definition: one on the called
object, or one on a parameter. For methods whose privilege is "dynamic", :data:`_DYNAMIC` implements
the text of the vSphere API reference. Where the text is silent, the model requires more rather than
less: a CloneSpec's config needs the privileges that ReconfigVM_Task would need for it, ImportVApp
those of CreateVM_Task.

System.Anonymous, System.View and System.Read are not checked, because every role has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.datastore import find_datastore, parse_path
from tests.fakes.vcenter.virtual_machine_reconfigure import set_fields

if TYPE_CHECKING:
    from tests.fakes.vcenter.managed_object import ManagedObject
    from tests.fakes.vcenter.vcenter import VCenter

#: A privilege and the object on which the caller needs it.
Need = tuple[str, "ManagedObject"]
Arguments = Mapping[str, Any]

_CONFIG = "VirtualMachine.Config."
#: "Reconfigure privilege" of a ConfigSpec's fields; the others need Settings.
_CONFIG_FIELDS = {
    "name": "Rename",
    "annotation": "Annotation",
    "extraConfig": "AdvancedConfig",
    "managedBy": "ManagedBy",
    "numCPUs": "CPUCount",
    "memoryMB": "Memory",
    "cpuAllocation": "Resource",
    "memoryAllocation": "Resource",
    "swapPlacement": "SwapPlacement",
    "changeTrackingEnabled": "ChangeTracking",
}
_WITHOUT_PRIVILEGE = {"changeVersion", "deviceChange", "vmProfile"}


def needs(target: ManagedObject, info: Any, arguments: Arguments) -> Iterator[Need]:
    """The privileges that the caller of a method needs.

    :param info: pyVmomi's description of the method
    """
    if _is_asked_for(info.privId):
        yield info.privId, target
    for param in info.params:
        value = arguments.get(param.name)
        if value is not None and _is_asked_for(param.privId):
            for ref in value if isinstance(value, list) else [value]:
                yield param.privId, target.vcenter.registry.require(ref)
    dynamic = _DYNAMIC.get(info.wsdlName)
    if dynamic is not None:
        yield from dynamic(target, arguments)


def _is_asked_for(privilege: str | None) -> bool:
    return bool(privilege) and not str(privilege).startswith("System.")


def _clone(vm: Any, arguments: Arguments) -> Iterator[Need]:
    spec, registry = arguments["spec"], vm.vcenter.registry
    folder = registry.require(spec.location.folder or arguments["folder"])
    kind = {
        (False, False): "Clone",
        (False, True): "CreateTemplateFromVM",
        (True, False): "DeployTemplate",
        (True, True): "CloneTemplate",
    }[vm.template, bool(spec.template)]
    yield f"VirtualMachine.Provisioning.{kind}", vm
    yield "VirtualMachine.Inventory.CreateFromExisting", folder
    if spec.location.pool is not None and not spec.template:
        yield "Resource.AssignVMToPool", registry.require(spec.location.pool)
    targets = [spec.location.datastore, *(disk.datastore for disk in spec.location.disk or [])]
    for datastore in filter(None, targets):
        yield "Datastore.AllocateSpace", registry.require(datastore)
    if spec.config is not None:
        yield from _config(spec.config, folder, vm)


def _reconfigure(vm: Any, arguments: Arguments) -> Iterator[Need]:
    yield from _config(arguments["spec"], vm, vm)
    if any(change.fileOperation or _grows(vm, change) for change in arguments["spec"].deviceChange):
        yield "Datastore.AllocateSpace", vm.home_datastore


def _config(spec: Any, entity: ManagedObject, vm: Any) -> Iterator[Need]:
    """:param vm: the VM whose devices the spec edits, or copies of them"""
    for name in sorted(set_fields(spec) - _WITHOUT_PRIVILEGE):
        yield _CONFIG + _CONFIG_FIELDS.get(name, "Settings"), entity
    for change in spec.deviceChange or []:
        is_disk = isinstance(change.device, vim.vm.device.VirtualDisk)
        if change.operation == "edit":
            yield _CONFIG + "EditDevice", entity
            if is_disk and _grows(vm, change):
                yield _CONFIG + "DiskExtend", entity
        elif not is_disk:
            yield _CONFIG + "AddRemoveDevice", entity
        elif change.operation == "remove":
            yield _CONFIG + "RemoveDisk", entity
        else:
            yield _CONFIG + _disk_added(change), entity


def _disk_added(change: Any) -> str:
    return "AddNewDisk" if change.fileOperation else "AddExistingDisk"


def _grows(vm: Any, change: Any) -> bool:
    present = {one.key: one.disk for one in getattr(getattr(vm, "devices", None), "disks", ())}
    disk = present.get(change.device.key)
    asked = getattr(change.device, "capacityInKB", None)
    return disk is not None and asked is not None and asked * 1024 > disk.capacity_bytes


def _create(folder: Any, arguments: Arguments) -> Iterator[Need]:
    yield from _creation(arguments["config"], folder)


def _import(pool: Any, arguments: Arguments) -> Iterator[Need]:
    if arguments["folder"] is None:
        return
    folder = pool.vcenter.registry.require(arguments["folder"])
    yield "VirtualMachine.Inventory.Create", folder
    yield "Resource.AssignVMToPool", pool
    yield from _creation(arguments["spec"].configSpec, folder)


def _creation(config: Any, folder: ManagedObject) -> Iterator[Need]:
    """The text of CreateVM_Task."""
    if config.extraConfig:
        yield _CONFIG + "AdvancedConfig", folder
    for change in config.deviceChange or []:
        if isinstance(change.device, vim.vm.device.VirtualDisk):
            yield _CONFIG + _disk_added(change), folder
    yield from _on_datastore("Datastore.AllocateSpace", folder, config.files.vmPathName)


def _relocate(vm: Any, arguments: Arguments) -> Iterator[Need]:
    spec, registry = arguments["spec"], vm.vcenter.registry
    if spec.pool is not None:
        yield "Resource.AssignVMToPool", registry.require(spec.pool)
    for datastore in filter(None, [spec.datastore, *(d.datastore for d in spec.disk or [])]):
        yield "Datastore.AllocateSpace", registry.require(datastore)


def _destroy(entity: Any, arguments: Arguments) -> Iterator[Need]:
    """On the entity and on its parent."""
    privilege = _of_type(_DESTROY, entity, "Folder.Delete")
    yield privilege, entity
    if entity.parent is not None:
        yield privilege, entity.parent


def _rename(entity: Any, arguments: Arguments) -> Iterator[Need]:
    yield _of_type(_RENAME, entity, "Folder.Rename"), entity


def _move(folder: Any, arguments: Arguments) -> Iterator[Need]:
    for ref in arguments["list"]:
        entity = folder.vcenter.registry.require(ref)
        privilege = _of_type(_MOVE, entity, "Folder.Move")
        yield privilege, entity
        yield privilege, folder


def _of_type(privileges: Mapping[type, str], entity: Any, otherwise: str) -> str:
    return next(
        (each for kind, each in privileges.items() if issubclass(entity.TYPE, kind)), otherwise
    )


#: ManagedEntity.Destroy_Task, Rename_Task and Folder.MoveIntoFolder_Task need privileges that
#: depend on the type. (vSphere API reference)
_DESTROY = {
    vim.VirtualMachine: "VirtualMachine.Inventory.Delete",
    vim.Datacenter: "Datacenter.Delete",
    vim.ComputeResource: "Host.Inventory.DeleteCluster",
    vim.HostSystem: "Host.Inventory.RemoveHostFromCluster",
    vim.ResourcePool: "Resource.DeletePool",
}
_RENAME = {
    vim.VirtualMachine: _CONFIG + "Rename",
    vim.Datacenter: "Datacenter.Rename",
    vim.ComputeResource: "Host.Inventory.RenameCluster",
    vim.ResourcePool: "Resource.RenamePool",
    vim.Datastore: "Datastore.Rename",
}
_MOVE = {
    vim.VirtualMachine: "VirtualMachine.Inventory.Move",
    vim.Datacenter: "Datacenter.Move",
    vim.ComputeResource: "Host.Inventory.MoveCluster",
    vim.Datastore: "Datastore.Move",
}


def _update_pool(pool: Any, arguments: Arguments) -> Iterator[Need]:
    if arguments["name"] is not None:
        yield "Resource.RenamePool", pool
    if arguments["config"] is not None:
        yield "Resource.EditPool", pool


def _destroy_children(pool: Any, arguments: Arguments) -> Iterator[Need]:
    for child in pool.resourcePool:
        yield "Resource.DeletePool", child


def _update_options(manager: Any, arguments: Arguments) -> Iterator[Need]:
    """For the settings of vCenter, or of one of its hosts."""
    host = getattr(manager, "host", None)
    yield ("Global.Settings", manager) if host is None else ("Host.Config.AdvancedConfig", host)


def _browse(browser: Any, arguments: Arguments) -> Iterator[Need]:
    yield from _on_datastore("Datastore.Browse", browser, arguments["datastorePath"])


def _files(manager: Any, arguments: Arguments) -> Iterator[Need]:
    for name in ("name", "sourceName", "destinationName", "destName"):
        text = arguments.get(name)
        if text:
            yield from _on_datastore("Datastore.FileManagement", manager, text)


def _cancel(task: Any, arguments: Arguments) -> Iterator[Need]:
    yield "Global.CancelTask", task


def _on_datastore(privilege: str, near: ManagedObject, path: str | None) -> Iterator[Need]:
    vcenter: VCenter = near.vcenter
    yield privilege, find_datastore(vcenter, parse_path(vcenter, path).datastore)


_FILE_METHODS = (
    "MakeDirectory",
    "DeleteDatastoreFile_Task",
    "MoveDatastoreFile_Task",
    "CopyDatastoreFile_Task",
    "CreateVirtualDisk_Task",
    "CopyVirtualDisk_Task",
    "MoveVirtualDisk_Task",
    "DeleteVirtualDisk_Task",
    "ExtendVirtualDisk_Task",
)
#: Methods whose required privilege is "None" or "Dynamic" in the type data.
_DYNAMIC: dict[str, Callable[[Any, Arguments], Iterator[Need]]] = {
    "CloneVM_Task": _clone,
    "ReconfigVM_Task": _reconfigure,
    "CreateVM_Task": _create,
    "ImportVApp": _import,
    "RelocateVM_Task": _relocate,
    "Destroy_Task": _destroy,
    "Rename_Task": _rename,
    "MoveIntoFolder_Task": _move,
    "UpdateConfig": _update_pool,
    "DestroyChildren": _destroy_children,
    "UpdateOptions": _update_options,
    "SearchDatastore_Task": _browse,
    "SearchDatastoreSubFolders_Task": _browse,
    "CancelTask": _cancel,
    **dict.fromkeys(_FILE_METHODS, _files),
}

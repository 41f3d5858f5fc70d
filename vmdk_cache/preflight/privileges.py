"""The privileges of the vCenter account, and probes that check them, object by object.

docs/security.rst shows the table :data:`PRIVILEGES`; a test compares the page with it in both
directions. One request reads all privileges on all objects; each probe reports one kind of object.
A virtual machine that does not exist yet will have the permissions of its folder and of its
resource pool: a privilege granted on either is granted on the virtual machine.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import CacheFolder, Target
from vmdk_cache.quoting import identifier, quoted
from vmdk_cache.vim import authorization


class HeldOn(enum.StrEnum):
    """The nearest object; a propagating permission on a parent suffices."""

    VCENTER = "vCenter"
    DATASTORE = "datastore"
    FOLDER = "VM folder"
    POOL = "resource pool"
    VM = "virtual machine"
    TEMPLATE = "template"


class Without(enum.StrEnum):
    """What happens without a privilege.

    bypass      the cache serves no volume; Cinder's own driver creates them
    degraded    the cache serves volumes, but lacks another feature
    cinder      an operation of Cinder's own driver fails, with or without the cache
    """

    BYPASS = "bypass"
    DEGRADED = "degraded"
    CINDER = "cinder"


@dataclass(frozen=True)
class Privilege:
    """:ivar purpose: the call or operation that requires it"""

    id: str
    held_on: tuple[HeldOn, ...]
    purpose: str
    without: Without


def _table(
    without: Without, *rows: tuple[str, HeldOn | tuple[HeldOn, ...], str]
) -> list[Privilege]:
    return [
        Privilege(name, held_on if isinstance(held_on, tuple) else (held_on,), purpose, without)
        for name, held_on, purpose in rows
    ]


_VCENTER, _DATASTORE, _FOLDER = HeldOn.VCENTER, HeldOn.DATASTORE, HeldOn.FOLDER
_POOL, _VM, _TEMPLATE = HeldOn.POOL, HeldOn.VM, HeldOn.TEMPLATE

PRIVILEGES: tuple[Privilege, ...] = (
    *_table(
        Without.BYPASS,
        ("Datastore.AllocateSpace", _DATASTORE, "every import, clone and replica"),
        ("Folder.Create", _FOLDER, "the cache folder, and project folders"),
        ("Resource.AssignVMToPool", _POOL, "ImportVApp, CloneVM_Task"),
        ("VApp.Import", (_POOL, _FOLDER), "ImportVApp"),
        ("VirtualMachine.Inventory.Create", _FOLDER, "ImportVApp"),
        ("VirtualMachine.Config.AddNewDisk", _FOLDER, "ImportVApp"),
        ("VirtualMachine.Config.AdvancedConfig", _FOLDER, "the template's record, the volume's id"),
        ("VirtualMachine.Provisioning.MarkAsTemplate", _VM, "MarkAsTemplate"),
        ("VirtualMachine.Inventory.CreateFromExisting", _FOLDER, "CloneVM_Task"),
        ("VirtualMachine.Provisioning.DeployTemplate", _TEMPLATE, "CloneVM_Task of a volume"),
        ("VirtualMachine.Config.Settings", _FOLDER, "the clone's uuid"),
        ("VirtualMachine.Config.Annotation", _FOLDER, "the clone's own annotation"),
        ("VirtualMachine.Config.ManagedBy", _FOLDER, "the clone is managed by Cinder"),
        (
            "VirtualMachine.Config.EditDevice",
            _VM,
            "CloneVM_Task or ReconfigVM_Task: the disk's uuid",
        ),
        (
            "VirtualMachine.Config.DiskExtend",
            _VM,
            "CloneVM_Task or ReconfigVM_Task: the disk's size",
        ),
    ),
    *_table(
        Without.DEGRADED,
        ("VirtualMachine.Inventory.Delete", (_VM, _FOLDER), "Destroy_Task"),
        ("VirtualMachine.Inventory.Unregister", _VM, "UnregisterVM"),
        ("VirtualMachine.Provisioning.CloneTemplate", _TEMPLATE, "CloneVM_Task of a replica"),
        ("Resource.ColdMigrate", _TEMPLATE, "RelocateVM_Task"),
        ("Datastore.Browse", _DATASTORE, "SearchDatastore_Task"),
        (
            "Datastore.FileManagement",
            _DATASTORE,
            "DeleteDatastoreFile_Task; ExtendVirtualDisk_Task of an eagerZeroedThick volume",
        ),
        (
            "Global.SetCustomField",
            (_TEMPLATE, _VM),
            "SetField: its last use, who pinned it",
        ),
        (
            "Global.ManageCustomFields",
            _VCENTER,
            "AddCustomFieldDef, once per attribute",
        ),
        ("Global.CancelTask", _VM, "CancelTask"),
        ("StorageProfile.View", _VCENTER, "ids of storage policies and their datastores"),
    ),
    *_table(
        Without.CINDER,
        ("Extension.Register", _VCENTER, "org.openstack.storage, once per vCenter"),
        (
            "Sessions.ValidateSession",
            _VCENTER,
            "SessionIsActive, each time that a session is checked",
        ),
        ("VApp.Export", _VM, "upload of a volume to Glance, backup; vmdk-cache verify"),
        ("VirtualMachine.Config.AddExistingDisk", _VM, "import of sparse images, managing a disk"),
        ("VirtualMachine.Config.AddRemoveDevice", _VM, "controllers of such disks, retype"),
        ("VirtualMachine.Config.RemoveDisk", _VM, "retype, restoring a backup"),
        ("VirtualMachine.Config.Rename", _VM, "names after a migration or retype"),
        ("VirtualMachine.Inventory.Move", (_VM, _FOLDER), "transfer to another project"),
        ("VirtualMachine.Provisioning.Clone", _VM, "volume from volume or snapshot"),
        ("VirtualMachine.State.CreateSnapshot", _VM, "snapshots"),
        ("VirtualMachine.State.RemoveSnapshot", _VM, "snapshots"),
        ("VirtualMachine.State.RevertToSnapshot", _VM, "revert to snapshot"),
    ),
)

#: Number of templates that are checked individually: a permission on a single template is rare.
_TEMPLATES = 20


@dataclass(frozen=True)
class _Object:
    """An object whose privileges are checked.

    :ivar name: for messages
    :ivar entities: a privilege granted on one of them counts for the object
    """

    name: str
    entities: tuple[authorization.Entity, ...]


def probe_of(held_on: HeldOn) -> Callable[[Target], Iterator[Finding]]:
    """Return the probe of the privileges on this kind of object."""

    def look(target: Target) -> Iterator[Finding]:
        granted = _granted(target)
        wanted = [each for each in PRIVILEGES if held_on in each.held_on]
        for each in _objects(target)[held_on]:
            held = {name for _, moref in each.entities for name in granted.get(moref, ())}
            missing = [privilege for privilege in wanted if privilege.id not in held]
            if not missing:
                yield ok(f"all {len(wanted)} privileges are granted", each.name)
            target.missing_privileges.update(privilege.id for privilege in missing)
            for privilege in missing:
                yield _finding(privilege, each.name)

    return look


def _finding(privilege: Privilege, name: str) -> Finding:
    to_do = f"grant it there, or on a parent with propagation; needed for: {privilege.purpose}"
    if privilege.without is Without.BYPASS:
        return failed(f"{privilege.id} is missing: the cache cannot serve volumes", to_do, name)
    if privilege.without is Without.DEGRADED:
        return warning(f"{privilege.id} is missing: the cache works, but is limited", to_do, name)
    return warning(f"{privilege.id} is missing: Cinder's own driver needs it", to_do, name)


@functools.lru_cache(maxsize=1)  # each of the probes needs all of them
def _granted(target: Target) -> dict[str, frozenset[str]]:
    """The granted privileges of all objects, by moref."""
    entities = {
        entity: None
        for objects in _objects(target).values()
        for each in objects
        for entity in each.entities
    }
    names = [each.id for each in PRIVILEGES]
    return authorization.granted(target.session, list(entities), names)


def _objects(target: Target) -> dict[HeldOn, list[_Object]]:
    pools = {
        host.pool: target.cluster_names.get(host.cluster, host.cluster)
        for host in target.inventory.hosts
    }
    folders = {
        each.moref: each for each in (*target.cache_folders, *target.project_folders)
    }.values()
    templates = [
        _Object(f"template {quoted(vm.name)}", (("VirtualMachine", vm.moref),))
        for vm in target.templates[:_TEMPLATES]
        if vm.is_template
    ]
    machines = [_machines_in(target, each) for each in folders]
    return {
        HeldOn.VCENTER: [_Object("vCenter", (_root(target),))],
        HeldOn.DATASTORE: [
            _Object(identifier(each.name), (("Datastore", each.moref),))
            for each in target.usable_datastores
        ],
        HeldOn.POOL: [
            _Object(f"pool of {identifier(name)}", (("ResourcePool", moref),))
            for moref, name in pools.items()
        ],
        HeldOn.FOLDER: [
            _Object(f"folder {quoted(each.path)}", (("Folder", each.moref),)) for each in folders
        ],
        HeldOn.VM: machines,
        HeldOn.TEMPLATE: [*machines, *templates],
    }


def _machines_in(target: Target, folder: CacheFolder) -> _Object:
    pools = {
        host.pool for host in target.inventory.hosts if host.datacenter == folder.datacenter.moref
    }
    # The VM's pool is unknown: with several pools, a privilege on one of them does not count.
    pool = [("ResourcePool", each) for each in pools] if len(pools) == 1 else []
    return _Object(f"virtual machines in {quoted(folder.path)}", (("Folder", folder.moref), *pool))


def _root(target: Target) -> authorization.Entity:
    return "Folder", str(target.session.content.rootFolder._GetMoId())

"""The privileges of the vCenter account: each with the object that it is granted on and its
purpose.

docs/security.rst shows this table, and ``vmdk-cache preflight`` checks it in vCenter. A test
compares the page with the table in both directions.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
_CONFIG = "VirtualMachine.Config."
_INVENTORY = "VirtualMachine.Inventory."
_PROVISIONING = "VirtualMachine.Provisioning."
_STATE = "VirtualMachine.State."

PRIVILEGES: tuple[Privilege, ...] = (
    *_table(
        Without.BYPASS,
        ("Datastore.AllocateSpace", _DATASTORE, "every import, clone and replica"),
        ("Folder.Create", _FOLDER, "the cache folder, and project folders"),
        ("Resource.AssignVMToPool", _POOL, "ImportVApp, CloneVM_Task"),
        ("VApp.Import", (_POOL, _FOLDER), "ImportVApp"),
        (_INVENTORY + "Create", _FOLDER, "ImportVApp"),
        (_CONFIG + "AddNewDisk", _FOLDER, "ImportVApp"),
        (_CONFIG + "AdvancedConfig", _FOLDER, "the template's record, the volume's id"),
        (_PROVISIONING + "MarkAsTemplate", _VM, "MarkAsTemplate"),
        (_INVENTORY + "CreateFromExisting", _FOLDER, "CloneVM_Task"),
        (_PROVISIONING + "DeployTemplate", _TEMPLATE, "CloneVM_Task of a volume"),
        (_CONFIG + "Settings", _FOLDER, "the clone's uuid"),
        (_CONFIG + "Annotation", _FOLDER, "the clone's own annotation"),
        (_CONFIG + "ManagedBy", _FOLDER, "the clone is managed by Cinder"),
        (_CONFIG + "EditDevice", _VM, "CloneVM_Task or ReconfigVM_Task: the disk's uuid"),
        (_CONFIG + "DiskExtend", _VM, "CloneVM_Task or ReconfigVM_Task: the disk's size"),
    ),
    *_table(
        Without.DEGRADED,
        (_INVENTORY + "Delete", (_VM, _FOLDER), "Destroy_Task"),
        (_INVENTORY + "Unregister", _VM, "UnregisterVM"),
        (_PROVISIONING + "CloneTemplate", _TEMPLATE, "CloneVM_Task of a replica"),
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
            "SetField: when the template was last used",
        ),
        ("Global.ManageCustomFields", _VCENTER, "AddCustomFieldDef, once per vCenter"),
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
        ("VApp.Export", _VM, "upload of a volume to Glance, backup"),
        (_CONFIG + "AddExistingDisk", _VM, "import of sparse images, managing a disk"),
        (_CONFIG + "AddRemoveDevice", _VM, "controllers of such disks, retype"),
        (_CONFIG + "RemoveDisk", _VM, "retype, backup's restore"),
        (_CONFIG + "Rename", _VM, "names after a migration or retype"),
        (_INVENTORY + "Move", (_VM, _FOLDER), "transfer to another project"),
        (_PROVISIONING + "Clone", _VM, "volume from volume or snapshot"),
        (_STATE + "CreateSnapshot", _VM, "snapshots"),
        (_STATE + "RemoveSnapshot", _VM, "snapshots"),
        (_STATE + "RevertToSnapshot", _VM, "revert to snapshot"),
    ),
)

"""HostDatastoreSystem: mounts exports on a host, and unmounts datastores.

An export that another host has mounted under the same name is the same datastore. No NFS server
reports a size, so a new datastore has 1 TiB.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore import Datastore
from tests.fakes.vcenter.host_config_manager import HostPart, parts_of
from tests.fakes.vcenter.managed_entity import check_name

_EXPORT_BYTES = 1 << 40


class HostDatastoreSystem(HostPart):
    """See the module's docstring."""

    TYPE = vim.host.DatastoreSystem
    NAME = "datastoreSystem"

    @property
    def datastore(self) -> list[Any]:
        """Datastores that the host mounts."""
        return self.host.datastore

    def CreateNasDatastore(self, ctx: Context, spec: Any) -> Datastore:
        """Mount an export. DuplicateName for a name that another export has; AlreadyExists for a
        second mount.
        """
        kinds = {"nfs": "NFS", "nfs41": "NFS41"}
        kind = kinds.get((spec.type or "NFS").lower())
        if kind is None:
            raise vmodl.fault.InvalidArgument(invalidProperty="spec.type")
        name = check_name(spec.localPath)
        export = f"{spec.remoteHost}:{spec.remotePath}"
        folder = self.host.datacenter.datastoreFolder
        present = folder.child(name)
        if present is not None and present.export != export:
            raise vim.fault.DuplicateName(name=name, object=present.ref)
        if present is not None and present in self.host.datastore:
            raise vim.fault.AlreadyExists(name=name)
        datastore = present or Datastore(self.vcenter, name, _EXPORT_BYTES, kind)
        if present is None:
            datastore.export = export
            folder.add_child(datastore)
            self.host.datacenter.add_member("datastore", datastore)
        datastore.mount(self.host, spec.accessMode or "readWrite")
        self.changed("datastore")
        return datastore

    def RemoveDatastore(self, ctx: Context, datastore: Any) -> None:
        """Unmount. NotFound if the host does not mount it; ResourceInUse while a VM of the host is
        on it.
        """
        found = self.vcenter.registry.require(datastore)
        if found not in self.host.datastore:
            raise vim.fault.NotFound(msg=f"'{found.name}' is not mounted on the host.")
        if any(vm.host is self.host for vm in found.members("vm")):
            raise vim.fault.ResourceInUse(type=vim.Datastore, name=found.name)
        found.unmount(self.host)
        self.changed("datastore")
        if not found.mounts:
            found.leave()

    def QueryAvailableDisksForVmfs(self, ctx: Context, datastore: Any = None) -> list[Any]:
        """The host's own disk."""
        return [parts_of(self.host)["storageSystem"].disk]  # type: ignore[attr-defined]

"""Datacenter: a name and the four folders below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.compute_resource import ComputeResource
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.folder import Folder
from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class Datacenter(ManagedEntity):
    """Its folders are named vm, host, datastore and network, as in every vCenter."""

    TYPE = vim.Datacenter
    PREFIX = "datacenter"

    def __init__(self, vcenter: VCenter, name: str) -> None:
        super().__init__(vcenter, name)
        self.vmFolder = self._folder("vm", "v")
        self.hostFolder = self._folder("host", "h")
        self.datastoreFolder = self._folder("datastore", "s")
        self.networkFolder = self._folder("network", "n")

    def _folder(self, name: str, kind: str) -> Folder:
        folder = Folder(self.vcenter, name, kind)
        folder.parent = self
        return folder

    @property
    def folders(self) -> list[Folder]:
        """The four folders."""
        return [self.vmFolder, self.hostFolder, self.datastoreFolder, self.networkFolder]

    @property
    def datastore(self) -> list[ManagedObject]:
        """Every datastore of the datacenter, oldest first."""
        return self.members("datastore")

    @property
    def network(self) -> list[ManagedObject]:
        """Every network of the datacenter."""
        return self.members("network")

    @property
    def configuration(self) -> Any:
        """The defaults."""
        return vim.Datacenter.ConfigInfo()

    def Destroy_Task(self, ctx: Context) -> Task:
        """Remove the datacenter with its hosts; VMs leave the inventory, files stay."""
        return self.vcenter.tasks.start(
            self,
            "Destroy_Task",
            "Datacenter.destroy",
            lambda task: self.destroy(),
            session=ctx.session,
        )

    def destroy(self) -> None:
        """Remove hosts, then the content of the folders, then the datacenter itself."""
        for entity in _below(self.hostFolder):
            if isinstance(entity, ComputeResource):
                entity.destroy()
        for folder in self.folders:
            for entity in reversed(list(_below(folder))):
                entity.destroy_object()
            folder.destroy_object()
        if self.folder is not None:
            self.folder.remove_child(self)
        self.destroy_object()


def _below(folder: Folder) -> Iterator[ManagedEntity]:
    for child in folder.childEntity:
        yield child
        if isinstance(child, Folder):
            yield from _below(child)

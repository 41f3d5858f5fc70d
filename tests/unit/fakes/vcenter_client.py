"""pyVmomi clients of the fake vCenter, and the specs that its tests send."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from pyVim.connect import SmartConnect
from pyVmomi import vmodl

from tests.fakes.vcenter import VCenter

PC = vmodl.query.PropertyCollector


@dataclass
class Client:
    """One session, with the objects that most tests need."""

    vcenter: VCenter
    instance: Any

    @property
    def content(self) -> Any:
        return self.instance.content

    @property
    def collector(self) -> Any:
        return self.content.propertyCollector

    @property
    def datacenter(self) -> Any:
        return self.content.rootFolder.childEntity[0]

    @property
    def vm_folder(self) -> Any:
        return self.datacenter.vmFolder

    def retrieve(self, *specs: Any, page: int | None = None) -> Any:
        """One page of RetrievePropertiesEx."""
        return self.collector.RetrievePropertiesEx(list(specs), PC.RetrieveOptions(maxObjects=page))

    def wait(self, version: str, seconds: int = 5, collector: Any = None, most: Any = None) -> Any:
        """WaitForUpdatesEx."""
        options = PC.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=most)
        return (collector or self.collector).WaitForUpdatesEx(version, options)

    def known(self) -> str:
        """The version at which every update, page by page, has been reported."""
        update = self.wait("")
        while update.truncated:
            update = self.wait(update.version)
        return str(update.version)


def connect(vcenter: VCenter, user: str | None = None, password: str | None = None) -> Client:
    """A separate session over a verified connection, by default the administrator's."""
    trust = ssl.create_default_context(cafile=vcenter.ca_file)
    instance = SmartConnect(
        host=vcenter.host,
        port=vcenter.port,
        user=user or vcenter.user,
        pwd=password or vcenter.password,
        sslContext=trust,
    )
    return Client(vcenter, instance)


def object_spec(obj: Any, *paths: str, managed_type: Any = None, all_paths: bool = False) -> Any:
    """A filter spec for one object."""
    return PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=obj)],
        propSet=[
            PC.PropertySpec(type=managed_type or type(obj), pathSet=list(paths), all=all_paths)
        ],
    )


def view_spec(view: Any, managed_type: Any, *paths: str) -> Any:
    """A filter spec for the members of a view."""
    step = PC.TraversalSpec(type=type(view), path="view", skip=False)
    return PC.FilterSpec(
        objectSet=[PC.ObjectSpec(obj=view, skip=True, selectSet=[step])],
        propSet=[PC.PropertySpec(type=managed_type, pathSet=list(paths))],
    )


def told(update: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """(kind, moref, changed properties) of every object in an update set."""
    return [
        (each.kind, each.obj._moId, {change.name: change.val for change in each.changeSet})
        for filter_update in update.filterSet
        for each in filter_update.objectSet
    ]

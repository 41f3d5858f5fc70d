"""What users do with volumes, step by step, on one backend of a running cloud."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.e2e.cloud import Cloud
from tests.e2e.stack.client import CinderClient, Resource
from tests.fakes.vcenter import VCenter


@dataclass
class Road:
    """One way to create volumes, and what it has created.

    :ivar backend: name of the backend, and of the volume type that selects it
    :ivar image_fields: additional fields of a request for a volume from an image
    :ivar user: the user that creates them; None: the administrator
    :ivar made: (collection, id) in the order of creation
    """

    name: str
    cloud: Cloud
    backend: str
    image_id: str
    image_fields: dict[str, Any] = field(default_factory=dict)
    user: CinderClient | None = None
    made: list[tuple[str, str]] = field(default_factory=list)

    @property
    def cinder(self) -> CinderClient:
        return self.user or self.cloud.cinder

    def create(self, size_gb: int = 1, **fields: Any) -> str:
        """Create a volume on this road's backend, and wait until it is available."""
        fields = {"volume_type": self.backend, **fields}
        volume_id = self.cinder.create_volume(size_gb, **fields)
        self.made.append(("volumes", volume_id))
        self.cinder.wait("volumes", volume_id, "available")
        return volume_id

    def create_from_image(
        self, size_gb: int = 1, image_id: str | None = None, **fields: Any
    ) -> str:
        image_id = image_id or self.image_id
        return self.create(size_gb, imageRef=image_id, **self.image_fields, **fields)

    def post(self, collection: str, kind: str, wanted: str, **fields: Any) -> str:
        """Create a snapshot or backup and wait for it."""
        made: Resource = self.cinder.request("POST", f"/{collection}", {kind: fields})[kind]
        self.made.append((collection, made["id"]))
        self.cinder.wait(collection, made["id"], wanted)
        resource_id: str = made["id"]
        return resource_id

    def snapshot(self, volume_id: str) -> str:
        return self.post("snapshots", "snapshot", "available", volume_id=volume_id)

    def act(self, volume_id: str, action: str, **arguments: Any) -> Resource:
        """Run an action on a volume, and wait until the volume is available again."""
        self.cinder.act(volume_id, action, arguments)
        return self.cinder.wait("volumes", volume_id, "available")

    def attach(self, volume_id: str, instance: str) -> Resource:
        """Nova's requests to Cinder before it adds a volume's disk to an instance.

        :param instance: managed object id of its virtual machine
        :returns: the attachment, with its ``connection_info``
        """
        cinder = self.cinder
        connector = {"host": "compute", "instance": instance}
        body = {"attachment": {"volume_uuid": volume_id, "connector": connector}}
        attachment: Resource = cinder.request("POST", "/attachments", body)["attachment"]
        cinder.request("POST", f"/attachments/{attachment['id']}/action", {"os-complete": {}})
        cinder.wait("volumes", volume_id, "in-use")
        return attachment

    def detach(self, volume_id: str, attachment: Resource) -> None:
        self.cinder.delete("attachments", attachment["id"])
        self.cinder.wait("volumes", volume_id, "available")

    def clean_up(self) -> None:
        """Delete everything that was created, children before their parents."""
        cinder = self.cinder
        for collection in ("backups", "snapshots", "volumes"):
            ids = [made for kind, made in self.made if kind == collection]
            for resource_id in ids:
                cinder.delete(collection, resource_id)
            cinder.wait_gone(collection, *ids)
        self.made.clear()


@contextlib.contextmanager
def an_instance(vcenter: VCenter) -> Iterator[str]:
    """Managed object id of a virtual machine such as Nova creates."""
    si = SmartConnect(
        host=vcenter.host,
        port=vcenter.port,
        user=vcenter.user,
        pwd=vcenter.password,
        sslContext=ssl.create_default_context(cafile=vcenter.ca_file),
    )
    datacenter = si.content.rootFolder.childEntity[0]
    cluster = datacenter.hostFolder.childEntity[0]
    spec = vim.vm.ConfigSpec(
        name="instance",
        guestId="otherGuest",
        numCPUs=1,
        memoryMB=128,
        files=vim.vm.FileInfo(vmPathName=f"[{datacenter.datastore[0].name}]"),
    )
    task = datacenter.vmFolder.CreateVM_Task(spec, cluster.resourcePool, cluster.host[0])
    WaitForTask(task, si=si)
    vm = task.info.result
    yield vm._moId
    WaitForTask(vm.Destroy_Task(), si=si)
    Disconnect(si)

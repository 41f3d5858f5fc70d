"""A short pyVmomi client for the fake's own tests: connect, wait for a task, common specs."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

from tests.fakes.vcenter import VCenter
from tests.waiting import wait_until

GiB = 1 << 30
MiB = 1 << 20
FULL = "moveAllDiskBackingsAndDisallowSharing"
_device = vim.vm.device


class Client:
    """A session on the fake, with the objects of its first datacenter."""

    def __init__(self, vcenter: VCenter) -> None:
        self.vcenter = vcenter
        self.tls = ssl.create_default_context(cafile=vcenter.ca_file)
        self.si = SmartConnect(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            pwd=vcenter.password,
            sslContext=self.tls,
        )
        self.content = self.si.content
        self.datacenter = self.content.rootFolder.childEntity[0]
        self.folder = self.datacenter.vmFolder
        self.cluster = self.datacenter.hostFolder.childEntity[0]
        self.pool = self.cluster.resourcePool
        self.hosts = list(self.cluster.host)
        self.datastores = list(self.datacenter.datastore)

    def create(self, name: str, size_bytes: int = MiB, **more: Any) -> Any:
        return wait(self.folder.CreateVM_Task(create_spec(name, size_bytes, **more), self.pool))

    def template(self, name: str, size_bytes: int = MiB, **more: Any) -> Any:
        vm = self.create(name, size_bytes, **more)
        vm.MarkAsTemplate()
        return vm

    def clone_spec(self, **more: Any) -> Any:
        """A full clone to the first datastore and pool; `more` overrides fields of RelocateSpec."""
        location = {"pool": self.pool, "datastore": self.datastores[0], "diskMoveType": FULL}
        top = {key: more.pop(key) for key in ("config", "snapshot", "template") if key in more}
        relocate = vim.vm.RelocateSpec(**{**location, **more})
        return vim.vm.CloneSpec(**{"template": False, **top}, location=relocate, powerOn=False)

    def clone(self, source: Any, name: str, **more: Any) -> Any:
        return wait(source.CloneVM_Task(self.folder, name, self.clone_spec(**more)))

    def request(
        self, method: str, url: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one HTTP request to a full URL; returns (status, body)."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(parts.netloc, context=self.tls, timeout=30)
        try:
            connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def folder_url(self, datastore: str, path: str, datacenter: str = "DC0") -> str:
        query = urlencode({"dcPath": datacenter, "dsName": datastore})
        return f"https://{self.vcenter.host}:{self.vcenter.port}/folder/{path}?{query}"

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": self.si._stub.cookie.split(";")[0]}


@contextmanager
def connected(vcenter: VCenter) -> Iterator[Client]:
    client = Client(vcenter)
    try:
        yield client
    finally:
        Disconnect(client.si)


def wait(task: Any, timeout_s: float = 20.0) -> Any:
    """Wait for a task; returns its result or raises its error."""
    until = time.monotonic() + timeout_s
    while (state := task.info.state) not in ("success", "error"):
        assert time.monotonic() < until, f"task {task} is still {state}"
        time.sleep(0.005)
    if state == "error":
        raise task.info.error
    return task.info.result


def until_running(task: Any) -> None:
    """Wait until a task holds its locks: tasks may begin in a different order than they were
    called.
    """
    wait_until(lambda: task.info.state != "queued", what=f"{task} to run", interval_s=0.005)


def create_spec(name: str, size_bytes: int = MiB, datastore: str = "DC0_DS0", **more: Any) -> Any:
    """The spec of a VM such as Cinder's driver makes: one SCSI controller, one thin disk (or none
    for 0).
    """
    backing = more.pop("backing", {"thinProvisioned": True})
    changes = disk_changes(size_bytes, **backing) if size_bytes else []
    spec = {
        "name": name,
        "guestId": "otherGuest",
        "numCPUs": 1,
        "memoryMB": 128,
        "files": vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        "version": "vmx-08",
        "deviceChange": changes,
    }
    return vim.vm.ConfigSpec(**{**spec, **more})


def disk_changes(size_bytes: int, controller: Any = None, **backing: Any) -> list[Any]:
    """The disk first, then its controller, as Cinder's driver sends them."""
    kind = controller or _device.VirtualLsiLogicController
    disk = _device.VirtualDisk(
        key=-101,
        controllerKey=-100,
        unitNumber=0,
        capacityInKB=size_bytes // 1024,
        backing=_device.VirtualDisk.FlatVer2BackingInfo(
            **{"fileName": "", "diskMode": "persistent", **backing}
        ),
    )
    adapter = kind(key=-100, busNumber=0, sharedBus="noSharing")
    create = None if backing.get("fileName") else "create"
    return [
        _device.VirtualDeviceSpec(operation="add", fileOperation=create, device=disk),
        _device.VirtualDeviceSpec(operation="add", device=adapter),
    ]


def edit(device: Any, **fields: Any) -> Any:
    """A device change of operation edit."""
    for name, value in fields.items():
        setattr(device, name, value)
    return _device.VirtualDeviceSpec(operation="edit", device=device)


def disk_of(vm: Any) -> Any:
    """The first disk device."""
    return next(d for d in vm.config.hardware.device if isinstance(d, _device.VirtualDisk))

"""Fills the fake vCenter with the objects of a cloud, faster than through its API.

These functions run in the fake's process (``VCenterProcess.call``). The objects are complete for
clients. VMs that no benchmark uses share one disk file, since their bytes do not matter.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from pyVmomi import vim

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_create import make_vm

MIB = 1 << 20
_device = vim.vm.device


def add_vms(vcenter: VCenter, count: int) -> int:
    """Add volumes and servers of other tenants, 1,000 per folder; returns the total number of
    VMs.
    """
    with vcenter.lock:
        for first in range(0, count, 1000):
            folder = _folder(vcenter, ("Others", f"others-{uuid.uuid4().hex[:8]}"))
            for number in range(first, min(count, first + 1000)):
                name = f"volume-{uuid.uuid4()}"
                _make(vcenter, folder, name, number, {"cinder.volume.id": name[7:]})
    return len(vcenter.vms())


def add_templates(vcenter: VCenter, path: list[str], records: list[tuple[str, str]]) -> None:
    """Add ready templates of the cache.

    :param path: folder below the datacenter's VM folder
    :param records: (name, the record's JSON) of each
    """
    with vcenter.lock:
        folder = _folder(vcenter, tuple(path))
        for number, (name, record) in enumerate(records):
            vm = _make(vcenter, folder, name, number, {"vmdk_cache.record": record})
            vm.set_pool(None)
            vm.set_template(True)


def count_vms(vcenter: VCenter) -> int:
    """Number of virtual machines and templates."""
    return len(vcenter.vms())


def _make(
    vcenter: VCenter, folder: Any, name: str, number: int, extra: dict[str, str]
) -> VirtualMachine:
    datacenter = folder.datacenter
    pools = vcenter.registry.of_type(vim.ResourcePool)
    hosts = vcenter.registry.of_type(vim.HostSystem)
    datastores = vcenter.registry.of_type(vim.Datastore)
    datastore = datastores[number % len(datastores)]
    assert datacenter is not None
    disk = _device.VirtualDisk(
        key=-101,
        controllerKey=-100,
        unitNumber=0,
        capacityInKB=MIB // 1024,
        backing=_device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", thinProvisioned=True
        ),
    )
    adapter = _device.VirtualLsiLogicController(key=-100, busNumber=0, sharedBus="noSharing")
    spec = vim.vm.ConfigSpec(
        name=name,
        guestId="otherGuest",
        numCPUs=1,
        memoryMB=128,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore.name}]"),
        version="vmx-08",
        extraConfig=[vim.option.OptionValue(key=key, value=text) for key, text in extra.items()],
        deviceChange=[
            _device.VirtualDeviceSpec(operation="add", fileOperation="create", device=disk),
            _device.VirtualDeviceSpec(operation="add", device=adapter),
        ],
    )
    return make_vm(folder, spec, pools[0], hosts[number % len(hosts)])


def _folder(vcenter: VCenter, path: tuple[str, ...]) -> Any:
    from tests.fakes.vcenter.folder import Folder

    (datacenter, *_) = vcenter.registry.of_type(vim.Datacenter)
    folder = datacenter.vmFolder
    for name in path:
        child = folder.child(name)
        if child is None:
            child = Folder(vcenter, name, "v")
            folder.add_child(child)
        folder = child
    return folder


def template_records(backend: str, count: int) -> list[tuple[str, str]]:
    """Names and records of templates of invented images, as the cache itself would write them."""
    from vmdk_cache.cache.key import CacheKey, template_name
    from vmdk_cache.cache.record import Record

    made = []
    for number in range(count):
        key = CacheKey(f"e0000000-0000-4000-8000-{number:012}", f"{number:032x}", "lsiLogic")
        record = Record(backend, key, MIB, datetime.datetime.now(datetime.UTC), "benchmark")
        made.append((template_name(backend, key), record.to_json()))
    return made

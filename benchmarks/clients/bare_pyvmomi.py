"""The floor: pyVmomi alone, one thread per volume, CloneVM_Task, ReconfigVM_Task and a wait for
each.

It looks up, checks, places and cleans up nothing; no cloud creates a volume this way. It waits for
a task as scripts do, in one of two ways:

    collector  a filter on the task and WaitForUpdatesEx until it has ended; on a collector of the
               thread's own, since only one call at a time may wait on a collector (vSphere API
               reference, PropertyCollector)
    poll       task.info is read every POLL_S until it has ended
"""

from __future__ import annotations

import concurrent.futures
import ssl
import time
import uuid
from collections.abc import Callable
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from benchmarks.clients.stopwatch import stopwatch

_collector = vmodl.query.PropertyCollector
GIB = 1 << 30
POLL_S = 0.1


def create_volumes(
    go: Callable[[], None],
    *,
    endpoint: dict[str, Any],
    volumes: int,
    rounds: int = 1,
    waits: str = "collector",
) -> dict[str, Any]:
    """Parallel clones of the first template in the inventory.

    :param waits: ``collector`` or ``poll``, see the module's docstring
    :returns: wall_s and cpu_s of each round
    """
    instance = SmartConnect(
        host=endpoint["host"],
        port=endpoint["port"],
        user=endpoint["user"],
        pwd=endpoint["password"],
        sslContext=ssl.create_default_context(cafile=endpoint["ca_file"]),
        connectionPoolTimeout=-1,
    )
    results: dict[str, Any] = {"wall_s": [], "cpu_s": []}
    try:
        floor = _Floor(instance, _WAITS[waits])
        floor.make_volume()
        for _ in range(rounds):
            go()
            with (
                stopwatch() as elapsed,
                concurrent.futures.ThreadPoolExecutor(volumes) as pool,
            ):
                for made in [pool.submit(floor.make_volume) for _ in range(volumes)]:
                    made.result()
            results["wall_s"].append(elapsed.wall_s)
            results["cpu_s"].append(elapsed.cpu_s)
        go()
    finally:
        Disconnect(instance)
    return results


class _Floor:
    """What is known beforehand: the template, its disk, and the place of all volumes."""

    def __init__(self, instance: Any, wait: Callable[[Any, Any], Any]) -> None:
        self._content = instance.content
        self._wait = wait
        datacenter = self._content.rootFolder.childEntity[0]
        self._folder = datacenter.vmFolder
        self._template = _first_template(self._content)
        self._disk = next(
            device
            for device in self._template.config.hardware.device
            if isinstance(device, vim.vm.device.VirtualDisk)
        )
        cluster = datacenter.hostFolder.childEntity[0]
        self._location = vim.vm.RelocateSpec(
            pool=cluster.resourcePool, host=cluster.host[0], datastore=datacenter.datastore[0]
        )

    def make_volume(self) -> None:
        identity = str(uuid.uuid4())
        spec = vim.vm.CloneSpec(
            location=self._location,
            template=False,
            powerOn=False,
            config=vim.vm.ConfigSpec(instanceUuid=identity),
        )
        clone = self._template.CloneVM_Task(self._folder, f"volume-{identity}", spec)
        volume = self._wait(self._content, clone)
        self._wait(self._content, volume.ReconfigVM_Task(self._sized(identity)))

    def _sized(self, identity: str) -> Any:
        disk = vim.vm.device.VirtualDisk(
            key=self._disk.key,
            controllerKey=self._disk.controllerKey,
            unitNumber=self._disk.unitNumber,
            backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
                fileName="", diskMode="persistent", uuid=identity
            ),
            capacityInKB=GIB // 1024,
            capacityInBytes=GIB,
        )
        edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
        return vim.vm.ConfigSpec(deviceChange=[edit])


def _poll(content: Any, task: Any) -> Any:
    while (info := task.info).state not in ("success", "error"):
        time.sleep(POLL_S)
    return _result(info)


def _watch(content: Any, task: Any) -> Any:
    collector = content.propertyCollector.CreatePropertyCollector()
    spec = _collector.FilterSpec(
        objectSet=[_collector.ObjectSpec(obj=task)],
        propSet=[_collector.PropertySpec(type=vim.Task, pathSet=["info.state"])],
    )
    try:
        collector.CreateFilter(spec, True)
        version, state = "", None
        while state not in ("success", "error"):
            update = collector.WaitForUpdatesEx(version, _collector.WaitOptions(maxWaitSeconds=60))
            if update is None:
                continue
            version = update.version
            for part in update.filterSet:
                for seen in part.objectSet:
                    for change in seen.changeSet:
                        state = change.val
    finally:
        collector.DestroyPropertyCollector()  # and its filter
    return _result(task.info)


def _result(info: Any) -> Any:
    if info.state == "error":
        raise info.error
    return info.result


_WAITS = {"collector": _watch, "poll": _poll}


def _first_template(content: Any) -> Any:
    view = content.viewManager.CreateContainerView(
        content.rootFolder, [vim.VirtualMachine], recursive=True
    )
    try:
        return next(vm for vm in view.view if vm.config.template)
    finally:
        view.DestroyView()

"""Reading every VM of a vCenter, over pyVmomi."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from benchmarks.clients.stopwatch import stopwatch

_collector = vmodl.query.PropertyCollector
_PAGE = 1000
#: What upstream's volumeops.build_backing_ref_cache reads.
_PATHS = ["name", "config.instanceUuid", 'config.extraConfig["cinder.volume.id"]']


def pyvmomi(go: Callable[[], None], *, endpoint: dict[str, Any], rounds: int) -> dict[str, Any]:
    """
    :returns: ms of each round, and the number of VMs
    """
    instance = SmartConnect(
        host=endpoint["host"],
        port=endpoint["port"],
        user=endpoint["user"],
        pwd=endpoint["password"],
        sslContext=ssl.create_default_context(cafile=endpoint["ca_file"]),
    )
    result: dict[str, Any] = {"ms": []}
    try:
        content = instance.content
        view = content.viewManager.CreateContainerView(
            content.rootFolder, [vim.VirtualMachine], recursive=True
        )
        go()
        for _ in range(rounds):
            with stopwatch() as elapsed:
                result["vms"] = _scan(content.propertyCollector, view)
            result["ms"].append(1000 * elapsed.wall_s)
        go()
    finally:
        Disconnect(instance)
    return result


def _scan(collector: Any, view: Any) -> int:
    walk = _collector.TraversalSpec(type=vim.view.ContainerView, path="view", skip=False)
    spec = _collector.FilterSpec(
        objectSet=[_collector.ObjectSpec(obj=view, skip=True, selectSet=[walk])],
        propSet=[_collector.PropertySpec(type=vim.VirtualMachine, pathSet=_PATHS)],
    )
    page = collector.RetrievePropertiesEx([spec], _collector.RetrieveOptions(maxObjects=_PAGE))
    count = 0
    while page is not None:
        count += len(page.objects)
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return count

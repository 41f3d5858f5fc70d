"""Methods of vCenter's internal API (urn:internalvim25) that public clients use.

pyVmomi does not have them, so this module describes their parameters and the types of their
results. (govmomi, package internal: methods.go and types.go, and object/virtual_disk_manager.go)
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pyVmomi import VmomiSupport, vim

_VERSION = "vim.version.version1"
_OPTIONAL = VmomiSupport.F_OPTIONAL

VmomiSupport.CreateDataType(
    "vim.VirtualDiskManager.DiskUnit",  # its name is unconfirmed
    "VirtualDiskManagerDiskUnit",
    "vmodl.DynamicData",
    _VERSION,
    [("name", "string", _VERSION, 0)],
)
VmomiSupport.CreateDataType(
    "vim.VirtualDiskManager.VirtualDiskInfo",
    "VirtualDiskInfo",
    "vmodl.DynamicData",
    _VERSION,
    [
        ("unit", "vim.VirtualDiskManager.DiskUnit", _VERSION, 0),
        ("diskType", "string", _VERSION, 0),
        ("parent", "string", _VERSION, _OPTIONAL),
    ],
)


@cache
def methods_of(managed_type: Any) -> dict[str, Any]:
    """WSDL name -> method description, in pyVmomi's form."""
    if managed_type is not vim.VirtualDiskManager:
        return {}
    name = "QueryVirtualDiskInfo_Task"
    parameters = [
        _parameter("name", str),
        _parameter("datacenter", vim.Datacenter, _OPTIONAL),
        _parameter("includeParents", bool),
    ]
    return {
        name: VmomiSupport.Object(
            name="queryVirtualDiskInfo",
            wsdlName=name,
            version=_VERSION,
            params=tuple(parameters),
            isTask=True,
            resultFlags=0,
            result=vim.Task,
            privId="System.View",
        )
    }


def _parameter(name: str, kind: type, flags: int = 0) -> Any:
    return VmomiSupport.Object(name=name, type=kind, version=_VERSION, flags=flags, privId=None)

"""References to managed objects: morefs (``str``) outside, pyVmomi's objects on the wire; and the
names of managed entities, as vCenter writes them and as people do.
"""

from __future__ import annotations

import functools
from typing import Any

from pyVmomi import VmomiSupport


@functools.cache
def managed_type(type_name: str) -> Any:
    """pyVmomi's class for the API's type name."""
    return VmomiSupport.GuessWsdlType(type_name)


def with_references(kind: Any, method: str, args: dict[str, Any]) -> dict[str, Any]:
    """``args`` with morefs converted to pyVmomi's references where the method expects objects."""
    converted = dict(args)
    for parameter in getattr(kind, method).info.params:
        value = args.get(parameter.name)
        if isinstance(value, str) and issubclass(parameter.type, VmomiSupport.ManagedObject):
            converted[parameter.name] = parameter.type(value)
    return converted


def without_references(value: Any) -> Any:
    """``value`` with managed objects, alone or in a list, converted to morefs."""
    if isinstance(value, VmomiSupport.ManagedObject):
        return str(value._GetMoId())
    if isinstance(value, list) and value and isinstance(value[0], VmomiSupport.ManagedObject):
        return [str(item._GetMoId()) for item in value]
    return value


def escape_name(name: str) -> str:
    """``name`` as vCenter takes it: ``%``, ``/`` and ``\\`` as %25, %2f, %5c (vSphere API
    reference, ManagedEntity.name)."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")


def unescape_name(name: str) -> str:
    """What :func:`escape_name` was given."""
    for escaped, plain in (("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")):
        name = name.replace(escaped, plain)
    return name.replace("%25", "%")

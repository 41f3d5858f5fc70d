"""Values of the model as pyVmomi values: managed objects become references, lists become typed
arrays.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import VmomiSupport

from tests.fakes.vcenter.managed_object import ManagedObject

_properties: dict[tuple[type, str], Any] = {}


def property_info(cls: Any, name: str) -> Any:
    """pyVmomi's description of a property of a managed or data type, or None when it has none of
    that name.
    """
    key = (cls, name)
    if key not in _properties:
        try:
            _properties[key] = cls._GetPropertyInfo(name)
        except AttributeError:
            _properties[key] = None
    return _properties[key]


def to_wire(value: Any, declared: Any) -> Any:
    """`value` ready for the serialiser; `declared` is the pyVmomi type of the property or result."""
    if value is None:
        return None
    if isinstance(value, ManagedObject):
        return value.ref
    if isinstance(value, (list, tuple)):
        items = [item.ref if isinstance(item, ManagedObject) else item for item in value]
        if isinstance(value, VmomiSupport.Array):
            return value
        if isinstance(declared, type) and issubclass(declared, list):
            return declared(items)
        return items
    # Leaf values of anyType carry their type on the wire: a long or an enum must not go as int or string.
    if type(value) in (int, str) and isinstance(declared, type) and declared is not object:
        if (
            issubclass(declared, (int, str))
            and declared is not type(value)
            and declared is not bool
        ):
            return declared(value)
    return value

"""Converts values of the model to pyVmomi values: managed objects become references, lists become
typed arrays.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import VmomiSupport

from tests.fakes.vcenter.managed_object import ManagedObject

_properties: dict[tuple[type, str], Any] = {}


def property_info(cls: Any, name: str) -> Any:
    """pyVmomi's description of a property of a managed or data type, or None if it has no such
    property.
    """
    key = (cls, name)
    if key not in _properties:
        try:
            _properties[key] = cls._GetPropertyInfo(name)
        except AttributeError:
            _properties[key] = None
    return _properties[key]


def to_wire(value: Any, declared: Any) -> Any:
    """`value` ready for the serializer; `declared` is the pyVmomi type of the property or
    result.
    """
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
    # In anyType a value carries its type: a long or an enumeration must not be sent as int or
    # string.
    if type(value) in (int, str) and _narrower(declared, type(value)):
        return declared(value)
    return value


def _narrower(declared: Any, plain: type) -> bool:
    """Whether `declared` is a kind of int (not bool) or of str that is not just `plain`."""
    return (
        isinstance(declared, type)
        and declared is not plain
        and declared is not bool
        and issubclass(declared, (int, str))
    )

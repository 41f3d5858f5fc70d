"""How many plain values there are in an answer, and in what our client made of it.

The two are equal when nothing of the answer was lost and nothing was read twice.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from pyVmomi import VmomiSupport


def in_answer(response: str) -> int:
    """Elements of a SOAP answer that hold text and no elements."""
    return sum(
        not len(element) and bool((element.text or "").strip())
        for element in ElementTree.fromstring(response.lstrip()).iter()
    )


def in_value(value: Any) -> int:
    """Plain values and references in a value that pyVmomi has read; not what is empty or unset."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return 0
    if isinstance(value, list | tuple):
        return sum(in_value(item) for item in value)
    if isinstance(value, VmomiSupport.DataObject) or _is_fault(value):
        return sum(in_value(getattr(value, info.name, None)) for info in value._GetPropertyList())
    return 1


def _is_fault(value: Any) -> bool:
    return isinstance(value, Exception) and hasattr(value, "_GetPropertyList")

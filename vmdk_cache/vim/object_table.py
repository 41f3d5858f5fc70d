"""A table of objects, maintained from a PropertyCollector's updates: pure.

An update is a ``FilterUpdate`` of a filter without partial updates: any change within a property
sends the whole property (vSphere API reference, PropertyCollector, CreateFilter).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pyVmomi import VmomiSupport, vim

from vmdk_cache.vim import faults
from vmdk_cache.vim.reference import without_references

ObjectKey = tuple[str, str]
"""(managed object type, moref)."""
Row = Mapping[str, Any]
"""Property path -> value; paths that are unset or unreadable are absent. Managed objects are morefs
(``str``). A row is immutable: a changed object gets a new row."""
Table = Mapping[ObjectKey, Row]
"""Rows by object. A table is immutable, too."""

NO_OBJECTS: Table = MappingProxyType({})


def apply_update(rows: dict[ObjectKey, Row], update: Any) -> set[ObjectKey]:
    """Apply a FilterUpdate to ``rows``; existing rows are replaced, not changed.

    :returns: the objects in the update; those that are gone no longer have a row
    :raises SessionExpired: it contains properties that cannot be read without a log-in
    """
    told: set[ObjectKey] = set()
    for change in update.objectSet or ():
        key = _key_of(change.obj)
        told.add(key)
        if change.kind == "leave":
            rows.pop(key, None)
            continue
        row = dict(rows.get(key, {})) if change.kind == "modify" else {}
        for value in change.changeSet or ():
            if value.op in ("assign", "add") and value.val is not None:
                row[value.name] = without_references(value.val)
            else:  # unset, removed, or gone with its parent
                row.pop(value.name, None)
        for missing in change.missingSet or ():
            _check_log_in(missing.fault)
            row.pop(missing.path, None)
        rows[key] = row
    for missing in update.missingSet or ():
        _check_log_in(missing.fault)
        rows.pop(_key_of(missing.obj), None)
        told.add(_key_of(missing.obj))
    return told


def _key_of(obj: Any) -> ObjectKey:
    return type(obj)._wsdlName, str(obj._GetMoId())


def _check_log_in(fault: Any) -> None:
    if isinstance(fault, vim.fault.NotAuthenticated):
        raise faults.translate(fault, method="WaitForUpdatesEx")


def merged(before: Table, rows: Mapping[ObjectKey, Row]) -> Table:
    """A table of ``rows`` that reuses unchanged rows of ``before``; ``before`` itself if nothing
    changed."""
    kept = {
        key: before[key] if key in before and _same(before[key], row) else row
        for key, row in rows.items()
    }
    if kept.keys() == before.keys() and all(row is before[key] for key, row in kept.items()):
        return before
    return MappingProxyType(kept)


def _same(one: Any, other: Any) -> bool:
    """Equality, also of pyVmomi's data objects, which compare only by identity."""
    if one is other:
        return True
    if isinstance(one, VmomiSupport.DataObject):
        return type(one) is type(other) and _same(vars(one), vars(other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_same(mine, theirs) for mine, theirs in zip(one, other, strict=True))
        )
    return bool(one == other)

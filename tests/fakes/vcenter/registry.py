"""All managed objects by moref and by type, and the listeners for changes of their place.

A moref is "<prefix>-<number>" for inventory ("vm-12", "datastore-3") or a fixed name for a
singleton ("SessionManager"). Numbers are never reused, so a moref that is gone stays gone, as in a
real vCenter. The vCenter's lock guards the registry.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pyVmomi import vmodl

if TYPE_CHECKING:
    from tests.fakes.vcenter.managed_object import ManagedObject

T = TypeVar("T", bound="ManagedObject")


class PlacementListener(Protocol):
    """Gets a call when an object's place in the inventory changes (a container view)."""

    def placement_changed(self, obj: ManagedObject) -> None:
        """`obj` was added to or removed from a folder, pool or host, or was destroyed."""


class Registry:
    """Objects by moref, by Python class and by vSphere type (supertypes included)."""

    def __init__(self) -> None:
        self._numbers = itertools.count(2)  # group-d1 is the root folder
        self._objects: dict[str, ManagedObject] = {}
        self._by_type: dict[type, dict[str, ManagedObject]] = {}
        self.placement_listeners: dict[PlacementListener, None] = {}

    def new_moref(self, prefix: str) -> str:
        """An unused moref, such as "vm-12" for the prefix "vm"."""
        number = next(self._numbers)
        # vCenter writes folders and clusters without a second dash: group-v3, domain-c8.
        return f"{prefix}{number}" if prefix[-2:-1] == "-" else f"{prefix}-{number}"

    def add(self, obj: ManagedObject) -> None:
        """Register `obj` under its moref; called by ManagedObject itself."""
        assert obj.moref not in self._objects, f"moref {obj.moref} used twice"
        self._objects[obj.moref] = obj
        for cls in (*obj.TYPE.__mro__, *type(obj).__mro__):
            self._by_type.setdefault(cls, {})[obj.moref] = obj

    def remove(self, obj: ManagedObject) -> None:
        """Unregister `obj`; later requests for its moref get ManagedObjectNotFound."""
        if self._objects.pop(obj.moref, None) is None:
            return
        for cls in (*obj.TYPE.__mro__, *type(obj).__mro__):
            self._by_type.get(cls, {}).pop(obj.moref, None)

    def get(self, moref: str) -> ManagedObject | None:
        """The object with this moref, or None if it is gone or never existed."""
        return self._objects.get(moref)

    def find(self, ref: Any) -> ManagedObject | None:
        """The object of a pyVmomi reference (or a ManagedObject), or None if it is gone."""
        moref = getattr(ref, "moref", None) or getattr(ref, "_moId", None)
        return self._objects.get(moref) if moref else None

    def require(self, ref: Any) -> Any:
        """The object of `ref`; ManagedObjectNotFound (as real clients see it) if it is gone."""
        found = self.find(ref)
        if found is None:
            raise vmodl.fault.ManagedObjectNotFound(obj=getattr(ref, "ref", ref))
        return found

    def of_type(self, cls: type[T] | type) -> list[Any]:
        """All objects of a Python class or of a pyVmomi type (supertypes match), oldest first."""
        return list(self._by_type.get(cls, {}).values())

    def of_class(self, cls: type[T]) -> Iterator[T]:
        """As `of_type`, for a Python class of the fake, with its type."""
        for obj in self.of_type(cls):
            assert isinstance(obj, cls)
            yield obj

    def placement_changed(self, obj: ManagedObject) -> None:
        """Notify container views that `obj` may have entered or left them."""
        for listener in tuple(self.placement_listeners):
            listener.placement_changed(obj)

    def __contains__(self, obj: object) -> bool:
        moref = getattr(obj, "moref", None)
        return moref is not None and self._objects.get(moref) is obj

    def __len__(self) -> int:
        return len(self._objects)

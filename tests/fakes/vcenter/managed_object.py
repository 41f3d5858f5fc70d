"""Base of every managed object of the fake.

Life: constructed -> registered (reachable by `moref`) -> `destroy_object` -> gone (its moref never
comes back). A property is a Python attribute or property with its vmodl name. Its value is a
pyVmomi value, a ManagedObject, or a list of them; None or a missing attribute means unset. Inside
pyVmomi data objects, references are written as `other.ref`. A method is a Python method with its
WSDL name, called as ``method(ctx, **params)`` with the vCenter's lock held. It gets every parameter
of the WSDL, absent optionals as None; it returns a value or raises a pyVmomi fault. Code that
changes a property calls `changed` (or changes members by `add_member`/`remove_member`, which call
it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from tests.fakes.vcenter.context import Context
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.vcenter import VCenter


class Watcher(Protocol):
    """A property filter that selects an object, or walks through it."""

    def property_changed(self, obj: ManagedObject, paths: tuple[str, ...]) -> None:
        """These property paths of `obj` have new values."""

    def members_changed(
        self,
        obj: ManagedObject,
        path: str,
        added: Iterable[ManagedObject],
        removed: Iterable[ManagedObject],
    ) -> None:
        """The list property `path` of `obj` gained or lost members; nothing else in it changed."""

    def object_destroyed(self, obj: ManagedObject) -> None:
        """`obj` has left the registry."""


class ManagedObject:
    """See the module's docstring for the contract of subclasses."""

    TYPE: ClassVar[type]
    PREFIX: ClassVar[str] = "object"

    def __init__(self, vcenter: VCenter, moref: str | None = None) -> None:
        self.vcenter = vcenter
        self.moref = moref or vcenter.registry.new_moref(self.PREFIX)
        self.ref: Any = self.TYPE(self.moref)
        # Set on objects of one session (collectors, views, leases): other sessions do not find
        # them.
        self.session: Session | None = None
        self.watchers: dict[Watcher, None] = {}
        self._member_lists: dict[str, dict[str, ManagedObject]] = {}
        with vcenter.lock:
            vcenter.registry.add(self)

    def read(self, name: str, ctx: Context) -> Any:
        """The value of a property for this caller; None if unset.

        Override it only for properties that depend on the caller (SessionManager.currentSession).
        """
        return getattr(self, name, None)

    def changed(self, *paths: str) -> None:
        """Notify property collectors that these property paths ("config.name", "runtime") have new
        values.
        """
        if not self.watchers:
            return
        with self.vcenter.lock:
            for watcher in tuple(self.watchers):
                watcher.property_changed(self, paths)

    def members(self, path: str) -> list[Any]:
        """The objects of a list property kept by `add_member`, oldest first."""
        return list(self._member_lists.get(path, {}).values())

    def has_member(self, path: str, member: ManagedObject) -> bool:
        """Whether `member` is in the list property `path`."""
        return member.moref in self._member_lists.get(path, {})

    def add_member(self, path: str, member: ManagedObject) -> None:
        """Append `member` to the list property `path` ("vm", "childEntity"); notifies collectors
        and views.
        """
        with self.vcenter.lock:
            members = self._member_lists.setdefault(path, {})
            if member.moref in members:
                return
            members[member.moref] = member
            self._tell_members(path, (member,), ())
            self.vcenter.registry.placement_changed(member)

    def remove_member(self, path: str, member: ManagedObject) -> None:
        """Remove `member` from the list property `path`; does nothing if it is not in it."""
        with self.vcenter.lock:
            if self._member_lists.get(path, {}).pop(member.moref, None) is None:
                return
            self._tell_members(path, (), (member,))
            self.vcenter.registry.placement_changed(member)

    def _tell_members(
        self, path: str, added: Iterable[ManagedObject], removed: Iterable[ManagedObject]
    ) -> None:
        for watcher in tuple(self.watchers):
            watcher.members_changed(self, path, added, removed)

    def destroy_object(self) -> None:
        """Leave the registry: requests get ManagedObjectNotFound, collectors report `leave`.

        A second call does nothing.
        """
        with self.vcenter.lock:
            if self not in self.vcenter.registry:
                return
            self.vcenter.registry.remove(self)
            self.vcenter.registry.placement_changed(self)
            for watcher in tuple(self.watchers):
                watcher.object_destroyed(self)

    @property
    def exists(self) -> bool:
        """Whether the object is still registered."""
        return self in self.vcenter.registry

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.moref} {getattr(self, 'name', '')!r}>"

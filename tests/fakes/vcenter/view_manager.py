"""ViewManager, ContainerView, ListView: lists of objects that belong to a session and follow the
inventory.

A ContainerView gets a call for each object that is added, moved or destroyed, and checks only
whether that object is inside. It walks its container again only if a container moves.
ModifyListView returns the references that it could not resolve. (vSphere API reference,
ContainerView, ListView)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.vcenter import VCenter

CONTAINERS = (
    vim.Folder,
    vim.Datacenter,
    vim.ComputeResource,
    vim.ResourcePool,
    vim.HostSystem,
)


class ViewManager(ManagedObject):
    """Creates views in the caller's session."""

    TYPE = vim.view.ViewManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="ViewManager")

    @property
    def viewList(self) -> list[ManagedObject]:
        """All views of all sessions."""
        return self.vcenter.registry.of_type(vim.view.View)

    def CreateListView(self, ctx: Context, obj: Any) -> ListView:
        """A view of the given objects; ManagedObjectNotFound if one is gone."""
        assert ctx.session is not None
        view = ListView(self.vcenter, ctx.session)
        members = [self.vcenter.registry.require(ref) for ref in obj or ()]
        for member in members:
            view.add_member("view", member)
        return view

    def CreateContainerView(
        self, ctx: Context, container: Any, type: Any, recursive: bool
    ) -> ContainerView:
        """A view of a container's content, limited to the given types (none: all)."""
        assert ctx.session is not None
        root = self.vcenter.registry.require(container)
        if not issubclass(root.TYPE, CONTAINERS):
            raise vmodl.fault.InvalidArgument(invalidProperty="container")
        return ContainerView(self.vcenter, ctx.session, root, tuple(type or ()), recursive)


class ManagedView(ManagedObject):
    """A view; ends by DestroyView or with its session."""

    def __init__(self, vcenter: VCenter, session: Session) -> None:
        super().__init__(vcenter, session.new_moref())
        self.session: Session = session
        session.own(self)

    @property
    def view(self) -> list[ManagedObject]:
        """The members that still exist."""
        return self.members("view")

    def session_ended(self) -> None:
        """End with the session."""
        self.destroy_object()

    def destroy_object(self) -> None:
        """Leave the session and the registry."""
        self.session.disown(self)
        super().destroy_object()

    def DestroyView(self, ctx: Context) -> None:
        """Destroy the view."""
        self.destroy_object()


class ListView(ManagedView):
    """A view whose members the client chooses; destroyed objects leave it by themselves."""

    TYPE = vim.view.ListView

    def add_member(self, path: str, member: ManagedObject) -> None:
        """Add a member, and watch for its destruction."""
        super().add_member(path, member)
        member.watchers[self] = None

    def remove_member(self, path: str, member: ManagedObject) -> None:
        """Remove a member, and stop watching it."""
        member.watchers.pop(self, None)
        super().remove_member(path, member)

    def property_changed(self, obj: ManagedObject, paths: tuple[str, ...]) -> None:
        """Does nothing; a view does not depend on properties (Watcher)."""

    def members_changed(
        self,
        obj: ManagedObject,
        path: str,
        added: Iterable[ManagedObject],
        removed: Iterable[ManagedObject],
    ) -> None:
        """Does nothing; a view does not depend on its members' lists (Watcher)."""

    def object_destroyed(self, obj: ManagedObject) -> None:
        """Remove a member that was destroyed."""
        self.remove_member("view", obj)

    def destroy_object(self) -> None:
        """Stop watching the members, and end."""
        for member in self.view:
            member.watchers.pop(self, None)
        super().destroy_object()

    def ModifyListView(self, ctx: Context, add: Any, remove: Any) -> list[Any]:
        """Add and remove members; returns the references that could not be resolved."""
        unresolved = []
        for ref in remove or ():
            member = self.vcenter.registry.find(ref)
            if member is None:
                unresolved.append(ref)
            else:
                self.remove_member("view", member)
        for ref in add or ():
            member = self.vcenter.registry.find(ref)
            if member is None:
                unresolved.append(ref)
            else:
                self.add_member("view", member)
        return unresolved

    def ResetListView(self, ctx: Context, obj: Any) -> list[Any]:
        """Replace all members; returns the references that could not be resolved."""
        for member in self.view:
            self.remove_member("view", member)
        return self.ModifyListView(ctx, obj, None)

    def ResetListViewFromView(self, ctx: Context, view: Any) -> None:
        """Replace all members by those of another view."""
        other = self.vcenter.registry.require(view)
        self.ResetListView(ctx, [member.ref for member in other.view])


class ContainerView(ManagedView):
    """A view of a container's content, direct or recursive."""

    TYPE = vim.view.ContainerView

    def __init__(
        self,
        vcenter: VCenter,
        session: Session,
        container: ManagedObject,
        types: tuple[type, ...],
        recursive: bool,
    ) -> None:
        super().__init__(vcenter, session)
        self.container = container
        self.type = list(types)
        self.recursive = recursive
        self._types = types or (vim.ManagedEntity,)
        for obj in self._walk(container):
            self.add_member("view", obj)
        vcenter.registry.placement_listeners[self] = None

    def _walk(self, container: ManagedObject) -> Iterator[ManagedObject]:
        seen: set[ManagedObject] = {container}
        waiting = list(contents(container))
        for obj in waiting:
            if obj in seen:
                continue
            seen.add(obj)
            if issubclass(obj.TYPE, self._types):
                yield obj
            if self.recursive:
                waiting.extend(contents(obj))

    def _is_inside(self, obj: ManagedObject) -> bool:
        waiting = list(_container_parents(obj))
        seen: set[ManagedObject] = set()
        for parent in waiting:
            if parent is self.container:
                return True
            if self.recursive and parent not in seen:
                seen.add(parent)
                waiting.extend(_container_parents(parent))
        return False

    def placement_changed(self, obj: ManagedObject) -> None:
        """`obj` was added, moved or destroyed."""
        if not issubclass(obj.TYPE, vim.ManagedEntity):
            return
        inside = obj.exists and issubclass(obj.TYPE, self._types) and self._is_inside(obj)
        if inside != self.has_member("view", obj):
            change = self.add_member if inside else self.remove_member
            change("view", obj)
        if issubclass(obj.TYPE, CONTAINERS) and next(iter(contents(obj)), None) is not None:
            self._compare()

    def _compare(self) -> None:
        now = dict.fromkeys(self._walk(self.container))
        for obj in self.view:
            if obj not in now:
                self.remove_member("view", obj)
        for obj in now:
            self.add_member("view", obj)

    def destroy_object(self) -> None:
        """Stop listening, and end."""
        self.vcenter.registry.placement_listeners.pop(self, None)
        super().destroy_object()


def contents(obj: ManagedObject) -> list[Any]:
    """The direct content of `obj` for a container view."""
    if issubclass(obj.TYPE, vim.Folder):
        return obj.childEntity  # type: ignore[attr-defined, no-any-return]
    if issubclass(obj.TYPE, vim.Datacenter):
        return obj.folders  # type: ignore[attr-defined, no-any-return]
    if issubclass(obj.TYPE, vim.ComputeResource):
        return [*obj.host, obj.resourcePool]  # type: ignore[attr-defined]
    if issubclass(obj.TYPE, vim.ResourcePool):
        return [*obj.resourcePool, *obj.vm]  # type: ignore[attr-defined]
    if issubclass(obj.TYPE, vim.HostSystem):
        return obj.vm  # type: ignore[attr-defined, no-any-return]
    return []


def _container_parents(obj: ManagedObject) -> list[ManagedObject]:
    parents = getattr(obj, "container_parents", None)
    if parents is None:
        return []
    # Check that pools and hosts still list the object, which may just be leaving them.
    return [
        parent
        for parent in parents()
        if not issubclass(obj.TYPE, vim.VirtualMachine)
        or issubclass(parent.TYPE, vim.Folder)
        or parent.has_member("vm", obj)
    ]

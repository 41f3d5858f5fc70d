"""PropertyFilter: records what changed in the objects of one filter, and when.

Every change gets the collector's next sequence number. For each selected object, a filter stores
the number of its entry and the last number of each of its properties, and for objects that left,
the number of their leaving. So it can report the changes since any earlier number, also repeatedly
(versions are reusable). Objects are kept in the order of their last change, so a query for changes
looks only at new ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyVmomi import vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.property_path import PropertyPath, is_scalar
from tests.fakes.vcenter.property_selection import CompiledSpec, Selection

if TYPE_CHECKING:
    from tests.fakes.vcenter.property_collector import PropertyCollector

_PC = vmodl.query.PropertyCollector
_UNKNOWN = object()
LEFT_OBJECTS_KEPT = 10_000


@dataclass
class _Seen:
    """One object in the filter: sequence numbers, and the last value of each scalar property."""

    entered: int
    changed: int
    paths: dict[str, int] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """An object that changed: its number, the filter, the object, and what to report."""

    number: int
    filter: PropertyFilter
    obj: ManagedObject
    kind: str
    paths: tuple[str, ...] | None = None  # None: all


class PropertyFilter(ManagedObject):
    """A filter of one collector; ends with it, with its session, or by DestroyPropertyFilter."""

    TYPE = _PC.Filter

    def __init__(
        self, collector: PropertyCollector, ctx: Context, spec: Any, partial_updates: bool
    ) -> None:
        assert ctx.session is not None
        super().__init__(ctx.vcenter, ctx.session.new_moref())
        self.collector = collector
        self._owner = ctx.session
        self.session = ctx.session
        self.spec = spec
        self.partialUpdates = partial_updates
        self._ctx = Context(ctx.vcenter, ctx.session)
        self._compiled = CompiledSpec(spec)
        self._seen: OrderedDict[ManagedObject, _Seen] = OrderedDict()
        self._left_at: OrderedDict[ManagedObject, int] = OrderedDict()
        self._selection = Selection(
            self._compiled, self._ctx, self._watch, self._entered, self._left
        )
        self._watched: set[ManagedObject] = set()

    def build(self) -> None:
        """Record the present state. If it raises ManagedObjectNotFound, nothing is left behind."""
        try:
            self._selection.build()
        except vmodl.MethodFault:
            self.destroy_object()
            raise

    # -- called by the selection

    def _watch(self, obj: ManagedObject) -> None:
        obj.watchers[self] = None
        self._watched.add(obj)

    def _unwatch(self, obj: ManagedObject) -> None:
        if not self._selection.walks_through(obj) and obj not in self._seen:
            obj.watchers.pop(self, None)
            self._watched.discard(obj)

    def _entered(self, obj: ManagedObject) -> None:
        if self._compiled.paths_for(obj) is None:
            return
        number = self.collector.next_number()
        self._left_at.pop(obj, None)
        self._seen[obj] = _Seen(number, number)
        self.collector.news()

    def _left(self, obj: ManagedObject) -> None:
        if self._seen.pop(obj, None) is not None:
            self._left_at[obj] = self.collector.next_number()
            if len(self._left_at) > LEFT_OBJECTS_KEPT:
                self._left_at.popitem(last=False)
            self.collector.news()
        self._unwatch(obj)

    # -- called by objects (Watcher)

    def property_changed(self, obj: ManagedObject, paths: tuple[str, ...]) -> None:
        """Record which collected properties changed, and which objects entered or left as a
        result.
        """
        if self._selection.walks_through(obj):
            for changed in paths:
                self._selection.property_changed(obj, changed)
        seen = self._seen.get(obj)
        if seen is None:
            return
        touched: dict[str, None] = {}
        roots: dict[str, Any] = {}
        for path in self._compiled.paths_for(obj) or ():
            for changed in paths:
                if path.touched_by(changed) and self._really_changed(obj, seen, path, roots):
                    finer = self.partialUpdates and len(changed) > len(path.text)
                    touched[changed if finer else path.text] = None
        self._note(obj, seen, touched)

    def members_changed(
        self,
        obj: ManagedObject,
        path: str,
        added: Iterable[ManagedObject],
        removed: Iterable[ManagedObject],
    ) -> None:
        """As `property_changed`, for a list whose added and removed members are known."""
        self._selection.members_changed(obj, path, added, removed)
        seen = self._seen.get(obj)
        if seen is not None:
            paths = self._compiled.paths_for(obj) or ()
            self._note(obj, seen, {p.text: None for p in paths if p.touched_by(path)})

    def object_destroyed(self, obj: ManagedObject) -> None:
        """Remove the object from the filter."""
        self._selection.object_destroyed(obj)
        self._unwatch(obj)

    def _really_changed(
        self, obj: ManagedObject, seen: _Seen, path: PropertyPath, roots: dict[str, Any]
    ) -> bool:
        value = path.read(obj, self._ctx, roots)
        if not is_scalar(value):
            seen.values.pop(path.text, None)
            return True
        known = seen.values.get(path.text, _UNKNOWN)
        seen.values[path.text] = value
        return known is _UNKNOWN or known != value

    def _note(self, obj: ManagedObject, seen: _Seen, touched: Iterable[str]) -> None:
        number = 0
        for path in touched:
            number = number or self.collector.next_number()
            seen.paths[path] = number
        if number:
            seen.changed = number
            self._seen.move_to_end(obj)
            self.collector.news()

    # -- called by the collector

    def changes_since(self, number: int | None) -> Iterator[Change]:
        """Objects that changed after `number`, in no particular order; None: all, as new ones."""
        if number is None:
            for obj, seen in self._seen.items():
                yield Change(seen.changed, self, obj, "enter")
            return
        for obj, seen in reversed(self._seen.items()):
            if seen.changed <= number:
                break
            if seen.entered > number:
                yield Change(seen.changed, self, obj, "enter")
            else:
                paths = tuple(path for path, at in seen.paths.items() if at > number)
                yield Change(seen.changed, self, obj, "modify", paths)
        for obj, left_at in reversed(self._left_at.items()):
            if left_at <= number:
                break
            yield Change(left_at, self, obj, "leave")

    def describe(self, change: Change) -> Any:
        """The ObjectUpdate of a change, with the present values.

        It names every path, in alphabetical order: an unset path is assigned no value, and a path
        below an unset value is an indirectRemove (recording of vpxd 5.5).
        """
        if change.kind == "leave":
            return _PC.ObjectUpdate(kind="leave", obj=change.obj.ref)
        from tests.fakes.vcenter.property_collector import read_properties

        collected = self._compiled.paths_for(change.obj) or ()
        if change.paths is None:
            paths = collected
        else:
            from tests.fakes.vcenter.property_path import checked_path

            paths = tuple(checked_path(change.obj.TYPE, text) for text in change.paths)
        roots: dict[str, Any] = {}
        values, missing = read_properties(change.obj, paths, self._ctx, roots)
        seen = self._seen.get(change.obj)
        changes = []
        for path, value in sorted(values, key=lambda each: each[0].text):
            if seen is not None and is_scalar(value):
                seen.values[path.text] = value
            gone = value is None and path.has_unset_parent(change.obj, self._ctx, roots)
            operation = "indirectRemove" if gone else "assign"
            changes.append(_PC.Change(name=path.text, op=operation, val=value))
        return _PC.ObjectUpdate(
            kind=change.kind, obj=change.obj.ref, changeSet=changes, missingSet=missing
        )

    # -- life

    def session_ended(self) -> None:
        """End with the session."""
        self.destroy_object()

    def destroy_object(self) -> None:
        """Stop watching and leave the collector."""
        for obj in self._watched:
            obj.watchers.pop(self, None)
        self._watched.clear()
        self.collector.filters.pop(self.moref, None)
        self._owner.disown(self)
        super().destroy_object()

    @property
    def filter(self) -> PropertyFilter:
        """The filter itself."""
        return self

    def DestroyPropertyFilter(self, ctx: Context) -> None:
        """End the filter."""
        self.destroy_object()

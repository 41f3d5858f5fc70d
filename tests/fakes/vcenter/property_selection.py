"""The objects that a PropertyFilterSpec selects, kept up to date with every change.

A spec is compiled once: every TraversalSpec becomes a `Step` (type, path, skip, next steps). A
SelectionSpec that only names one points to the same Step, so recursion is a cycle in the graph of
steps. `Selection` then walks the model and remembers the targets of each (object, step). A change
of a list property therefore costs as much as its difference, not a new walk. The whole walk is
repeated only if an object loses a path to it while some (object, step) is reached by several paths,
because reference counts cannot tell a cycle from a second path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyVmomi import vmodl

from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.property_path import PropertyPath, all_properties, checked_path

if TYPE_CHECKING:
    from tests.fakes.vcenter.context import Context

_PC = vmodl.query.PropertyCollector


class Step:
    """One TraversalSpec: from an object of `type` along `path` to others, and on by
    `next_steps`.
    """

    __slots__ = ("managed_type", "next_steps", "path", "skip")

    def __init__(self, managed_type: Any, path: PropertyPath, skip: bool) -> None:
        self.managed_type = managed_type
        self.path = path
        self.skip = skip
        self.next_steps: list[Step] = []

    def applies_to(self, obj: ManagedObject) -> bool:
        """Whether the step applies to `obj` (checks TraversalSpec.type)."""
        return issubclass(obj.TYPE, self.managed_type)


class Start:
    """One ObjectSpec: where a walk begins."""

    __slots__ = ("ref", "skip", "steps")

    def __init__(self, ref: Any, skip: bool, steps: list[Step]) -> None:
        self.ref = ref
        self.skip = skip
        self.steps = steps


class CompiledSpec:
    """A validated PropertyFilterSpec; raises InvalidProperty and InvalidArgument."""

    def __init__(self, spec: Any) -> None:
        self.starts = [_compile_start(object_spec) for object_spec in spec.objectSet]
        self.report_missing = bool(spec.reportMissingObjectsInResults)
        self._property_specs = [(prop.type, _paths(prop)) for prop in spec.propSet]
        self._paths_by_type: dict[type, tuple[PropertyPath, ...]] = {}

    def paths_for(self, obj: ManagedObject) -> tuple[PropertyPath, ...] | None:
        """The properties to collect of `obj`, in alphabetical order as in every recording; None if
        no PropertySpec is for its type.
        """
        if obj.TYPE not in self._paths_by_type:
            found: dict[str, PropertyPath] = {}
            matched = False
            for managed_type, names in self._property_specs:
                if not issubclass(obj.TYPE, managed_type):
                    continue
                matched = True
                for name in all_properties(obj.TYPE) if names is None else names:
                    found[name] = checked_path(obj.TYPE, name)
            if not matched:
                return None
            self._paths_by_type[obj.TYPE] = tuple(found[name] for name in sorted(found))
        return self._paths_by_type[obj.TYPE]


def _paths(prop: Any) -> tuple[str, ...] | None:
    if prop.all:
        return None
    for name in prop.pathSet:
        checked_path(prop.type, name)
    return tuple(prop.pathSet)


def _compile_start(object_spec: Any) -> Start:
    named: dict[str, Step] = {}
    steps: dict[int, Step] = {}

    def define(specs: Iterable[Any]) -> None:
        for spec in specs:
            if isinstance(spec, _PC.TraversalSpec):
                step = Step(spec.type, checked_path(spec.type, spec.path), bool(spec.skip))
                steps[id(spec)] = step
                if spec.name:
                    named[spec.name] = step
                define(spec.selectSet)

    def link(specs: Iterable[Any]) -> list[Step]:
        linked = []
        for spec in specs:
            step = steps.get(id(spec)) or named.get(spec.name or "")
            if step is None:
                raise vmodl.fault.InvalidArgument(
                    invalidProperty="specSet.objectSet.selectSet",
                    msg=f"No TraversalSpec is named '{spec.name}'.",
                )
            linked.append(step)
            if id(spec) in steps:
                step.next_steps = link(spec.selectSet)
        return linked

    define(object_spec.selectSet)
    return Start(object_spec.obj, bool(object_spec.skip), link(object_spec.selectSet))


class Selection:
    """The objects that are selected now, in the order in which the walk reached them.

    :param watch: called once for each object that is selected or walked through
    :param entered: called when an object becomes selected
    :param left: called when it no longer is
    """

    def __init__(
        self,
        compiled: CompiledSpec,
        ctx: Context,
        watch: Callable[[ManagedObject], None] | None = None,
        entered: Callable[[ManagedObject], None] | None = None,
        left: Callable[[ManagedObject], None] | None = None,
    ) -> None:
        self.compiled = compiled
        self.registry = ctx.vcenter.registry
        self._ctx = ctx
        self._watch = watch
        self._entered = entered
        self._left = left
        self.selected: dict[ManagedObject, int] = {}
        self._targets: dict[tuple[ManagedObject, Step], dict[str, ManagedObject]] = {}
        self._ways: dict[tuple[ManagedObject, Step], int] = {}
        self._steps_at: dict[ManagedObject, list[Step]] = {}
        self._shared = False
        self._stale = False

    def build(self) -> None:
        """Walk from every start; ManagedObjectNotFound for a start that is gone, unless the spec
        says to skip it.
        """
        for start in self.compiled.starts:
            obj = self.registry.find(start.ref)
            if obj is None:
                if not self.compiled.report_missing:
                    raise vmodl.fault.ManagedObjectNotFound(obj=start.ref)
                continue
            if not start.skip:
                self._select(obj)
            self._take(obj, start.steps)

    # -- walking

    def _take(self, obj: ManagedObject, steps: Iterable[Step]) -> None:
        for step in steps:
            if step.applies_to(obj):
                self._enter(obj, step)

    def _enter(self, obj: ManagedObject, step: Step) -> None:
        key = (obj, step)
        ways = self._ways.get(key, 0)
        self._ways[key] = ways + 1
        if ways:
            self._shared = True
            return
        self._steps_at.setdefault(obj, []).append(step)
        if self._watch is not None:
            self._watch(obj)
        targets = self._read_targets(obj, step)
        self._targets[key] = targets
        for target in tuple(targets.values()):
            self._link(target, step)

    def _leave(self, obj: ManagedObject, step: Step) -> None:
        key = (obj, step)
        ways = self._ways.get(key, 0) - 1
        if ways > 0:
            self._ways[key] = ways
            return
        if ways < 0:
            return
        del self._ways[key]
        self._steps_at[obj].remove(step)
        if not self._steps_at[obj]:
            del self._steps_at[obj]
        for target in self._targets.pop(key).values():
            self._unlink(target, step)

    def _link(self, target: ManagedObject, step: Step) -> None:
        if not step.skip:
            self._select(target)
        if step.next_steps:
            self._take(target, step.next_steps)

    def _unlink(self, target: ManagedObject, step: Step) -> None:
        if not step.skip:
            self._deselect(target)
        for next_step in step.next_steps:
            if next_step.applies_to(target):
                self._leave(target, next_step)
        if self._shared:
            self._stale = True

    def _select(self, obj: ManagedObject) -> None:
        count = self.selected.get(obj, 0)
        self.selected[obj] = count + 1
        if count == 0:
            if self._watch is not None:
                self._watch(obj)
            if self._entered is not None:
                self._entered(obj)

    def _deselect(self, obj: ManagedObject) -> None:
        count = self.selected.get(obj)
        if count is None:
            return
        if count > 1:
            self.selected[obj] = count - 1
            return
        del self.selected[obj]
        if self._left is not None:
            self._left(obj)

    def _read_targets(self, obj: ManagedObject, step: Step) -> dict[str, ManagedObject]:
        first = step.path.segments[0]
        if len(step.path.segments) == 1 and first.key is None:
            # managed objects need no detour through references
            value = obj.read(first.name, self._ctx)
        else:
            value = step.path.read(obj, self._ctx)
        if value is None:
            return {}
        targets: dict[str, ManagedObject] = {}
        for item in value if isinstance(value, (list, tuple)) else (value,):
            target = item if isinstance(item, ManagedObject) else self.registry.find(item)
            if target is not None and target.exists:
                targets[target.moref] = target
        return targets

    # -- changes

    def walks_through(self, obj: ManagedObject) -> bool:
        """Whether a step of the walk starts at `obj`."""
        return obj in self._steps_at

    def property_changed(self, obj: ManagedObject, changed: str) -> None:
        """A property of `obj` has a new value: compare the targets of the steps that follow it."""
        for step in tuple(self._steps_at.get(obj, ())):
            if step.path.touched_by(changed):
                old = self._targets[(obj, step)]
                new = self._read_targets(obj, step)
                self._replace(
                    obj,
                    step,
                    [target for moref, target in new.items() if moref not in old],
                    [target for moref, target in old.items() if moref not in new],
                )

    def members_changed(
        self,
        obj: ManagedObject,
        path: str,
        added: Iterable[ManagedObject],
        removed: Iterable[ManagedObject],
    ) -> None:
        """A list property of `obj` gained and lost exactly these members."""
        for step in tuple(self._steps_at.get(obj, ())):
            if step.path.text == path:
                self._replace(obj, step, added, removed)

    def _replace(
        self,
        obj: ManagedObject,
        step: Step,
        added: Iterable[ManagedObject],
        removed: Iterable[ManagedObject],
    ) -> None:
        targets = self._targets.get((obj, step))
        if targets is None:
            return
        for target in removed:
            if targets.pop(target.moref, None) is not None:
                self._unlink(target, step)
        for target in added:
            if target.moref not in targets and target.exists:
                targets[target.moref] = target
                self._link(target, step)
        if self._stale:
            self._rebuild()

    def object_destroyed(self, obj: ManagedObject) -> None:
        """Remove `obj`: deselect it, and drop the steps that start at it."""
        for step in tuple(self._steps_at.get(obj, ())):
            self._ways[(obj, step)] = 1
            self._leave(obj, step)
        if self.selected.pop(obj, None) is not None and self._left is not None:
            self._left(obj)
        if self._stale:
            self._rebuild()

    def _rebuild(self) -> None:
        fresh = Selection(self.compiled, self._ctx, self._watch)
        for start in self.compiled.starts:
            obj = self.registry.find(start.ref)
            if obj is not None:
                if not start.skip:
                    fresh._select(obj)
                fresh._take(obj, start.steps)
        before = self.selected
        self.selected, self._targets = fresh.selected, fresh._targets
        self._ways, self._steps_at = fresh._ways, fresh._steps_at
        self._shared, self._stale = fresh._shared, False
        for obj in before:
            if obj not in self.selected and self._left is not None:
                self._left(obj)
        for obj in self.selected:
            if obj not in before and self._entered is not None:
                self._entered(obj)

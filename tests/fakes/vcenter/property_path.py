"""Property paths: "name", "config.hardware.device", "config.extraConfig["cinder.volume.id"]".

A path is checked against the declared types once (InvalidProperty for an unknown name) and then
read from objects by plain attribute access. If any property of the path is unset, the value is
None. (vSphere API reference, PropertySpec.pathSet; a key in brackets selects the array element with
that `key`.)
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pyVmomi import VmomiSupport, vim, vmodl

from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.wire import property_info, to_wire

if TYPE_CHECKING:
    from tests.fakes.vcenter.context import Context

_SEGMENT = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)(?:\[(?:"([^"]*)"|([0-9-]+))\])?(?:\.|$)')
# Declared as a base type, but their values have more properties.
_POLYMORPHIC = (
    vim.Datastore.Info,
    vim.ComputeResource.Summary,
    vim.ComputeResource.ConfigInfo,
    vim.TaskReason,
)


class Segment(NamedTuple):
    """One step of a path; `key` selects an element of an array property."""

    name: str
    key: str | int | None


class PropertyPath(NamedTuple):
    """A checked path of one managed type; `declared` is the type of its value, if known."""

    text: str
    segments: tuple[Segment, ...]
    declared: Any

    def read(self, obj: ManagedObject, ctx: Context, roots: dict[str, Any] | None = None) -> Any:
        """The value, ready for the serializer; None if unset. An array is never unset but empty
        (recordings of vpxd 5.5 and of 8.0.3).

        `roots` caches the first segments read from this object. Objects build `config` anew at each
        read, so several paths below it should share one.
        """
        roots = {} if roots is None else roots
        value = self._walk(self.segments, obj, ctx, roots)
        if value is None and self._is_array and not self.has_unset_parent(obj, ctx, roots):
            return self.declared()
        return to_wire(value, self.declared)

    def has_unset_parent(self, obj: ManagedObject, ctx: Context, roots: dict[str, Any]) -> bool:
        """Whether a property above this one is itself unset."""
        above = self.segments[:-1]
        return bool(above) and self._walk(above, obj, ctx, roots) is None

    @property
    def _is_array(self) -> bool:
        return isinstance(self.declared, type) and issubclass(self.declared, list)

    def _walk(
        self,
        segments: tuple[Segment, ...],
        obj: ManagedObject,
        ctx: Context,
        roots: dict[str, Any],
    ) -> Any:
        first = segments[0]
        if first.name not in roots:
            roots[first.name] = obj.read(first.name, ctx)
        value = roots[first.name]
        if first.key is not None:
            value = _element(value, first.key)
        for name, key in segments[1:]:
            if value is None:
                return None
            value = getattr(value, name, None)
            if key is not None:
                value = _element(value, key)
        return value

    def touched_by(self, changed: str) -> bool:
        """Whether a change of the property `changed` changes the value of this path."""
        text = self.text
        if text == changed:
            return True
        if len(text) < len(changed):
            return changed.startswith(text) and changed[len(text)] in ".["
        return text.startswith(changed) and text[len(changed)] in ".["


@lru_cache(maxsize=4096)
def checked_path(managed_type: Any, text: str) -> PropertyPath:
    """The path `text` of a managed type; InvalidProperty if the type has no such property."""
    segments = _parse(text)
    declared: Any = managed_type
    for position, (name, key) in enumerate(segments):
        info = None
        if isinstance(declared, type):
            info = property_info(declared, name)
        if info is None:
            if position > 0 and (declared is None or issubclass(declared, _POLYMORPHIC)):
                declared = None
                continue
            raise vmodl.query.InvalidProperty(name=text)
        declared = info.type
        if key is not None:
            if not issubclass(declared, list):
                raise vmodl.query.InvalidProperty(name=text)
            declared = declared.Item
    return PropertyPath(text, segments, declared)


@lru_cache(maxsize=256)
def all_properties(managed_type: Any) -> tuple[str, ...]:
    """Every property of a managed type, for PropertySpec.all."""
    names: dict[str, None] = {}
    for cls in reversed(managed_type.__mro__):
        for info in getattr(cls, "_propInfo", {}).values():
            names[info.name] = None
    return tuple(names)


def _parse(text: str) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    position = 0
    while position < len(text):
        match = _SEGMENT.match(text, position)
        if match is None:
            raise vmodl.query.InvalidProperty(name=text)
        name, quoted, number = match.groups()
        key: str | int | None = quoted if number is None else int(number)
        segments.append(Segment(name, key))
        position = match.end()
    if not segments or text.endswith("."):
        raise vmodl.query.InvalidProperty(name=text)
    return tuple(segments)


def _element(values: Any, key: str | int) -> Any:
    for value in values or ():
        found = value.moref if isinstance(value, ManagedObject) else getattr(value, "key", None)
        if found == key or (isinstance(found, int) and str(found) == key):
            return value
    return None


def is_scalar(value: Any) -> bool:
    """Whether values of this kind are cheap to compare, and equal values mean no change."""
    return value is None or isinstance(value, (str, int, float, bool, VmomiSupport.ManagedObject))

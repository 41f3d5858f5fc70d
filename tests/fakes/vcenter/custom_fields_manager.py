"""CustomFieldsManager: custom attributes, their definitions and values.

Names are unique over all types: a name taken by another type is DuplicateName. Values are strings,
set at once (no task), also on templates. Removing a definition removes its values. (vSphere API
reference, CustomFieldsManager)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class CustomFieldsManager(ManagedObject):
    """Definitions by key; the values live on the entities (`custom_values`)."""

    TYPE = vim.CustomFieldsManager
    FIRST_KEY = 101

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="CustomFieldsManager")
        self._definitions: dict[int, Any] = {}
        self._next_key = self.FIRST_KEY

    @property
    def field(self) -> list[Any]:
        """All definitions."""
        return list(self._definitions.values())

    def fields_for(self, managed_type: type) -> list[Any]:
        """Definitions that may be set on objects of this type."""
        return [
            each
            for each in self._definitions.values()
            if each.managedObjectType is None or issubclass(managed_type, each.managedObjectType)
        ]

    def AddCustomFieldDef(
        self,
        ctx: Context,
        name: str,
        moType: Any,
        fieldDefPolicy: Any,
        fieldPolicy: Any,
    ) -> Any:
        """Define an attribute; DuplicateName when the name is taken, InvalidName when
        it is empty.
        """
        if not name:
            raise vim.fault.InvalidName(name=name)
        self._check_free(name)
        definition = vim.CustomFieldsManager.FieldDef(
            key=self._next_key, name=name, type=str, managedObjectType=moType
        )
        self._next_key += 1
        self._definitions[definition.key] = definition
        self.changed("field")
        return definition

    def RenameCustomFieldDef(self, ctx: Context, key: int, name: str) -> None:
        """Rename an attribute."""
        definition = self._require(key)
        self._check_free(name)
        definition.name = name
        self.changed("field")

    def RemoveCustomFieldDef(self, ctx: Context, key: int) -> None:
        """Remove an attribute and all its values."""
        self._require(key)
        del self._definitions[key]
        for entity in self.vcenter.registry.of_class(ManagedEntity):
            if entity.custom_values.pop(key, None) is not None:
                entity.changed("customValue", "value")
        self.changed("field")

    def SetField(self, ctx: Context, entity: Any, key: int, value: str) -> None:
        """Set a value at once; an empty one removes it.

        InvalidArgument for a key that does not apply to this type.
        """
        target = self.vcenter.registry.require(entity)
        self.set_value(target, key, value)

    def set_value(self, target: ManagedEntity, key: int, value: str) -> None:
        """As SetField, for an object of the fake."""
        if key not in {each.key for each in self.fields_for(target.TYPE)}:
            raise vmodl.fault.InvalidArgument(invalidProperty="key")
        if value:
            target.custom_values[key] = value
        else:
            target.custom_values.pop(key, None)
        target.changed("customValue", "value", "summary.customValue")

    def set_by_name(self, target: ManagedEntity, name: str, value: str) -> None:
        """As SetField, by the attribute's name."""
        for each in self.fields_for(target.TYPE):
            if each.name == name:
                self.set_value(target, each.key, value)
                return
        raise vmodl.fault.InvalidArgument(invalidProperty="key")

    def _check_free(self, name: str) -> None:
        if any(each.name == name for each in self._definitions.values()):
            raise vim.fault.DuplicateName(name=name, object=self.ref)

    def _require(self, key: int) -> Any:
        if key not in self._definitions:
            raise vmodl.fault.InvalidArgument(invalidProperty="key")
        return self._definitions[key]

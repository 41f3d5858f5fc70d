"""ManagedEntity: base of everything in the inventory tree: name, parent, custom values, recent
tasks.

Names are stored as in vCenter: at most 80 characters, with "/", "\\" and "%" escaped as %2f, %5c
and %25. (vSphere API reference, Folder.CreateFolder and ManagedEntity.name)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.authorization_manager import AuthorizationManager
    from tests.fakes.vcenter.folder import Folder
    from tests.fakes.vcenter.vcenter import VCenter

NAME_LIMIT = 80


def escape_name(name: str) -> str:
    """`name` as vCenter stores it; an existing escape ("%2f") stays as it is."""
    out = []
    for position, char in enumerate(name):
        if char == "/":
            out.append("%2f")
        elif char == "\\":
            out.append("%5c")
        elif char == "%" and name[position + 1 : position + 3].lower() not in ("2f", "5c", "25"):
            out.append("%25")
        else:
            out.append(char)
    return "".join(out)


def unescape_name(name: str) -> str:
    """The original form of a name that vCenter has escaped."""
    for escaped, plain in (("%2f", "/"), ("%5c", "\\"), ("%25", "%")):
        name = name.replace(escaped, plain)
    return name


def check_name(name: str | None) -> str:
    """The escaped form of a new name. InvalidName if it is empty or longer than 80 characters."""
    escaped = escape_name(name or "")
    if not escaped.strip() or len(escaped) > NAME_LIMIT:
        raise vim.fault.InvalidName(
            name=name or "",
            msg=f"The name '{name}' is invalid.",
        )
    return escaped


class ManagedEntity(ManagedObject):
    """An object of the inventory tree; the code that adds it sets `parent`."""

    def __init__(self, vcenter: VCenter, name: str, moref: str | None = None) -> None:
        super().__init__(vcenter, moref)
        self.name = name
        self.parent: ManagedObject | None = None
        self.custom_values: dict[int, str] = {}
        self.overallStatus = "green"
        self.configStatus = "green"
        self.alarmActionsEnabled = True

    @property
    def customValue(self) -> list[Any]:
        """Values of custom attributes set on this object."""
        return [
            vim.CustomFieldsManager.StringValue(key=key, value=value)
            for key, value in sorted(self.custom_values.items())
        ]

    @property
    def value(self) -> list[Any]:
        """Same as `customValue`; the name in ExtensibleManagedObject."""
        return self.customValue

    @property
    def availableField(self) -> list[Any]:
        """Custom attributes that may be set on an object of this type."""
        return self.vcenter.custom_fields.fields_for(self.TYPE)

    @property
    def recentTask(self) -> list[Task]:
        """Running and recently ended tasks on this object; sends no updates, as in a real
        vCenter.
        """
        return self.vcenter.tasks.recent(self)

    @property
    def permission(self) -> list[Any]:
        """The permissions that are defined on this object."""
        manager = cast("AuthorizationManager", self.vcenter.registry.get("AuthorizationManager"))
        return manager.permissions_of(self)

    @property
    def declaredAlarmState(self) -> list[Any]:
        """The states of this object for the alarms defined on it and above it."""
        return self.vcenter.alarms.declared(self)

    @property
    def triggeredAlarmState(self) -> list[Any]:
        """The alarm states of this object and those below that are yellow or red."""
        return self.vcenter.alarms.triggered(self)

    def read(self, name: str, ctx: Context) -> Any:
        """Read a property; `effectiveRole` is the caller's."""
        if name == "effectiveRole":
            return self.vcenter.permissions.roles_on(ctx.user, self)
        return super().read(name, ctx)

    @property
    def ancestors(self) -> list[ManagedObject]:
        """The parent, its parent and so on up to the root folder."""
        chain: list[ManagedObject] = []
        step = self.parent
        while step is not None:
            chain.append(step)
            step = getattr(step, "parent", None)
        return chain

    @property
    def datacenter(self) -> Any:
        """The Datacenter that contains this object, or None above all datacenters."""
        for entity in (self, *self.ancestors):
            if entity.TYPE is vim.Datacenter:
                return entity
        return None

    def container_parents(self) -> list[ManagedObject]:
        """Objects whose container views include this one directly (its parent; a VM adds pool and
        host).
        """
        return [self.parent] if self.parent is not None else []

    @property
    def folder(self) -> Folder | None:
        """The parent if it is a folder, else None."""
        parent = self.parent
        if parent is not None and issubclass(parent.TYPE, vim.Folder):
            return parent  # type: ignore[return-value]
        return None

    def rename(self, new_name: str) -> None:
        """Change the name, which must be unique in its folder.

        DuplicateName or InvalidName otherwise.
        """
        escaped = check_name(new_name)
        if escaped == self.name:
            return
        folder = self.folder
        if folder is not None:
            folder.check_free(escaped)
            folder.renamed(self, escaped)
        self.name = escaped
        self.changed("name")

    def Rename_Task(self, ctx: Context, newName: str) -> Task:
        """Rename within the folder; the task fails if the name is taken."""
        prefix = self.TYPE.__name__.rpartition(".")[2]
        return self.vcenter.tasks.start(
            self,
            "Rename_Task",
            f"{prefix}.rename",
            lambda task: self.rename(newName),
            session=ctx.session,
        )

    def Reload(self, ctx: Context) -> None:
        """Does nothing, since nothing is cached."""

    def setCustomValue(self, ctx: Context, key: str, value: str) -> None:
        """Set a custom attribute by its name."""
        self.vcenter.custom_fields.set_by_name(self, key, value)

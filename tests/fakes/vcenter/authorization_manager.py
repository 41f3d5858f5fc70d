"""AuthorizationManager: roles, permissions, and checks of privileges.

A permission says which role a principal has on an entity. The accounts are those of
`vcenter.permissions`, so a permission granted here counts from the next call. Groups are not
simulated: the only group, Administrators, has the role Admin at the root folder, like the
administrator, and neither permission can be changed (AuthMinimumAdminPermission). (vSphere API
reference)

HasPrivilegeOnEntities answers for each entity in the request's order, with each privilege in the
request's order. An unknown privilege is not granted; a removed entity is ManagedObjectNotFound.
(vSphere API reference; govmomi's simulator answers in the same form. The answer of a real vCenter
to an unknown privilege or session is unconfirmed.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Place, argument
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.permissions import Account, Permission, principal_of
from tests.fakes.vcenter.privilege_ids import all_ids
from tests.fakes.vcenter.roles import ADMIN, ANONYMOUS, VIEW, Role

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

_Available = vim.AuthorizationManager.PrivilegeAvailability
_ADMINISTRATORS = "VSPHERE.LOCAL\\Administrators"


class AuthorizationManager(ManagedObject):
    """Answers from the accounts and roles of `vcenter.permissions`."""

    TYPE = vim.AuthorizationManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="AuthorizationManager")

    # -- roles

    @property
    def roleList(self) -> list[Any]:
        """All roles."""
        return [role.describe() for role in self.vcenter.permissions.roles.all()]

    @property
    def privilegeList(self) -> list[Any]:
        """Every privilege that a role can contain."""
        return [
            vim.AuthorizationManager.Privilege(
                privId=each,
                onParent=False,
                name=each.rpartition(".")[2],
                privGroupName=each.rpartition(".")[0],
            )
            for each in all_ids()
        ]

    @property
    def description(self) -> Any:
        """Labels: the same as the ids."""
        groups = sorted({each.rpartition(".")[0] for each in all_ids()})
        return vim.AuthorizationDescription(
            privilege=_labelled(all_ids()), privilegeGroup=_labelled(groups)
        )

    def AddAuthorizationRole(self, ctx: Context, name: str, privIds: list[str] | None) -> int:
        """Create a role; returns its id."""
        role = self.vcenter.permissions.roles.add(name, privIds or [])
        self.changed("roleList")
        self._post(ctx, "RoleAddedEvent", role=_role(role), privilegeList=sorted(role.privileges))
        return role.id

    def UpdateAuthorizationRole(
        self, ctx: Context, roleId: int, newName: str, privIds: list[str] | None
    ) -> None:
        """Rename a role and replace its privileges, with immediate effect."""
        roles = self.vcenter.permissions.roles
        role = roles.changeable(roleId)
        before = role.name
        roles.update(role, newName, privIds or [])
        self.changed("roleList")
        self._post(ctx, "RoleUpdatedEvent", role=_role(role), prevRoleName=before)

    def RemoveAuthorizationRole(self, ctx: Context, roleId: int, failIfUsed: bool) -> None:
        """Remove a role and its permissions; with `failIfUsed`, RemoveFailed if it has any."""
        permissions = self.vcenter.permissions
        role = permissions.roles.changeable(roleId)
        if failIfUsed and any(found.role is role for _, _, found in permissions.all()):
            raise vim.fault.RemoveFailed(msg=f"The role '{role.name}' is in use.")
        permissions.move_role(role, None)
        permissions.roles.remove(role)
        self.changed("roleList")
        self._post(ctx, "RoleRemovedEvent", role=_role(role))

    def MergePermissions(self, ctx: Context, srcRoleId: int, dstRoleId: int) -> None:
        """Replace one role by the other in all permissions."""
        permissions = self.vcenter.permissions
        source, target = (permissions.roles.require(each) for each in (srcRoleId, dstRoleId))
        permissions.move_role(source, target)

    # -- permissions

    def RetrieveEntityPermissions(self, ctx: Context, entity: Any, inherited: bool) -> list[Any]:
        """Permissions on the entity; `inherited`: also those above it that propagate."""
        target = self.vcenter.registry.require(entity)
        found = self.permissions_of(target)
        if inherited:
            for above in target.ancestors:
                found += [each for each in self.permissions_of(above) if each.propagate]
        return found

    def RetrieveAllPermissions(self, ctx: Context) -> list[Any]:
        """All permissions."""
        return list(self._all())

    def RetrieveRolePermissions(self, ctx: Context, roleId: int) -> list[Any]:
        """Permissions with this role."""
        self.vcenter.permissions.roles.require(roleId)
        return [each for each in self._all() if each.roleId == roleId]

    def SetEntityPermissions(self, ctx: Context, entity: Any, permission: list[Any] | None) -> None:
        """Add permissions; each replaces the principal's previous one on this entity.

        UserNotFound for a principal without an account, NotFound for a role that does not exist,
        InvalidArgument for View and Anonymous. If one permission is wrong, none is changed.
        """
        target = self.vcenter.registry.require(entity)
        accepted = [self._accepted(target, each) for each in permission or []]
        self._give(ctx, target, accepted)

    def ResetEntityPermissions(
        self, ctx: Context, entity: Any, permission: list[Any] | None
    ) -> None:
        """As SetEntityPermissions; principals that are not named lose their permission on the
        entity.
        """
        target = self.vcenter.registry.require(entity)
        accepted = [self._accepted(target, each) for each in permission or []]
        for account in self.vcenter.permissions.accounts():
            account.permissions.pop(target.moref, None)
        self._give(ctx, target, accepted)

    def RemoveEntityPermission(self, ctx: Context, entity: Any, user: str, isGroup: bool) -> None:
        """Remove a principal's permission on this entity; NotFound if there is none."""
        target = self.vcenter.registry.require(entity)
        self._check_not_the_administrators(target, user, isGroup)
        account = None if isGroup else self.vcenter.permissions.account(user)
        if account is None or account.permissions.pop(target.moref, None) is None:
            raise vim.fault.NotFound(msg=f"'{user}' has no permission on '{target.name}'.")
        target.changed("permission", "effectiveRole")
        self._post(
            ctx,
            "PermissionRemovedEvent",
            target,
            entity=argument("ManagedEntity", target),
            principal=principal_of(user),
            group=isGroup,
        )

    def permissions_of(self, entity: Any) -> list[Any]:
        """The permissions that are defined on an entity."""
        return [each for each in self._all() if each.entity._moId == entity.moref]

    def _all(self) -> Iterator[Any]:
        root = self.vcenter.root_folder
        administrator = principal_of(self.vcenter.user)
        yield _described(root.ref, administrator, group=False, role_id=ADMIN, propagate=True)
        yield _described(root.ref, _ADMINISTRATORS, group=True, role_id=ADMIN, propagate=True)
        for principal, moref, found in self.vcenter.permissions.all():
            entity = self.vcenter.registry.get(moref)
            if entity is not None:
                yield _described(
                    entity.ref,
                    principal,
                    group=False,
                    role_id=found.role.id,
                    propagate=found.propagate,
                )

    def _give(self, ctx: Context, target: Any, accepted: list[tuple[Account, Permission]]) -> None:
        for account, new in accepted:
            account.permissions[target.moref] = new
            self._post(
                ctx,
                "PermissionAddedEvent",
                target,
                entity=argument("ManagedEntity", target),
                principal=principal_of(account.user),
                group=False,
                role=_role(new.role),
                propagate=new.propagate,
            )
        target.changed("permission", "effectiveRole")

    def _post(self, ctx: Context, kind: str, about: Any = None, /, **fields: Any) -> None:
        self.vcenter.events.post(kind, ctx.user, Place.of(about), **fields)

    def _accepted(self, target: Any, asked: Any) -> tuple[Account, Permission]:
        permissions = self.vcenter.permissions
        role = permissions.roles.require(asked.roleId)
        if role.id in (VIEW, ANONYMOUS):
            raise vmodl.fault.InvalidArgument(invalidProperty="permission.roleId")
        self._check_not_the_administrators(target, asked.principal, asked.group)
        account = None if asked.group else permissions.account(asked.principal)
        if account is None:
            raise vim.fault.UserNotFound(
                principal=asked.principal,
                unresolved=False,
                msg=f"The user or group named '{asked.principal}' does not exist.",
            )
        return account, Permission(role, bool(asked.propagate))

    def _check_not_the_administrators(self, target: Any, user: str, is_group: bool) -> None:
        named = principal_of(user).lower()
        if is_group:
            is_theirs = named == _ADMINISTRATORS.lower()
        else:
            is_theirs = self.vcenter.permissions.is_administrator(user)
        if is_theirs and target is self.vcenter.root_folder:
            raise vim.fault.AuthMinimumAdminPermission(
                msg="There must be a user with the role Admin at the root folder."
            )

    # -- privileges

    def HasPrivilegeOnEntities(
        self, ctx: Context, entity: list[Any], sessionId: str, privId: list[str] | None
    ) -> list[Any]:
        """The given privileges that the user of a session has on each object."""
        user = self._user_of(sessionId)
        return [self._granted(user, ref, privId or []) for ref in entity]

    def HasPrivilegeOnEntity(
        self, ctx: Context, entity: Any, sessionId: str, privId: list[str] | None
    ) -> list[bool]:
        """As HasPrivilegeOnEntities, for one entity."""
        granted = self._granted(self._user_of(sessionId), entity, privId or [])
        return [each.isGranted for each in granted.privAvailability]

    def HasUserPrivilegeOnEntities(
        self, ctx: Context, entities: list[Any], userName: str, privId: list[str] | None
    ) -> list[Any]:
        """As HasPrivilegeOnEntities, for a user by name."""
        return [self._granted(userName, ref, privId or []) for ref in entities]

    def FetchUserPrivilegeOnEntities(
        self, ctx: Context, entities: list[Any], userName: str
    ) -> list[Any]:
        """All privileges of a user on each object."""
        permissions, require = self.vcenter.permissions, self.vcenter.registry.require
        return [
            vim.AuthorizationManager.UserPrivilegeResult(
                entity=ref,
                privileges=[
                    each for each in all_ids() if permissions.grants(userName, each, require(ref))
                ],
            )
            for ref in entities
        ]

    def _user_of(self, session_id: str) -> str:
        users = [each.user for each in self.vcenter.sessions.active() if each.key == session_id]
        if not users:
            raise vmodl.fault.InvalidArgument(invalidProperty="sessionId")
        return users[0]

    def _granted(self, user: str, ref: Any, privileges: list[str]) -> Any:
        entity = self.vcenter.registry.require(ref)
        permissions = self.vcenter.permissions
        return vim.AuthorizationManager.EntityPrivilege(
            entity=ref,
            privAvailability=[
                _Available(privId=each, isGranted=permissions.grants(user, each, entity))
                for each in privileges
            ],
        )


def _role(role: Role) -> Any:
    return vim.event.RoleEventArgument(name=role.name, roleId=role.id)


def _described(ref: Any, principal: str, *, group: bool, role_id: int, propagate: bool) -> Any:
    return vim.AuthorizationManager.Permission(
        entity=ref, principal=principal, group=group, roleId=role_id, propagate=propagate
    )


def _labelled(keys: Iterable[str]) -> list[Any]:
    return [vim.ElementDescription(label=key, summary=key, key=key) for key in keys]

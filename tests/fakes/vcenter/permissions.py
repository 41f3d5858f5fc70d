r"""Accounts besides the administrator, and their permissions.

A permission gives an account the privileges of a role on one object and, if it propagates, on all
objects below. The nearest permission counts: one on the object itself, else the first one on the
way up that propagates. A virtual machine has two ways up, by folder and by resource pool. Objects
outside the tree (SessionManager, CustomFieldsManager, storage policies ...) are checked at the root
folder, and so need a permission there. A call that lacks one of its privileges is NoPermission and
has no effect. (vSphere Security, "Hierarchical Inheritance of Permissions")

An account is named "user@domain" or "DOMAIN\user"; permissions use the second form, as in a
recording of 8.0.3. The administrator, `VCenter.user`, has every privilege, without a check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import privileges
from tests.fakes.vcenter.host_config_manager import HostPart
from tests.fakes.vcenter.roles import ADMIN, Role, Roles

if TYPE_CHECKING:
    from tests.fakes.vcenter.managed_object import ManagedObject
    from tests.fakes.vcenter.vcenter import VCenter


def principal_of(user: str) -> str:
    r"""A user's name as in permissions: "VSPHERE.LOCAL\cinder"."""
    domain, backslash, name = user.partition("\\")
    if not backslash:
        name, _, domain = user.partition("@")
    return f"{domain.upper()}\\{name}" if domain else name


def _key(user: str) -> str:
    return principal_of(user).lower()


@dataclass(frozen=True)
class Permission:
    """:ivar propagate: whether it counts below the object as well"""

    role: Role
    propagate: bool = True

    @property
    def privileges(self) -> frozenset[str]:
        """The role's present privileges."""
        return self.role.privileges


class Account:
    """One user; `permissions` by moref.

    :ivar used: each privilege that a call needed and the account had, with the type of the object
        on which it was needed
    :ivar missed: the same for privileges that the account did not have
    """

    def __init__(self, user: str, password: str, roles: Roles) -> None:
        self.user = user
        self.password = password
        self.permissions: dict[str, Permission] = {}
        self.used: set[tuple[str, str]] = set()
        self.missed: set[tuple[str, str]] = set()
        self._roles = roles

    def grant(self, entity: Any, ids: Iterable[str], *, propagate: bool = True) -> None:
        """Replace the account's permission on this object."""
        self.permissions[entity.moref] = Permission(self._roles.with_privileges(ids), propagate)

    def holds(self, privilege: str, entity: ManagedObject) -> bool:
        """Whether the account has this privilege on this object."""
        return any(privilege in found.privileges for found in self.permissions_on(entity))

    def permissions_on(self, entity: ManagedObject) -> Iterator[Permission]:
        """The nearest permission on each way up."""
        own = self.permissions.get(entity.moref)
        if own is not None:
            yield own
            return
        for start in (getattr(entity, "parent", None), getattr(entity, "pool", None)):
            step: Any = start
            while step is not None:
                found = self.permissions.get(step.moref)
                if found is not None and found.propagate:
                    yield found
                    break
                step = getattr(step, "parent", None)


class Permissions:
    """All accounts and roles; guarded by the vCenter's lock."""

    def __init__(self, vcenter: VCenter) -> None:
        self._vcenter = vcenter
        self._accounts: dict[str, Account] = {}
        self.roles = Roles()

    def add_account(self, user: str, password: str) -> Account:
        """Add an account without permissions: it can log in and read."""
        account = Account(user, password, self.roles)
        self._accounts[_key(user)] = account
        return account

    def account(self, user: str) -> Account | None:
        """The account with this name, in either form; None for the administrator."""
        return self._accounts.get(_key(user))

    def accounts(self) -> list[Account]:
        """All accounts except the administrator."""
        return list(self._accounts.values())

    def is_administrator(self, user: str) -> bool:
        """Whether this is the administrator."""
        return _key(user) == _key(self._vcenter.user)

    def authenticate(self, user: str, password: str | None) -> str | None:
        """The user's name in canonical form; None if it or the password is wrong."""
        vcenter = self._vcenter
        if self.is_administrator(user) and password == vcenter.password:
            return vcenter.user
        account = self.account(user)
        return account.user if account is not None and password == account.password else None

    def check(self, user: str, target: ManagedObject, info: Any, arguments: dict[str, Any]) -> None:
        """:raises vim.fault.NoPermission: with the first missing privilege"""
        if not self._accounts:
            return
        account = self.account(user)
        if account is None:
            return
        for privilege, entity in privileges.needs(target, info, arguments):
            self._check(account, privilege, self._judged_at(entity))

    def grants(self, user: str, privilege: str, entity: ManagedObject) -> bool:
        """Whether a user has a privilege on an object; does not count as a use."""
        account = self.account(user)
        return account is None or account.holds(privilege, self._judged_at(entity))

    def roles_on(self, user: str, entity: ManagedObject) -> list[int]:
        """The ids of a user's roles on an object."""
        account = self.account(user)
        if account is None:
            return [ADMIN]
        return [found.role.id for found in account.permissions_on(entity)]

    def all(self) -> Iterator[tuple[str, str, Permission]]:
        """Every permission: its principal, the object's moref, and the permission itself."""
        for account in self._accounts.values():
            for moref, permission in account.permissions.items():
                yield principal_of(account.user), moref, permission

    def move_role(self, source: Role, target: Role | None) -> None:
        """Replace a role in every permission; without a target, remove those permissions."""
        for account in self._accounts.values():
            for moref, permission in list(account.permissions.items()):
                if permission.role is not source:
                    continue
                if target is None:
                    del account.permissions[moref]
                else:
                    account.permissions[moref] = Permission(target, permission.propagate)

    def _check(self, account: Account, privilege: str, entity: ManagedObject) -> None:
        need = (privilege, entity.TYPE.__name__.rpartition(".")[2])
        if account.holds(privilege, entity):
            account.used.add(need)
            return
        account.missed.add(need)
        raise vim.fault.NoPermission(
            object=entity.ref,
            privilegeId=privilege,
            msg="Permission to perform this operation was denied.",
        )

    def _judged_at(self, entity: ManagedObject) -> ManagedObject:
        if issubclass(entity.TYPE, vim.Task):
            entity = getattr(entity, "entity", None) or entity
        elif issubclass(entity.TYPE, vim.vm.Snapshot):
            entity = getattr(entity, "vm", entity)
        elif isinstance(entity, HostPart):
            entity = entity.host
        if issubclass(entity.TYPE, vim.ManagedEntity):
            return entity
        return self._vcenter.root_folder

"""Accounts beside the administrator, and what each may do where.

A permission gives an account privileges on one object and, if it propagates, on all below it. The
nearest permission counts: one on an object itself, else the first that propagates on the way up,
for a virtual machine on both its ways, by folder and by resource pool. What belongs to no place in
the tree (SessionManager, CustomFieldsManager, storage policies ...) is judged at the root folder,
and so needs a permission there. A call without one of its privileges is NoPermission and does
nothing. (vSphere Security, "Hierarchical Inheritance of Permissions")

The administrator, `VCenter.user`, may do everything and is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import privileges

if TYPE_CHECKING:
    from tests.fakes.vcenter.managed_object import ManagedObject
    from tests.fakes.vcenter.vcenter import VCenter


@dataclass(frozen=True)
class Permission:
    """:ivar privileges: ids such as "Folder.Create"; System.* need not be named"""

    privileges: frozenset[str]
    propagate: bool = True


class Account:
    """One user; `permissions` by moref.

    :ivar used: each privilege that a call needed and that the account held, with the type of the
        object that it was needed on
    :ivar missed: those that it did not hold
    """

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password
        self.permissions: dict[str, Permission] = {}
        self.used: set[tuple[str, str]] = set()
        self.missed: set[tuple[str, str]] = set()

    def grant(self, entity: Any, ids: Iterable[str], *, propagate: bool = True) -> None:
        """Instead of what it had on this object."""
        self.permissions[entity.moref] = Permission(frozenset(ids), propagate)

    def holds(self, privilege: str, entity: ManagedObject) -> bool:
        return any(privilege in found.privileges for found in self._permissions_on(entity))

    def _permissions_on(self, entity: ManagedObject) -> Iterator[Permission]:
        """The nearest on each way up."""
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
    """All accounts; guarded by the vCenter's lock."""

    def __init__(self, vcenter: VCenter) -> None:
        self._vcenter = vcenter
        self._accounts: dict[str, Account] = {}

    def add_account(self, user: str, password: str) -> Account:
        """An account without permissions: it can log in and read."""
        account = Account(user, password)
        self._accounts[user.lower()] = account
        return account

    def authenticate(self, user: str, password: str | None) -> str | None:
        """The user's name as it is written here, None if it or the password is wrong."""
        vcenter = self._vcenter
        if user.lower() == vcenter.user.lower() and password == vcenter.password:
            return vcenter.user
        account = self._accounts.get(user.lower())
        return account.user if account is not None and password == account.password else None

    def check(self, user: str, target: ManagedObject, info: Any, arguments: dict[str, Any]) -> None:
        """:raises vim.fault.NoPermission: naming the first privilege that is missing"""
        account = self._accounts.get(user.lower())
        if account is None:
            return
        for privilege, entity in privileges.needs(target, info, arguments):
            self._check(account, privilege, self._judged_at(entity))

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
        if issubclass(entity.TYPE, vim.ManagedEntity):
            return entity
        return self._vcenter.root_folder

"""Roles: sets of privileges with names.

The system roles are those of a recording of 8.0.1 (ids, names, labels, summaries). They cannot be
changed, and View and Anonymous cannot be granted. An added role has the three System privileges
besides its own (vSphere API reference, AuthorizationManager.AddAuthorizationRole) and an id above
those of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.privilege_ids import all_ids

ADMIN, READ_ONLY, VIEW, ANONYMOUS, NO_ACCESS = -1, -2, -3, -4, -5
EVERYBODYS = ("System.Anonymous", "System.Read", "System.View")
_FIRST_ID = 2001
_CRYPTOGRAPHY = ("Cryptographer.", "TrustedAdmin.", "Host.Tpm.")
#: Further privileges that NoCryptoAdmin lacks.
_NEAR_CRYPTOGRAPHY = {
    "Global.Diagnostics",
    "Host.Inventory.AddHostToCluster",
    "Host.Inventory.AddStandaloneHost",
    "Host.Local.ManageUserGroups",
    "VirtualMachine.Interact.GuestControl",
}


@dataclass
class Role:
    """:ivar privileges: those that the role lists; Admin has every privilege without a list"""

    id: int
    name: str
    privileges: frozenset[str]
    label: str = ""
    summary: str = ""

    @property
    def is_system(self) -> bool:
        """Whether it is one of vCenter's own roles."""
        return bool(self.label)

    def describe(self) -> Any:
        """The role as clients see it."""
        return vim.AuthorizationManager.Role(
            roleId=self.id,
            system=self.is_system,
            name=self.name,
            info=vim.Description(label=self.label or self.name, summary=self.summary or self.name),
            privilege=sorted(self.privileges),
        )


def _system_roles() -> list[Role]:
    every = frozenset(all_ids())
    trusted = frozenset(one for one in every if one.startswith(("TrustedAdmin.", "Host.Tpm.")))
    no_cryptography = frozenset(
        one for one in every if not one.startswith(_CRYPTOGRAPHY) and one not in _NEAR_CRYPTOGRAPHY
    )
    return [
        Role(
            -8,
            "NoTrustedAdmin",
            every - trusted,
            "No Trusted Infrastructure administrator",
            "Full access without Trusted Infrastructure privileges",
        ),
        Role(
            -7,
            "TrustedAdmin",
            trusted.union(EVERYBODYS),
            "Trusted Infrastructure administrator",
            "Setup and monitoring of Trusted Infrastructure",
        ),
        Role(
            -6,
            "NoCryptoAdmin",
            no_cryptography,
            "No cryptography administrator",
            "Full access without Cryptographic operations and Trusted Infrastructure privileges",
        ),
        Role(
            NO_ACCESS,
            "NoAccess",
            frozenset(),
            "No access",
            "Used for restricting granted access",
        ),
        Role(
            ANONYMOUS,
            "Anonymous",
            frozenset({"System.Anonymous"}),
            "Anonymous",
            "Not logged-in user (cannot be granted)",
        ),
        Role(
            VIEW,
            "View",
            frozenset({"System.Anonymous", "System.View"}),
            "View",
            "Visibility access (cannot be granted)",
        ),
        Role(
            READ_ONLY,
            "ReadOnly",
            frozenset(EVERYBODYS),
            "Read-only",
            "See details of objects, but not make changes",
        ),
        Role(ADMIN, "Admin", every, "Administrator", "Full access rights"),
    ]


class Roles:
    """All roles by id; the vCenter's lock guards them."""

    def __init__(self) -> None:
        # created at the first use, because tests start many fakes
        self._system: dict[int, Role] = {}
        self._added: dict[int, Role] = {}
        self._next_id = _FIRST_ID

    def all(self) -> list[Role]:
        """All roles by id, in the recording's order."""
        if not self._system:
            self._system = {role.id: role for role in _system_roles()}
        return [*self._system.values(), *self._added.values()]

    def get(self, role_id: int) -> Role | None:
        """The role with this id, or None."""
        if role_id in self._added:
            return self._added[role_id]
        return next((role for role in self.all() if role.id == role_id), None)

    def require(self, role_id: int) -> Role:
        """:raises vim.fault.NotFound: if there is none"""
        role = self.get(role_id)
        if role is None:
            raise vim.fault.NotFound(msg=f"There is no role with the id {role_id}.")
        return role

    def changeable(self, role_id: int) -> Role:
        """As `require`; InvalidArgument for a system role (unconfirmed)."""
        role = self.require(role_id)
        if role.is_system:
            raise vmodl.fault.InvalidArgument(invalidProperty="roleId")
        return role

    def add(self, name: str, privileges: Iterable[str]) -> Role:
        """:raises vim.fault.AlreadyExists: if the name is taken
        :raises vim.fault.InvalidName: if it is empty
        :raises vmodl.fault.InvalidArgument: if vCenter has no such privilege
        """
        self._check_name(name)
        role = Role(self._next_id, name, _known(privileges).union(EVERYBODYS))
        self._next_id += 1
        self._added[role.id] = role
        return role

    def with_privileges(self, privileges: Iterable[str]) -> Role:
        """A role with exactly these privileges, for accounts of tests."""
        wanted = frozenset(privileges).union(EVERYBODYS)
        for role in self._added.values():
            if role.privileges == wanted:
                return role
        return self.add(f"granted-{self._next_id}", wanted)

    def update(self, role: Role, name: str, privileges: Iterable[str]) -> None:
        """Rename it, and replace its privileges; faults as for `add`."""
        if name != role.name:
            self._check_name(name)
        role.privileges = _known(privileges).union(EVERYBODYS)
        role.name = name

    def remove(self, role: Role) -> None:
        """Remove a role that no permission uses."""
        del self._added[role.id]

    def _check_name(self, name: str) -> None:
        if not name.strip():
            raise vim.fault.InvalidName(name=name, msg="The name of a role must not be empty.")
        if any(role.name == name for role in self.all()):
            raise vim.fault.AlreadyExists(name=name, msg=f"The role '{name}' already exists.")


def _known(privileges: Iterable[str]) -> frozenset[str]:
    found = frozenset(privileges)
    if not found <= set(all_ids()):
        raise vmodl.fault.InvalidArgument(
            invalidProperty="privIds",
            msg="A specified parameter was not correct: privIds",
        )
    return found

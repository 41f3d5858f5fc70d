"""Roles and permissions of the fake give an account the same rights as vCenter's."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from pyVim.connect import SmartConnect
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.privilege_ids import all_ids
from tests.unit.fakes.vcenter_client import Client
from vmdk_cache.preflight import privileges

USER, PASSWORD, PRINCIPAL = "limited@vsphere.local", "secret", "VSPHERE.LOCAL\\limited"
SYSTEM = {"System.Anonymous", "System.Read", "System.View"}
Permission = vim.AuthorizationManager.Permission


@pytest.fixture
def manager(client: Client) -> Any:
    return client.content.authorizationManager


@pytest.fixture
def folder(vcenter: VCenter) -> Any:
    """The datacenter's VM folder, as an account without permissions sees it."""
    vcenter.permissions.add_account(USER, PASSWORD)
    trust = ssl.create_default_context(cafile=vcenter.ca_file)
    made = SmartConnect(
        host=vcenter.host, port=vcenter.port, user=USER, pwd=PASSWORD, sslContext=trust
    )
    return made.content.rootFolder.childEntity[0].vmFolder


def permission(role: int, principal: str = PRINCIPAL, group: bool = False) -> Any:
    return Permission(principal=principal, group=group, roleId=role, propagate=True)


def role(manager: Any, name: str) -> Any:
    return next(one for one in manager.roleList if one.name == name)


def test_every_privilege_that_the_package_needs_exists() -> None:
    assert {one.id for one in privileges.PRIVILEGES} <= set(all_ids())


def test_a_permission_counts_at_once(client: Client, manager: Any, folder: Any) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    assert folder.effectiveRole == []
    with pytest.raises(vim.fault.NoPermission):
        folder.CreateFolder("a")
    manager.SetEntityPermissions(client.datacenter, [permission(made)])
    assert folder.effectiveRole == [made]
    folder.CreateFolder("a")
    manager.RemoveEntityPermission(client.datacenter, "limited@VSPHERE.LOCAL", False)
    with pytest.raises(vim.fault.NoPermission):
        folder.CreateFolder("b")


def test_a_changed_role_changes_its_permissions(client: Client, manager: Any, folder: Any) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Delete"])
    manager.SetEntityPermissions(client.datacenter, [permission(made)])
    manager.UpdateAuthorizationRole(made, "more folders", ["Folder.Create"])
    folder.CreateFolder("a")
    changed = role(manager, "more folders")
    assert (changed.roleId, set(changed.privilege)) == (made, {"Folder.Create", *SYSTEM})
    other = manager.AddAuthorizationRole("nothing", [])
    manager.MergePermissions(made, other)
    with pytest.raises(vim.fault.NoPermission):
        folder.CreateFolder("b")


def test_a_role_has_its_name_and_privileges(manager: Any) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    found = role(manager, "folders")
    assert (found.roleId, found.system, set(found.privilege)) == (
        made,
        False,
        {"Folder.Create", *SYSTEM},
    )
    with pytest.raises(vim.fault.AlreadyExists):
        manager.AddAuthorizationRole("folders", [])
    with pytest.raises(vim.fault.AlreadyExists):
        manager.UpdateAuthorizationRole(made, "ReadOnly", [])
    with pytest.raises(vim.fault.InvalidName):
        manager.AddAuthorizationRole(" ", [])
    for change in (
        lambda: manager.AddAuthorizationRole("misspelt", ["Folder.Creat"]),
        lambda: manager.UpdateAuthorizationRole(made, "folders", ["Folder.Creat"]),
        lambda: manager.UpdateAuthorizationRole(-1, "Admin", []),
        lambda: manager.RemoveAuthorizationRole(-5, False),
    ):
        with pytest.raises(vmodl.fault.InvalidArgument):
            change()
    with pytest.raises(vim.fault.NotFound):
        manager.UpdateAuthorizationRole(999, "a", [])
    assert set(role(manager, "folders").privilege) == {"Folder.Create", *SYSTEM}


def test_the_system_roles_are_those_of_a_real_vcenter(manager: Any) -> None:
    found = {one.name: one for one in manager.roleList}
    assert {name: one.roleId for name, one in found.items()} == {
        "Admin": -1,
        "ReadOnly": -2,
        "View": -3,
        "Anonymous": -4,
        "NoAccess": -5,
        "NoCryptoAdmin": -6,
        "TrustedAdmin": -7,
        "NoTrustedAdmin": -8,
    }
    assert all(one.system for one in found.values())
    every = {one.privId for one in manager.privilegeList}
    assert set(found["Admin"].privilege) == every
    assert set(found["ReadOnly"].privilege) == SYSTEM
    assert found["NoAccess"].privilege == []
    missing = every - set(found["NoCryptoAdmin"].privilege)
    assert "Cryptographer.Access" in missing and "VirtualMachine.Inventory.Create" not in missing
    assert SYSTEM < set(found["TrustedAdmin"].privilege) < missing | SYSTEM
    assert {one.key for one in manager.description.privilege} == every


def test_a_used_role_is_removed_only_on_request(client: Client, manager: Any, folder: Any) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    manager.SetEntityPermissions(client.datacenter, [permission(made)])
    with pytest.raises(vim.fault.RemoveFailed):
        manager.RemoveAuthorizationRole(made, True)
    folder.CreateFolder("a")
    manager.RemoveAuthorizationRole(made, False)
    with pytest.raises(vim.fault.NoPermission):
        folder.CreateFolder("b")
    assert made not in [one.roleId for one in manager.roleList]
    unused = manager.AddAuthorizationRole("unused", [])
    manager.RemoveAuthorizationRole(unused, True)
    assert unused not in [one.roleId for one in manager.roleList]


def test_permissions_are_listed_where_they_are_defined(
    client: Client, manager: Any, folder: Any
) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    manager.SetEntityPermissions(client.datacenter, [permission(made)])
    (own,) = manager.RetrieveEntityPermissions(client.datacenter, False)
    assert (own.entity, own.principal, own.roleId, own.propagate, own.group) == (
        client.datacenter,
        PRINCIPAL,
        made,
        True,
        False,
    )
    assert [one.roleId for one in client.datacenter.permission] == [made]
    assert manager.RetrieveEntityPermissions(client.vm_folder, False) == []
    inherited = manager.RetrieveEntityPermissions(client.vm_folder, True)
    assert [one.roleId for one in inherited] == [made, -1, -1]
    assert {(one.principal, one.group) for one in manager.RetrieveAllPermissions()} == {
        (PRINCIPAL, False),
        ("VSPHERE.LOCAL\\administrator", False),
        ("VSPHERE.LOCAL\\Administrators", True),
    }
    assert [one.entity for one in manager.RetrieveRolePermissions(made)] == [client.datacenter]
    manager.SetEntityPermissions(
        client.datacenter, [Permission(principal=USER, group=False, roleId=made, propagate=False)]
    )
    inherited = manager.RetrieveEntityPermissions(client.vm_folder, True)
    assert [one.roleId for one in inherited] == [-1, -1]
    manager.ResetEntityPermissions(client.datacenter, [])
    assert manager.RetrieveEntityPermissions(client.datacenter, False) == []


def test_either_all_permissions_are_set_or_none(client: Client, manager: Any, folder: Any) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    for fault, wrong in (
        (vim.fault.UserNotFound, permission(made, "VSPHERE.LOCAL\\misspelt")),
        (vim.fault.UserNotFound, permission(made, PRINCIPAL, group=True)),
        (vim.fault.NotFound, permission(999)),
        (vmodl.fault.InvalidArgument, permission(-3)),
        (vmodl.fault.InvalidArgument, permission(-4)),
    ):
        with pytest.raises(fault):
            manager.SetEntityPermissions(client.datacenter, [permission(made), wrong])
        assert client.datacenter.permission == []
    with pytest.raises(vim.fault.NotFound):
        manager.RemoveEntityPermission(client.datacenter, PRINCIPAL, False)


def test_the_administrator_keeps_its_rights(client: Client, manager: Any) -> None:
    root = client.content.rootFolder
    for principal, group in (("VSPHERE.LOCAL\\Administrators", True), (client.vcenter.user, False)):
        with pytest.raises(vim.fault.AuthMinimumAdminPermission):
            manager.RemoveEntityPermission(root, principal, group)
        with pytest.raises(vim.fault.AuthMinimumAdminPermission):
            manager.SetEntityPermissions(root, [permission(-5, principal, group)])


def test_an_account_can_have_a_permission_at_the_root(
    client: Client, manager: Any, folder: Any
) -> None:
    root = client.content.rootFolder
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    manager.SetEntityPermissions(root, [permission(made)])
    folder.CreateFolder("a")
    manager.RemoveEntityPermission(root, PRINCIPAL, False)
    with pytest.raises(vim.fault.NoPermission):
        folder.CreateFolder("b")


def test_changed_permissions_are_reported(client: Client, manager: Any, folder: Any) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    manager.UpdateAuthorizationRole(made, "more", [])
    manager.SetEntityPermissions(client.datacenter, [permission(made)])
    manager.RemoveEntityPermission(client.datacenter, PRINCIPAL, False)
    manager.RemoveAuthorizationRole(made, True)
    told = client.content.eventManager.QueryEvents(vim.event.EventFilterSpec(maxCount=5))
    removed, taken, given, updated, added = told
    assert [type(one).__name__.rpartition(".")[2] for one in told] == [
        "RoleRemovedEvent",
        "PermissionRemovedEvent",
        "PermissionAddedEvent",
        "RoleUpdatedEvent",
        "RoleAddedEvent",
    ]
    assert (added.role.roleId, added.role.name) == (made, "folders")
    assert "Folder.Create" in added.privilegeList
    assert (updated.prevRoleName, updated.role.name, removed.role.name) == (
        "folders",
        "more",
        "more",
    )
    assert (given.principal, given.role.roleId, given.propagate) == (PRINCIPAL, made, True)
    assert (taken.principal, taken.entity.entity) == (PRINCIPAL, client.datacenter)


def test_an_account_cannot_grant_itself_privileges(folder: Any, client: Client) -> None:
    manager = vim.AuthorizationManager("AuthorizationManager", folder._stub)
    with pytest.raises(vim.fault.NoPermission) as caught:
        manager.SetEntityPermissions(folder, [permission(-1)])
    assert caught.value.privilegeId == "Authorization.ModifyPermissions"
    with pytest.raises(vim.fault.NoPermission) as caught:
        manager.AddAuthorizationRole("mine", [])
    assert caught.value.privilegeId == "Authorization.ModifyRoles"


def test_a_query_for_another_user_answers_for_that_user(
    client: Client, manager: Any, folder: Any
) -> None:
    made = manager.AddAuthorizationRole("folders", ["Folder.Create"])
    manager.SetEntityPermissions(client.datacenter, [permission(made)])
    asked = ["Folder.Create", "Folder.Delete"]
    (found,) = manager.HasUserPrivilegeOnEntities([folder], USER, asked)
    assert [(one.privId, one.isGranted) for one in found.privAvailability] == [
        ("Folder.Create", True),
        ("Folder.Delete", False),
    ]
    key = client.content.sessionManager.currentSession.key
    assert manager.HasPrivilegeOnEntity(folder, key, asked) == [True, True]
    with pytest.raises(vmodl.fault.InvalidArgument):
        manager.HasPrivilegeOnEntity(folder, "no session", asked)
    (found,) = manager.FetchUserPrivilegeOnEntities([folder], PRINCIPAL)
    assert set(found.privileges) == {"Folder.Create", *SYSTEM}

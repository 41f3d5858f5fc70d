"""An account of the fake can do exactly what its permissions allow."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.permissions import Account

USER, PASSWORD = "limited@vsphere.local", "secret"


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model()) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def account(vc: VCenter) -> Account:
    return vc.permissions.add_account(USER, PASSWORD)


@pytest.fixture
def folder(vc: VCenter, account: Account) -> Iterator[Any]:
    """The datacenter's VM folder, as the account sees it."""
    trust = ssl.create_default_context(cafile=vc.ca_file)
    connection = SmartConnect(host=vc.host, port=vc.port, user=USER, pwd=PASSWORD, sslContext=trust)
    yield connection.content.rootFolder.childEntity[0].vmFolder
    Disconnect(connection)


def datacenter(vc: VCenter) -> Any:
    return vc.root_folder.child("DC0")


def refused(folder: Any) -> Any:
    with pytest.raises(vim.fault.NoPermission) as caught:
        folder.CreateFolder("made")
    assert not isinstance(caught.value, vim.fault.NotAuthenticated)
    assert folder.childEntity == []
    return caught.value


def test_an_account_without_permissions_cannot_change_anything(
    account: Account, folder: Any
) -> None:
    fault = refused(folder)
    assert (fault.privilegeId, fault.object) == ("Folder.Create", folder)
    assert account.missed == {("Folder.Create", "Folder")}


def test_a_permission_propagates(vc: VCenter, account: Account, folder: Any) -> None:
    account.grant(vc.root_folder, ["Folder.Create"])
    folder.CreateFolder("made")
    assert account.used == {("Folder.Create", "Folder")}


def test_a_permission_without_propagation_stays_on_its_object(
    vc: VCenter, account: Account, folder: Any
) -> None:
    account.grant(datacenter(vc), ["Folder.Create"], propagate=False)
    refused(folder)


def test_a_nearer_permission_replaces_one_further_up(
    vc: VCenter, account: Account, folder: Any
) -> None:
    account.grant(vc.root_folder, ["Folder.Create"])
    account.grant(datacenter(vc), ["Folder.Delete"])
    refused(folder)


def test_the_administrator_needs_no_permissions(vc: VCenter) -> None:
    trust = ssl.create_default_context(cafile=vc.ca_file)
    connection = SmartConnect(
        host=vc.host, port=vc.port, user=vc.user, pwd=vc.password, sslContext=trust
    )
    connection.content.rootFolder.childEntity[0].vmFolder.CreateFolder("made")
    Disconnect(connection)


def test_another_password_is_refused(vc: VCenter, account: Account) -> None:
    trust = ssl.create_default_context(cafile=vc.ca_file)
    for user, password in ((USER, vc.password), (vc.user, PASSWORD), (USER, "")):
        with pytest.raises(vim.fault.InvalidLogin):
            SmartConnect(host=vc.host, port=vc.port, user=user, pwd=password, sslContext=trust)


@pytest.fixture
def content(vc: VCenter, account: Account) -> Iterator[Any]:
    """ServiceContent, as the account sees it."""
    trust = ssl.create_default_context(cafile=vc.ca_file)
    connection = SmartConnect(host=vc.host, port=vc.port, user=USER, pwd=PASSWORD, sslContext=trust)
    yield connection.content
    Disconnect(connection)


def granted(content: Any, entities: list[Any], privileges: list[str]) -> list[list[str]]:
    """The answer of HasPrivilegeOnEntities, entity by entity."""
    key = content.sessionManager.currentSession.key
    found = content.authorizationManager.HasPrivilegeOnEntities(entities, key, privileges)
    assert [each.entity for each in found] == entities
    assert all([one.privId for one in each.privAvailability] == privileges for each in found)
    return [[one.privId for one in each.privAvailability if one.isGranted] for each in found]


def test_the_answer_predicts_whether_a_call_is_refused(
    vc: VCenter, account: Account, content: Any
) -> None:
    root = content.rootFolder
    [datacenter_ref] = root.childEntity
    entities = [root, datacenter_ref, datacenter_ref.vmFolder]
    account.grant(datacenter(vc), ["Folder.Create", "Datastore.Browse"])
    account.grant(datacenter(vc).vmFolder, ["Folder.Create"])
    found = granted(content, entities, ["Datastore.Browse", "Folder.Create", "No.Such"])
    assert found == [[], ["Datastore.Browse", "Folder.Create"], ["Folder.Create"]]
    assert account.used == account.missed == set(), "a question is no use of a privilege"


def test_a_question_about_a_missing_object_is_refused(content: Any) -> None:
    manager, root = content.authorizationManager, content.rootFolder
    with pytest.raises(vmodl.fault.InvalidArgument):
        manager.HasPrivilegeOnEntities([root], "no such session", ["Folder.Create"])
    gone = vim.Folder("group-v999", root._stub)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        granted(content, [gone], ["Folder.Create"])

"""Whether an account of the fake can do what its permissions do not say, or cannot what they do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

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


def test_an_account_without_permissions_changes_something(account: Account, folder: Any) -> None:
    fault = refused(folder)
    assert (fault.privilegeId, fault.object) == ("Folder.Create", folder)
    assert account.missed == {("Folder.Create", "Folder")}


def test_a_permission_does_not_propagate(vc: VCenter, account: Account, folder: Any) -> None:
    account.grant(vc.root_folder, ["Folder.Create"])
    folder.CreateFolder("made")
    assert account.used == {("Folder.Create", "Folder")}


def test_a_permission_propagates_that_should_not(
    vc: VCenter, account: Account, folder: Any
) -> None:
    account.grant(datacenter(vc), ["Folder.Create"], propagate=False)
    refused(folder)


def test_a_nearer_permission_does_not_replace_one_further_up(
    vc: VCenter, account: Account, folder: Any
) -> None:
    account.grant(vc.root_folder, ["Folder.Create"])
    account.grant(datacenter(vc), ["Folder.Delete"])
    refused(folder)


def test_the_administrator_is_asked_for_permissions(vc: VCenter) -> None:
    trust = ssl.create_default_context(cafile=vc.ca_file)
    connection = SmartConnect(
        host=vc.host, port=vc.port, user=vc.user, pwd=vc.password, sslContext=trust
    )
    connection.content.rootFolder.childEntity[0].vmFolder.CreateFolder("made")
    Disconnect(connection)


def test_another_password_serves(vc: VCenter, account: Account) -> None:
    trust = ssl.create_default_context(cafile=vc.ca_file)
    for user, password in ((USER, vc.password), (vc.user, PASSWORD), (USER, "")):
        with pytest.raises(vim.fault.InvalidLogin):
            SmartConnect(host=vc.host, port=vc.port, user=user, pwd=password, sslContext=trust)

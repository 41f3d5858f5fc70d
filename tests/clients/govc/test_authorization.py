"""Roles and permissions, and the account that docs/security.rst makes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes import account as page
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.permissions import Account

MODEL = Model()
PRINCIPAL = "VSPHERE.LOCAL\\operator"


@pytest.fixture
def account(vcenter: VCenter) -> Account:
    return vcenter.permissions.add_account("operator@vsphere.local", "secret")


@holds("role.create", "role.ls", "role.update", "role.remove")
def test_a_role_is_made_changed_and_removed(govc: Govc) -> None:
    govc("role.create", "folders", "Folder.Create", "Folder.Delete")
    assert set(govc("role.ls", "folders").split()) == {
        "Folder.Create",
        "Folder.Delete",
        "System.Anonymous",
        "System.Read",
        "System.View",
    }
    govc("role.update", "-r", "folders", "Folder.Delete")
    govc("role.update", "-a", "folders", "Folder.Rename")
    govc("role.update", "-name", "renamed", "folders")
    assert {"Folder.Create", "Folder.Rename"} == {
        one for one in govc("role.ls", "renamed").split() if one.startswith("Folder.")
    }
    assert 'role "folders" not found' in govc.refused("role.ls", "folders")
    assert govc.refused("role.create", "renamed", "Folder.Create")
    assert govc.refused("role.create", "misspelt", "Folder.Creat")
    govc("role.remove", "renamed")
    names = [line.split()[0] for line in govc("role.ls").splitlines()]
    assert "Admin" in names and "renamed" not in names


@holds("permissions.set", "permissions.ls", "permissions.remove", "role.usage", "role.remove")
def test_a_permission_counts_from_the_moment_it_is_set(
    govc: Govc, vcenter: VCenter, account: Account
) -> None:
    govc("role.create", "browser", "Datastore.Browse")
    datacenter = vcenter.root_folder.child("DC0")
    assert not vcenter.permissions.grants(account.user, "Datastore.Browse", datacenter)
    govc("permissions.set", "-principal", PRINCIPAL, "-role", "browser", "/DC0")
    assert vcenter.permissions.grants(account.user, "Datastore.Browse", datacenter)
    row = ["browser", "/DC0", PRINCIPAL, "Yes"]
    assert row in [line.split() for line in govc("permissions.ls", "/DC0/vm").splitlines()]
    assert row in [line.split() for line in govc("role.usage", "browser").splitlines()]
    assert govc.refused("role.remove", "browser")
    govc("permissions.remove", "-principal", PRINCIPAL, "/DC0")
    assert not vcenter.permissions.grants(account.user, "Datastore.Browse", datacenter)
    govc("role.remove", "browser")
    nobody = ("-principal", "VSPHERE.LOCAL\\nobody", "-role", "ReadOnly", "/DC0")
    assert "'VSPHERE.LOCAL\\nobody' does not exist" in govc.refused("permissions.set", *nobody)


def commands_of_the_page() -> Iterator[list[str]]:
    """The page's govc commands, as a shell reads them."""
    text = page.PAGE.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("   govc "):
            yield shlex.split(line)[1:]


@holds("role.create", "permissions.set")
def test_the_pages_commands_make_the_account_that_the_tests_use(
    govc: Govc, vcenter: VCenter
) -> None:
    made = vcenter.permissions.add_account(page.USER, page.PASSWORD)
    commands = list(commands_of_the_page())
    assert [command[0] for command in commands] == ["role.create"] * 2 + ["permissions.set"] * 2
    for command in commands:
        govc(*command)
    by_govc = dict(made.permissions)
    in_tests = page.add_documented_account(vcenter).permissions
    assert {moref: (found.privileges, found.propagate) for moref, found in by_govc.items()} == {
        moref: (found.privileges, found.propagate) for moref, found in in_tests.items()
    }
    assert len(by_govc) == 2

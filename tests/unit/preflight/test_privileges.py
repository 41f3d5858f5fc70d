"""Each missing privilege is named, with its object, before anything is changed."""

from __future__ import annotations

import re

import pytest

from tests.fakes import account as page
from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.folder import Folder
from tests.unit.preflight.conftest import FOLDER, Bench, not_ok
from vmdk_cache.preflight.privileges import PRIVILEGES, HeldOn, Privilege, Without
from vmdk_cache.preflight.probe import Finding, Status

#: All requests that a run sends; a run for a fleet's datastores sends them no more often.
READ_ONLY_METHODS = {
    "RetrieveServiceContent",
    "Login",
    "Logout",
    "CurrentTime",
    "Fetch",
    "RetrievePropertiesEx",
    "FindChild",
    "HasPrivilegeOnEntities",
    "PbmRetrieveServiceContent",
    "PbmQueryProfile",
    "PbmRetrieveContent",
}
#: The words of docs/security.rst for the kinds of objects.
PLACES = {
    "pool": HeldOn.POOL,
    "its folder": HeldOn.FOLDER,
    "folder": HeldOn.FOLDER,
    **{kind.value: kind for kind in HeldOn},
}
PROBES = {
    HeldOn.VCENTER: "privileges.vcenter",
    HeldOn.DATASTORE: "privileges.datastore",
    HeldOn.POOL: "privileges.resource-pool",
    HeldOn.FOLDER: "privileges.folder",
    HeldOn.VM: "privileges.virtual-machine",
    HeldOn.TEMPLATE: "privileges.template",
}


def plain(text: str) -> str:
    return " ".join(text.replace("``", "").split())


def test_the_page_agrees_with_the_table() -> None:
    rows = page.rows()
    documented = [
        Privilege(
            row["id"],
            tuple(PLACES[word] for word in row["held_on"].split(", ")),
            plain(row["purpose"]),
            Without(row["without"] or "cinder"),
        )
        for row in rows
    ]
    assert documented == list(PRIVILEGES)


def test_the_documented_account_lacks_nothing(bench: Bench, vcenter: VCenter) -> None:
    page.add_documented_account(vcenter)
    assert not_ok(bench.run()) == {}
    assert set(vcenter.request_log.by_method()) == READ_ONLY_METHODS - {"Fetch"}
    assert vcenter.request_log.count("HasPrivilegeOnEntities") == 1
    assert vcenter.request_log.total() <= 20


@pytest.mark.parametrize("privilege", PRIVILEGES, ids=lambda each: each.id)
def test_a_missing_privilege_is_named_and_nothing_is_changed(
    bench: Bench, vcenter: VCenter, privilege: Privilege
) -> None:
    page.add_documented_account(vcenter, without=privilege.id)
    found = not_ok(bench.run())
    expected = {PROBES[kind] for kind in privilege.held_on}
    assert expected <= set(found)
    if privilege.id == "StorageProfile.View":
        assert found.pop("storage.policies")[0].status is Status.WARNING
    assert set(found) == expected
    bad = [each for findings in found.values() for each in findings if each.status != Status.OK]
    status = Status.FAILED if privilege.without is Without.BYPASS else Status.WARNING
    assert {each.status for each in bad} == {status}
    for each in bad:
        assert each.seen.startswith(f"{privilege.id} is missing")
        assert privilege.purpose in each.to_do
        assert each.subject and not re.search(r"\b(group-v|resgroup|datastore-)\d+", each.subject)
    assert set(vcenter.request_log.by_method()) <= READ_ONLY_METHODS


def missing(findings: list[Finding]) -> set[tuple[str, str]]:
    """(object, privilege)."""
    return {
        (each.subject, each.seen.split()[0]) for each in findings if each.status is not Status.OK
    }


def test_a_permission_further_down_that_removes_privileges_is_found(
    bench: Bench, vcenter: VCenter
) -> None:
    account = page.add_documented_account(vcenter)
    ours = page.roles()["vmdk-cache"]
    account.grant(
        vcenter.datastore("DC0_DS1"), ours - {"Datastore.AllocateSpace", "Datastore.Browse"}
    )
    folder = vcenter.root_folder.child("DC0").vmFolder
    for name in FOLDER:
        made = Folder(vcenter, name, "v")
        folder.add_child(made)
        folder = made
    account.grant(folder, ours - {"VirtualMachine.Inventory.Create", "VApp.Export"})
    found = not_ok(bench.run())
    assert missing(found.pop("privileges.datastore")) == {
        ("DC0_DS1", "Datastore.AllocateSpace"),
        ("DC0_DS1", "Datastore.Browse"),
    }
    path = "/".join(("DC0", "vm", *FOLDER))
    assert missing(found.pop("privileges.folder")) == {
        (f"folder '{path}'", "VirtualMachine.Inventory.Create")
    }
    assert found == {}, "the machines inherit VApp.Export from their resource pool"


def test_an_account_that_sees_nothing_gets_the_reason(bench: Bench, vcenter: VCenter) -> None:
    vcenter.permissions.add_account(page.USER, page.PASSWORD)
    found = bench.run()
    assert missing(found["privileges.vcenter"]) == {
        ("vCenter", each.id) for each in PRIVILEGES if HeldOn.VCENTER in each.held_on
    }
    named = {seen for findings in found.values() for _, seen in missing(findings)}
    assert {each.id for each in PRIVILEGES} <= named

"""A storage policy matches the datastores that satisfy it, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import SoapStubAdapter, VmomiSupport, pbm, vim, vmodl

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile
from tests.unit.fakes.vcenter_client import Client, connect


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    profiles = (Profile("gold", ("DC0_DS1",)), Profile("none"))
    with VCenter(Model(datastores=3, profiles=profiles)) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def content(vcenter: VCenter) -> Iterator[Any]:
    client: Client = connect(vcenter)
    session = client.instance._stub.cookie.split('"')[1]
    VmomiSupport.GetRequestContext()["vcSessionCookie"] = session
    stub = SoapStubAdapter(
        host=vcenter.host,
        port=vcenter.port,
        path="/pbm/sdk",
        version="pbm.version.version2",
        sslContext=client.instance._stub.schemeArgs["context"],
    )
    yield pbm.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    VmomiSupport.GetRequestContext().pop("vcSessionCookie")


def profile_id(content: Any, name: str) -> Any:
    kind = pbm.profile.ResourceType(resourceType="STORAGE")
    ids = content.profileManager.PbmQueryProfile(kind, None)
    found = content.profileManager.PbmRetrieveContent(ids)
    return next(each.profileId for each in found if each.name == name)


def hubs(vcenter: VCenter) -> list[Any]:
    return [
        pbm.placement.PlacementHub(hubType="Datastore", hubId=datastore.moref)
        for datastore in vcenter.registry.of_type(vim.Datastore)
    ]


def test_policy_matches_its_datastores_only(vcenter: VCenter, content: Any) -> None:
    solver, wanted = content.placementSolver, vcenter.datastore("DC0_DS1").moref
    matching = solver.PbmQueryMatchingHub(hubs(vcenter), profile_id(content, "gold"))
    assert [hub.hubId for hub in matching] == [wanted]
    assert solver.PbmQueryMatchingHub(hubs(vcenter), profile_id(content, "none")) == []
    results = solver.PbmCheckCompatibility(hubs(vcenter), profile_id(content, "gold"))
    assert [each.hub.hubId for each in results if not each.error] == [wanted]


def test_unknown_policy_matches_nothing(vcenter: VCenter, content: Any) -> None:
    stranger = pbm.profile.ProfileId(uniqueId="no-such-id")
    with pytest.raises(vmodl.fault.InvalidArgument):
        content.placementSolver.PbmQueryMatchingHub(hubs(vcenter), stranger)
    with pytest.raises(vmodl.fault.InvalidArgument):
        content.profileManager.PbmRetrieveContent([stranger])


def test_policies_need_a_session(vcenter: VCenter, content: Any) -> None:
    vcenter.sessions.expire_all()
    # This client's API version does not know NotAuthenticated, so it gets the fault's base type.
    with pytest.raises(vmodl.fault.SecurityError):
        profile_id(content, "gold")

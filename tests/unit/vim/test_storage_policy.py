"""Storage policies that change while the cache runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vmodl

from tests.fakes.vcenter import Clock, Model, VCenter
from tests.fakes.vcenter.model import Profile
from vmdk_cache import errors
from vmdk_cache.vim import inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies


@pytest.fixture
def vc() -> Iterator[VCenter]:
    model = Model(profiles=(Profile("gold", ("DC0_DS0",), "id-1"),))
    with VCenter(model, clock=Clock(scale=0.0)) as running:
        yield running


@pytest.fixture
def datastores(session: Session) -> list[str]:
    return [datastore.moref for datastore in inventory.snapshot(session).datastores]


def replace(vc: VCenter, profile_id: str, *datastores: str) -> None:
    """Delete the policy and create another one with its name, as an administrator could."""
    manager: Any = vc.registry.get("pbm:ProfileManager")
    manager.profiles.clear()
    manager.profiles[profile_id] = Profile("gold", datastores, profile_id)


def test_an_id_is_asked_for_once(vc: VCenter, session: Session) -> None:
    policies = StoragePolicies(session)

    assert [policies.profile_id("gold") for _ in range(3)] == ["id-1"] * 3
    assert vc.request_log.count("PbmRetrieveContent") == 1


def test_a_policy_that_is_gone_is_looked_up_again(
    vc: VCenter, session: Session, datastores: list[str]
) -> None:
    policies = StoragePolicies(session)
    old = policies.profile_id("gold")
    replace(vc, "id-2", "DC0_DS0")

    with pytest.raises(errors.VCenterError):
        policies.compliant_datastores(old, datastores)

    assert policies.compliant_datastores(policies.profile_id("gold"), datastores)


def test_a_policy_that_matches_nothing_is_looked_up_again(
    vc: VCenter, session: Session, datastores: list[str]
) -> None:
    replace(vc, "id-1")
    policies = StoragePolicies(session)
    assert policies.compliant_datastores(policies.profile_id("gold"), datastores) == set()
    replace(vc, "id-2", "DC0_DS0")

    assert policies.compliant_datastores(policies.profile_id("gold"), datastores)


def test_an_id_is_not_believed_forever(vc: VCenter, session: Session) -> None:
    policies = StoragePolicies(session)
    policies.profile_id("gold")
    replace(vc, "id-2", "DC0_DS0")

    vc.clock.advance(301)

    assert policies.profile_id("gold") == "id-2"


def test_a_service_that_fails_does_not_lose_the_answer_to_the_next(
    vc: VCenter, session: Session, datastores: list[str]
) -> None:
    policies = StoragePolicies(session)
    profile = policies.profile_id("gold")
    vc.fault_rules.add("PbmQueryMatchingHub", vmodl.fault.SystemError())

    with pytest.raises(errors.TaskFailed):
        policies.compliant_datastores(profile, datastores)

    assert policies.profile_id("gold") == profile


def test_a_new_log_in_closes_the_old_connections(vc: VCenter, session: Session) -> None:
    policies = StoragePolicies(session)
    policies.profile_id("gold")
    old = policies._service
    assert old is not None
    assert old.channel.pool

    vc.sessions.expire_all()
    vc.clock.advance(301)
    assert policies.profile_id("gold") == "id-1"

    assert policies._service is not old
    assert not old.channel.pool

"""Storage policies."""

from __future__ import annotations

import re

import pytest

from tests.contract.vcenters import POLICY, Target
from tests.contract.vim.conftest import end_session
from vmdk_cache import errors
from vmdk_cache.vim import inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies


@pytest.fixture
def policy(target: Target, session: Session) -> str:
    """The name of a policy that vCenter has."""
    if target.policy:
        return target.policy
    names = StoragePolicies(session).names()
    if not names:
        pytest.skip("needs a storage policy, and this vCenter has none")
    return names[0]


@pytest.fixture
def unknown(target: Target) -> str:
    """A name that no policy has."""
    return target.run.named("platinum")


def test_a_policy_has_an_id(session: Session, policy: str) -> None:
    assert StoragePolicies(session).profile_id(policy)


def test_an_unknown_policy_is_a_config_error_that_lists_the_known(
    session: Session, policy: str, unknown: str
) -> None:
    with pytest.raises(errors.ConfigError, match=f"'{unknown}'.*{re.escape(policy)}"):
        StoragePolicies(session).profile_id(unknown)


def test_compliant_datastores_are_distinguished(
    target: Target, session: Session, policy: str
) -> None:
    """vcsim does not implement PbmQueryMatchingHub."""
    policies = StoragePolicies(session)
    profile = policies.profile_id(policy)
    datastores = {item.moref: item.name for item in inventory.snapshot(session).datastores}

    if target.is_vcsim:
        with pytest.raises(errors.NotSupported):
            policies.compliant_datastores(profile, datastores)
        return

    found = policies.compliant_datastores(profile, datastores)
    assert found <= set(datastores)
    if target.fake is not None:
        assert policy == POLICY
        assert {datastores[moref] for moref in found} == {"DC0_DS0"}
    for moref in datastores:
        assert policies.compliant_datastores(profile, [moref]) == found & {moref}
    assert policies.compliant_datastores(profile, []) == set()


def test_policies_survive_a_lost_session(session: Session, policy: str, unknown: str) -> None:
    policies = StoragePolicies(session)
    policies.profile_id(policy)
    end_session(session)

    with pytest.raises(errors.ConfigError):
        policies.profile_id(unknown)
    assert policies.profile_id(policy)

"""Storage policies."""

from __future__ import annotations

import pytest

from tests.contract.vcenters import POLICY, Target
from tests.contract.vim.conftest import end_session
from vmdk_cache import errors
from vmdk_cache.vim import inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies

OF_VCSIM = "vSAN Default Storage Policy"


def policy_of(target: Target) -> str:
    return POLICY if target.fake is not None else OF_VCSIM


def test_a_policy_has_an_id(target: Target, session: Session) -> None:
    assert StoragePolicies(session).profile_id(policy_of(target))


def test_an_unknown_policy_is_a_config_error_that_lists_the_known(
    target: Target, session: Session
) -> None:
    with pytest.raises(errors.ConfigError, match=f"'platinum'.*{policy_of(target)}"):
        StoragePolicies(session).profile_id("platinum")


def test_datastores_that_comply_are_told_apart(target: Target, session: Session) -> None:
    """vcsim does not implement PbmQueryMatchingHub."""
    policies = StoragePolicies(session)
    profile = policies.profile_id(policy_of(target))
    datastores = {item.name: item.moref for item in inventory.snapshot(session).datastores}

    if target.name == "vcsim":
        with pytest.raises(errors.NotSupported):
            policies.compliant_datastores(profile, datastores.values())
        return

    found = policies.compliant_datastores(profile, datastores.values())
    assert found == {datastores["DC0_DS0"]}
    assert policies.compliant_datastores(profile, []) == set()


def test_policies_survive_a_lost_session(target: Target, session: Session) -> None:
    policies = StoragePolicies(session)
    policies.profile_id(policy_of(target))
    end_session(session)

    with pytest.raises(errors.ConfigError):
        policies.profile_id("platinum")
    assert policies.profile_id(policy_of(target))

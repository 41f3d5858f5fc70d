"""Storage policies of recorded vCenters."""

from __future__ import annotations

import pytest

from tests.recordings.conftest import Open
from vmdk_cache import errors
from vmdk_cache.vim.storage_policy import StoragePolicies


def test_a_policy_is_found_by_its_name(opened: Open) -> None:
    session, replay = opened("pyvmomi-pbm-check-compatibility.json")

    found = StoragePolicies(session).profile_id("test-profile")

    assert found == "acb83785-c4ba-4eb9-9830-dd086941e9cd"
    asked = [request for request in replay.requests if request.question.service == "pbm"]
    assert [request.question.method for request in asked] == [
        "PbmRetrieveServiceContent",
        "PbmQueryProfile",
        "PbmRetrieveContent",
    ]
    (session_id,) = {request.header for request in asked}
    assert session.cookie() == f'vmware_soap_session="{session_id}"'


def test_a_policy_that_does_not_exist_is_refused_with_the_names_of_those_that_do(
    opened: Open,
) -> None:
    session, _ = opened("pyvmomi-pbm-check-compatibility.json")
    with pytest.raises(errors.ConfigError) as refused:
        StoragePolicies(session).profile_id("gold")
    for name in ("Virtual SAN Default Storage Policy", "test-profile"):
        assert name in str(refused.value)


def test_a_vcenter_without_policies_says_so(opened: Open) -> None:
    session, _ = opened("manageiq-refresher.json")
    with pytest.raises(errors.ConfigError, match=r"existing policies: \(none\)"):
        StoragePolicies(session).profile_id("gold")

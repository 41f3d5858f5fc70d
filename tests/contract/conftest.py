"""Fixtures of the contract suites: each test runs on every vCenter that we have, or on the given
one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.tmpdir import tmppath_result_key

from tests.contract.vcenters import IS_GIVEN, PARAMETERS, STARTS, Target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With a given vCenter, skip tests that need no vCenter, or a fake of their own."""
    for item in items:
        marker = item.get_closest_marker("not_on_a_given_vcenter")
        if IS_GIVEN and marker is not None:
            item.add_marker(pytest.mark.skip(reason=marker.args[0]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without this, ``tmp_path`` ends in a KeyError if the test's setup is interrupted."""
    item.stash.setdefault(tmppath_result_key, {})


@pytest.fixture(scope="session", params=PARAMETERS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A running vCenter, shared by all tests: use only objects of your own."""
    with STARTS[request.param]() as running:
        yield running

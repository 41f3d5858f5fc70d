"""Fixtures of the contract suites: each test runs on every vCenter that we have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.vcenters import Target, running_fake, running_vcsim


@pytest.fixture(scope="session", params=["fake", pytest.param("vcsim", marks=pytest.mark.vcsim)])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A running vCenter, shared by all tests: keep to objects of your own."""
    start = running_fake if request.param == "fake" else running_vcsim
    with start() as running:
        yield running

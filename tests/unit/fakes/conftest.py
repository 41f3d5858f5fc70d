"""A running fake vCenter whose own errors fail the test, and a logged-in client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.vcenter import Model, VCenter
from tests.unit.fakes.vcenter_client import Client, connect


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    with VCenter(Model(hosts_per_cluster=2, datastores=2)) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def client(vcenter: VCenter) -> Client:
    return connect(vcenter)

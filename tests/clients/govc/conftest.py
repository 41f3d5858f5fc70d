"""Fixtures: a fake vCenter for each test file, and govc, which talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.govc import runner
from tests.clients.govc.runner import Govc
from tests.fakes.vcenter import Model, VCenter


@pytest.fixture(scope="module")
def vcenter(request: pytest.FixtureRequest) -> Iterator[VCenter]:
    """With the inventory ``MODEL`` of the test file, shared by its tests: use own objects."""
    with VCenter(getattr(request.module, "MODEL", None) or Model()) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of govc, which keeps its session there from one command to the next."""
    return tmp_path_factory.mktemp("govc")


@pytest.fixture
def govc(vcenter: VCenter, home: Path) -> Iterator[Govc]:
    """The commands that a test runs; afterwards the fake has met no error of its own."""
    runner.require()
    yield Govc(vcenter, home)
    errors = [str(error) for error in vcenter.errors]
    vcenter.errors.clear()
    assert errors == []

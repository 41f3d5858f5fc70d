"""A failed end-to-end test prints the logs of its stack."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.stack.client import CinderClient


@pytest.fixture(scope="module")
def alice(running: Cloud) -> CinderClient:
    """A user without the admin role, on the cloud that the test's module calls ``running``."""
    return running.cinder.as_user("alice", "project-a")


@pytest.fixture(scope="module")
def bob(running: Cloud) -> CinderClient:
    """Like alice, in another project."""
    return running.cinder.as_user("bob", "project-b")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        fixtures: dict[str, Any] = getattr(item, "funcargs", {})
        for fixture in fixtures.values():
            if isinstance(fixture, Cloud):
                errors = "\n".join(str(error) for error in fixture.vcenter.errors)
                report.sections.append(("errors of the fake vCenter", errors or "none"))
                report.sections.append(("logs of the stack", fixture.openstack.logs()))
                break
    return report

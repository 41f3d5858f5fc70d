"""A failed end-to-end test shows the logs of its stack."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.e2e.stack.openstack import OpenStack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        fixtures: dict[str, Any] = getattr(item, "funcargs", {})
        for fixture in fixtures.values():
            stack = getattr(fixture, "openstack", fixture)
            if isinstance(stack, OpenStack):
                report.sections.append(("logs of the stack", stack.logs()))
                break
    return report

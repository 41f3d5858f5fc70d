"""A failed end-to-end test shows the logs of its stack."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.e2e.cloud import Cloud


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

"""The last words of a check."""

from __future__ import annotations

import argparse

import pytest

from vmdk_cache.cache.findings import Report
from vmdk_cache.cli.check import summary


@pytest.mark.parametrize(
    ("directories", "machines", "found", "says"),
    [
        (True, 230, 0, "12 templates, 2 datastores and 230 volumes of vmware1: nothing to report"),
        (True, None, 0, "12 templates and 2 datastores of vmware1: nothing to report"),
        (False, 1, 0, "12 templates and 1 volume of vmware1: nothing to report"),
        (False, None, 3, "12 templates of vmware1: 3 findings"),
    ],
)
def test_it_names_only_what_it_looked_at(
    directories: bool, machines: int | None, found: int, says: str
) -> None:
    wanted = argparse.Namespace(directories=directories)
    report = Report((), templates=12, datastores=2)
    assert summary("vmware1", wanted, report, machines, found) == f"looked at {says}"

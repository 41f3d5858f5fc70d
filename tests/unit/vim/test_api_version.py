"""The newest vSphere API that vCenter and pyVmomi both know is spoken."""

from __future__ import annotations

import pytest
from pyVmomi import VmomiSupport

from vmdk_cache.vim.api_version import OLDEST_VERSION, is_at_least, newest_version


def number_of(version: str) -> str:
    return str(VmomiSupport.GetVersionNamespace(version)).partition("/")[2]


@pytest.mark.parametrize("api_version", ["6.5", "6.7.3", "7.0.0.0", "7.0.1.0", "8.0.0.0"])
def test_the_version_of_vcenter_is_spoken_if_pyvmomi_knows_it(api_version: str) -> None:
    assert number_of(newest_version(api_version)) == api_version


@pytest.mark.parametrize(
    ("newer", "known"), [("6.5.9", "6.5"), ("6.7.99", "6.7.3"), ("7.0", "7.0.0.0")]
)
def test_a_version_that_pyvmomi_does_not_know_is_met_from_below(newer: str, known: str) -> None:
    assert number_of(newest_version(newer)) == known


def test_of_a_vcenter_from_the_future_pyvmomis_newest_is_spoken() -> None:
    numbers = [
        tuple(map(int, number.split(".")))
        for namespace, _, number in (name.partition("/") for name in VmomiSupport.versionMap)
        if namespace == "vim25" and number.replace(".", "").isdecimal()
    ]
    newest = number_of(newest_version("99.0"))
    assert tuple(map(int, newest.split("."))) == max(numbers)


@pytest.mark.parametrize("older", ["", "5.5", "6.0"])
def test_the_oldest_version_is_spoken_with_what_is_older(older: str) -> None:
    assert newest_version(older) == OLDEST_VERSION


@pytest.mark.parametrize(
    ("api_version", "number", "expected"),
    [
        ("6.7", "6.7", True),
        ("6.7.3", "6.7", True),
        ("8.0.2.0", "6.7", True),
        ("10.0", "6.7", True),
        ("6.5", "6.7", False),
        ("6.7", "6.7.1", False),
        ("", "6.7", False),
    ],
)
def test_versions_are_compared_number_by_number(
    api_version: str, number: str, expected: bool
) -> None:
    assert is_at_least(api_version, number) is expected

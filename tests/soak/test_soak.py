"""A short soak; the long one is ``make soak``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.soak.readings import Reading, growth, sizes
from vmdk_cache.cache.templates_in_use import TemplatesInUse


@pytest.mark.timeout(900)
def test_creating_and_deleting_volumes_with_faults_leaves_nothing() -> None:
    """In a process of its own: what other tests left in this one's memory grows by itself."""
    soak = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.soak", "--volumes=300", "--readings=6"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert soak.returncode == 0, soak.stdout + soak.stderr


def test_what_grows_is_named() -> None:
    def reading(volumes: int, **changes: int) -> Reading:
        taken = {"threads": 3, "descriptors": 9, "sockets": 2, "sessions": 1, "objects": 50_000}
        return Reading(volumes, 80.0, **{**taken, **changes}, sizes={"Index.rows": volumes})

    grown = [reading(n * 100, threads=n, sockets=2 * n, sessions=n) for n in range(9)]
    assert [complaint.split(":")[0] for complaint in growth(grown)] == [
        "threads",
        "sockets",
        "sessions",
        "Index.rows",
    ]


def test_containers_of_the_packages_objects_are_counted() -> None:
    templates = TemplatesInUse()
    assert sizes(templates)["TemplatesInUse._deleting"] == 0
    with templates.deleting("vm-1"):
        assert sizes(templates)["TemplatesInUse._deleting"] == 1

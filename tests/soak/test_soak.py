"""A short soak; the long one is ``make soak``."""

from __future__ import annotations

import pathlib

import pytest

from tests.soak.readings import Reading, growth, sizes
from tests.soak.workload import Soak
from vmdk_cache.cache.lease import LeaseBook


@pytest.mark.timeout(300)
def test_creating_and_deleting_volumes_with_faults_leaves_nothing(tmp_path: pathlib.Path) -> None:
    soak = Soak(seed=1, volumes=300, readings_taken=6, directory=tmp_path)
    readings = list(soak.run())
    assert soak.lost == []
    assert growth(readings) == []
    assert soak.faults > 0
    assert soak.outcomes["made"] >= 270, soak.outcomes


def test_what_grows_is_named() -> None:
    def reading(volumes: int, **changes: int) -> Reading:
        taken = {"threads": 3, "descriptors": 9, "sockets": 2, "sessions": 1, "objects": 50_000}
        return Reading(volumes, 80.0, **{**taken, **changes}, sizes={"Index.rows": volumes})

    grown = [reading(n * 100, threads=n, sessions=n) for n in range(9)]
    assert [complaint.split(":")[0] for complaint in growth(grown)] == [
        "threads",
        "sessions",
        "Index.rows",
    ]


def test_containers_of_the_packages_objects_are_counted() -> None:
    book = LeaseBook()
    assert sizes(book)["LeaseBook._condemned"] == 0
    with book.condemn("vm-1"):
        assert sizes(book)["LeaseBook._condemned"] == 1

"""The space of templates on each datastore."""

from __future__ import annotations

import pytest

from tests.fakes.entries import GIB, entry
from vmdk_cache.cache.capacity import Capacity, capacity_by_datastore, provisioned_gib
from vmdk_cache.cache.entry import CacheEntry, Phase


def on(datastore: str | None, phase: Phase = Phase.READY, size_gib: int = 2) -> CacheEntry:
    return entry("vm-1", phase=phase, datastore=datastore, size_gib=size_gib, unshared_gib=1)


def test_an_import_under_way_counts_like_a_template() -> None:
    assert capacity_by_datastore(
        [on("ds-1"), on("ds-1", Phase.IMPORTING), on("ds-1", Phase.ADOPTED)]
    ) == (Capacity("ds-1", 6 * GIB, 3 * GIB, templates=2, imports=1),)


def test_foreign_vms_do_not_count() -> None:
    assert capacity_by_datastore([on("ds-1", Phase.FOREIGN)]) == ()


def test_datastores_are_summed_apart_and_one_that_is_not_known_is_not_lost() -> None:
    summed = capacity_by_datastore([on("ds-2"), on(None), on("ds-1", size_gib=5)])
    assert [(part.datastore, part.provisioned_bytes) for part in summed] == [
        (None, 2 * GIB),
        ("ds-1", 5 * GIB),
        ("ds-2", 2 * GIB),
    ]


@pytest.mark.parametrize(
    ("sizes", "gib"),
    [([], 0), ([1], 1), ([GIB], 1), ([GIB + 1], 2), ([GIB // 2, GIB // 2], 1), ([1, 1, GIB], 2)],
)
def test_only_the_sum_is_rounded_up(sizes: list[int], gib: int) -> None:
    assert provisioned_gib(sizes) == gib

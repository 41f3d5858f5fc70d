from __future__ import annotations

from vmdk_cache.cache.capacity import Capacity, capacity_by_datastore
from vmdk_cache.cache.entry import CacheEntry, Phase

GIB = 1 << 30


def entry(phase: Phase, datastore: str | None, size_bytes: int = GIB) -> CacheEntry:
    return CacheEntry("vm-1", "x", phase, None, datastore, 2000, size_bytes, unshared_bytes=7)


def test_an_import_under_way_counts_like_a_template() -> None:
    assert capacity_by_datastore(
        [entry(Phase.READY, "ds-1"), entry(Phase.IMPORTING, "ds-1"), entry(Phase.ADOPTED, "ds-1")]
    ) == (Capacity("ds-1", 3 * GIB, 21, templates=2, imports=1),)


def test_what_is_not_ours_does_not_count() -> None:
    assert capacity_by_datastore([entry(Phase.FOREIGN, "ds-1")]) == ()


def test_datastores_are_summed_apart_and_one_that_is_not_known_is_not_lost() -> None:
    summed = capacity_by_datastore(
        [entry(Phase.READY, "ds-2"), entry(Phase.READY, None), entry(Phase.READY, "ds-1", 5)]
    )
    assert [(part.datastore, part.provisioned_bytes) for part in summed] == [
        (None, GIB),
        ("ds-1", 5),
        ("ds-2", GIB),
    ]

"""The space that the cache uses, on each datastore and in all: pure sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmdk_cache.cache.entry import CacheEntry, Phase

GIB = 1 << 30


@dataclass(frozen=True)
class Capacity:
    """The space that the cache uses on one datastore.

    :ivar datastore: moref, None for entries whose datastore vCenter does not report
    :ivar provisioned_bytes: the capacity of all disks: what they may grow to
    :ivar unshared_bytes: space that deleting all of them frees, as of vCenter's last look
    :ivar templates: ours, and those of sapcc/cinder's cache
    :ivar imports: under way or abandoned
    """

    datastore: str | None
    provisioned_bytes: int = 0
    unshared_bytes: int = 0
    templates: int = 0
    imports: int = 0


def capacity_by_datastore(entries: Iterable[CacheEntry]) -> tuple[Capacity, ...]:
    """One for each datastore that holds entries of ours, sorted; FOREIGN ones do not count."""
    counted: dict[str | None, Capacity] = {}
    for entry in entries:
        if entry.phase is Phase.FOREIGN:
            continue
        before = counted.get(entry.datastore, Capacity(entry.datastore))
        importing = entry.phase is Phase.IMPORTING
        counted[entry.datastore] = Capacity(
            datastore=entry.datastore,
            provisioned_bytes=before.provisioned_bytes + entry.size_bytes,
            unshared_bytes=before.unshared_bytes + entry.unshared_bytes,
            templates=before.templates + (not importing),
            imports=before.imports + importing,
        )
    return tuple(sorted(counted.values(), key=lambda capacity: capacity.datastore or ""))


def provisioned_gib(sizes_bytes: Iterable[int]) -> int:
    """The sum of the sizes in GiB, rounded up once, at the end."""
    return -(-sum(sizes_bytes) // GIB)

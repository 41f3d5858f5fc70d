"""Cache entries for tests of decisions: one VM per line; times are seconds before NOW."""

from __future__ import annotations

import datetime
from typing import Any

from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.record import Record

GIB = 1 << 30
NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


def ago(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else NOW - datetime.timedelta(seconds=seconds)


def entry(
    moref: str,
    age_s: float | None = 0,
    *,
    used_s: float | None = None,
    warmed_s: float | None = None,
    phase: Phase = Phase.READY,
    image: str | None = None,
    fingerprint: str = "f1",
    adapter: str = "lsiLogic",
    size_gib: int = 10,
    unshared_gib: int | None = None,
    datastore: str | None = "ds1",
    owner: Owner = Owner.OURS,
    **known: Any,
) -> CacheEntry:
    """One VM; by default, the only template of its own image.

    :param known: further fields of the entry
    """
    key = CacheKey(image or f"image-of-{moref}", fingerprint, adapter)
    created = ago(age_s)
    record = None
    if phase in (Phase.READY, Phase.IMPORTING):
        assert created is not None, "a record says when it was created"
        record = Record("b1", key, size_gib * GIB, created, "host:1")
    return CacheEntry(
        moref,
        template_name("b1", key),
        phase,
        record,
        datastore,
        2000,
        size_gib * GIB,
        (size_gib if unshared_gib is None else unshared_gib) * GIB,
        created,
        ago(used_s),
        ago(warmed_s),
        owner=owner,
        **known,
    )

"""Which templates go, and why: a pure plan that can be shown before it is carried out."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from vmdk_cache.cache.entry import CacheEntry, Phase


@dataclass(frozen=True)
class Verdict:
    """One entry and the reason, in words, for keeping or removing it."""

    entry: CacheEntry
    reason: str


@dataclass(frozen=True)
class EvictionPlan:
    """Every entry is in exactly one of the two."""

    keep: tuple[Verdict, ...]
    remove: tuple[Verdict, ...]


@dataclass(frozen=True)
class Policy:
    """When an entry has to go.

    :ivar age_s: a template older than this goes; 0 = never
    """

    age_s: int


def plan_eviction(
    entries: Iterable[CacheEntry], now: datetime.datetime, policy: Policy
) -> EvictionPlan:
    """Sort ``entries`` into those to keep and those to remove.

    The caller must look again at each entry, under its lock, before removing it.
    """
    keep: list[Verdict] = []
    remove: list[Verdict] = []
    for entry in entries:
        expired, reason = _judge(entry, now, policy)
        (remove if expired else keep).append(Verdict(entry, reason))
    return EvictionPlan(tuple(keep), tuple(remove))


def _judge(entry: CacheEntry, now: datetime.datetime, policy: Policy) -> tuple[bool, str]:
    if entry.phase is Phase.FOREIGN:
        return False, "not a template of this cache"
    if entry.phase is Phase.IMPORTING:
        return False, "import in progress"
    age = entry.age(now)
    assert age is not None, entry
    age_s = age.total_seconds()
    if policy.age_s == 0:
        return False, f"{age_s:.0f} s old, expiry is off"
    if age_s > policy.age_s:
        return True, f"{age_s:.0f} s old, older than {policy.age_s} s"
    return False, f"{age_s:.0f} s old, younger than {policy.age_s} s"

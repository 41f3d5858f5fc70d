"""Which templates are evicted, and why: pure plans that can be shown before they are carried out.

    plan_eviction   what a purge removes: altered, expired, superseded, stale, over a limit
    plan_requested  what an operator wants removed
    plan_room       what to evict so that one more template fits; refuses an image that never fits
                    BEFORE anything is evicted

Every entry gets a reason, kept or removed. Limits are independent of each other. Within a limit the
entry used longest ago goes first, but any spare copy goes before the last copy of any image: to
lose a spare copy costs a clone across datastores, to lose the last one an import. Entries that are
not ours, being imported or in use are never candidates, but an import counts for every limit. A
replica is an entry like any other: it has its template's age and its own uses.

Images to keep warm (cache/context.py) go last. A limit that is exceeded takes the last copy of such
an image only when no other candidate is left. An import never does, because the image would be
imported again at once. So when the marked images exceed a limit, those that were imported first
stay.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from vmdk_cache import conf, errors
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.supersession import Supersession
from vmdk_cache.quoting import quoted

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
#: Templates of ours that no volume is cloned from.
_NOT_SERVED = (Phase.ADOPTED, Phase.ALTERED)
#: One request evicts at most this many, because a user is waiting for it.
MAX_REMOVALS_FOR_ROOM = 5


@dataclass(frozen=True)
class Verdict:
    """One entry and the reason, in words, for keeping or removing it.

    :ivar rule: why it is removed; None for an entry that is kept
    """

    entry: CacheEntry
    reason: str
    rule: Rule | None = None


@dataclass(frozen=True)
class EvictionPlan:
    """Every entry is in exactly one of the two."""

    keep: tuple[Verdict, ...]
    remove: tuple[Verdict, ...]


@dataclass(frozen=True)
class Space:
    """A datastore that the backend uses."""

    capacity_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Policy:
    """When an entry has to go; 0 switches each rule off (see the options of the same names)."""

    age_s: int = 0
    expiry: str = conf.EXPIRY_AGE
    max_count: int = 0
    max_total_bytes: int = 0
    max_percent: int = 0
    min_free_percent: int = 0

    @classmethod
    def of(cls, settings: conf.Settings) -> Policy:
        return cls(
            age_s=settings.age_s,
            expiry=settings.expiry,
            max_count=settings.max_count,
            max_total_bytes=settings.max_total_bytes,
            max_percent=settings.max_percent,
            min_free_percent=settings.min_free_percent,
        )

    @property
    def has_limits(self) -> bool:
        """Whether an import may have to make room first."""
        return bool(
            self.max_count or self.max_total_bytes or self.max_percent or self.min_free_percent
        )

    @property
    def needs_space(self) -> bool:
        """Whether the datastores must be looked at."""
        return bool(self.max_percent or self.min_free_percent)


@dataclass
class _Tally:
    """The totals that limits apply to; entries are taken away as the plan removes them."""

    policy: Policy
    spaces: dict[str, Space]
    count: int = 0
    total_bytes: int = 0
    freed_bytes: dict[str, int] = field(default_factory=dict)
    copies: Counter[CacheKey] = field(default_factory=Counter)

    def add(self, size_bytes: int) -> None:
        self.count += 1
        self.total_bytes += size_bytes

    def add_entry(self, entry: CacheEntry) -> None:
        self.add(entry.size_bytes)
        if entry.phase is Phase.READY and entry.record is not None:
            self.copies[entry.record.key] += 1

    def is_spare(self, entry: CacheEntry) -> bool:
        """Whether the image has another copy."""
        return entry.record is not None and self.copies[entry.record.key] > 1

    def take_away(self, entry: CacheEntry) -> None:
        if entry.record is not None:
            self.copies[entry.record.key] -= 1
        self.count -= 1
        self.total_bytes -= entry.size_bytes
        if entry.datastore is not None:
            freed = self.freed_bytes.get(entry.datastore, 0) + entry.unshared_bytes
            self.freed_bytes[entry.datastore] = freed

    def budget_bytes(self) -> list[tuple[str, int]]:
        """Each limit on the total that is in force: option and bytes."""
        policy = self.policy
        budgets = []
        if policy.max_total_bytes:
            budgets.append(("image_cache_max_total_gb", policy.max_total_bytes))
        capacity = sum(space.capacity_bytes for space in self.spaces.values())
        if policy.max_percent and capacity:  # none to be seen is not none there is
            budgets.append(("image_cache_max_percent", capacity * policy.max_percent // 100))
        return budgets

    def exceeded(self, datastore: str | None = None, wanted_bytes: int = 0) -> str | None:
        """The option whose limit is exceeded by the whole cache or on this datastore, or None.

        :param wanted_bytes: what the new template will take from the datastore
        """
        policy = self.policy
        if policy.max_count and self.count > policy.max_count:
            return "image_cache_max_count"
        for option, budget in self.budget_bytes():
            if self.total_bytes > budget:
                return option
        if policy.min_free_percent and datastore in self.spaces:
            space = self.spaces[datastore]
            free = space.free_bytes + self.freed_bytes.get(datastore, 0) - wanted_bytes
            if free * 100 < space.capacity_bytes * policy.min_free_percent:
                return "image_cache_min_free_percent"
        return None


def plan_eviction(
    entries: Iterable[CacheEntry],
    now: datetime.datetime,
    policy: Policy,
    *,
    spaces: Mapping[str, Space] | None = None,
    stale: Mapping[str, str] | None = None,
    in_use: Collection[str] = (),
    kept: Collection[str] = (),
) -> EvictionPlan:
    """Sort ``entries`` into those to keep and those to remove.

    The caller must look again at each entry, under its lock, before removing it.

    :param spaces: the backend's datastores by managed object id; needed for the percent limits
    :param stale: managed object id -> why this copy may not be served any more
    :param in_use: managed object ids of templates that are being cloned
    :param kept: ids of the images to keep warm
    """
    everything = list(entries)
    stale = stale or {}
    supersession = Supersession(entry for entry in everything if entry.moref not in stale)
    keep: list[Verdict] = []
    remove: list[Verdict] = []
    candidates: list[CacheEntry] = []
    tally = _Tally(policy, dict(spaces or {}))
    for entry in everything:
        rule, reason = _judge(entry, now, policy, stale, supersession, in_use)
        if rule is not None:
            remove.append(Verdict(entry, reason, rule))
            tally.freed_bytes[entry.datastore or ""] = (
                tally.freed_bytes.get(entry.datastore or "", 0) + entry.unshared_bytes
            )
            continue
        keep.append(Verdict(entry, reason))
        if entry.phase is not Phase.FOREIGN:
            tally.add_entry(entry)
        if _is_candidate(entry, in_use):
            candidates.append(entry)
    candidates.sort(key=lambda entry: (entry.image_id in kept, _last_use(entry)))
    surplus = _surplus(candidates, tally)
    gone = {verdict.entry.moref for verdict in surplus}
    return EvictionPlan(
        tuple(verdict for verdict in keep if verdict.entry.moref not in gone),
        (*remove, *surplus),
    )


def plan_requested(
    entries: Iterable[CacheEntry],
    image_ids: Collection[str] | None,
    *,
    in_use: Collection[str] = (),
) -> EvictionPlan:
    """As :func:`plan_eviction`, for an operator who wants images out of the cache at any age.

    :param image_ids: None: all
    """
    keep: list[Verdict] = []
    remove: list[Verdict] = []
    for entry in entries:
        if not _is_candidate(entry, in_use):
            _, why = _judge(entry, _EPOCH, Policy(), {}, Supersession(), in_use)
            keep.append(Verdict(entry, why))
        elif image_ids is None or entry.image_id in image_ids:
            remove.append(Verdict(entry, "asked for", Rule.REQUESTED))
        else:
            keep.append(Verdict(entry, "not asked for"))
    return EvictionPlan(tuple(keep), tuple(remove))


def plan_room(
    entries: Iterable[CacheEntry],
    size_bytes: int,
    datastore: str,
    policy: Policy,
    *,
    spaces: Mapping[str, Space] | None = None,
    in_use: Collection[str] = (),
    kept: Collection[str] = (),
) -> tuple[Verdict, ...]:
    """What to remove so that a template of ``size_bytes`` fits on ``datastore``.

    :param kept: ids of images whose last copy stays
    :raises NotCacheable: it does not fit, or only by evicting more than a request may
    """
    everything = [entry for entry in entries if entry.phase is not Phase.FOREIGN]
    tally = _Tally(policy, dict(spaces or {}))
    for option, budget in tally.budget_bytes():
        if size_bytes > budget:
            raise errors.NotCacheable(
                Reason.IMAGE_TOO_LARGE,
                f"a template of {size_bytes / 2**30:.4g} GiB exceeds {option} by itself",
            )
    for entry in everything:
        tally.add_entry(entry)
    tally.add(size_bytes)
    candidates = sorted(
        (entry for entry in everything if _is_candidate(entry, in_use)), key=_last_use
    )
    removed: list[Verdict] = []
    while exceeded := tally.exceeded(datastore, size_bytes):
        oldest = _next(candidates, exceeded, datastore, tally, kept)
        if oldest is None or len(removed) == MAX_REMOVALS_FOR_ROOM:
            raise errors.NotCacheable(
                Reason.NO_ROOM,
                f"a template of {size_bytes / 2**30:.4g} GiB would exceed {exceeded}, and "
                f"{'nothing more' if oldest is None else 'too little'} can be removed for it",
            )
        candidates.remove(oldest)
        tally.take_away(oldest)
        removed.append(Verdict(oldest, f"makes room: {exceeded} would be exceeded", Rule.ROOM))
    return tuple(removed)


def _next(
    candidates: list[CacheEntry],
    option: str,
    datastore: str | None,
    tally: _Tally,
    kept: Collection[str] = (),
) -> CacheEntry | None:
    """The candidate whose removal helps to keep ``option``: entries that are not served come first,
    then spare copies, then the others; within each the one used longest ago.

    :param candidates: by their last use
    :param kept: ids of images whose last copy stays
    """
    everywhere = option != "image_cache_min_free_percent"
    helpful = [entry for entry in candidates if everywhere or entry.datastore == datastore]
    spare = (e for e in helpful if e.phase in _NOT_SERVED or tally.is_spare(e))
    last = (entry for entry in helpful if entry.image_id not in kept)
    return next(spare, None) or next(last, None)


def _surplus(candidates: list[CacheEntry], tally: _Tally) -> list[Verdict]:
    """The candidates to remove because of a limit, one limit after another."""
    surplus = []
    for datastore in (None, *sorted(tally.spaces)):
        while option := tally.exceeded(datastore):
            entry = _next(candidates, option, datastore, tally)
            if entry is None:
                break
            why = "its image has another copy" if tally.is_spare(entry) else "used longest ago"
            candidates.remove(entry)
            tally.take_away(entry)
            surplus.append(Verdict(entry, f"{why}, {option} is exceeded", Rule.LIMIT))
    return surplus


def _is_candidate(entry: CacheEntry, in_use: Collection[str]) -> bool:
    return entry.phase in (Phase.READY, *_NOT_SERVED) and entry.moref not in in_use


def _last_use(entry: CacheEntry) -> datetime.datetime:
    """Entries that are not served come before all others."""
    if entry.phase in _NOT_SERVED:
        return _EPOCH
    times = (entry.created_at, entry.used_at, entry.warmed_at)
    return max((time for time in times if time is not None), default=_EPOCH)


def _judge(
    entry: CacheEntry,
    now: datetime.datetime,
    policy: Policy,
    stale: Mapping[str, str],
    supersession: Supersession,
    in_use: Collection[str],
) -> tuple[Rule | None, str]:
    if entry.owner is Owner.ANOTHER:
        return None, f"a template of another deployment, {quoted(entry.deployment)}"
    if entry.phase is Phase.FOREIGN:
        return None, "not a template of this cache"
    if entry.phase is Phase.IMPORTING:
        return None, "import in progress"
    if entry.moref in in_use:
        return None, "being cloned"
    if entry.phase is Phase.ALTERED:
        return Rule.ALTERED, "altered by hand: its disk has other content than when it became ready"
    if entry.moref in stale:
        return Rule.STALE, stale[entry.moref]
    newer = supersession.of(entry)
    if newer is not None:
        return Rule.SUPERSEDED, f"superseded by {quoted(newer.name)}: the image has changed"
    twin = supersession.twin_of(entry)
    if twin is not None:
        return Rule.SUPERSEDED, f"superfluous: {quoted(twin.name)} is on the same datastore"
    return _judge_age(entry, now, policy)


def _judge_age(
    entry: CacheEntry, now: datetime.datetime, policy: Policy
) -> tuple[Rule | None, str]:
    since = _aged_from(entry, policy)
    if since is None:
        return None, "its age is not known"
    idle = policy.expiry == conf.EXPIRY_IDLE
    age = f"{(now - since).total_seconds():.0f} s {'unused' if idle else 'old'}"
    if policy.age_s == 0:
        return None, f"{age}, expiry is off"
    if (now - since).total_seconds() > policy.age_s:
        return Rule.EXPIRED, f"{age}, more than {policy.age_s} s"
    return None, f"{age}, less than {policy.age_s} s"


def expires_at(entry: CacheEntry, policy: Policy) -> datetime.datetime | None:
    """When the entry expires, aware UTC; None if expiry is off or beyond what dates can express, or
    if its age is unknown."""
    since = _aged_from(entry, policy)
    if since is None or policy.age_s == 0:
        return None
    try:
        return since + datetime.timedelta(seconds=policy.age_s)
    except OverflowError:
        return None


def _aged_from(entry: CacheEntry, policy: Policy) -> datetime.datetime | None:
    times = [entry.created_at, entry.warmed_at]
    if policy.expiry == conf.EXPIRY_IDLE:
        times.append(entry.used_at)
    return max((time for time in times if time is not None), default=None)

"""Which templates to remove, and why: pure plans, shown before they are carried out.

    plan_eviction   what a purge removes: altered, expired, superseded, stale, over a limit
    plan_requested  what an operator wants removed
    plan_evacuation what an operator wants removed from some datastores
    plan_room       what to evict so that one more template fits; refuses an image that never fits
                    BEFORE anything is evicted

Every entry gets a reason, kept or removed. Limits are independent of each other. Within a limit the
entry used longest ago goes first, but any spare copy goes before the last copy of any image: losing
a spare copy costs a clone across datastores, losing the last one an import. Entries that are
not ours, being imported or in use are never candidates, but an import counts for every limit. A
replica is an entry like any other: it has its template's age and its own uses.

A pinned image (cache/pin.py) keeps its templates, whatever their age and whatever the limits; they
count for the limits. A pin makes no template useful that can no longer be served: what is altered,
stale or superseded goes.

Images to keep warm (cache/context.py) go last. A limit that is exceeded takes the last copy of such
an image only when no other candidate is left. An import never does, because the image would be
imported again at once. So when the marked images exceed a limit, those that were imported first
stay.

A copy is stale if Glance has deleted, deactivated or changed its image, and superseded if there is
a newer copy of its image with other content. It is never served by mistake meanwhile: each request
brings the image as it is now, and a changed image has another key (cache/key.py).

This cloud's Glance knows only its own images, so it says nothing about a copy that may belong to
another cloud. Such a copy is known to be ours when our Glance has exactly its image, content
included.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from vmdk_cache import conf, errors
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase, latest, pins_of
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.key import CacheKey, fingerprint
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings
from vmdk_cache.image import ACTIVE, Image
from vmdk_cache.quoting import quoted

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
#: Copies of images, as far as Glance decides about them.
_COPIES = (Phase.READY, Phase.ADOPTED)
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
    """Every entry is in exactly one of the two.

    :ivar made_at: vCenter's time that ages were judged at, aware UTC; None if none was
    """

    keep: tuple[Verdict, ...]
    remove: tuple[Verdict, ...]
    made_at: datetime.datetime | None = None


@dataclass(frozen=True)
class EvacuationPlan(EvictionPlan):
    """A plan that takes templates off datastores.

    :ivar needed: morefs of those to remove that go only once their image has a copy elsewhere
    :ivar copy_first: the keys of these that have none yet
    """

    needed: frozenset[str] = frozenset()
    copy_first: frozenset[CacheKey] = frozenset()


@dataclass
class _Tally:
    """The totals that limits apply to; entries are taken away as the plan removes them."""

    settings: Settings
    spaces: dict[str, Space]
    count: int = 0
    total_bytes: int = 0
    freed_bytes: Counter[str] = field(default_factory=Counter)
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
        self.free(entry)

    def free(self, entry: CacheEntry) -> None:
        if entry.datastore is not None:
            self.freed_bytes[entry.datastore] += entry.unshared_bytes

    def budget_bytes(self) -> list[tuple[str, int]]:
        """Each limit on the total that is in force: option and bytes."""
        settings = self.settings
        budgets = []
        if settings.max_total_bytes:
            budgets.append(("image_cache_max_total_gb", settings.max_total_bytes))
        capacity = sum(space.capacity_bytes for space in self.spaces.values())
        if settings.max_percent and capacity:  # no visible datastore does not mean no capacity
            budgets.append(("image_cache_max_percent", capacity * settings.max_percent // 100))
        return budgets

    def exceeded(self, datastore: str | None = None, new_bytes: int = 0) -> str | None:
        """The option whose limit is exceeded by the whole cache or on this datastore, or None.

        :param new_bytes: what the new template will take from the datastore
        """
        settings = self.settings
        if settings.max_count and self.count > settings.max_count:
            return "image_cache_max_count"
        for option, budget in self.budget_bytes():
            if self.total_bytes > budget:
                return option
        if settings.min_free_percent and datastore in self.spaces:
            space = self.spaces[datastore]
            free = space.free_bytes + self.freed_bytes[datastore] - new_bytes
            if free * 100 < space.capacity_bytes * settings.min_free_percent:
                return "image_cache_min_free_percent"
        return None


def plan_eviction(
    entries: Iterable[CacheEntry],
    now: datetime.datetime,
    settings: Settings,
    *,
    spaces: Mapping[str, Space] | None = None,
    stale: Mapping[str, str] | None = None,
    in_use: Collection[str] = (),
    kept: Collection[str] = (),
) -> EvictionPlan:
    """Sort ``entries`` into those to keep and those to remove.

    The caller must look again at each entry, under its lock, before removing it.

    :param spaces: the backend's datastores by moref; needed for the percent limits
    :param stale: moref -> why this copy may not be served any more
    :param in_use: morefs of templates that are being cloned, or that volumes wait for
    :param kept: ids of the images to keep warm
    """
    everything = list(entries)
    stale = stale or {}
    supersession = Supersession(entry for entry in everything if entry.moref not in stale)
    pins = pins_of(everything)
    keep: list[Verdict] = []
    remove: list[Verdict] = []
    candidates: list[CacheEntry] = []
    tally = _Tally(settings, dict(spaces or {}))
    for entry in everything:
        why_not = _not_removable(entry, in_use)
        rule, reason = (
            (None, why_not) if why_not else _judge(entry, now, settings, stale, supersession)
        )
        pin = _pin_on(entry, pins)
        if pin is not None and rule in (None, Rule.EXPIRED):
            rule, reason, why_not = None, str(pin), why_not or str(pin)
        if rule is not None:
            remove.append(Verdict(entry, reason, rule))
            tally.free(entry)
            continue
        keep.append(Verdict(entry, reason))
        if entry.phase is not Phase.FOREIGN:
            tally.add_entry(entry)
        if why_not is None:
            candidates.append(entry)
    candidates.sort(key=lambda entry: (entry.image_id in kept, _last_use(entry)))
    surplus = _surplus(candidates, tally)
    gone = {verdict.entry.moref for verdict in surplus}
    return EvictionPlan(
        tuple(verdict for verdict in keep if verdict.entry.moref not in gone),
        (*remove, *surplus),
        now,
    )


def plan_requested(
    entries: Iterable[CacheEntry],
    image_ids: Collection[str] | None,
    *,
    in_use: Collection[str] = (),
) -> EvictionPlan:
    """As :func:`plan_eviction`, for images that an operator removes at any age.

    :param image_ids: None: all
    """
    everything = list(entries)
    pins = pins_of(everything)
    keep: list[Verdict] = []
    remove: list[Verdict] = []
    for entry in everything:
        if why_not := _not_removable(entry, in_use):
            keep.append(Verdict(entry, why_not))
        elif pin := _pin_on(entry, pins):
            keep.append(Verdict(entry, f"{pin}: unpin it first"))
        elif _is_of(entry, image_ids):
            remove.append(Verdict(entry, "asked for", Rule.REQUESTED))
        else:
            keep.append(Verdict(entry, "not asked for"))
    return EvictionPlan(tuple(keep), tuple(remove))


def plan_evacuation(
    entries: Iterable[CacheEntry],
    datastores: Collection[str],
    image_ids: Collection[str] | None = None,
    *,
    replicate: bool,
    due: Mapping[str, str],
    in_use: Collection[str] = (),
) -> EvacuationPlan:
    """What to remove so that no template is left on ``datastores``. Of a pinned image, a copy goes
    only if there is one elsewhere.

    :param datastores: morefs
    :param image_ids: only the templates of these images; None: of all
    :param replicate: no image is lost: the last copies of all are replicated elsewhere first
    :param due: moref -> why the next purge would remove it: it is not worth a copy
    """
    everything = list(entries)
    pins = pins_of(everything)
    elsewhere = {
        entry.record.key
        for entry in everything
        if entry.record is not None
        and entry.phase is Phase.READY
        and entry.accessible
        and entry.datastore not in datastores
    }
    keep: list[Verdict] = []
    remove: list[Verdict] = []
    needed: dict[str, CacheKey] = {}
    for entry in everything:
        pin = None if entry.moref in due else _pin_on(entry, pins)
        key = entry.record.key if entry.record is not None else None
        if entry.datastore not in datastores or not _is_of(entry, image_ids):
            keep.append(Verdict(entry, "not asked for"))
        elif why_not := _not_removable(entry, in_use):
            keep.append(Verdict(entry, why_not))
        elif pin is not None and key not in elsewhere and not replicate:
            keep.append(
                Verdict(entry, f"{pin}, and no other datastore has a copy: replicate or unpin it")
            )
        else:
            remove.append(Verdict(entry, due.get(entry.moref, "asked for"), Rule.REQUESTED))
            is_good = entry.phase is Phase.READY and entry.moref not in due
            if key is not None and is_good and (replicate or pin is not None):
                needed[entry.moref] = key
    return EvacuationPlan(
        tuple(keep),
        tuple(remove),
        needed=frozenset(needed),
        copy_first=frozenset(needed.values()) - elsewhere,
    )


def plan_room(
    entries: Iterable[CacheEntry],
    size_bytes: int,
    datastore: str,
    settings: Settings,
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
    tally = _Tally(settings, dict(spaces or {}))
    for option, budget in tally.budget_bytes():
        if size_bytes > budget:
            raise errors.NotCacheable(
                Reason.IMAGE_TOO_LARGE,
                f"a template of {size_bytes / 2**30:.4g} GiB exceeds {option} by itself",
            )
    for entry in everything:
        tally.add_entry(entry)
    tally.add(size_bytes)
    pins = pins_of(everything)
    removable = [entry for entry in everything if _not_removable(entry, in_use) is None]
    candidates = sorted((e for e in removable if _pin_on(e, pins) is None), key=_last_use)
    pinned = len(removable) - len(candidates)
    removed: list[Verdict] = []
    while exceeded := tally.exceeded(datastore, size_bytes):
        oldest = _next(candidates, exceeded, datastore, tally, kept)
        if oldest is None or len(removed) == MAX_REMOVALS_FOR_ROOM:
            raise errors.NotCacheable(
                Reason.NO_ROOM,
                f"a template of {size_bytes / 2**30:.4g} GiB would exceed {exceeded}, and "
                f"{'nothing more' if oldest is None else 'too little'} can be removed for it"
                + (f" while {_counted(pinned)} pinned" if pinned and oldest is None else ""),
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


def _not_removable(entry: CacheEntry, in_use: Collection[str]) -> str | None:
    """Why no plan removes the entry, in words; None if one may."""
    if entry.owner is Owner.ANOTHER:
        return f"a template of another deployment, {quoted(entry.deployment)}"
    if entry.phase is Phase.FOREIGN:
        return "not a template of this cache"
    if entry.phase is Phase.IMPORTING:
        return "import in progress"
    return "being cloned or waited for" if entry.moref in in_use else None


def _is_of(entry: CacheEntry, image_ids: Collection[str] | None) -> bool:
    return image_ids is None or entry.image_id in image_ids


def _counted(templates: int) -> str:
    return "1 template is" if templates == 1 else f"{templates} templates are"


def _pin_on(entry: CacheEntry, pins: Mapping[str, Pin]) -> Pin | None:
    """The pin that protects the entry: its image's, if volumes can be cloned from the entry."""
    return pins.get(entry.image_id or "") if entry.phase is Phase.READY else None


def _last_use(entry: CacheEntry) -> datetime.datetime:
    """Entries that are not served come before all others."""
    return _EPOCH if entry.phase in _NOT_SERVED else entry.unused_since or _EPOCH


def _judge(
    entry: CacheEntry,
    now: datetime.datetime,
    settings: Settings,
    stale: Mapping[str, str],
    supersession: Supersession,
) -> tuple[Rule | None, str]:
    """The rule by which an entry that may be removed has to go, None if none applies; and why."""
    if entry.phase is Phase.ALTERED:
        return Rule.ALTERED, "altered by hand: its disk has other content than when it became ready"
    if entry.moref in stale:
        return Rule.STALE, stale[entry.moref]
    newer = supersession.of(entry)
    if newer is not None:
        return Rule.SUPERSEDED, f"superseded by {quoted(newer.name)}: the image has changed"
    original = supersession.duplicate_of(entry)
    if original is not None:
        return Rule.SUPERSEDED, f"superfluous: {quoted(original.name)} is on the same datastore"
    return _judge_age(entry, now, settings)


def _judge_age(
    entry: CacheEntry, now: datetime.datetime, settings: Settings
) -> tuple[Rule | None, str]:
    since = _aged_from(entry, settings)
    if since is None:
        return None, "its age is not known"
    idle = settings.expiry == conf.EXPIRY_IDLE
    age = f"{(now - since).total_seconds():.0f} s {'unused' if idle else 'old'}"
    if settings.age_s == 0:
        return None, f"{age}, expiry is off"
    if (now - since).total_seconds() > settings.age_s:
        return Rule.EXPIRED, f"{age}, more than {settings.age_s} s"
    return None, f"{age}, less than {settings.age_s} s"


def expires_at(entry: CacheEntry, settings: Settings) -> datetime.datetime | None:
    """When the entry expires, aware UTC; None if expiry is off or beyond what dates can express, or
    if its age is unknown."""
    since = _aged_from(entry, settings)
    if since is None or settings.age_s == 0:
        return None
    try:
        return since + datetime.timedelta(seconds=settings.age_s)
    except OverflowError:
        return None


def _aged_from(entry: CacheEntry, settings: Settings) -> datetime.datetime | None:
    if settings.expiry == conf.EXPIRY_IDLE:
        return entry.unused_since
    return latest(entry.created_at, entry.warmed_at)


class Supersession:
    """Knows the newest copy of each image and adapter type.

    What counts is the image as it is now. If Glance does not describe it, the last request for a
    copy does: it came with the image as Glance described it then. So a copy that was used after a
    newer one was imported is not superseded, for example after a property of the image was set and
    reverted.

    Of two copies of the same content on one datastore, one is superfluous. Two imports ended at the
    same moment, or an administrator moved one of them there.

    :param entries: without those that are stale by Glance; only READY entries that certainly belong
        to this deployment supersede others, or are superseded
    """

    def __init__(self, entries: Iterable[CacheEntry] = ()) -> None:
        self._newest: dict[tuple[str, str], CacheEntry] = {}
        ready = [
            entry for entry in entries if entry.phase is Phase.READY and entry.owner is Owner.OURS
        ]
        self._stays: dict[tuple[CacheKey, str | None], CacheEntry] = {}
        for entry in sorted(ready, key=_preference):
            if entry.record is not None:
                self._stays.setdefault((entry.record.key, entry.datastore), entry)
        for entry in sorted(ready, key=lambda entry: entry.created_at or _EPOCH):
            if entry.record is not None:
                key = entry.record.key
                self._newest[key.image_id, key.adapter_type] = entry

    def duplicate_of(self, entry: CacheEntry) -> CacheEntry | None:
        """The copy that stays on the datastore in place of ``entry``, which is READY; None if
        ``entry`` stays. All processes choose the same one."""
        if entry.record is None or entry.datastore is None or entry.owner is not Owner.OURS:
            return None
        stays = self._stays.get((entry.record.key, entry.datastore))
        return None if stays is None or stays.moref == entry.moref else stays

    def of(self, entry: CacheEntry) -> CacheEntry | None:
        """The copy that supersedes ``entry``, None if none does."""
        if entry.record is None or entry.owner is not Owner.OURS:
            return None
        key = entry.record.key
        newest = self._newest.get((key.image_id, key.adapter_type))
        if newest is None or newest.record is None or newest.record.key == key:
            return None
        since = newest.created_at or _EPOCH
        return None if (entry.unused_since or _EPOCH) > since else newest


def _preference(entry: CacheEntry) -> tuple[bool, int, str]:
    """The first duplicate stays: a readable one before others, a template before a replica."""
    return not entry.accessible, len(entry.name), entry.name


def images_of(entries: Iterable[CacheEntry]) -> list[str]:
    """Ids of the images of ``entries``, each once, sorted."""
    copies = (entry for entry in entries if entry.phase in _COPIES)
    return sorted({entry.image_id for entry in copies if entry.image_id is not None})


def stale_copies(
    entries: Iterable[CacheEntry], images: Mapping[str, Image | None]
) -> dict[str, str]:
    """Moref of each stale copy -> why it is stale, in words.

    :param images: by id, None for a deleted one; images whose state is unknown are left out
    """
    stale = {}
    for entry in entries:
        image_id = entry.image_id
        if entry.owner is not Owner.OURS or entry.phase not in _COPIES:
            continue
        if image_id is not None and image_id in images:
            reason = _why_stale(entry, images[image_id])
            if reason is not None:
                stale[entry.moref] = reason
    return stale


def proven_ours(
    entries: Iterable[CacheEntry], images: Mapping[str, Image | None]
) -> list[CacheEntry]:
    """The copies of unknown owner whose exact image is in this cloud's Glance.

    :param images: same as in :func:`stale_copies`
    """
    return [
        entry
        for entry in entries
        if entry.owner is Owner.UNKNOWN
        and entry.phase is Phase.READY
        and entry.record is not None
        and (image := images.get(entry.record.key.image_id)) is not None
        and entry.record.key.fingerprint == fingerprint(image)
    ]


def _why_stale(entry: CacheEntry, image: Image | None) -> str | None:
    if image is None:
        return "its image is deleted in Glance"
    if image.status != ACTIVE:
        return f"its image is {image.status} in Glance"
    if entry.record is not None and entry.record.key.fingerprint != fingerprint(image):
        return "its image has changed in Glance"
    return None

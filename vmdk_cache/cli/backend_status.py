"""The status of one backend, as ``vmdk-cache status`` and the exporter's status page show it. Pure.

    from vCenter      templates, images, space, running imports, findings
    from cinder.conf  whether the cache is on, the limits, the interval of the purges
    from the ledger   hits, misses and bypasses of today, and the last purge; of this host alone

What is unknown is None.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmdk_cache.cache.capacity import GIB, Capacity, capacity_by_datastore
from vmdk_cache.cache.entry import ABANDONED_AFTER, CacheEntry, Phase
from vmdk_cache.cache.events import as_text
from vmdk_cache.cache.findings import LEFT_ALONE, Finding, Kind, diagnose
from vmdk_cache.cache.ports import Space
from vmdk_cache.cli.metrics import Look, datastore_labels
from vmdk_cache.cli.now import ago, until
from vmdk_cache.conf import Settings
from vmdk_cache.errors import LockTimeout
from vmdk_cache.ledger import Count, LastPurge
from vmdk_cache.periodic.purge import RUN_WITHIN_S
from vmdk_cache.vim.nfc_lease import RENEW_EVERY_S
from vmdk_cache.vim.recent_task import ImportProgress

#: A limit of which more is used needs attention.
NEAR = 0.9


@dataclass(frozen=True)
class Limit:
    """A limit that is set, and what is used of it.

    :ivar option: its name in cinder.conf
    :ivar used: in the option's unit: templates, GiB or percent
    :ivar limit: the option's value
    :ivar used_bytes: None for a number of templates; so is ``limit_bytes``
    """

    option: str
    used: float
    limit: float
    used_bytes: int | None = None
    limit_bytes: int | None = None

    @property
    def share(self) -> float:
        return self.used / self.limit


@dataclass(frozen=True)
class Floor:
    """The datastore that is closest to ``image_cache_min_free_percent``.

    :ivar datastore: its name
    :ivar free: percent
    :ivar limit: the option's value
    """

    datastore: str
    free: float
    limit: float


@dataclass(frozen=True)
class RunningImport:
    """An import under way. Its importer reports progress every half minute, in whole percent.

    :ivar image_name: '' if unknown
    :ivar datastore: its name
    :ivar began_at: by vCenter's clock
    :ivar done_bytes: of the image's file, as of the last report
    :ivar total_bytes: size of the image's file
    :ivar bytes_per_s: average up to the last report
    :ivar left_s: until the upload ends, at that rate
    """

    image_id: str
    image_name: str
    datastore: str
    began_at: datetime.datetime | None
    percent: int | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class Today:
    """What the ledger has counted since midnight, UTC."""

    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    saved_bytes: int = 0


@dataclass(frozen=True)
class Contents:
    """What vCenter has of a backend.

    :ivar version: of vCenter, such as ``8.0.3``
    :ivar images: number of images with a template that can be cloned
    :ivar under_way: number of imports, with those whose progress is unknown
    :ivar limits: those that are set
    :ivar floor: None if the option is off
    :ivar findings: as ``vmdk-cache check`` finds them without a second look: directories, and
        virtual machines without a configuration, are left out
    """

    version: str
    templates: int
    images: int
    provisioned_bytes: int
    under_way: int
    limits: tuple[Limit, ...]
    floor: Floor | None
    imports: tuple[RunningImport, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class BackendStatus:
    """See the module.

    :ivar contents: None if vCenter does not answer
    :ivar today: None if there is no ledger, or it cannot be read
    :ivar last_purge: by a service of this host, None if none is known
    :ivar now: UTC, by the clock of this host
    """

    backend: str
    settings: Settings
    contents: Contents | None
    today: Today | None
    last_purge: LastPurge | None
    now: datetime.datetime

    @property
    def next_purge_at(self) -> datetime.datetime | None:
        """When the next purge is due; in the past if it is late."""
        if self.last_purge is None:
            return None
        return self.last_purge.began_at + datetime.timedelta(seconds=self.settings.purge_interval_s)

    @property
    def needs_attention(self) -> list[str]:
        """What an operator should look at, besides a vCenter that does not answer."""
        found: list[str] = []
        if self.contents is not None:
            found += _near(self.contents)
            kinds = Counter(
                each.kind for each in self.contents.findings if each.kind not in LEFT_ALONE
            )
            found += [
                f"{number} {kind}: vmdk-cache check says what to do"
                for kind, number in kinds.items()
            ]
        purge, due_at = self.last_purge, self.next_purge_at
        if purge is not None and purge.error and not is_of_another_process(purge):
            found.append(f"the last purge failed ({purge.error}): the service's log says why")
        late_s = (self.now - due_at).total_seconds() if due_at is not None else 0.0
        if late_s > RUN_WITHIN_S + self.settings.purge_interval_s:
            found.append("the purge is late: is cinder-volume running on this host?")
        return found


def status_of(
    backend: str,
    settings: Settings,
    deployment: str,
    look: Look | None,
    counts: Iterable[Count] | None,
    last_purge: LastPurge | None,
    now: datetime.datetime,
) -> BackendStatus:
    """:param deployment: id of this cloud
    :param look: None if vCenter does not answer
    :param counts: what the ledger has counted, at least of today; None if it cannot be read
    """
    return BackendStatus(
        backend,
        settings,
        None if look is None else _contents(backend, settings, deployment, look),
        None if counts is None else today(counts, now.date()),
        last_purge,
        now,
    )


def is_of_another_process(purge: LastPurge) -> bool:
    """Whether another process, perhaps on another host, was purging at that moment."""
    return purge.error == LockTimeout.__name__


def today(counts: Iterable[Count], date: datetime.date) -> Today:
    """The counts of that day."""
    number: Counter[str] = Counter()
    saved_bytes = 0
    for count in counts:
        if count.day == date:
            number[count.kind] += count.count
            saved_bytes += count.bytes if count.kind == "hit" else 0
    return Today(number["hit"], number["miss"], number["bypass"], saved_bytes)


def limits_of(
    settings: Settings, used: Sequence[Capacity], spaces: Iterable[Space]
) -> tuple[Limit, ...]:
    """The limits of the whole backend that are set.

    :param spaces: of the datastores that the backend uses
    """
    count = sum(each.templates + each.imports for each in used)
    provisioned = sum(each.provisioned_bytes for each in used)
    capacity = sum(space.capacity_bytes for space in spaces)
    every = (
        Limit("image_cache_max_count", count, settings.max_count),
        Limit(
            "image_cache_max_total_gb",
            provisioned / GIB,
            settings.max_total_bytes / GIB,
            provisioned,
            settings.max_total_bytes,
        ),
        Limit(
            "image_cache_max_percent",
            100 * provisioned / capacity if capacity else 0.0,
            settings.max_percent,
            provisioned,
            capacity * settings.max_percent // 100,
        ),
    )
    return tuple(limit for limit in every if limit.limit)


def _contents(backend: str, settings: Settings, deployment: str, look: Look) -> Contents:
    used = capacity_by_datastore(look.entries)
    labels = datastore_labels(look)
    ready = {entry.image_id for entry in look.entries if entry.phase is Phase.READY}
    return Contents(
        version=look.version,
        templates=sum(each.templates for each in used),
        images=len(ready),
        provisioned_bytes=sum(each.provisioned_bytes for each in used),
        under_way=sum(each.imports for each in used),
        limits=limits_of(settings, used, look.spaces.values()),
        floor=_floor(settings, look.spaces, labels),
        imports=tuple(
            _running(entry, look, labels)
            for entry in look.entries
            if entry.phase is Phase.IMPORTING and not _is_abandoned(entry, look)
        ),
        findings=tuple(_findings(backend, deployment, look)),
    )


def _floor(
    settings: Settings, spaces: Mapping[str, Space], labels: Mapping[str | None, str]
) -> Floor | None:
    free = [
        (100 * space.free_bytes / space.capacity_bytes, labels[moref])
        for moref, space in spaces.items()
        if space.capacity_bytes > 0
    ]
    if not free or not settings.min_free_percent:
        return None
    percent, name = min(free)
    return Floor(name, percent, settings.min_free_percent)


def _is_abandoned(entry: CacheEntry, look: Look) -> bool:
    """Whether nothing imports into the entry, for longer than an import needs for its last step."""
    if entry.moref in look.imports or look.taken_at is None or entry.created_at is None:
        return False
    return look.taken_at - entry.created_at > ABANDONED_AFTER


def _running(entry: CacheEntry, look: Look, labels: Mapping[str | None, str]) -> RunningImport:
    total_bytes = entry.record.image_bytes if entry.record is not None else 0
    seen = look.imports.get(entry.moref)
    known = RunningImport(
        entry.image_id or "",
        entry.image_name,
        labels[entry.datastore],
        (seen.began_at if seen is not None else None) or entry.created_at,
        total_bytes=total_bytes or None,
    )
    if seen is None or look.taken_at is None:
        return known
    return _with_progress(known, seen, look.taken_at)


def _with_progress(
    known: RunningImport, seen: ImportProgress, taken_at: datetime.datetime
) -> RunningImport:
    total = known.total_bytes
    done = None if total is None else total * seen.percent // 100
    known = dataclasses.replace(known, percent=seen.percent, done_bytes=done)
    elapsed_s = (taken_at - known.began_at).total_seconds() if known.began_at is not None else 0.0
    # The percentage is as old as the last report.
    reported_s = elapsed_s // RENEW_EVERY_S * RENEW_EVERY_S
    if reported_s <= 0 or not seen.percent:
        return known
    left_s = reported_s * (100 - seen.percent) / seen.percent - (elapsed_s - reported_s)
    return dataclasses.replace(
        known,
        bytes_per_s=None if done is None else done / reported_s,
        left_s=max(0.0, left_s),
    )


def _findings(backend: str, deployment: str, look: Look) -> Iterable[Finding]:
    for entry in look.entries:
        diagnosis = diagnose(entry, backend, deployment)
        if diagnosis is None or diagnosis.kind is Kind.WITHOUT_CONFIG:
            continue  # the latter may be a replica under way: only a second look can tell
        if diagnosis.kind is Kind.HALF_IMPORTED and not _is_abandoned(entry, look):
            continue
        yield Finding(diagnosis.kind, entry.name, entry.moref, diagnosis.says)


def _near(contents: Contents) -> Iterable[str]:
    for limit in contents.limits:
        if limit.share > NEAR:
            yield f"{limit.share:.0%} of {limit.option}"
    floor = contents.floor
    if floor is not None and floor.free < floor.limit:
        yield (
            f"datastore {floor.datastore}: {floor.free:.1f} % free, less than "
            f"image_cache_min_free_percent = {floor.limit:g}"
        )


# -- in words


def counted(number: int, one: str, many: str) -> str:
    """``1 miss``, ``2 misses``."""
    return f"{number} {one if number == 1 else many}"


def templates_text(contents: Contents) -> str:
    """``200 templates of 180 images, 3.9 TiB``."""
    templates = counted(contents.templates, "template", "templates")
    images = counted(contents.images, "image", "images")
    return f"{templates} of {images}, {as_text(contents.provisioned_bytes)}"


def today_text(of: Today) -> str:
    """``1207 hits, 1 miss, 0 bypasses, 23.6 TiB not downloaded``."""
    parts = [
        counted(of.hits, "hit", "hits"),
        counted(of.misses, "miss", "misses"),
        counted(of.bypasses, "bypass", "bypasses"),
        f"{as_text(of.saved_bytes)} not downloaded",
    ]
    return ", ".join(parts)


def limit_text(limit: Limit) -> str:
    """``180 of 250``, ``3.9 TiB of 8 TiB``."""
    if limit.used_bytes is None or limit.limit_bytes is None:
        return f"{limit.used:g} of {limit.limit:g}"
    return f"{as_text(limit.used_bytes)} of {as_text(limit.limit_bytes)}"


def progress_text(of: RunningImport, now: datetime.datetime) -> str:
    """``12.4 GiB of 20 GiB (62%), 98.2 MiB/s, done in 80 s``."""
    if of.percent is None:
        return "progress unknown"
    parts = [f"{of.percent}%"]
    if of.done_bytes is not None and of.total_bytes is not None:
        parts = [f"{as_text(of.done_bytes)} of {as_text(of.total_bytes)} ({of.percent}%)"]
    if of.bytes_per_s is not None:
        parts.append(f"{as_text(round(of.bytes_per_s))}/s")
    if of.left_s is not None:
        ends_at = now + datetime.timedelta(seconds=of.left_s)
        parts.append(f"done {until(ends_at, now, past='soon')}")
    return ", ".join(parts)


def purge_text(status: BackendStatus) -> str:
    """``3 min ago, next in 7 min``."""
    purge, due_at = status.last_purge, status.next_purge_at
    if purge is None or due_at is None:
        return f"none recorded on this host, due every {status.settings.purge_interval_s} s"
    last = ago(purge.began_at, status.now)
    if is_of_another_process(purge):
        last = f"{last}, by another process"
    elif purge.error:
        last = f"failed {last} ({purge.error})"
    return f"{last}; next {until(due_at, status.now, past='is due')}"

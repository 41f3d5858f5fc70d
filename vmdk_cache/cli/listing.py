"""What ``vmdk-cache list`` shows: one row for each template, or one for each image. Pure.

templates_in    the templates of one backend, as rows
by_image        rows that differ only in their place become one
in_order        sorted by a column
for_people      the columns of a table
for_programs    all columns, exact
total           the line below the table
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache.cli import image_choice
from vmdk_cache.cli.columns import Ago, Plain, Size, Time, Until

if TYPE_CHECKING:
    from vmdk_cache.cache.entry import CacheEntry
    from vmdk_cache.cache.eviction_plan import EvictionPlan
    from vmdk_cache.cache.key import CacheKey
    from vmdk_cache.conf import Settings

#: All columns. Programs rely on the names, and on the order in CSV: add new ones at the end.
COLUMNS = (
    "Backend",
    "Image",
    "Name",
    "Phase",
    "Datastore",
    "Virtual Size",
    "Freed By Deletion",
    "Adapter",
    "Created",
    "Last Used",
    "Expires",
    "Copies",
    "Image Name",
    "Pinned By",
)
#: With ``--all``.
WHY = "Why"
_READY = "ready"
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_NEVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True)
class Row:
    """One template, or the templates of one image that differ only in their place.

    :ivar key: what the templates of a row have in common, besides the backend and the phase
    :ivar image_id: None if it is not a template of the cache
    :ivar image_name: '' if unknown
    :ivar vm_name: of one template
    :ivar adapter: None if unknown
    :ivar phase: see :class:`~vmdk_cache.cache.entry.Phase`
    :ivar datastores: their names, sorted
    :ivar used_bytes: what deleting all templates of the row frees
    :ivar expires_at: when the last of them expires; None if one never does
    :ivar copies: of this image and adapter in the whole backend
    :ivar pinned_by: who pinned the image; None if nobody did, or if the pin does not protect it
    :ivar goes: whether the next purge deletes all of them
    :ivar why: they are kept or deleted
    :ivar seen_at: vCenter's time
    """

    backend: str
    key: CacheKey | str | None
    image_id: str | None
    image_name: str
    vm_name: str
    adapter: str | None
    phase: str
    datastores: tuple[str, ...]
    size_bytes: int
    used_bytes: int
    created_at: datetime.datetime | None
    used_at: datetime.datetime | None
    expires_at: datetime.datetime | None
    copies: int
    pinned_by: str | None
    goes: bool
    why: str
    seen_at: datetime.datetime


#: Name of a column for ``--sort`` -> what to sort by, the first row first.
ORDERS: dict[str, Callable[[Row], Any]] = {
    "last-used": lambda row: -(row.used_at or _EPOCH).timestamp(),
    "expires": lambda row: row.expires_at or _NEVER,
    "created": lambda row: -(row.created_at or _EPOCH).timestamp(),
    "used": lambda row: -row.used_bytes,
    "size": lambda row: -row.size_bytes,
    "copies": lambda row: -row.copies,
    "image": lambda row: row.image_id or "",
    "image-name": lambda row: row.image_name.lower(),
    "datastore": lambda row: row.datastores,
}


def templates_in(
    backend: str, plan: EvictionPlan, datastores: Mapping[str, str], settings: Settings
) -> list[Row]:
    """A row for each VM in the folders of the backend's cache, by image.

    :param plan: of the next purge
    :param datastores: moref -> name
    """
    from vmdk_cache.cache.entry import Phase, pins_of
    from vmdk_cache.cache.eviction_plan import expires_at

    verdicts = [(each, False) for each in plan.keep] + [(each, True) for each in plan.remove]
    verdicts.sort(key=lambda each: (each[0].entry.image_id or "", each[0].entry.name))
    copies = Counter(_key(each.entry) for each, _ in verdicts)
    pins = pins_of(verdict.entry for verdict, _ in verdicts)
    rows = []
    for verdict, goes in verdicts:
        entry = verdict.entry
        record = entry.record if entry.is_ours else None
        pin = pins.get(entry.image_id or "") if entry.phase is Phase.READY else None
        place = datastores.get(entry.datastore or "", entry.datastore)
        rows.append(
            Row(
                backend=backend,
                key=_key(entry),
                image_id=entry.image_id if entry.is_ours else None,
                image_name=entry.image_name if entry.is_ours else "",
                vm_name=entry.name,
                adapter=record.key.adapter_type if record else None,
                phase=entry.phase.value,
                datastores=(place,) if place else (),
                size_bytes=entry.size_bytes,
                used_bytes=entry.unshared_bytes,
                created_at=entry.created_at if entry.is_ours else entry.made_at,
                used_at=entry.used_at,
                expires_at=expires_at(entry, settings) if entry.is_ours else None,
                copies=copies[_key(entry)] if entry.is_ours else 0,
                pinned_by=pin.by if pin else None,
                goes=goes,
                why=verdict.reason,
                seen_at=plan.made_at or _EPOCH,
            )
        )
    return rows


def _key(entry: CacheEntry) -> CacheKey | str | None:
    return entry.record.key if entry.record else entry.image_id


def by_image(rows: Iterable[Row]) -> list[Row]:
    """One row for the templates of an image that have the same adapter, content and phase."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.backend, row.key, row.image_id, row.phase), []).append(row)
    return [_merged(group) for group in groups.values()]


def _merged(group: Sequence[Row]) -> Row:
    expires = [row.expires_at for row in group if row.expires_at is not None]
    return dataclasses.replace(
        group[0],
        datastores=tuple(sorted({name for row in group for name in row.datastores})),
        used_bytes=sum(row.used_bytes for row in group),
        created_at=max((row.created_at for row in group if row.created_at), default=None),
        used_at=max((row.used_at for row in group if row.used_at), default=None),
        expires_at=max(expires) if len(expires) == len(group) else None,
        goes=all(row.goes for row in group),
    )


def in_order(rows: Iterable[Row], by: str) -> list[Row]:
    """:param by: one of :data:`ORDERS`; rows that are equal by it stay in their order"""
    return sorted(rows, key=ORDERS[by])


def for_programs(rows: Iterable[Row], *, why: bool) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Columns and cells of one row for each template.

    :param why: with the column :data:`WHY`
    """
    cells = [
        [
            row.backend,
            Plain(row.image_id),
            row.vm_name,
            row.phase,
            Plain(row.datastores[0] if row.datastores else None),
            Size(row.size_bytes),
            Size(row.used_bytes),
            Plain(row.adapter),
            Time(row.created_at),
            Time(row.used_at),
            Time(row.expires_at),
            row.copies,
            Plain(row.image_name or None),
            Plain(row.pinned_by),
            *([row.why] if why else []),
        ]
        for row in rows
    ]
    return (*COLUMNS, WHY) if why else COLUMNS, cells


def for_people(
    rows: Sequence[Row], image_ids: Iterable[str], backends: Collection[str]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and cells of one row for each image. Backend, adapter and phase are shown where they
    tell something: if there are several backends, if an image has several adapters, if a template
    is not ready.

    :param image_ids: of all images that short ids must tell apart
    """
    short = image_choice.short_ids(image_ids)
    adapters: dict[str | None, set[str | None]] = {}
    for row in rows:
        adapters.setdefault(row.image_id, set()).add(row.adapter)
    columns: dict[str, Callable[[Row], Any]] = {
        "Backend": lambda row: row.backend,
        "Image": lambda row: Plain(short.get(row.image_id or "")),
        "Image Name": lambda row: Plain(row.image_name or None),
        "Adapter": lambda row: Plain(row.adapter),
        "Phase": lambda row: row.phase,
        "Datastore": lambda row: Plain(_places(row.datastores)),
        "Copies": lambda row: row.copies,
        "Size": lambda row: Size(row.size_bytes),
        "Used": lambda row: Size(row.used_bytes),
        "Last Used": lambda row: Ago(row.used_at, row.seen_at),
        "Expires": _expiry,
    }
    if len(backends) < 2:
        del columns["Backend"]
    if all(len(each) == 1 for each in adapters.values()):
        del columns["Adapter"]
    if all(row.phase == _READY for row in rows):
        del columns["Phase"]
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]


def _places(datastores: Sequence[str]) -> str | None:
    """The first datastore, and the number of the others."""
    if not datastores:
        return None
    return datastores[0] + (f" +{len(datastores) - 1}" if len(datastores) > 1 else "")


def _expiry(row: Row) -> Any:
    if row.pinned_by is not None and not row.goes:
        return "pinned"
    expired = row.expires_at is not None and row.expires_at <= row.seen_at
    return "next purge" if row.goes and not expired else Until(row.expires_at, row.seen_at)


def total(templates: Sequence[Row]) -> str:
    """How many templates there are, and what they use."""
    images = {row.image_id for row in templates if row.image_id}
    places = {name for row in templates for name in row.datastores}
    used = Size(sum(row.used_bytes for row in templates)).human_readable()
    return (
        f"{counted(len(templates), 'template')} of {counted(len(images), 'image')} on "
        f"{counted(len(places), 'datastore')}, {used} used"
    )


def counted(number: int, noun: str) -> str:
    """``1 template``, ``2 templates``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

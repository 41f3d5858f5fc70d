"""Which copies are superseded: the image has changed, and there is a newer copy of it. Pure.

What counts is the image as it is now. If Glance does not describe it, the last request for a copy
does: it came with the image as Glance described it then. So a copy that was used after a newer one
was imported is not superseded, for example after a property of the image was set and reverted.

Of two copies of the same content on one datastore, one is superfluous. Two imports ended at the
same moment, or an administrator moved one of them there.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import CacheKey

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


class Supersession:
    """Knows the newest copy of each image and adapter type.

    :param entries: without those that are stale by Glance; only READY entries that certainly belong
        to this deployment supersede others, or are superseded
    """

    def __init__(self, entries: Iterable[CacheEntry] = ()) -> None:
        self._newest: dict[tuple[str, str], CacheEntry] = {}
        ready = [
            entry for entry in entries if entry.phase is Phase.READY and entry.owner is Owner.OURS
        ]
        self._kept: dict[tuple[CacheKey, str | None], CacheEntry] = {}
        for entry in sorted(ready, key=_preference):
            if entry.record is not None:
                self._kept.setdefault((entry.record.key, entry.datastore), entry)
        for entry in sorted(ready, key=lambda entry: entry.created_at or _EPOCH):
            if entry.record is not None:
                key = entry.record.key
                self._newest[key.image_id, key.adapter_type] = entry

    def twin_of(self, entry: CacheEntry) -> CacheEntry | None:
        """The copy that stays on the datastore in place of ``entry``, which is READY; None if
        ``entry`` stays. All processes choose the same one."""
        if entry.record is None or entry.datastore is None or entry.owner is not Owner.OURS:
            return None
        kept = self._kept.get((entry.record.key, entry.datastore))
        return None if kept is None or kept.moref == entry.moref else kept

    def of(self, entry: CacheEntry) -> CacheEntry | None:
        """The copy that supersedes ``entry``, None if none does."""
        if entry.record is None or entry.owner is not Owner.OURS:
            return None
        key = entry.record.key
        newest = self._newest.get((key.image_id, key.adapter_type))
        if newest is None or newest.record is None or newest.record.key == key:
            return None
        return None if _is_used_since(entry, newest.created_at) else newest


def _preference(entry: CacheEntry) -> tuple[bool, int, str]:
    """The first of the twins stays: a readable one before others, a template before a replica."""
    return not entry.accessible, len(entry.name), entry.name


def _is_used_since(entry: CacheEntry, moment: datetime.datetime | None) -> bool:
    times = [time for time in (entry.used_at, entry.warmed_at) if time is not None]
    return moment is not None and any(time > moment for time in times)

"""When a template was last used and last warmed up: on the template itself, and in memory.

The times stand in a custom attribute, the one thing beside name and annotation that vCenter lets
be changed on a template. Uses are written at most once per WRITE_EVERY_S and template, so that a
burst of clones costs one write. Where the account may not set the attribute, this process goes by
what it remembers itself; another process's uses are then not known here, and with idle expiry a
template may go too early: a download more, nothing worse.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import threading
from collections.abc import Iterable

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import TemplateStore
from vmdk_cache.clock import Clock

LOG = logging.getLogger(__name__)

#: The custom attribute.
ATTRIBUTE = "vmdk_cache.usage"
WRITE_EVERY_S = 300.0


@dataclasses.dataclass(frozen=True)
class Times:
    """What the attribute says; aware UTC, None if never or not readable."""

    used_at: datetime.datetime | None = None
    warmed_at: datetime.datetime | None = None

    def to_json(self) -> str:
        times = dataclasses.asdict(self)
        return json.dumps({name: time.isoformat() for name, time in times.items() if time})

    @classmethod
    def from_json(cls, text: str | None) -> Times:
        """Anything that somebody else wrote there means: never."""
        try:
            data = json.loads(text or "{}")
            return cls(_time(data.get("used_at")), _time(data.get("warmed_at")))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()


class Usage:
    """The uses that this process has seen; safe for use by many threads."""

    def __init__(self, store: TemplateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: dict[str, tuple[float, datetime.datetime | None]] = {}

    def note(self, entry: CacheEntry) -> None:
        """A volume was cloned from ``entry``; never raises, for the volume is made."""
        now = self._clock.monotonic()
        with self._lock:
            last, used_at = self._noted.get(entry.moref, (None, None))
            if last is not None and now - last < WRITE_EVERY_S:
                return
            self._noted[entry.moref] = (now, used_at)
        try:
            used_at = self._store.touch(entry)
        except errors.VmdkCacheError as failure:
            LOG.info("The use of template %s was not noted: %s", entry.name, failure)
            return
        with self._lock:
            self._noted[entry.moref] = (now, used_at)

    def applied(self, entries: Iterable[CacheEntry]) -> list[CacheEntry]:
        """``entries`` with the uses that are known here and perhaps not written on them."""
        entries = list(entries)
        with self._lock:
            present = {entry.moref for entry in entries}
            self._noted = {moref: seen for moref, seen in self._noted.items() if moref in present}
            return [self._with_use(entry) for entry in entries]

    def _with_use(self, entry: CacheEntry) -> CacheEntry:
        _, used_at = self._noted.get(entry.moref, (0.0, None))
        if used_at is None or (entry.used_at is not None and entry.used_at >= used_at):
            return entry
        return dataclasses.replace(entry, used_at=used_at)


def _time(text: object) -> datetime.datetime | None:
    if not isinstance(text, str):
        return None
    time = datetime.datetime.fromisoformat(text)
    return time.astimezone(datetime.UTC) if time.tzinfo is not None else None

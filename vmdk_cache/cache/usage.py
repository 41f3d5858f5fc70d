"""The uses of templates, and how often they are noted (cache/record.py).

Uses are written at most once per WRITE_EVERY_S and template, so that a burst of clones costs one
write; with idle expiry four times per image_cache_age_seconds, if that is more often. This process
remembers all uses that it has seen, so its purge knows them. Another process knows only those that
are written. So with idle expiry a template may expire too early, by a quarter of its age, or by all
of it where the account may not set the attribute. The only cost is one more download.
"""

from __future__ import annotations

import dataclasses
import datetime
import threading
from collections.abc import Callable, Iterable

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import TemplateStore
from vmdk_cache.clock import Clock
from vmdk_cache.conf import EXPIRY_IDLE, Settings
from vmdk_cache.quoting import quoted, sentence

LOG = logging.getLogger(__name__)

WRITE_EVERY_S = 300.0
#: After a failed write, so that a burst of clones does not repeat it.
RETRY_AFTER_S = 10.0


def write_every_s(settings: Settings) -> float:
    """How often a use of a template is written on it, in seconds: at least four times per
    ``image_cache_age_seconds`` if the age counts from the last use."""
    if settings.expiry == EXPIRY_IDLE and settings.age_s:
        return min(WRITE_EVERY_S, settings.age_s / 4)
    return WRITE_EVERY_S


@dataclasses.dataclass
class _Use:
    """The last use of one template; monotonic times.

    :ivar last: of that use
    :ivar write_from: the next use from then on is written
    """

    last: float
    write_from: float


class Usage:
    """The uses that this process has seen; safe for use by many threads.

    :param settings: returns the settings in force
    """

    def __init__(
        self,
        store: TemplateStore,
        clock: Clock,
        settings: Callable[[], Settings] = Settings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._lock = threading.Lock()
        self._uses: dict[str, _Use] = {}
        #: A moment in monotonic time, and what the store's clock said then.
        self._moment: tuple[float, datetime.datetime] | None = None

    def note(self, entry: CacheEntry) -> None:
        """A volume was cloned from ``entry``. Never raises, because the volume exists."""
        now, every_s = self._clock.monotonic(), write_every_s(self._settings())
        with self._lock:
            use = self._uses.setdefault(entry.moref, _Use(now, now))
            use.last = now
            if now < use.write_from:
                return
            use.write_from = now + every_s
        try:
            noted_at = self._store.touch(entry)
        except Exception as failure:
            LOG.info("The use of template %s was not noted: %s", quoted(entry.name),
                     sentence(failure if isinstance(failure, errors.VmdkCacheError)
                              else repr(failure)))  # fmt: skip
            with self._lock:
                use.write_from = now + min(RETRY_AFTER_S, every_s)
            return
        with self._lock:
            self._moment = (self._clock.monotonic(), noted_at)

    def applied(self, entries: Iterable[CacheEntry]) -> list[CacheEntry]:
        """``entries`` with the uses known to this process, which may not be written on them."""
        entries = list(entries)
        with self._lock:
            present = {entry.moref for entry in entries}
            self._uses = {moref: use for moref, use in self._uses.items() if moref in present}
            return [self._with_use(entry) for entry in entries]

    def _with_use(self, entry: CacheEntry) -> CacheEntry:
        use = self._uses.get(entry.moref)
        if use is None or self._moment is None:
            return entry
        then, time = self._moment
        used_at = time + datetime.timedelta(seconds=use.last - then)
        if entry.used_at is not None and entry.used_at >= used_at:
            return entry
        return dataclasses.replace(entry, used_at=used_at)

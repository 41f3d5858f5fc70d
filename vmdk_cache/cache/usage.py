"""The notes on a READY template: its content, its last use, its last warm-up, its deployment.

The notes are a line of JSON in a custom attribute. On a template vCenter allows only changes of
custom attributes, of the name and of the annotation.

The deployment is noted for templates whose records do not name it, or can no longer be read.

The content, vCenter's id of it, is noted right after MarkAsTemplate. If a process dies in between,
or an earlier version of this package made the template, the next use or the next reconcile notes
it. A clone may inherit its source's attributes, and a full copy of a disk may have another content
id than its source. So the notes name the VM they belong to, and count for no other.

Uses are written at most once per WRITE_EVERY_S and template, so that a burst of clones costs one
write; with idle expiry four times per image_cache_age_seconds, if that is more often. This process
remembers all uses that it has seen, so its purge knows them. Another process knows only those that
are written. So with idle expiry a template may expire too early, by a quarter of its age, or by all
of it where the account may not set the attribute. The only cost is one more download.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
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

#: The custom attribute.
ATTRIBUTE = "vmdk_cache.usage"
WRITE_EVERY_S = 300.0
#: After a failed write, so that a burst of clones does not repeat it.
RETRY_AFTER_S = 10.0


@dataclasses.dataclass(frozen=True)
class Notes:
    """The attribute's value: less than the 255 characters that vCenter may keep of it.

    :ivar used_at: aware UTC, None if never or not readable; so is ``warmed_at``
    :ivar ready_vm: managed object id of the VM that was READY when this was noted, None if unknown
    :ivar content_id: vCenter's id of the content of that VM's disk, None if vCenter gave none
    :ivar deployment: the deployment that owns that VM, None if it is not certain
    """

    used_at: datetime.datetime | None = None
    warmed_at: datetime.datetime | None = None
    ready_vm: str | None = None
    content_id: str | None = None
    deployment: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is noted; only READY entries get notes."""
        return self != Notes()

    def content_of(self, moref: str) -> str | None:
        """The content id, if it is that VM's."""
        return self.content_id if self.ready_vm == moref else None

    def deployment_of(self, moref: str) -> str:
        """The deployment, if it is that VM's; otherwise ''."""
        return (self.deployment or "") if self.ready_vm == moref else ""

    def to_json(self) -> str:
        times = {"used_at": self.used_at, "warmed_at": self.warmed_at}
        said = {name: time.isoformat() for name, time in times.items() if time}
        texts = {
            "ready_vm": self.ready_vm,
            "content_id": self.content_id,
            "deployment": self.deployment,
        }
        return json.dumps(said | {name: text for name, text in texts.items() if text})

    @classmethod
    def from_json(cls, text: str | None) -> Notes:
        """The notes; none if the text was not written by this package."""
        try:
            data = json.loads(text or "{}")
            return cls(
                _time(data.get("used_at")),
                _time(data.get("warmed_at")),
                _text(data.get("ready_vm")),
                _text(data.get("content_id")),
                _text(data.get("deployment")),
            )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()


def write_every_s(settings: Settings) -> float:
    """How often a use of a template is written on it, in seconds: at least four times per
    ``image_cache_age_seconds`` if the age counts from the last use."""
    if settings.expiry == EXPIRY_IDLE and settings.age_s:
        return min(WRITE_EVERY_S, settings.age_s / 4)
    return WRITE_EVERY_S


@dataclasses.dataclass
class _Use:
    """Of one template, in monotonic time.

    :ivar last: of the last use
    :ivar write_from: the next use from then on is written
    """

    last: float
    write_from: float


class Usage:
    """The uses that this process has seen; safe for use by many threads.

    :param write_every_s: see :func:`write_every_s`
    """

    def __init__(
        self,
        store: TemplateStore,
        clock: Clock,
        write_every_s: Callable[[], float] = lambda: WRITE_EVERY_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._write_every_s = write_every_s
        self._lock = threading.Lock()
        self._uses: dict[str, _Use] = {}
        #: A moment in monotonic time, and what the store's clock said then.
        self._moment: tuple[float, datetime.datetime] | None = None

    def note(self, entry: CacheEntry) -> None:
        """A volume was cloned from ``entry``. Never raises, because the volume exists."""
        now = self._clock.monotonic()
        with self._lock:
            use = self._uses.setdefault(entry.moref, _Use(now, now))
            use.last = now
            if now < use.write_from:
                return
            use.write_from = now + self._write_every_s()
        try:
            noted_at = self._store.touch(entry)
        except Exception as failure:
            LOG.info("The use of template %s was not noted: %s", quoted(entry.name),
                     sentence(failure if isinstance(failure, errors.VmdkCacheError)
                              else repr(failure)))  # fmt: skip
            with self._lock:
                use.write_from = now + min(RETRY_AFTER_S, self._write_every_s())
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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(text: object) -> datetime.datetime | None:
    if not isinstance(text, str):
        return None
    time = datetime.datetime.fromisoformat(text)
    return time.astimezone(datetime.UTC) if time.tzinfo is not None else None

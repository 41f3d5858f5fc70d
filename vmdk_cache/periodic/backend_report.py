"""What a backend reports to Cinder's scheduler about its cache, each minute, from one listing.

The listing takes as long as vCenter takes: with vCenter away, as long as all retries. So it runs in
a thread of its own, one at a time, and callers wait for it for at most ANSWER_WITHIN_S. After that
they get the last report, until a listing succeeds again. The log says so once, and once when the
report is up to date again.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache.cache.capacity import provisioned_gib
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)

#: Cinder sends the report to every scheduler once a minute, and administrators read it: 250 images
#: take 1.75 KB of it. The images used last come first, so that only images without recent use are
#: left out.
MOST_IMAGES = 250
#: Listing what has changed is one request. Cinder's own report to the scheduler waits for it.
ANSWER_WITHIN_S = 5.0


@dataclass(frozen=True)
class BackendReport:
    """The cache's contents, as of one moment.

    :ivar extra_provisioned_gib: capacity of all templates and running imports, rounded up
    :ivar image_ids: Glance ids of the images that can be cloned now, used last first, each once, at
        most :data:`MOST_IMAGES`
    """

    extra_provisioned_gib: int = 0
    image_ids: tuple[str, ...] = ()


def report_of(entries: Iterable[CacheEntry]) -> BackendReport:
    """The report on these entries; FOREIGN ones do not count."""
    ours = [entry for entry in entries if entry.phase is not Phase.FOREIGN]
    ready = [entry for entry in ours if entry.phase is Phase.READY and entry.accessible]
    ready.sort(key=lambda entry: entry.unused_since or _EPOCH, reverse=True)
    # A dict keeps the order in which its keys came: that of each image's copy used last.
    ids = list(dict.fromkeys(entry.image_id for entry in ready if entry.image_id is not None))
    return BackendReport(
        provisioned_gib(entry.size_bytes for entry in ours), tuple(ids[:MOST_IMAGES])
    )


class BackendReporter:
    """Thread-safe; starts no thread and sends no request before the first call.

    :param within_s: how long :meth:`latest` waits for vCenter
    """

    def __init__(self, context: CacheContext, *, within_s: float = ANSWER_WITHIN_S) -> None:
        self._context = context
        self._within_s = within_s
        self._lock = threading.Lock()
        self._last = BackendReport()
        self._look_done: threading.Event | None = None
        self._is_stale = False

    def latest(self) -> BackendReport:
        """The report as of now, or of the last listing that succeeded; never raises.

        Callers share a listing that is under way.
        """
        try:
            if not self._look_under_way().wait(self._within_s):
                self._stands(f"no answer within {self._within_s:g} s")
        except Exception as failure:  # no thread could be started
            self._stands(failure)
        with self._lock:
            return self._last

    def _look_under_way(self) -> threading.Event:
        with self._lock:
            if self._look_done is not None:
                return self._look_done
            done = threading.Event()
            looker = threading.Thread(
                target=self._look, args=[done], name="image cache report", daemon=True
            )
            looker.start()
            self._look_done = done
            return done

    def _look(self, done: threading.Event) -> None:
        try:
            report = report_of(self._context.entries())
        except Exception as failure:
            # On any error: an old report of the cache is better than none of the backend.
            self._stands(failure)
        else:
            with self._lock:
                self._last, was_stale, self._is_stale = report, self._is_stale, False
            if was_stale:
                LOG.info("The cached templates are counted again")
        finally:
            with self._lock:
                self._look_done = None
            done.set()

    def _stands(self, why: object) -> None:
        """Log once why the last report is still in use."""
        with self._lock:
            was_stale, self._is_stale = self._is_stale, True
        if not was_stale:
            LOG.warning("Could not list the cached templates, last count stands: %s", sentence(why))

"""What a scrape of the exporter takes: the state of each vCenter, and the ledgers' counts.

A scrape looks at all backends concurrently and returns what has arrived when time is up:

    no look in progress  start a thread for one
    a look in progress   share it: a hundred concurrent scrapes cause one look
    it takes too long    the scrape continues without it, and the look ends by itself

The first successful look opens the connection, and later ones reuse it. The session
(vim/session.py) and the change stream (vim/change_stream.py) recover by themselves when vCenter
comes up later, restarts or ends the session.

Each scrape opens the ledgers anew, which takes about a millisecond: it finds files that were
created or replaced since, and holds no lock on them between scrapes.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from oslo_log import log as logging
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from vmdk_cache import errors
from vmdk_cache.cache.entry import Phase
from vmdk_cache.cli.configuration import BackendConfiguration
from vmdk_cache.cli.metrics import METRICS, Look, Measurement, Tally, families
from vmdk_cache.clock import Clock
from vmdk_cache.ledger import Count, LastPurge, Ledger
from vmdk_cache.quoting import sentence
from vmdk_cache.vim import recent_task
from vmdk_cache.vim.account import LOGIN_REFUSED_PAUSE_S
from vmdk_cache.vim.recent_task import ImportProgress

if TYPE_CHECKING:
    from vmdk_cache.wiring import RunningCache

LOG = logging.getLogger(__name__)

#: Pause after a refusal that a retry cannot cure; as long as the session's own pause.
REFUSED_PAUSE_S = LOGIN_REFUSED_PAUSE_S
_REFUSALS = (errors.LoginRefused, errors.NoPermission, errors.ConfigError)

_Read = TypeVar("_Read")
PendingLook = concurrent.futures.Future["Look | None"]


def look_at(cache: RunningCache) -> Look:
    """vCenter's current state: a request for what has changed, and two more while images are
    imported.

    :raises VCenterError: vCenter does not answer, or refuses
    """
    entries = cache.store.entries()
    importing = [entry.moref for entry in entries if entry.phase is Phase.IMPORTING]
    imports: dict[str, ImportProgress] = {}
    taken_at = None
    if importing:
        imports = recent_task.imports(cache.session, importing)
        taken_at = cache.session.server_time()
    return Look(
        entries,
        cache.placement.spaces(),
        cache.placement.datastore_names(),
        str(cache.session.content.about.version),
        imports,
        taken_at,
    )


class Observer:
    """Observes one backend; thread-safe. Starts no thread and sends no request before the first
    look.

    :param backend: its name, for the log
    :param connect: opens the connection; raises VmdkCacheError
    """

    def __init__(self, backend: str, connect: Callable[[], RunningCache], clock: Clock) -> None:
        self._backend = backend
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: PendingLook | None = None
        self._cache: RunningCache | None = None
        self._closed = False
        self._refused_at: float | None = None
        self._complaint: str | None = None

    def look(self) -> PendingLook:
        """A future with vCenter's current state; its result is None if vCenter does not answer."""
        look: PendingLook = concurrent.futures.Future()
        name = f"look-{self._backend}"
        try:
            with self._lock:
                if self._under_way is None:
                    threading.Thread(target=self._run, args=(look,), name=name, daemon=True).start()
                    self._under_way = look
                return self._under_way
        except RuntimeError as failure:  # no thread could be started
            self._tell(str(failure))
            look.set_result(None)
            return look

    def answer(self, look: PendingLook, within_s: float) -> Look | None:
        """The result of :meth:`look`, or None if it takes longer than ``within_s`` seconds."""
        try:
            return look.result(max(0.0, within_s))
        except TimeoutError:
            self._tell("it did not answer in time")
            return None

    def close(self) -> None:
        """Log out; never raises. A look in progress ends without an answer."""
        with self._lock:
            self._closed = True
            cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def _run(self, look: PendingLook) -> None:
        found: Look | None = None
        try:
            found = self._look_now()
            if found is not None:
                self._tell(None)
        except errors.VmdkCacheError as failure:
            self._tell(str(failure))
        except Exception as failure:
            # A bug here must not stop the other backends' metrics, or later looks at this one.
            LOG.debug("A look at %s failed", self._backend, exc_info=True)
            self._tell(sentence(repr(failure)))
        finally:
            with self._lock:
                self._under_way = None
            look.set_result(found)

    def _look_now(self) -> Look | None:
        cache = self._connected()
        return None if cache is None else look_at(cache)

    def _connected(self) -> RunningCache | None:
        """The cache; None during the pause after a refusal, and after :meth:`close`."""
        with self._lock:
            if self._cache is not None or self._closed:
                return self._cache
        refused_at = self._refused_at
        if refused_at is not None and self._clock.monotonic() - refused_at < REFUSED_PAUSE_S:
            return None
        try:
            cache = self._connect()
        except _REFUSALS:
            # Timed from the end of the attempt, so that the session's own pause ends earlier.
            self._refused_at = self._clock.monotonic()
            raise
        with self._lock:
            if not self._closed:
                self._cache = cache
                return cache
        cache.close()
        return None

    def _tell(self, complaint: str | None) -> None:
        """Log a line when the state has changed."""
        with self._lock:
            before, self._complaint = self._complaint, complaint
        if complaint == before or self._closed:
            return
        if complaint is None:
            LOG.info("vCenter of backend %s is answering again.", self._backend)
        else:
            LOG.warning("No vCenter metrics for backend %s: %s", self._backend, complaint)


class Scraper:
    """The exporter's metrics; thread-safe.

    :param backends: each with its observer
    :param version: version of this package
    """

    def __init__(
        self,
        backends: Sequence[tuple[BackendConfiguration, Observer]],
        version: str,
        clock: Clock,
    ) -> None:
        self._backends = tuple(backends)
        self._version = version
        self._clock = clock
        self._complaints: dict[str, str] = {}

    def scrape(self, within_s: float) -> list[Metric]:
        """Every metric that has a value; takes at most about ``within_s`` seconds."""
        return families(self.measure(within_s), self._version)

    def measure(self, within_s: float) -> list[Measurement]:
        """What is known of each backend; takes at most about ``within_s`` seconds."""
        began_at = self._clock.monotonic()
        looks = [(configured, observer, observer.look()) for configured, observer in self._backends]
        tallies = self._tallies()
        measurements = []
        for configured, observer, look in looks:
            waited_s = self._clock.monotonic() - began_at
            seen = observer.answer(look, within_s - waited_s)
            measurements.append(
                Measurement(
                    configured.name,
                    configured.settings,
                    seen,
                    self._clock.monotonic() - began_at,
                    configured.ledger_path is not None,
                    tallies.get(configured.name),
                    configured.backend.deployment,
                )
            )
        return measurements

    def daily(self, since: datetime.date) -> dict[str, list[Count]]:
        """By backend, what was counted on each day from ``since`` on, UTC; backends whose ledger
        cannot be read are left out, with a warning."""
        return {
            name: [each for each in counts if each.backend == name]
            for name, counts in self._read_ledgers(lambda ledger: ledger.daily(since)).items()
        }

    def last_purges(self) -> dict[str, LastPurge]:
        """By backend, its last purge by a service of this host; backends without one, or whose
        ledger cannot be read, are left out."""
        read = self._read_ledgers(lambda ledger: ledger.last_purges())
        return {name: last[name] for name, last in read.items() if name in last}

    def _tallies(self) -> dict[str, Tally]:
        """Tallies by backend; those whose ledger cannot be read are left out, with a warning."""
        read = self._read_ledgers(lambda ledger: (ledger.totals(), ledger.histograms()))
        return {
            name: Tally(
                [each for each in totals if each.backend == name],
                [each for each in histograms if each.backend == name],
            )
            for name, (totals, histograms) in read.items()
        }

    def _read_ledgers(self, read: Callable[[Ledger], _Read]) -> dict[str, _Read]:
        """By backend, what ``read`` reads from its ledger; each file is opened once."""
        found: dict[str, _Read] = {}
        paths = [(configured.ledger_path, configured.name) for configured, _ in self._backends]
        for path in dict.fromkeys(path for path, _ in paths if path is not None):
            try:
                ledger = Ledger.open(path, read_only=True)
                try:
                    content = read(ledger)
                finally:
                    ledger.close()
            except errors.VmdkCacheError as failure:
                if self._complaints.get(path) != str(failure):  # once
                    LOG.warning("No counters from the ledger: %s", failure)
                self._complaints[path] = str(failure)
                continue
            self._complaints.pop(path, None)
            found |= {name: content for its_path, name in paths if its_path == path}
        return found


@dataclass(frozen=True)
class Scrape(Collector):
    """One scrape, which takes at most about ``within_s`` seconds."""

    scraper: Scraper
    within_s: float

    def describe(self) -> Iterable[Metric]:
        """All metrics that may be collected, so that a request can select some (``?name[]=``)."""
        return [definition.family() for definition in METRICS.values()]

    def collect(self) -> Iterable[Metric]:
        return self.scraper.scrape(self.within_s)

"""One scrape: looks at all backends concurrently and returns what has arrived when time is up.

Each scrape opens the ledgers anew, which takes about a millisecond: it finds files that were
created or replaced since, and holds no lock on them between scrapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oslo_log import log as logging
from prometheus_client.core import Metric

from vmdk_cache import errors
from vmdk_cache.cli.configuration import BackendConfiguration
from vmdk_cache.cli.measurement import Measurement, Tally, families
from vmdk_cache.cli.metrics import METRICS
from vmdk_cache.cli.observer import Observer
from vmdk_cache.clock import Clock
from vmdk_cache.ledger import Ledger

LOG = logging.getLogger(__name__)


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

    def within(self, seconds: float) -> _Scrape:
        """A collector for one scrape that takes at most about ``seconds``."""
        return _Scrape(self, seconds)

    def scrape(self, within_s: float) -> list[Metric]:
        """Every metric that has a value."""
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
                )
            )
        return families(measurements, self._version)

    def _tallies(self) -> dict[str, Tally]:
        """Tallies by backend; backends whose ledger cannot be read are left out."""
        tallies: dict[str, Tally] = {}
        paths = [(configured.ledger_path, configured.name) for configured, _ in self._backends]
        for path in dict.fromkeys(path for path, _ in paths if path is not None):
            try:
                ledger = Ledger.open(path, read_only=True)
                try:
                    totals, histograms = ledger.totals(), ledger.histograms()
                finally:
                    ledger.close()
            except errors.VmdkCacheError as failure:
                self._complain(path, str(failure))
                continue
            self._complaints.pop(path, None)
            for name in (name for its_path, name in paths if its_path == path):
                tallies[name] = Tally(
                    [each for each in totals if each.backend == name],
                    [each for each in histograms if each.backend == name],
                )
        return tallies

    def _complain(self, path: str, complaint: str) -> None:
        """Log a complaint once, until the ledger can be read again."""
        if self._complaints.get(path) != complaint:
            LOG.warning("No counters from the ledger: %s", complaint)
        self._complaints[path] = complaint


class _Scrape:
    """A collector for one registry; see :class:`prometheus_client.registry.Collector`."""

    def __init__(self, scraper: Scraper, within_s: float) -> None:
        self._scraper = scraper
        self._within_s = within_s

    def describe(self) -> Iterable[Metric]:
        """All metrics that may be collected, so that a request can select some (``?name[]=``)."""
        return [definition.family() for definition in METRICS.values()]

    def collect(self) -> Iterable[Metric]:
        return self._scraper.scrape(self._within_s)

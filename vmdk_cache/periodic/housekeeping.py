"""Runs at each ``image_cache_purge_interval``: the purge, then a reconcile that fixes.

It also runs while the cache is disabled, to clean up. A finding of the reconcile is logged when it
is new, and not again while it lasts.
"""

from __future__ import annotations

from oslo_log import log as logging

from vmdk_cache.cache.findings import LEFT_ALONE, Finding
from vmdk_cache.clock import Clock
from vmdk_cache.periodic.purge import Purge
from vmdk_cache.periodic.reconcile import Reconcile
from vmdk_cache.quoting import quoted, sentence

LOG = logging.getLogger(__name__)
#: Each search of the datastores shows up as tasks in vCenter, and its result is not urgent.
DATASTORES_EVERY_S = 3600.0


class Housekeeping:
    """The rounds of one backend; one at a time."""

    def __init__(self, purge: Purge, reconcile: Reconcile, clock: Clock) -> None:
        self._purge = purge
        self._reconcile = reconcile
        self._clock = clock
        self._searched_at: float | None = None
        self._told: dict[bool, set[Finding]] = {}

    def run(self) -> None:
        """One round; never raises, because the next round tries again and logs again."""
        try:
            self._purge.run()
        except Exception as failure:
            LOG.warning(
                "The image cache could not be purged, the next run retries: %s", sentence(failure)
            )
        try:
            self._check()
        except Exception as failure:
            LOG.warning(
                "The image cache could not be checked, the next run retries: %s", sentence(failure)
            )

    def _check(self) -> None:
        now = self._clock.monotonic()
        search = self._searched_at is None or now - self._searched_at >= DATASTORES_EVERY_S
        report = self._reconcile.check(fix=True, directories=search)
        if report.skipped:
            return
        if search:
            self._searched_at = now
        told = {found for told in self._told.values() for found in told}
        for finding in report.findings:
            if finding not in told:
                _tell(finding)
        # A round that did not search the datastores says nothing about findings there.
        self._told[search] = set(report.findings)


def _tell(finding: Finding) -> None:
    quiet = finding.fixed or finding.kind in LEFT_ALONE
    LOG.log(
        logging.INFO if quiet else logging.WARNING,
        "Image cache, %s, %s (%s): %s%s",
        finding.kind,
        quoted(finding.name),
        quoted(finding.where),
        sentence(finding.says),
        " - done" if finding.fixed else "",
    )

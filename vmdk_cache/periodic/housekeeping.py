"""What runs at each ``image_cache_purge_interval``: the purge, then a reconcile that fixes.

It runs with the cache disabled as well, for what is left over. What a reconcile finds is logged
when it is new, and not again while it stays.
"""

from __future__ import annotations

from oslo_log import log as logging

from vmdk_cache.clock import Clock
from vmdk_cache.periodic.findings import LEFT_ALONE, Finding
from vmdk_cache.periodic.purge import Purge
from vmdk_cache.periodic.reconcile import Reconcile
from vmdk_cache.quoting import quoted, sentence

LOG = logging.getLogger(__name__)
#: Each search of the datastores shows up as tasks in vCenter, and nobody waits for its result.
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
        """One round; never raises: what fails for good fails again, and says so, next time."""
        try:
            self._purge.run()
        except Exception as failure:
            LOG.warning("The image cache could not be purged, next time: %s", sentence(failure))
        try:
            self._check()
        except Exception as failure:
            LOG.warning("The image cache could not be checked, next time: %s", sentence(failure))

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
        # A round that did not search the datastores says nothing of what was found there.
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

"""Every metric of ``vmdk-cache exporter``: its name, type, labels and meaning, in one table.

The table is what the exporter's output is made of, what docs/metrics.rst shows, and what the
dashboard and the alert rules in etc/ are checked against.

Names follow Prometheus's conventions: base units, ``_total`` on what only grows, and moments as
seconds since 1970, so that no clock but Prometheus's own decides how long ago they were. Labels
have few values: backends, datastores, phases, reasons, rules. No image, volume or project is one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

PREFIX = "vmdk_cache_"


class Source(enum.StrEnum):
    """Where a metric's values come from, which is when they are there."""

    EXPORTER = "always"
    CONFIGURATION = "always; an option that is off has no value"
    VCENTER = "while vCenter answers"
    LEDGER = "while the ledger can be read, also when vCenter is away"


@dataclass(frozen=True)
class Definition:
    """One metric.

    :ivar name: as Prometheus stores it; a histogram's without ``_bucket``, ``_sum``, ``_count``
    :ivar kind: ``gauge``, ``counter`` or ``histogram``
    :ivar labels: beside ``le`` of a histogram
    """

    name: str
    kind: str
    source: Source
    labels: tuple[str, ...]
    help: str

    def family(self) -> Metric:
        """The metric with no sample yet."""
        kinds = {
            "gauge": GaugeMetricFamily,
            "counter": CounterMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        made: Metric = kinds[self.kind](self.name, self.help, labels=self.labels)
        return made

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))


def _table(*rows: tuple[str, str, Source, str, str]) -> dict[str, Definition]:
    """By name without the prefix."""
    return {
        name: Definition(PREFIX + name, kind, source, tuple(labels.split()), text)
        for name, kind, source, labels, text in rows
    }


_EXPORTER, _OPTION, _VCENTER, _LEDGER = Source

METRICS = _table(
    # Whether the rest can be believed.
    ("build_info", "gauge", _EXPORTER, "version",
     "1; the version of vmdk_cache that answers."),
    ("up", "gauge", _EXPORTER, "backend",
     "1 if vCenter answered for this scrape, 0 if not: then the log of the exporter says why."),
    ("scrape_duration_seconds", "gauge", _EXPORTER, "backend",
     "How long this scrape waited for vCenter."),
    ("ledger_up", "gauge", _EXPORTER, "backend",
     "1 if the ledger (image_cache_ledger) could be read, 0 if not; no value where it is off."),
    # What the configuration asks for.
    ("enabled", "gauge", _OPTION, "backend",
     "1 if enable_image_cache is true, else 0."),
    ("limit_templates", "gauge", _OPTION, "backend",
     "image_cache_max_count."),
    ("limit_virtual_bytes", "gauge", _OPTION, "backend",
     "image_cache_max_total_gb, in bytes."),
    ("limit_virtual_ratio", "gauge", _OPTION, "backend",
     "image_cache_max_percent as a ratio of the datastores' capacity, 0 to 1."),
    ("limit_free_ratio", "gauge", _OPTION, "backend",
     "image_cache_min_free_percent as a ratio of a datastore's capacity, 0 to 1."),
    ("limit_age_seconds", "gauge", _OPTION, "backend",
     "image_cache_age_seconds."),
    ("purge_interval_seconds", "gauge", _OPTION, "backend",
     "image_cache_purge_interval."),
    # What vCenter has.
    ("templates", "gauge", _VCENTER, "backend datastore phase",
     "VMs in the cache's folder. phase is importing, ready, altered (its disk was changed by hand: "
     "never served, deleted by the next purge), adopted (bears one of our names and no record: "
     "never served, purged like the others) or foreign (somebody else's: left alone)."),
    ("images", "gauge", _VCENTER, "backend",
     "Images of which there is a ready template."),
    ("replicas", "gauge", _VCENTER, "backend",
     "Ready templates beyond the first of the same image, content and adapter type."),
    ("templates_inaccessible", "gauge", _VCENTER, "backend datastore",
     "Templates whose files vCenter says are lost or out of reach."),
    ("template_virtual_bytes", "gauge", _VCENTER, "backend datastore",
     "What the templates and running imports may grow to; what counts as provisioned."),
    ("template_unshared_bytes", "gauge", _VCENTER, "backend datastore",
     "Space that deleting the templates would free, as vCenter last looked."),
    ("oldest_template_timestamp_seconds", "gauge", _VCENTER, "backend",
     "When the oldest template was imported."),
    ("newest_template_timestamp_seconds", "gauge", _VCENTER, "backend",
     "When the newest template was imported."),
    ("next_expiry_timestamp_seconds", "gauge", _VCENTER, "backend",
     "When the first template expires, or has expired; no value while expiry is off."),
    ("datastore_capacity_bytes", "gauge", _VCENTER, "backend datastore",
     "Capacity of a datastore that the backend uses."),
    ("datastore_free_bytes", "gauge", _VCENTER, "backend datastore",
     "Free space of a datastore that the backend uses, as vCenter last looked."),
    # What happened.
    ("hits_total", "counter", _LEDGER, "backend",
     "Volumes cloned from a template that was there or that another request was importing."),
    ("misses_total", "counter", _LEDGER, "backend",
     "Volumes whose request imported the template first."),
    ("one_task_volumes_total", "counter", _LEDGER, "backend",
     "Hits and misses for which vCenter needed no task after CloneVM_Task."),
    ("bypasses_total", "counter", _LEDGER, "backend reason",
     "Volumes that asked for the cache and were made without it."),
    ("volume_failures_total", "counter", _LEDGER, "backend",
     "Attempts at volumes that asked for the cache and ended without a volume."),
    ("hit_seconds_total", "counter", _LEDGER, "backend",
     "Time from request to volume, of the hits."),
    ("miss_seconds_total", "counter", _LEDGER, "backend",
     "Time from request to volume, of the misses."),
    ("saved_bytes_total", "counter", _LEDGER, "backend",
     "What Glance did not have to send, because the volume was a hit."),
    ("import_seconds", "histogram", _LEDGER, "backend",
     "How long an import took, from the first byte of Glance to the template."),
    ("imported_bytes_total", "counter", _LEDGER, "backend",
     "What Glance sent for imports that succeeded."),
    ("import_failures_total", "counter", _LEDGER, "backend",
     "Imports that failed."),
    ("clone_seconds", "histogram", _LEDGER, "backend",
     "How long vCenter took for a volume's clone, without the queue."),
    ("queue_seconds", "histogram", _LEDGER, "backend",
     "How long a volume's clone waited for its turn (image_cache_clones_per_template)."),
    ("replicas_made_total", "counter", _LEDGER, "backend",
     "Replicas made (image_cache_replicas)."),
    ("evictions_total", "counter", _LEDGER, "backend rule",
     "Templates deleted, by the rule that they fell under."),
    ("evicted_bytes_total", "counter", _LEDGER, "backend rule",
     "Virtual size of the templates deleted."),
)  # fmt: skip

#: Every series that a scrape may hold.
SERIES = frozenset(series for definition in METRICS.values() for series in definition.series)

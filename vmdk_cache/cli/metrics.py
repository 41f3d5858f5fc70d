"""Every metric of ``vmdk-cache exporter``: its name, type, labels and meaning, in one table.

The exporter's output and docs/metrics.rst are made from this table, and tests check the dashboard
and the alert rules in etc/ against it.

Names follow Prometheus's conventions: base units, ``_total`` on counters, and timestamps in seconds
since 1970, so that Prometheus's own clock determines their age. Labels have few values: backends,
datastores, phases, reasons, rules; never images, volumes or projects.
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
    """Where a metric's values come from; the text says when they are present."""

    EXPORTER = "always"
    CONFIGURATION = "always; no value if the option is off"
    VCENTER = "while vCenter answers"
    LEDGER = "while the ledger can be read, even if vCenter is unreachable"


@dataclass(frozen=True)
class Definition:
    """One metric.

    :ivar name: as Prometheus stores it; for a histogram without ``_bucket``, ``_sum``, ``_count``
    :ivar kind: ``gauge``, ``counter`` or ``histogram``
    :ivar labels: without ``le`` of a histogram
    """

    name: str
    kind: str
    source: Source
    labels: tuple[str, ...]
    help: str

    def family(self) -> Metric:
        """The metric, without samples."""
        kinds = {
            "gauge": GaugeMetricFamily,
            "counter": CounterMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        made: Metric = kinds[self.kind](self.name, self.help, labels=self.labels)
        return made

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the metric's series."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(self.name + suffix for suffix in ("_bucket", "_count", "_sum"))


def _table(*rows: tuple[str, str, Source, str, str]) -> dict[str, Definition]:
    """Definitions by name, without the prefix."""
    return {
        name: Definition(PREFIX + name, kind, source, tuple(labels.split()), text)
        for name, kind, source, labels, text in rows
    }


_EXPORTER, _OPTION, _VCENTER, _LEDGER = Source

METRICS = _table(
    # The exporter's own state.
    ("build_info", "gauge", _EXPORTER, "version",
     "Always 1; the label holds the version of vmdk_cache."),
    ("up", "gauge", _EXPORTER, "backend",
     "1 if vCenter answered during this scrape, 0 if not; the exporter's log says why."),
    ("scrape_duration_seconds", "gauge", _EXPORTER, "backend",
     "How long this scrape waited for vCenter."),
    ("ledger_up", "gauge", _EXPORTER, "backend",
     "1 if the ledger (image_cache_ledger) could be read, 0 if not; no value if it is off."),
    # The configuration.
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
    # The state in vCenter.
    ("templates", "gauge", _VCENTER, "backend datastore phase",
     "VMs in the cache's folder. phase is importing, ready, altered (the disk was changed by hand: "
     "never served, deleted by the next purge), adopted (has one of the cache's names but no "
     "record: never served, purged like the others) or foreign (not the cache's: left alone)."),
    ("images", "gauge", _VCENTER, "backend",
     "Images that have a ready template."),
    ("replicas", "gauge", _VCENTER, "backend",
     "Ready templates beyond the first of the same image, content and adapter type."),
    ("templates_inaccessible", "gauge", _VCENTER, "backend datastore",
     "Templates whose files are lost or inaccessible according to vCenter."),
    ("template_virtual_bytes", "gauge", _VCENTER, "backend datastore",
     "Virtual size of templates and running imports, which counts as provisioned capacity."),
    ("template_unshared_bytes", "gauge", _VCENTER, "backend datastore",
     "Space that deleting the templates would free, as of vCenter's last refresh."),
    ("oldest_template_timestamp_seconds", "gauge", _VCENTER, "backend",
     "Time when the oldest template was imported."),
    ("newest_template_timestamp_seconds", "gauge", _VCENTER, "backend",
     "Time when the newest template was imported."),
    ("next_expiry_timestamp_seconds", "gauge", _VCENTER, "backend",
     "Time when the first template expires or expired; no value if expiry is off."),
    ("datastore_capacity_bytes", "gauge", _VCENTER, "backend datastore",
     "Capacity of a datastore that the backend uses."),
    ("datastore_free_bytes", "gauge", _VCENTER, "backend datastore",
     "Free space of a datastore that the backend uses, as of vCenter's last refresh."),
    # Events.
    ("hits_total", "counter", _LEDGER, "backend",
     "Volumes cloned from an existing template, or from one that another request was importing."),
    ("misses_total", "counter", _LEDGER, "backend",
     "Volumes whose request had to import the template first."),
    ("one_task_volumes_total", "counter", _LEDGER, "backend",
     "Hits and misses for which vCenter needed no task after CloneVM_Task."),
    ("bypasses_total", "counter", _LEDGER, "backend reason",
     "Volumes that requested the cache and were created without it."),
    ("volume_failures_total", "counter", _LEDGER, "backend",
     "Requests for a volume from the cache that ended without a volume."),
    ("hit_seconds_total", "counter", _LEDGER, "backend",
     "Time from request to volume, of the hits."),
    ("miss_seconds_total", "counter", _LEDGER, "backend",
     "Time from request to volume, of the misses."),
    ("saved_bytes_total", "counter", _LEDGER, "backend",
     "Bytes that Glance did not have to send because the volume was a hit."),
    ("import_seconds", "histogram", _LEDGER, "backend",
     "Duration of an import, from Glance's first byte to the template."),
    ("imported_bytes_total", "counter", _LEDGER, "backend",
     "Bytes that Glance sent for successful imports."),
    ("import_failures_total", "counter", _LEDGER, "backend",
     "Imports that failed."),
    ("clone_seconds", "histogram", _LEDGER, "backend",
     "Time that vCenter took to clone a volume, without the time in the queue."),
    ("queue_seconds", "histogram", _LEDGER, "backend",
     "Time that a volume waited for a clone slot (image_cache_clones_per_template)."),
    ("replicas_made_total", "counter", _LEDGER, "backend",
     "Replicas created (image_cache_replicas)."),
    ("evictions_total", "counter", _LEDGER, "backend rule",
     "Templates deleted, by the rule that applied."),
    ("evicted_bytes_total", "counter", _LEDGER, "backend rule",
     "Virtual size of deleted templates."),
)  # fmt: skip

#: Every series that a scrape may hold.
SERIES = frozenset(series for definition in METRICS.values() for series in definition.series)

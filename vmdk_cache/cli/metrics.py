"""Every metric of ``vmdk-cache exporter``: its name, type, labels and meaning, in one table, and
its values, from one observation of the backends (:func:`families`, which is pure).

The exporter's output and docs/metrics.rst are made from this table, and tests check the dashboard
and the alert rules in etc/ against it.

Names follow Prometheus's conventions: base units, ``_total`` on counters, and timestamps in seconds
since 1970, so that Prometheus's own clock determines their age. Labels have few values: backends,
datastores, phases, reasons, rules; never images, volumes or projects.

If vCenter does not answer or the ledger cannot be read, their metrics are left out, so that
Prometheus marks them stale instead of repeating old values. A counter is exported as 0 before its
first event: Prometheus sees no increase in a counter that first appears as 1.
"""

from __future__ import annotations

import datetime
import enum
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from vmdk_cache.cache.capacity import capacity_by_datastore
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.eviction_plan import expires_at
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Space
from vmdk_cache.conf import Settings
from vmdk_cache.ledger import IN_ONE_TASK, Count, Histogram
from vmdk_cache.vim.recent_task import ImportProgress

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
    ("not_kept_warm_total", "counter", _LEDGER, "backend",
     "Images to keep warm (image_cache_auto_warm) that had no current template when a round ended; "
     "one for a round that could not ask Glance for them."),
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

#: Label of templates whose datastore vCenter does not report.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Look:
    """The state in vCenter as of one refresh.

    :ivar spaces: the datastores that the backend uses, by managed object id
    :ivar names: names of datastores by managed object id, including others that are known
    :ivar version: of vCenter
    :ivar imports: imports under way, by the managed object id of their virtual machine
    :ivar taken_at: when ``imports`` was read, by vCenter's clock; None if no entry is an import
    """

    entries: Sequence[CacheEntry]
    spaces: Mapping[str, Space]
    names: Mapping[str, str]
    version: str = ""
    imports: Mapping[str, ImportProgress] = field(default_factory=dict)
    taken_at: datetime.datetime | None = None


@dataclass(frozen=True)
class Tally:
    """The ledger's counts of one backend."""

    counts: Sequence[Count]
    histograms: Sequence[Histogram]


@dataclass(frozen=True)
class Measurement:
    """The observation of one backend.

    :ivar look: None if vCenter did not answer
    :ivar look_s: seconds that the scrape waited for it
    :ivar has_ledger: False if the ledger is disabled
    :ivar tally: None if there is no ledger or it cannot be read
    :ivar deployment: id of this cloud
    """

    backend: str
    settings: Settings
    look: Look | None
    look_s: float
    has_ledger: bool
    tally: Tally | None
    deployment: str = ""


def families(measurements: Iterable[Measurement], version: str) -> list[Metric]:
    """Every metric that has a value."""
    sheet = _Sheet()
    sheet.add("build_info", 1, version)
    for measured in measurements:
        backend = measured.backend
        sheet.add("up", measured.look is not None, backend)
        sheet.add("scrape_duration_seconds", measured.look_s, backend)
        if measured.has_ledger:
            sheet.add("ledger_up", measured.tally is not None, backend)
        _add_limits(sheet, backend, measured.settings)
        if measured.look is not None:
            _add_look(sheet, backend, measured.settings, measured.look)
        if measured.tally is not None:
            _add_counts(sheet, backend, measured.tally.counts)
            for histogram in measured.tally.histograms:
                sheet.add_histogram(backend, histogram)
    return sheet.families()


class _Sheet:
    """Collects samples by metric."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def _family(self, name: str) -> Metric:
        return self._families.setdefault(name, METRICS[name].family())

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample of a gauge or counter, unless the value is None; ``name`` without its
        prefix, ``labels`` in the table's order."""
        assert len(labels) == len(METRICS[name].labels), name
        if value is not None:
            self._family(name).add_metric(labels, value)  # type: ignore[attr-defined]

    def add_histogram(self, backend: str, of: Histogram) -> None:
        family = self._family(f"{of.kind}_seconds")
        assert isinstance(family, HistogramMetricFamily)
        bound_of: Callable[[float], str] = floatToGoString  # untyped
        buckets = [(bound_of(le_s), float(count)) for le_s, count in of.buckets]
        family.add_metric([backend], buckets, of.sum_s)

    def families(self) -> list[Metric]:
        """In the order of the table."""
        return [self._families[name] for name in METRICS if name in self._families]


def _add_limits(sheet: _Sheet, backend: str, settings: Settings) -> None:
    sheet.add("enabled", settings.enabled, backend)
    sheet.add("purge_interval_seconds", settings.purge_interval_s, backend)
    # A limit of 0 is off.
    sheet.add("limit_templates", settings.max_count or None, backend)
    sheet.add("limit_virtual_bytes", settings.max_total_bytes or None, backend)
    sheet.add("limit_virtual_ratio", settings.max_percent / 100 or None, backend)
    sheet.add("limit_free_ratio", settings.min_free_percent / 100 or None, backend)
    sheet.add("limit_age_seconds", settings.age_s or None, backend)


def _add_look(sheet: _Sheet, backend: str, settings: Settings, look: Look) -> None:
    label_of = datastore_labels(look)
    _add_templates(sheet, backend, look, label_of)
    for moref, space in look.spaces.items():
        sheet.add("datastore_capacity_bytes", space.capacity_bytes, backend, label_of[moref])
        sheet.add("datastore_free_bytes", space.free_bytes, backend, label_of[moref])
    templates = [e for e in look.entries if e.phase in (Phase.READY, Phase.ADOPTED)]
    moments = {
        "oldest_template_timestamp_seconds": (min, [e.created_at for e in templates]),
        "newest_template_timestamp_seconds": (max, [e.created_at for e in templates]),
        "next_expiry_timestamp_seconds": (min, [expires_at(e, settings) for e in templates]),
    }
    for name, (first, times) in moments.items():
        known = [moment.timestamp() for moment in times if moment is not None]
        sheet.add(name, first(known, default=None), backend)


def _add_templates(
    sheet: _Sheet, backend: str, look: Look, label_of: Mapping[str | None, str]
) -> None:
    phases = Counter((entry.datastore, entry.phase) for entry in look.entries)
    lost = Counter(
        e.datastore for e in look.entries if e.phase is not Phase.FOREIGN and not e.accessible
    )
    sums = {capacity.datastore: capacity for capacity in capacity_by_datastore(look.entries)}
    for moref, label in label_of.items():
        for phase in Phase:
            sheet.add("templates", phases[moref, phase], backend, label, phase.value)
        sheet.add("templates_inaccessible", lost[moref], backend, label)
        held = sums.get(moref)
        virtual, unshared = (held.provisioned_bytes, held.unshared_bytes) if held else (0, 0)
        sheet.add("template_virtual_bytes", virtual, backend, label)
        sheet.add("template_unshared_bytes", unshared, backend, label)
    copies: Counter[CacheKey] = Counter(
        e.record.key for e in look.entries if e.phase is Phase.READY and e.record is not None
    )
    sheet.add("images", len({key.image_id for key in copies}), backend)
    sheet.add("replicas", copies.total() - len(copies), backend)


def datastore_labels(look: Look) -> dict[str | None, str]:
    """The label of each datastore that is used or holds an entry: its name. Names are unique only
    within a datacenter, so labels of equal names also contain the managed object id."""
    morefs: set[str | None] = {*look.spaces, *(entry.datastore for entry in look.entries)}
    named = {moref: look.names.get(moref, moref) if moref else UNKNOWN for moref in morefs}
    times = Counter(named.values())
    labels = {
        moref: name if times[name] == 1 else f"{name} ({moref})" for moref, name in named.items()
    }
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _add_counts(sheet: _Sheet, backend: str, counts: Iterable[Count]) -> None:
    number: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    size: Counter[str] = Counter()
    reasons: Counter[str] = Counter(dict.fromkeys(Reason, 0))
    rules: Counter[str] = Counter(dict.fromkeys(Rule, 0))
    rule_bytes: Counter[str] = Counter()
    in_one_task = 0
    for count in counts:
        number[count.kind] += count.count
        seconds[count.kind] += count.seconds
        size[count.kind] += count.bytes
        in_one_task += count.count if count.detail == IN_ONE_TASK else 0
        if count.kind == "bypass":
            reasons[count.detail] += count.count
        elif count.kind == "evict":
            rules[count.detail] += count.count
            rule_bytes[count.detail] += count.bytes
    sheet.add("hits_total", number["hit"], backend)
    sheet.add("misses_total", number["miss"], backend)
    sheet.add("one_task_volumes_total", in_one_task, backend)
    sheet.add("volume_failures_total", number["failed"], backend)
    sheet.add("hit_seconds_total", seconds["hit"], backend)
    sheet.add("miss_seconds_total", seconds["miss"], backend)
    sheet.add("saved_bytes_total", size["hit"], backend)
    sheet.add("imported_bytes_total", size["import"], backend)
    sheet.add("import_failures_total", number["import-failed"], backend)
    sheet.add("not_kept_warm_total", number["not-kept-warm"], backend)
    sheet.add("replicas_made_total", number["replica"], backend)
    for reason, times in reasons.items():
        sheet.add("bypasses_total", times, backend, reason)
    for rule, times in rules.items():
        sheet.add("evictions_total", times, backend, rule)
        sheet.add("evicted_bytes_total", rule_bytes[rule], backend, rule)

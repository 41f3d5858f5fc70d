"""Turns one observation of the backends into metric families: pure.

    configuration   always present
    look            state in vCenter; if missing, its metrics are left out, so that Prometheus
                    marks them stale instead of repeating old values
    tally           counts of the ledger; likewise

A counter is exported as 0 before its first event: Prometheus sees no increase in a counter that
first appears as 1.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import HistogramMetricFamily, Metric

from vmdk_cache.cache.capacity import capacity_by_datastore
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.eviction_plan import expires_at
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Space
from vmdk_cache.cli.metrics import METRICS
from vmdk_cache.conf import Settings
from vmdk_cache.ledger import IN_ONE_TASK, Count, Histogram

#: Label of templates whose datastore vCenter does not report.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Look:
    """The state in vCenter as of one refresh.

    :ivar spaces: the datastores that the backend uses, by managed object id
    :ivar names: names of datastores by managed object id, including others that are known
    """

    entries: Sequence[CacheEntry]
    spaces: Mapping[str, Space]
    names: Mapping[str, str]


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
    """

    backend: str
    settings: Settings
    look: Look | None
    look_s: float
    has_ledger: bool
    tally: Tally | None


def families(measurements: Iterable[Measurement], version: str) -> list[Metric]:
    """Every metric that has a value."""
    sheet = _Sheet()
    sheet.add("build_info", 1, version)
    for measurement in measurements:
        _add_state(sheet, measurement)
        _add_limits(sheet, measurement)
        if measurement.look is not None:
            _add_look(sheet, measurement.backend, measurement.settings, measurement.look)
        if measurement.tally is not None:
            _add_counts(sheet, measurement.backend, measurement.tally.counts)
            _add_histograms(sheet, measurement.backend, measurement.tally.histograms)
    return sheet.families()


class _Sheet:
    """Collects samples by metric."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def _family(self, name: str) -> Metric:
        if name not in self._families:
            self._families[name] = METRICS[name].family()
        return self._families[name]

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add a sample of a gauge or counter; ``name`` without its prefix, ``labels`` in the
        table's order."""
        assert len(labels) == len(METRICS[name].labels), name
        self._family(name).add_metric(labels, value)  # type: ignore[attr-defined]

    def add_histogram(self, name: str, backend: str, of: Histogram) -> None:
        family = self._family(name)
        assert isinstance(family, HistogramMetricFamily)
        buckets = [(_bound(le_s), float(count)) for le_s, count in of.buckets]
        family.add_metric([backend], buckets, of.sum_s)

    def families(self) -> list[Metric]:
        """In the order of the table."""
        return [self._families[name] for name in METRICS if name in self._families]


def _bound(le_s: float) -> str:
    """A bucket's bound, as Prometheus writes it."""
    return "+Inf" if math.isinf(le_s) else str(float(le_s))


def _add_state(sheet: _Sheet, measurement: Measurement) -> None:
    backend = measurement.backend
    sheet.add("up", measurement.look is not None, backend)
    sheet.add("scrape_duration_seconds", measurement.look_s, backend)
    if measurement.has_ledger:
        sheet.add("ledger_up", measurement.tally is not None, backend)


def _add_limits(sheet: _Sheet, measurement: Measurement) -> None:
    settings, backend = measurement.settings, measurement.backend
    sheet.add("enabled", settings.enabled, backend)
    sheet.add("purge_interval_seconds", settings.purge_interval_s, backend)
    limits = {
        "limit_templates": settings.max_count,
        "limit_virtual_bytes": settings.max_total_bytes,
        "limit_virtual_ratio": settings.max_percent / 100,
        "limit_free_ratio": settings.min_free_percent / 100,
        "limit_age_seconds": settings.age_s,
    }
    for name, limit in limits.items():
        if limit:
            sheet.add(name, limit, backend)


def _add_look(sheet: _Sheet, backend: str, settings: Settings, look: Look) -> None:
    label_of = _labels(look)
    _add_templates(sheet, backend, look, label_of)
    for moref, space in look.spaces.items():
        sheet.add("datastore_capacity_bytes", space.capacity_bytes, backend, label_of[moref])
        sheet.add("datastore_free_bytes", space.free_bytes, backend, label_of[moref])
    templates = [e for e in look.entries if e.phase in (Phase.READY, Phase.ADOPTED)]
    made_at = [e.created_at for e in templates if e.created_at is not None]
    expiries = [moment for e in templates if (moment := expires_at(e, settings)) is not None]
    _add_moment(sheet, "oldest_template_timestamp_seconds", min(made_at, default=None), backend)
    _add_moment(sheet, "newest_template_timestamp_seconds", max(made_at, default=None), backend)
    _add_moment(sheet, "next_expiry_timestamp_seconds", min(expiries, default=None), backend)


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


def _labels(look: Look) -> dict[str | None, str]:
    """The label of each datastore that is used or holds an entry: its name. Names are unique only
    within a datacenter, so labels of equal names also contain the managed object id."""
    morefs: set[str | None] = {*look.spaces, *(entry.datastore for entry in look.entries)}
    named = {moref: look.names.get(moref, moref) if moref else UNKNOWN for moref in morefs}
    times = Counter(named.values())
    labels = {
        moref: name if times[name] == 1 else f"{name} ({moref})" for moref, name in named.items()
    }
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _add_moment(sheet: _Sheet, name: str, moment: datetime.datetime | None, backend: str) -> None:
    if moment is not None:
        sheet.add(name, moment.timestamp(), backend)


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
    sheet.add("replicas_made_total", number["replica"], backend)
    for reason, times in reasons.items():
        sheet.add("bypasses_total", times, backend, reason)
    for rule, times in rules.items():
        sheet.add("evictions_total", times, backend, rule)
        sheet.add("evicted_bytes_total", rule_bytes[rule], backend, rule)


def _add_histograms(sheet: _Sheet, backend: str, histograms: Iterable[Histogram]) -> None:
    names = {"import": "import_seconds", "clone": "clone_seconds", "queue": "queue_seconds"}
    for histogram in histograms:
        if histogram.kind in names:
            sheet.add_histogram(names[histogram.kind], backend, histogram)

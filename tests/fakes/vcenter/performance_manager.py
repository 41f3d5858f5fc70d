"""PerformanceManager: a few counters of hosts and running virtual machines, with invented values.

A value is computed from the object, the counter and the time, so it is the same in every query.
Real-time samples are 20 seconds apart and go back an hour; the historical intervals are vCenter's
defaults. (vSphere Monitoring and Performance, "Data Collection Intervals"; vSphere API reference,
QueryPerf. The ids of counters are those of govmomi's examples; clients read them from perfCounter.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

_API = vim.PerformanceManager
REAL_TIME_S = 20
_REAL_TIME_KEPT_S = 3600
_HOUR = 3600
_DAY = 86400


@dataclass
class Counter:
    """:ivar most: upper bound of its values"""

    key: int
    group: str
    name: str
    label: str
    unit: str
    rollup: str
    stats: str
    most: int
    level: int = 1
    per_device_level: int = 3

    def describe(self) -> Any:
        """The counter as clients see it."""
        return _API.CounterInfo(
            key=self.key,
            nameInfo=_element(self.name, self.label),
            groupInfo=_element(self.group, _GROUPS[self.group]),
            unitInfo=_element(self.unit, _UNITS[self.unit]),
            rollupType=self.rollup,
            statsType=self.stats,
            level=self.level,
            perDeviceLevel=self.per_device_level,
        )


_GROUPS = {"cpu": "CPU", "mem": "Memory", "disk": "Disk", "net": "Network", "sys": "System"}
_UNITS = {
    "percent": "%",
    "megaHertz": "MHz",
    "kiloBytes": "KB",
    "kiloBytesPerSecond": "KBps",
    "second": "s",
}
#: Key, group, name, label, unit, rollup, stats type, upper bound.
_COUNTERS = (
    (2, "cpu", "usage", "Usage", "percent", "average", "rate", 10_000),
    (6, "cpu", "usagemhz", "Usage in MHz", "megaHertz", "average", "rate", 2_400),
    (24, "mem", "usage", "Host consumed %", "percent", "average", "absolute", 10_000),
    (98, "mem", "consumed", "Consumed", "kiloBytes", "average", "absolute", 1 << 20),
    (125, "disk", "usage", "Usage", "kiloBytesPerSecond", "average", "rate", 1 << 16),
    (143, "net", "usage", "Usage", "kiloBytesPerSecond", "average", "rate", 1 << 16),
    (155, "sys", "uptime", "Uptime", "second", "latest", "absolute", 1 << 20),
)
#: Key, sampling period, name, retention.
_INTERVALS = (
    (1, 300, "Past day", _DAY),
    (2, 1800, "Past week", 7 * _DAY),
    (3, 2 * _HOUR, "Past month", 30 * _DAY),
    (4, _DAY, "Past year", 365 * _DAY),
)
_MEASURED = (vim.HostSystem, vim.VirtualMachine)


class PerformanceManager(ManagedObject):
    """Counters and intervals, whose levels can be changed."""

    TYPE = _API

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="PerfMgr")
        self._counters: dict[int, Counter] = {}
        self._intervals: dict[int, Any] = {}

    def _known(self) -> dict[int, Counter]:
        """The counters, created at the first use."""
        if not self._counters:
            self._counters = {row[0]: Counter(*row) for row in _COUNTERS}
        return self._counters

    def _periods(self) -> dict[int, Any]:
        if not self._intervals:
            self._intervals = {
                period: vim.HistoricalInterval(
                    key=key, samplingPeriod=period, name=name, length=kept, level=1, enabled=True
                )
                for key, period, name, kept in _INTERVALS
            }
        return self._intervals

    @property
    def perfCounter(self) -> list[Any]:
        """All counters."""
        return [counter.describe() for counter in self._known().values()]

    @property
    def historicalInterval(self) -> list[Any]:
        """The intervals of samples that are kept for longer than an hour."""
        return list(self._periods().values())

    @property
    def description(self) -> Any:
        """Kinds of counters."""
        return vim.PerformanceDescription(
            counterType=[_element(one, one) for one in ("absolute", "delta", "rate")],
            statsType=[_element(one, one) for one in ("average", "latest", "summation")],
        )

    def QueryPerfCounter(self, ctx: Context, counterId: list[int]) -> list[Any]:
        """Counters by id; InvalidArgument for an unknown id."""
        return [self._require(each).describe() for each in counterId]

    def QueryPerfCounterByLevel(self, ctx: Context, level: int) -> list[Any]:
        """Counters of a level and those below."""
        if not 1 <= level <= 4:
            raise _wrong("level")
        return [each.describe() for each in self._known().values() if each.level <= level]

    def QueryPerfProviderSummary(self, ctx: Context, entity: Any) -> Any:
        """Whether an object has samples of its own, and how often."""
        target = self.vcenter.registry.require(entity)
        is_measured = issubclass(target.TYPE, _MEASURED)
        return _API.ProviderSummary(
            entity=target.ref,
            currentSupported=is_measured,
            summarySupported=True,
            refreshRate=REAL_TIME_S if is_measured else None,
        )

    def QueryAvailablePerfMetric(
        self, ctx: Context, entity: Any, beginTime: Any, endTime: Any, intervalId: int | None
    ) -> list[Any]:
        """The counters of an object; none while it does not run."""
        target = self.vcenter.registry.require(entity)
        if not _runs(target):
            return []
        return [_API.MetricId(counterId=each, instance="") for each in self._known()]

    def QueryPerf(self, ctx: Context, querySpec: list[Any]) -> list[Any]:
        """Samples of each object that runs."""
        return list(self._answers(querySpec))

    def _answers(self, specs: list[Any]) -> Iterator[Any]:
        for spec in specs:
            target = self.vcenter.registry.require(spec.entity)
            interval = spec.intervalId or REAL_TIME_S
            if interval != REAL_TIME_S and interval not in self._periods():
                raise _wrong("querySpec.interval")
            wanted = spec.metricId or [_API.MetricId(counterId=key) for key in self._known()]
            counters = [self._require(each.counterId) for each in wanted]
            moments = self._moments(spec, interval)
            if _runs(target) and moments:
                yield _answer(spec, target, interval, counters, moments)

    def _moments(self, spec: Any, interval: int) -> list[int]:
        """Times of the samples, as seconds since 1970: at most the newest `maxSample`."""
        now = int(self.vcenter.clock.now().timestamp())
        is_real_time = interval == REAL_TIME_S
        kept = _REAL_TIME_KEPT_S if is_real_time else self._periods()[interval].length
        begin = now - kept if spec.startTime is None else int(spec.startTime.timestamp())
        end = now if spec.endTime is None else int(spec.endTime.timestamp())
        first = max(begin, now - kept) // interval + 1
        moments = [each * interval for each in range(first, min(end, now) // interval + 1)]
        return moments[-spec.maxSample :] if spec.maxSample else moments

    def UpdatePerfInterval(self, ctx: Context, interval: Any) -> None:
        """Change an interval's level, length, name, or whether it is kept.

        InvalidArgument for an unknown interval, or for a level outside 1 to 4.
        """
        known = self._periods()
        if interval.samplingPeriod not in known:
            raise _wrong("interval.samplingPeriod")
        if interval.level is not None and not 1 <= interval.level <= 4:
            raise _wrong("interval.level")
        known[interval.samplingPeriod] = interval
        self.changed("historicalInterval")

    def UpdateCounterLevelMapping(self, ctx: Context, counterLevelMap: list[Any]) -> None:
        """Change the level from which counters are kept."""
        for each in counterLevelMap:
            self._require(each.counterId)
        for each in counterLevelMap:
            counter = self._known()[each.counterId]
            counter.level = each.aggregateLevel or counter.level
            counter.per_device_level = each.perDeviceLevel or counter.per_device_level
        self.changed("perfCounter")

    def ResetCounterLevelMapping(self, ctx: Context, counters: list[int]) -> None:
        """Restore the default levels."""
        for each in counters:
            self._require(each)
        rows = {row[0]: row for row in _COUNTERS}
        for each in counters:
            self._known()[each] = Counter(*rows[each])
        self.changed("perfCounter")

    def _require(self, key: int) -> Counter:
        if key not in self._known():
            raise _wrong("counterId")
        return self._known()[key]


def _answer(
    spec: Any, target: ManagedObject, interval: int, counters: list[Counter], moments: list[int]
) -> Any:
    times = [datetime.fromtimestamp(each, UTC) for each in moments]
    values = {
        counter.key: [_value(target, counter, each) for each in moments] for counter in counters
    }
    ids = {key: _API.MetricId(counterId=key, instance="") for key in values}
    if spec.format == "csv":
        return _API.EntityMetricCSV(
            entity=target.ref,
            sampleInfoCSV=",".join(f"{interval},{each:%Y-%m-%dT%H:%M:%SZ}" for each in times),
            value=[
                _API.MetricSeriesCSV(id=ids[key], value=",".join(map(str, series)))
                for key, series in values.items()
            ],
        )
    return _API.EntityMetric(
        entity=target.ref,
        sampleInfo=[_API.SampleInfo(timestamp=each, interval=interval) for each in times],
        value=[_API.IntSeries(id=ids[key], value=series) for key, series in values.items()],
    )


def _value(target: ManagedObject, counter: Counter, moment: int) -> int:
    return zlib.crc32(f"{target.moref} {counter.key} {moment}".encode()) % counter.most


def _runs(target: Any) -> bool:
    if issubclass(target.TYPE, vim.HostSystem):
        return bool(target.connection_state == "connected")
    return issubclass(target.TYPE, vim.VirtualMachine) and target.power_state == "poweredOn"


def _element(key: str, label: str) -> Any:
    return vim.ElementDescription(label=label, summary=label, key=key)


def _wrong(name: str) -> Exception:
    return vmodl.fault.InvalidArgument(invalidProperty=name)

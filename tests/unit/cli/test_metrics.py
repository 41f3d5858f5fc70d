"""The table of metrics and the page that shows it; the samples of entries, settings and counts."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.fakes.entries import GIB, NOW, entry
from vmdk_cache import conf
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Reason, Rule
from vmdk_cache.cache.ports import Space
from vmdk_cache.cli.metrics import (
    METRICS,
    SERIES,
    Definition,
    Look,
    Measurement,
    Source,
    Tally,
    families,
)
from vmdk_cache.conf import Settings
from vmdk_cache.ledger import Count, Histogram

ROOT = pathlib.Path(__file__).parents[3]
PAGE = ROOT / "docs" / "metrics.rst"
OPTIONS = {option.name for option in conf.OPTIONS}
NAMES = {"ds1": "gold", "ds2": "silver"}
SPACES = {"ds1": Space(100 * GIB, 40 * GIB), "ds2": Space(200 * GIB, 80 * GIB)}
INF = float("inf")
each = pytest.mark.parametrize("definition", METRICS.values(), ids=METRICS.keys())


@each
def test_a_name_tells_type_and_unit_as_prometheus_has_it(definition: Definition) -> None:
    name = definition.name
    assert re.fullmatch(r"vmdk_cache(_[a-z]+)+", name)
    assert name.endswith("_total") == (definition.kind == "counter")
    assert not re.search(r"_(ms|milliseconds|minutes|mb|gb|gib|percent|count|sum|bucket)$", name)
    assert definition.kind != "histogram" or name.endswith("_seconds")
    assert definition.family().name == name.removesuffix("_total")


@each
def test_labels_have_few_values(definition: Definition) -> None:
    assert set(definition.labels) <= {
        "version", "backend", "datastore", "phase", "reason", "rule",
    }  # fmt: skip


@each
def test_the_meaning_is_a_sentence_about_options_that_exist(definition: Definition) -> None:
    assert definition.help.endswith(".")
    named = set(re.findall(r"\b(?:enable_)?image_cache_?\w*", definition.help))
    assert named <= OPTIONS, named - OPTIONS


def rows(page: str) -> dict[str, list[str]]:
    """The page's tables: metric -> type, labels, meaning."""
    found = {}
    for row in re.split(r"^   \* - ", page, flags=re.MULTILINE)[1:]:
        cells = [" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)]
        if cells[0].startswith("``vmdk_cache_"):
            cells[-1] = re.split(r" [A-Z][^.]*? -{8,}", cells[-1])[0]  # the next section's title
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_page_has_each_metric_with_its_meaning_under_its_source() -> None:
    page = PAGE.read_text()
    for source in Source:
        _, _, section = page.partition(f"\nAvailable {source.value}.\n")
        assert section, f"docs/metrics.rst has no section of what is available {source.value}"
        expected = {
            d.name: [d.kind, ", ".join(f"``{label}``" for label in d.labels), d.help]
            for d in METRICS.values()
            if d.source is source
        }
        assert rows(section.partition("\nAvailable ")[0]) == expected


def test_every_metric_on_the_page_exists() -> None:
    series = {s for d in METRICS.values() for s in (*d.series, d.name)}
    named = set(re.findall(r"vmdk_cache_[a-z_]+", PAGE.read_text()))
    assert named <= series, named - series


def samples(
    *entries: CacheEntry,
    settings: Settings | None = None,
    away: bool = False,
    has_ledger: bool = True,
    tally: Tally | None = None,
    names: dict[str, str] | None = None,
) -> dict[str, float]:
    """``name{label values but the backend}`` -> value, of one backend."""
    look = None if away else Look(entries, SPACES, NAMES if names is None else names)
    measured = Measurement("b1", settings or Settings(), look, 0.25, has_ledger, tally)
    found = {}
    for family in families([measured], "1.2.3"):
        for sample in family.samples:
            assert sample.name in SERIES
            assert sample.labels.pop("backend", "b1") == "b1"
            name = sample.name.removeprefix("vmdk_cache_")
            label = ",".join(sample.labels.values())
            key = f"{name}{{{label}}}" if label else name
            assert key not in found, f"{key} twice: Prometheus would drop the whole scrape"
            found[key] = sample.value
    return found


def count(kind: str, times: int, detail: str = "", seconds: float = 0, size: int = 0) -> Count:
    return Count(NOW.date(), "b1", "i1", kind, detail, times, seconds, size)


# -- vCenter


def test_templates_are_counted_by_datastore_and_phase_including_zeros() -> None:
    found = samples(
        entry("vm-1", image="i1"),
        entry("vm-2", image="i1", datastore="ds2"),
        entry("vm-3", phase=Phase.IMPORTING),
    )
    assert found["templates{gold,ready}"] == found["templates{silver,ready}"] == 1
    assert found["templates{gold,importing}"] == 1
    assert found["templates{silver,importing}"] == found["templates{gold,foreign}"] == 0
    assert (found["images"], found["replicas"]) == (1, 1)


def test_foreign_vms_are_counted_without_bytes() -> None:
    found = samples(entry("vm-1", phase=Phase.FOREIGN, accessible=False))
    assert found["templates{gold,foreign}"] == 1
    assert found["template_virtual_bytes{gold}"] == found["template_unshared_bytes{gold}"] == 0
    assert found["templates_inaccessible{gold}"] == 0
    assert "oldest_template_timestamp_seconds" not in found


def test_bytes_are_those_of_the_datastore_with_running_imports() -> None:
    found = samples(
        entry("vm-1", unshared_gib=5),
        entry("vm-2", phase=Phase.IMPORTING, unshared_gib=5),
        entry("vm-3", datastore="ds2"),
    )
    assert found["template_virtual_bytes{gold}"] == 20 * GIB
    assert found["template_unshared_bytes{gold}"] == 10 * GIB
    assert found["template_virtual_bytes{silver}"] == 10 * GIB
    assert found["datastore_capacity_bytes{gold}"] == 100 * GIB
    assert found["datastore_free_bytes{silver}"] == 80 * GIB


def test_two_datastores_of_one_name_do_not_become_one_series() -> None:
    found = samples(entry("vm-1"), names={"ds1": "local", "ds2": "local"})
    assert found["templates{local (ds1),ready}"] == 1
    assert found["templates{local (ds2),ready}"] == 0


def test_a_template_on_an_unused_datastore_is_counted() -> None:
    found = samples(entry("vm-1", datastore="ds9"), entry("vm-2", datastore=None))
    assert found["templates{ds9,ready}"] == found["templates{unknown,ready}"] == 1
    assert "datastore_free_bytes{ds9}" not in found


def test_templates_out_of_reach_are_counted() -> None:
    assert samples(entry("vm-1", accessible=False))["templates_inaccessible{gold}"] == 1


def test_moments_are_those_of_templates_and_not_of_imports() -> None:
    found = samples(
        entry("vm-1", 500),
        entry("vm-2", 100),
        entry("vm-3", 300, phase=Phase.ADOPTED),
        entry("vm-4", 900, phase=Phase.IMPORTING),
        entry("vm-5", 900, phase=Phase.FOREIGN),
    )
    assert found["oldest_template_timestamp_seconds"] == NOW.timestamp() - 500
    assert found["newest_template_timestamp_seconds"] == NOW.timestamp() - 100


def test_the_next_expiry_is_that_of_the_template_that_was_not_warmed() -> None:
    found = samples(
        entry("vm-1", 500, warmed_s=1), entry("vm-2", 300), settings=Settings(age_s=1000)
    )
    assert found["next_expiry_timestamp_seconds"] == NOW.timestamp() + 700
    assert "next_expiry_timestamp_seconds" not in samples(entry("vm-1"), settings=Settings(age_s=0))


def test_when_vcenter_is_away_no_old_value_passes_for_a_new_one() -> None:
    tally = Tally([count("hit", 3)], [])
    found = samples(away=True, tally=tally, settings=Settings(max_count=7))
    assert found["up"] == 0
    assert (found["hits_total"], found["limit_templates"]) == (3, 7)
    from_vcenter = [d.name for d in METRICS.values() if d.source is Source.VCENTER]
    assert not [key for key in found if f"vmdk_cache_{key.split('{')[0]}" in from_vcenter]


# -- limits


def test_a_limit_that_is_off_has_no_value_that_an_alert_could_take_for_zero() -> None:
    off = samples(settings=Settings(age_s=0))
    assert not [key for key in off if key.startswith("limit_")]
    on = samples(
        settings=Settings(
            enabled=True, max_count=5, max_total_bytes=GIB, max_percent=20, min_free_percent=10
        )
    )
    assert on["limit_templates"] == 5
    assert on["limit_virtual_bytes"] == GIB
    assert (on["limit_virtual_ratio"], on["limit_free_ratio"]) == (0.2, 0.1)
    assert (on["limit_age_seconds"], on["purge_interval_seconds"]) == (86400, 600)
    assert (off["enabled"], on["enabled"]) == (0, 1)


# -- the ledger


def test_counts_of_days_and_images_are_summed_up() -> None:
    found = samples(
        tally=Tally(
            [
                count("hit", 3, seconds=6.0, size=300),
                Count(None, "b1", "", "hit", "", 2, 1.5, 200),
                count("hit", 4, "in-one-task"),
                count("miss", 1, "in-one-task", seconds=30.0),
                count("bypass", 4, "fault"),
                count("failed", 2, "VolumeTooSmall"),
                count("import", 1, seconds=20.0, size=700),
                count("import-failed", 5, "Unreachable", seconds=1.0),
                count("replica", 6, seconds=1.0),
                count("not-kept-warm", 2, "no-room"),
                count("not-kept-warm", 1, "ImageCorrupt"),
                count("evict", 7, "expired", size=70),
                count("evict", 1, "limit", size=10),
            ],
            [],
        )
    )
    assert (found["hits_total"], found["hit_seconds_total"]) == (9, 7.5)
    assert found["one_task_volumes_total"] == 5
    assert (found["misses_total"], found["miss_seconds_total"]) == (1, 30)
    assert (found["saved_bytes_total"], found["imported_bytes_total"]) == (500, 700)
    assert found["bypasses_total{fault}"] == 4
    assert (found["volume_failures_total"], found["import_failures_total"]) == (2, 5)
    assert found["replicas_made_total"] == 6
    assert found["not_kept_warm_total"] == 3
    assert found["evictions_total{expired}"] == 7
    assert found["evicted_bytes_total{limit}"] == 10


def test_every_reason_and_rule_is_zero_before_its_first_event() -> None:
    """A counter whose first value is 1 has not risen, so its first event would trigger no alert."""
    found = samples(tally=Tally([], []))
    assert all(found[f"bypasses_total{{{reason}}}"] == 0 for reason in Reason)
    assert all(found[f"evictions_total{{{rule}}}"] == 0 for rule in Rule)
    assert found["hits_total"] == found["import_failures_total"] == 0


def test_a_histogram_ends_with_what_prometheus_demands() -> None:
    buckets = ((0.5, 1), (30.0, 4), (INF, 5))
    found = samples(tally=Tally([], [Histogram("b1", "clone", buckets, 99.5)]))
    assert found["clone_seconds_bucket{0.5}"] == 1
    assert found["clone_seconds_bucket{30.0}"] == 4
    assert found["clone_seconds_bucket{+Inf}"] == found["clone_seconds_count"] == 5
    assert found["clone_seconds_sum"] == 99.5


@pytest.mark.parametrize(("has_ledger", "value"), [(True, 0), (False, None)])
def test_a_ledger_that_is_switched_off_is_not_a_broken_one(
    has_ledger: bool, value: float | None
) -> None:
    found = samples(has_ledger=has_ledger)
    assert found.get("ledger_up") == value
    assert not [key for key in found if key.startswith("hits")]


# -- several backends


def test_backends_share_families_in_the_order_of_the_table() -> None:
    measured = [
        Measurement(name, Settings(), Look((), SPACES, NAMES), 0.0, False, None)
        for name in ("b1", "b2")
    ]
    made = families(measured, "1")
    names = [definition.family().name for definition in METRICS.values()]
    assert [family.name for family in made] == [n for n in names if n in {f.name for f in made}]
    [up] = [family for family in made if family.name == "vmdk_cache_up"]
    assert [sample.labels["backend"] for sample in up.samples] == ["b1", "b2"]

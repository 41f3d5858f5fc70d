"""The table of metrics, and the page that shows it."""

from __future__ import annotations

import pathlib
import re

import pytest

from vmdk_cache import conf
from vmdk_cache.cli.metrics import METRICS, Definition, Source

ROOT = pathlib.Path(__file__).parents[3]
PAGE = ROOT / "docs" / "metrics.rst"
OPTIONS = {option.name for option in conf.OPTIONS}
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

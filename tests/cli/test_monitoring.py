"""Checks the dashboard and the alerts in etc/ against a real scrape, with Prometheus's own tool.

``promtool`` is part of Prometheus (Debian: package prometheus).
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml

from tests.cli.conftest import MIB, Lab, Run
from tests.cli.test_exporter import counting_cache, create, exporting
from tests.fakes.images import FakeImage
from tests.fakes.vcenter import Model, VCenter
from vmdk_cache import conf
from vmdk_cache.cache import events
from vmdk_cache.cli.app import COMMANDS
from vmdk_cache.cli.metrics import SERIES
from vmdk_cache.image import KEEP_WARM
from vmdk_cache.ledger import Ledger

ROOT = pathlib.Path(__file__).parents[2]
ALERTS = ROOT / "etc" / "prometheus-alerts.yaml"
ALERT_TESTS = pathlib.Path(__file__).with_name("prometheus-alerts.test.yaml")
DASHBOARD = json.loads((ROOT / "etc" / "grafana-dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(panel, target, id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]


def ran_promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool; its stdout is both its outputs."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail("promtool is missing: install Debian's package prometheus")
        pytest.skip("promtool is missing: install Debian's package prometheus")
    return subprocess.run(
        [program, *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool, which must succeed; returns its output."""
    done = ran_promtool(*arguments, given=given)
    assert done.returncode == 0, done.stdout
    return done.stdout


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bvmdk_cache_\w+", expression))


@pytest.fixture(scope="module")
def scrape(disk_image: FakeImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scrape of a backend with every limit, after every kind of event."""
    directory = tmp_path_factory.mktemp("scraped")
    with VCenter(Model(hosts_per_cluster=2, datastores=2)) as vcenter:
        lab = Lab(vcenter, disk_image, directory)
        lab.configure(
            image_cache_max_count=100,
            image_cache_max_total_gb=100,
            image_cache_max_percent=50,
            image_cache_min_free_percent=1,
        )
        with counting_cache(lab) as cache:
            create(lab, cache, 1)
            create(lab, cache, 2)
        ledger = Ledger.open(str(directory / "vmdk-cache.sqlite"))
        about = ("vmware1", lab.image().id)
        ledger(events.Bypassed(*about, "v", events.Reason.FAULT))
        ledger(events.VolumeFailed(*about, "v", "VolumeTooSmall"))
        ledger(events.ImportFailed(*about, "Unreachable", 1.0))
        ledger(events.Replicated(*about, "t", "DC0_DS1", 1.0))
        ledger(events.NotKeptWarm(*about, "no-room"))
        ledger(events.Evicted(*about, "t", events.Rule.EXPIRED, "old", MIB))
        ledger.close()
        with exporting(Run(directory, list)) as exporter:
            yield exporter.text()


# -- the scrape


def test_prometheus_finds_no_fault_with_the_metrics(scrape: str) -> None:
    assert promtool("check", "metrics", given=scrape) == ""


def test_every_metric_of_the_table_can_be_seen(scrape: str) -> None:
    assert {re.split(r"[{ ]", line)[0] for line in scrape.splitlines() if line[0] != "#"} == SERIES


# -- the alerts


def test_the_alerts_are_valid_and_fire_exactly_when_they_should() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))
    assert "SUCCESS" in promtool("test", "rules", str(ALERT_TESTS))


def test_every_alert_has_a_test() -> None:
    alerts = {rule["alert"] for rule in RULES}
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    assert alerts == {check["alertname"] for check in checks if check.get("exp_alerts")}
    assert alerts == {check["alertname"] for check in checks if not check.get("exp_alerts")}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_names_metrics_commands_and_options_that_exist(rule: dict[str, Any]) -> None:
    assert names_in(rule["expr"]) <= SERIES
    assert rule["for"] and rule["labels"]["severity"] in ("critical", "warning", "info")
    description = " ".join(rule["annotations"]["description"].split())
    options = set(re.findall(r"\b(?:enable_image_cache|image_cache_\w+)", description))
    assert options <= {option.name for option in conf.OPTIONS} | {KEEP_WARM}
    commands = set(re.findall(r"`vmdk-cache (\w+)", description))
    assert commands <= COMMANDS.keys()
    assert options | commands, "it names nothing to act on"
    assert rule["annotations"]["summary"]
    named = re.fullmatch(r"docs/(\w+\.rst), section (\w+)", rule["annotations"]["runbook"])
    assert named
    title = f"\n{named[2]}\n{'-' * len(named[2])}\n"
    assert title in (ROOT / "docs" / named[1]).read_text()
    page = (ROOT / "docs" / "metrics.rst").read_text()
    assert f"``{rule['alert']}``\n     - {rule['labels']['severity']}\n" in page


# -- the dashboard


def test_the_dashboard_can_be_imported_as_it_is() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert names_in(variables["backend"]["definition"]) <= SERIES
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert "__inputs" not in DASHBOARD or DASHBOARD["__inputs"] == []
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r"\$\{?(\w+)", text)) <= {
        "datasource", "backend", "__all", "__range", "__rate_interval",
    }  # fmt: skip


def test_panels_neither_overlap_nor_leave_the_page() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_a_panel_shows_metrics_that_exist_from_the_chosen_source(
    panel: dict[str, Any], target: dict[str, Any]
) -> None:
    assert names_in(target["expr"]) and names_in(target["expr"]) <= SERIES
    assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
    assert panel["description"]
    named = set(re.findall(r"\bimage_cache_\w+\w", panel["description"])) - {KEEP_WARM}
    assert all(any(o.name.startswith(name) for o in conf.OPTIONS) for name in named), named


def series_of(scrape: str, *, rising: bool) -> list[dict[str, str]]:
    """The scrape as promtool's input: an hour in which nothing changes, or in which every counter
    rises by one a minute."""
    series = []
    for line in scrape.splitlines():
        if line.startswith("#"):
            continue
        sample, value = line.rsplit(" ", 1)
        name, _, labels = sample.partition("{")
        step = int(rising and name.endswith(("_total", "_bucket", "_sum", "_count")))
        of = ",".join(filter(None, [labels.rstrip("}"), 'job="j",instance="i"']))
        series.append({"series": f"{name}{{{of}}}", "values": f"{float(value)}+{step}x60"})
    return series


def expression_of(target: dict[str, Any]) -> str:
    """The query with the values that Grafana would insert."""
    expression: str = target["expr"]
    for variable, value in (
        ("$backend", ".*"),
        ("$__rate_interval", "5m"),
        ("$__range", "30m"),
    ):
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def panels_that_fire(
    condition: str, series: list[dict[str, str]], directory: pathlib.Path
) -> set[str]:
    """The queries for which ``condition`` holds half an hour into the series, as promtool
    evaluates it: ``condition`` contains ``QUERY``."""
    rules = [
        {
            "record": "fires",
            "labels": {"panel": f"{panel['title']}-{panel['id']}-{target['refId']}"},
            "expr": condition.replace("QUERY", f"({expression_of(target)})"),
        }
        for panel, target in (param.values for param in TARGETS)
    ]
    (directory / "panels.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    )
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": "count by (panel) (fires)", "eval_time": "30m", "exp_samples": []}
        ],
    }
    path = directory / "test.yaml"
    path.write_text(
        yaml.safe_dump(
            {"rule_files": ["panels.yaml"], "evaluation_interval": "1m", "tests": [test]}
        )
    )
    done = ran_promtool("test", "rules", str(path))
    found = set(re.findall(r'panel="([^"]+)"', done.stdout))
    assert done.returncode == (1 if found else 0), done.stdout
    return found


def names_of(targets: Iterable[Any]) -> set[str]:
    return {f"{panel['title']}-{panel['id']}-{target['refId']}" for panel, target in targets}


def test_every_panel_shows_data(scrape: str, tmp_path: pathlib.Path) -> None:
    # NaN does not equal itself.
    shown = panels_that_fire("count(QUERY == QUERY)", series_of(scrape, rising=True), tmp_path)
    assert shown == names_of(param.values for param in TARGETS)


def test_no_panel_shows_nan_in_a_quiet_hour(scrape: str, tmp_path: pathlib.Path) -> None:
    """Nothing is divided by the number of volumes of an hour without volumes."""
    quiet = series_of(scrape, rising=False)
    assert panels_that_fire("count(QUERY != QUERY)", quiet, tmp_path) == set()
    assert panels_that_fire("count(abs(QUERY) == Inf)", quiet, tmp_path) == set()


def test_a_count_is_0_before_the_first_scrape(tmp_path: pathlib.Path) -> None:
    shown = panels_that_fire("count(QUERY == 0)", [], tmp_path)
    assert shown == names_of(
        param.values
        for param in TARGETS
        if expression_of(param.values[1]).endswith("or vector(0)")  # type: ignore[arg-type]
    )
    titles = {name.partition("-")[0] for name in shown}
    assert titles >= {"Time saved", "Downloads saved", "Bypassed", "Volumes per minute"}


def test_health_comes_first() -> None:
    first, *_ = DASHBOARD["panels"]
    assert (first["type"], first["title"], first["gridPos"]["y"]) == ("row", "Health", 0)
    assert PANELS[0]["title"] == "vCenter answers"


def test_hit_miss_and_bypass_have_the_same_colour_everywhere() -> None:
    seen: dict[str, set[str]] = {}
    for panel in PANELS:
        config = panel["fieldConfig"]
        overridden = {
            each["matcher"]["options"]: value["value"]["fixedColor"]
            for each in config["overrides"]
            if each["matcher"]["id"] == "byName"
            for value in each["properties"]
            if value["id"] == "color" and value["value"]["mode"] == "fixed"
        }
        for target in panel["targets"]:
            if (outcome := target["legendFormat"]) in ("hit", "miss", "bypass"):
                fixed = config["defaults"].get("color", {}).get("fixedColor")
                seen.setdefault(outcome, set()).add(overridden.get(outcome, fixed))
    colours = [colour for each in seen.values() for colour in each]
    assert len(seen) == len(colours) == len(set(colours)) == 3, seen
    assert None not in colours


@pytest.mark.parametrize("title", ["Templates", "Provisioned"])
def test_templates_are_stacked_and_the_limit_is_a_line_above_them(title: str) -> None:
    (panel,) = (panel for panel in PANELS if panel["title"] == title)
    config = panel["fieldConfig"]
    assert config["defaults"]["custom"]["stacking"]["mode"] == "normal"
    templates, *limits = panel["targets"]
    assert templates["legendFormat"] == "{{datastore}}" and limits
    lines = {
        each["matcher"]["options"]: {value["id"]: value["value"] for value in each["properties"]}
        for each in config["overrides"]
        if each["matcher"]["id"] == "byFrameRefID"
    }
    for limit in limits:
        assert "vmdk_cache_limit_" in limit["expr"]
        assert lines[limit["refId"]]["custom.stacking"]["mode"] == "none"
        assert lines[limit["refId"]]["custom.fillOpacity"] == 0
    # One backend's templates against its own limit.
    rows = [each for each in DASHBOARD["panels"] if each["type"] == "row"]
    above = max(
        (row for row in rows if row["gridPos"]["y"] < panel["gridPos"]["y"]),
        key=lambda row: int(row["gridPos"]["y"]),
    )
    assert above["repeat"] == "backend"

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
from collections.abc import Iterator
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


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool, which must succeed; returns its output."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail("promtool is missing: install Debian's package prometheus")
        pytest.skip("promtool is missing: install Debian's package prometheus")
    done = subprocess.run(
        [program, *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
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
    assert options <= {option.name for option in conf.OPTIONS}
    commands = set(re.findall(r"`vmdk-cache (\w+)", description))
    assert commands <= COMMANDS.keys()
    assert options | commands, "it names nothing to act on"
    assert rule["annotations"]["summary"]
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
    named = set(re.findall(r"\bimage_cache_\w+\w", panel["description"]))
    assert all(any(o.name.startswith(name) for o in conf.OPTIONS) for name in named), named


def test_every_panel_shows_data(scrape: str, tmp_path: pathlib.Path) -> None:
    """Each query returns a number half an hour into a time in which every counter of the scrape
    rises by one a minute. promtool evaluates the queries as alerts, and all must fire."""
    series = []
    for line in scrape.splitlines():
        if line.startswith("#"):
            continue
        sample, value = line.rsplit(" ", 1)
        labels = sample.partition("{")[2].rstrip("}")
        name = sample.partition("{")[0]
        rises = name.endswith(("_total", "_bucket", "_sum", "_count"))
        of = f'{labels},job="j",instance="i"' if labels else 'job="j",instance="i"'
        series.append({"series": f"{name}{{{of}}}", "values": f"{float(value)}+{float(rises)}x60"})
    rules, checks = [], []
    for panel, target in (param.values for param in TARGETS):
        assert isinstance(panel, dict) and isinstance(target, dict)
        expression = (
            target["expr"]
            .replace("$backend", ".*")
            .replace("$__rate_interval", "5m")
            .replace("$__range", "30m")
        )
        assert "$" not in expression
        name = f"panel_{panel['id']}_{target['refId']}"
        # NaN does not equal itself.
        rules.append({"alert": name, "expr": f"count(({expression}) == ({expression})) > 0"})
        checks.append({"eval_time": "30m", "alertname": name, "exp_alerts": [{"exp_labels": {}}]})
    (tmp_path / "panels.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    )
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": ["panels.yaml"],
                "evaluation_interval": "1m",
                "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": checks}],
            }
        )
    )
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yaml"))

"""``vmdk-cache status`` shows on one screen how each cache is."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import pathlib
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyVmomi import vim

from benchmarks import population
from tests.cli.conftest import MIB, TIMEOUT_S, Lab, Run
from tests.cli.test_exporter import counting_cache, create
from tests.fakes.images import FakeImageSource
from tests.waiting import wait_until
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.record import Record

EMPTY_PORT = 1


@contextlib.contextmanager
def importing(lab: Lab, name: str = "debian-13") -> Iterator[Callable[[int], None]]:
    """An import of which a half has been sent; yields what reports its percentage, as its importer
    does every half minute."""
    released = threading.Event()
    half = len(lab.disk_image.file_bytes) // 2
    source = FakeImageSource(lab.disk_image, gate=released, gate_after_bytes=half)
    image = dataclasses.replace(lab.image(7), name=name)
    imported: concurrent.futures.Future[object] = concurrent.futures.Future()
    with lab.cache() as cache:

        def run() -> None:
            try:
                imported.set_result(cache.images.warm(image, "lsiLogic", source))
            except BaseException as failure:
                imported.set_exception(failure)

        threading.Thread(target=run, daemon=True).start()
        try:
            wait_until(
                lambda: imported.done() or [one.state for one in lab.vcenter.leases()] == ["ready"]
            )
            (lease,) = lab.vcenter.leases()
            wait_until(lambda: lease._task.info.state == "running")

            def report(percent: int) -> None:
                cache.session.invoke(
                    "HttpNfcLease", lease.moref, "HttpNfcLeaseProgress", percent=percent
                )

            yield report
        finally:
            released.set()
        imported.result(TIMEOUT_S)


def version(lab: Lab) -> str:
    with lab.cache() as cache:
        return str(cache.session.content.about.version)


def add_templates(lab: Lab, count: int) -> None:
    """Templates of as many images, faster than through imports."""
    [configured] = lab.configuration("vmware1").backends
    backend = configured.backend
    records = []
    for number in range(count):
        key = CacheKey.of(lab.image(1000 + number), "lsiLogic")
        now = datetime.datetime.now(datetime.UTC)
        record = Record(backend.name, key, MIB, now, "host:1", backend.deployment)
        records.append((template_name(backend.name, key, backend.deployment), record.to_json()))
    population.add_templates(lab.vcenter, list(backend.folder), records)


def purge(lab: Lab) -> None:
    with counting_cache(lab) as cache:
        cache.purge.run()


def the(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows
    return row


def test_a_backend_in_figures(lab: Lab, run: Run) -> None:
    lab.configure(image_cache_max_count=4, image_cache_min_free_percent=1)
    with counting_cache(lab) as cache:
        for number in (1, 2, 3):
            create(lab, cache, number)
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    purge(lab)
    row = the(run.json("status"))
    length = len(lab.disk_image.file_bytes)
    assert (row["Backend"], row["Enabled"], row["vCenter Error"]) == ("vmware1", True, None)
    assert row["vCenter"] == version(lab)
    assert (row["Templates"], row["Images"], row["Provisioned"]) == (1, 1, 16 * MIB)
    count, free = row["Limits"]
    assert count == {"option": "image_cache_max_count", "used": 1, "limit": 4}
    assert (free["option"], free["limit"]) == ("image_cache_min_free_percent", 1)
    assert free["datastore"] in ("DC0_DS0", "DC0_DS1")
    assert (row["Hits Today"], row["Misses Today"], row["Bypasses Today"]) == (2, 1, 0)
    assert row["Bytes Saved Today"] == 2 * length
    assert (row["Imports"], row["Findings"], row["Needs Attention"]) == ([], [], [])
    last, following = (
        datetime.datetime.fromisoformat(row[name]) for name in ("Last Purge", "Next Purge")
    )
    assert before <= last <= datetime.datetime.now(datetime.UTC)
    assert (row["Last Purge Error"], following - last) == ("", datetime.timedelta(seconds=600))


def test_limits_are_those_of_capacity(lab: Lab, run: Run) -> None:
    lab.configure(image_cache_max_count=4, image_cache_max_total_gb=2, image_cache_max_percent=50)
    lab.warm()
    *_, whole = run.json("capacity")
    assert the(run.json("status"))["Limits"] == whole["Limits"]
    assert len(whole["Limits"]) == 3


def test_a_running_import_with_bytes_rate_and_time_left(lab: Lab, run: Run) -> None:
    length = len(lab.disk_image.file_bytes)
    with importing(lab) as report:
        lab.vcenter.clock.advance(40)
        # What the importer itself reports after half a minute: it sends a MiB at once.
        percent = 100 * MIB // length
        report(percent)
        row = the(run.json("status"))
        (found,) = row["Imports"]
        assert (found["image_id"], found["image_name"]) == (lab.image(7).id, "debian-13")
        assert found["total_bytes"] == length
        assert (found["percent"], found["done_bytes"]) == (percent, length * percent // 100)
        # As of the last report, which comes every 30 s.
        reports = found["done_bytes"] / found["bytes_per_second"] / 30
        assert reports == pytest.approx(round(reports), rel=0.01)
        assert 0 <= found["seconds_left"] <= round(reports) * 30 * (100 - percent) / percent
        assert found["datastore"] in ("DC0_DS0", "DC0_DS1")
        assert (row["Templates"], row["Findings"]) == (0, [])
        text = " ".join(run("status").stdout.replace("|", " ").split())
        line = r"debian-13 on DC0_DS\d: \S+ [KM]iB of \S+ [KM]iB \(\d+%\), \S+ [KM]?i?B/s, done "
        assert re.search(line, text), text
    assert the(run.json("status"))["Imports"] == []


def test_progress_costs_no_request_unless_something_is_imported(lab: Lab, run: Run) -> None:
    lab.warm()
    lab.vcenter.request_log.reset()
    run("status")
    assert lab.vcenter.request_log.count("CurrentTime") == 0
    with importing(lab):
        lab.vcenter.request_log.reset()
        run("status")
        assert lab.vcenter.request_log.count("CurrentTime") == 1


def test_an_import_without_an_importer_is_a_finding(lab: Lab, run: Run) -> None:
    goes_on = threading.Event()
    lab.vcenter.fault_rules.add("MarkAsTemplate", action=lambda: goes_on.wait(TIMEOUT_S))
    thread = threading.Thread(target=lambda: lab.warm())
    thread.start()
    try:
        wait_until(lambda: lab.vcenter.request_log.count("MarkAsTemplate"))
        lab.vcenter.clock.advance(120)
        row = the(run.json("status"))
    finally:
        goes_on.set()
        thread.join(TIMEOUT_S)
    assert row["Imports"] == []
    assert [each["finding"] for each in row["Findings"]] == ["half-imported"]
    assert row["Needs Attention"] == ["1 half-imported: vmdk-cache check says what to do"]


def test_a_vcenter_that_does_not_answer_hides_no_other(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    lab.configure("vmware2", **{**lab.backend(), "vmware_host_port": EMPTY_PORT})
    with counting_cache(lab) as cache:
        create(lab, cache, 1)
    done = run("status", "-f", "json", code=4)
    assert done.stderr.startswith("vmdk-cache: backend vmware2: ")
    first, second = run.json("status", code=4)
    assert (first["Templates"], first["vCenter Error"]) == (1, None)
    assert (second["vCenter"], second["Templates"], second["Imports"]) == (None, None, [])
    assert f":{EMPTY_PORT}" in second["vCenter Error"]
    table = run("status", code=4).stdout
    assert "vCenter does not answer: " in table and "1 template of 1 image, " in table


def test_what_only_another_host_knows_is_unknown(lab: Lab, run: Run) -> None:
    """The ledger is made by the first event on this host."""
    row = the(run.json("status"))
    unknown = ("Hits Today", "Misses Today", "Bytes Saved Today", "Last Purge", "Next Purge")
    assert [row[name] for name in unknown] == [None] * len(unknown)
    assert row["Needs Attention"] == []
    assert "none recorded on this host, due every 600 s" in run("status").stdout
    lab.configure(image_cache_ledger="")
    assert "image_cache_ledger is empty" in run("status").stdout


def test_a_ledger_that_cannot_be_read_is_an_error(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "vmdk-cache.sqlite")) as other:
        other.execute("CREATE TABLE somebody_elses (x)")
    done = run("status", code=3)
    assert "database of another program" in done.stderr
    assert "| Today   | unknown" in done.stdout


def test_a_purge_that_failed_needs_attention(lab: Lab, run: Run) -> None:
    with counting_cache(lab) as cache:
        lab.vcenter.fault_rules.add(
            "WaitForUpdatesEx", vim.fault.NoPermission(privilegeId="System.Read"), times=1
        )
        with pytest.raises(Exception, match=r"System\.Read"):
            cache.purge.run()
    row = the(run.json("status"))
    assert row["Last Purge Error"] == "NoPermission"
    assert row["Needs Attention"] == [
        "the last purge failed (NoPermission): the service's log says why"
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_two_hundred_templates_fit_the_terminal(lab: Lab, run: Run, width: int) -> None:
    lab.configure(image_cache_max_count=210)
    add_templates(lab, 200)
    done = run("status", env={"COLUMNS": str(width)})
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    assert "200 templates of 200 images" in done.stdout and "200 of 210 (95%)" in done.stdout
    assert "95% of image_cache_max_count" in done.stdout


def test_many_backends_have_a_row_each(lab: Lab, run: Run) -> None:
    names = [f"vmware{number}" for number in range(1, 8)]
    lab.configure("DEFAULT", enabled_backends=",".join(names))
    for name in names:
        lab.configure(name, **lab.backend())
    lab.configure("vmware3", enable_image_cache="false")
    lab.configure("vmware7", vmware_host_port=EMPTY_PORT)
    lab.warm()
    lines = run("status", code=4, env={"COLUMNS": "80"}).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    header = ["Backend", "On", "vCenter", "Templates", "Full", "Hits", "Misses", "Purge"]
    assert rows[0] == header
    assert [row[0] for row in rows[1:8]] == names
    assert rows[1][:4] == ["vmware1", "on", version(lab), "1"]
    assert (rows[3][1], rows[7][2]) == ("off", "no answer")
    assert rows[8] == ["Backend", "Needs Attention"]
    assert rows[9][0] == "vmware7"


def test_a_hostile_name_is_one_line_and_escaped(lab: Lab, run: Run) -> None:
    with importing(lab, name="\x1b]0;x\x07" + "n" * 300 + "\n| forged | line"):
        done = run("status", env={"COLUMNS": "80"})
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
        (found,) = the(run.json("status"))["Imports"]
        assert "\x1b" not in found["image_name"] and "\n" not in found["image_name"]

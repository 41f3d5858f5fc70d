"""The exporter's pages: over HTTP as a probe sees them, and in a browser as people do."""

from __future__ import annotations

import pathlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.cli.conftest import TIMEOUT_S, Lab, Run
from tests.cli.test_exporter import Exporter, counting_cache, create, exporting
from tests.services.chromium import Chromium
from vmdk_cache.cli.status_page import DAYS

#: The name of a virtual machine in the cache's folder.
HOSTILE = "<img src=x onerror=document.title='owned'> " + "W" * 30


def get(exporter: Exporter, path: str) -> tuple[int, str, str]:
    """Status, content type and text."""
    url = exporter.url.removesuffix("/metrics") + path
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["Content-Type"], refused.read().decode()


def log_in(exporter: Exporter) -> None:
    """Let the exporter log in, however long that takes here: pages wait for 5 seconds only."""
    exporter.scrape(**{"X-Prometheus-Scrape-Timeout-Seconds": str(TIMEOUT_S)})


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


def test_a_page_costs_vcenter_no_more_than_a_scrape(lab: Lab, run: Run) -> None:
    with counting_cache(lab) as cache:
        create(lab, cache, 1)
    with exporting(run) as exporter:
        log_in(exporter)
        for path in ("/", "/healthz"):
            lab.vcenter.request_log.reset()
            status, _, _ = get(exporter, path)
            assert status == 200
            assert lab.vcenter.request_log.by_method() == {"WaitForUpdatesEx": 1}


def test_health_is_that_of_every_backend(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    lab.configure("vmware2", **lab.backend(), vmware_cluster_name="no-such-cluster")
    with counting_cache(lab) as cache:
        create(lab, cache, 1)
    with exporting(run) as exporter:
        log_in(exporter)
        status, kind, text = get(exporter, "/healthz")
    assert (status, kind) == (503, "text/plain; charset=utf-8")
    assert text == "vmware1: ok\nvmware2: vCenter does not answer\n"
    with exporting(run, "--backend", "vmware1") as exporter:
        log_in(exporter)
        assert get(exporter, "/healthz")[::2] == (200, "vmware1: ok\n")


def test_a_ledger_that_cannot_be_read_is_unhealthy(lab: Lab, run: Run) -> None:
    with exporting(run) as exporter:
        log_in(exporter)
        assert get(exporter, "/healthz")[::2] == (503, "vmware1: the ledger cannot be read\n")
        page = get(exporter, "/")[2]
        assert "image_cache_ledger" in page
    lab.configure(image_cache_ledger="")
    with exporting(run) as exporter:
        log_in(exporter)
        assert get(exporter, "/healthz")[::2] == (200, "vmware1: ok\n")
        assert "Nothing is counted" in get(exporter, "/")[2]


def test_a_page_without_vcenter_shows_what_the_ledger_knows(lab: Lab, run: Run) -> None:
    with counting_cache(lab) as cache:
        create(lab, cache, 1)
    goes_on = threading.Event()
    lab.vcenter.fault_rules.add("Login", action=lambda: goes_on.wait(TIMEOUT_S))
    with exporting(run) as exporter:
        try:
            status, _, page = get(exporter, "/")
        finally:
            goes_on.set()
        assert status == 200
        assert "vCenter does not answer" in page
        assert '<b class="miss">1</b>' in page


def test_a_browser_shows_the_caches(
    lab: Lab, run: Run, browser: Chromium, tmp_path: pathlib.Path
) -> None:
    lab.configure(image_cache_max_count=3, image_cache_min_free_percent=10)
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    lab.configure("vmware2", **lab.backend(), vmware_cluster_name="no-such-cluster")
    with counting_cache(lab) as cache:
        for number in range(1, 4):
            create(lab, cache, number)
        create(lab, cache, 4, image=2)
        renamed, _ = cache.store.entries()
        task = cache.session.invoke("VirtualMachine", renamed.moref, "Rename_Task", newName=HOSTILE)
        cache.waiter.wait(task, timeout_s=TIMEOUT_S)
    with exporting(run) as exporter:
        log_in(exporter)
        for width in (1280, 400):
            browser.show(exporter.url.removesuffix("metrics"), width)
            assert browser.ask("innerWidth") == width
            assert browser.ask("document.documentElement.scrollWidth") <= width
            assert browser.requested == [exporter.url.removesuffix("metrics")]
            assert browser.complaints == []
            browser.picture(tmp_path / f"status-{width}.png")
        text = browser.ask("document.body.innerText")
        shown = browser.ask("[...document.querySelectorAll('.figures b')].map(b => b.innerText)")
        assert shown[:3] == ["2", "2", "0"]
        sections = browser.ask("[...document.querySelectorAll('section')].map(s => s.id)")
        assert sections == ["vmware1", "vmware2"]
        badges = browser.ask("[...document.querySelectorAll('.badge')].map(b => b.innerText)")
        assert badges == ["on", "vCenter answers", "on", "vCenter does not answer"]
        assert browser.ask("document.querySelectorAll('.days rect').length") == 2 * DAYS
        limit = browser.ask("document.querySelector('.bar .ours').getBoundingClientRect().width")
        track = browser.ask("document.querySelector('.bar .track').getBoundingClientRect().width")
        assert limit == pytest.approx(track / 3, rel=0.05)
        assert "<img src=x" in text and "owned" not in browser.ask("document.title")
        assert browser.ask("document.images.length + document.scripts.length") == 0
        background = "getComputedStyle(document.body).backgroundColor"
        light = browser.ask(background)
        browser.show(exporter.url.removesuffix("metrics"), 400, dark=True)
        assert browser.ask(background) != light

"""``vmdk-cache exporter`` as a process, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator

import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families
from pyVmomi import vim

from tests.cli.conftest import MIB, TIMEOUT_S, Lab, Run
from tests.fakes.clock import HastyClock
from tests.fakes.images import FakeImageSource
from tests.scenario.conftest import volume
from vmdk_cache import wiring
from vmdk_cache.cli.metrics import METRICS, SERIES, Source
from vmdk_cache.ledger import Ledger

Scrape = dict[tuple[str, tuple[str, ...]], float]


class Exporter:
    """A running exporter.

    :ivar url: of its metrics
    :ivar log: its stderr, once it has ended
    """

    def __init__(self, run: Run, *arguments: str) -> None:
        self._run = run
        self.process = subprocess.Popen(
            run.command("-v", "exporter", "--listen", "127.0.0.1:0", *arguments),
            stderr=subprocess.PIPE,
            text=True,
            env=run.environment(),
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.fullmatch(r"vmdk-cache: serving metrics of .* at (\S+)\n", line)
        assert found, line + self.end()
        self.url = found[1]
        self.log = ""

    def text(self, tls: ssl.SSLContext | None = None, **headers: str) -> str:
        request = urllib.request.Request(self.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=tls) as answer:
            assert answer.status == 200
            body: str = answer.read().decode()
        self._run.check(body)
        return body

    def scrape(self, **headers: str) -> Scrape:
        """Name without its prefix, and label values in the table's order -> value."""
        samples: Scrape = {}
        for family in text_string_to_metric_families(self.text(**headers)):
            for sample in family.samples:
                assert sample.name in SERIES
                key = (sample.name.removeprefix("vmdk_cache_"), tuple(sample.labels.values()))
                assert key not in samples
                samples[key] = sample.value
        return samples

    def end(self, number: int = signal.SIGTERM) -> str:
        """End it, check that it ended properly, and return its log."""
        self.process.send_signal(number)
        _, self.log = self.process.communicate(timeout=TIMEOUT_S)
        self._run.check(self.log)
        assert self.process.returncode == 0, self.log
        return self.log


@contextlib.contextmanager
def exporting(run: Run, *arguments: str) -> Iterator[Exporter]:
    exporter = Exporter(run, *arguments)
    try:
        yield exporter
    finally:
        if exporter.process.poll() is None:
            exporter.end()


@contextlib.contextmanager
def counting_cache(lab: Lab, backend: str = "vmware1") -> Iterator[wiring.RunningCache]:
    """A cache that counts in the ledger of cinder.conf, as cinder-volume does."""
    [configured] = lab.configuration(backend).backends
    assert configured.ledger_path is not None
    ledger = Ledger.open(configured.ledger_path)
    with lab.configuration(backend).locks() as locks:
        cache = wiring.build(
            configured.settings,
            configured.backend,
            locks(configured),
            events=ledger,
            clock=HastyClock(),
        )
        try:
            yield cache
        finally:
            cache.close()
            ledger.close()


def create(lab: Lab, cache: wiring.RunningCache, number: int, image: int = 1) -> None:
    source = FakeImageSource(lab.disk_image)
    cache.images.create_volume(lab.image(image), volume(number), source)


def is_away(samples: Scrape) -> bool:
    """Whether the metrics report vCenter as unreachable; then all metrics from vCenter are
    missing.
    """
    away = not samples["up", ("vmware1",)]
    names = {name for name, _ in samples}
    of_vcenter = {key for key, d in METRICS.items() if d.source is Source.VCENTER}
    assert bool(names & of_vcenter) is not away
    return away


def test_prometheus_sees_what_the_engine_does(lab: Lab, run: Run) -> None:
    lab.configure(image_cache_max_count=3, image_cache_age_seconds=3600)
    with counting_cache(lab) as cache, exporting(run) as exporter:
        create(lab, cache, 1)
        create(lab, cache, 2)
        create(lab, cache, 3)
        create(lab, cache, 4, image=2)
        found = exporter.scrape()
        b = ("vmware1",)
        assert (found["hits_total", b], found["misses_total", b]) == (2, 2)
        length = len(lab.disk_image.file_bytes)
        assert found["saved_bytes_total", b] == found["imported_bytes_total", b] == 2 * length
        assert found["import_seconds_count", b] == 2
        assert found["clone_seconds_count", b] == found["queue_seconds_count", b] == 4
        assert found["hit_seconds_total", b] > 0 < found["miss_seconds_total", b]
        ready = [v for (name, of), v in found.items() if name == "templates" and "ready" in of]
        virtual = [v for (name, _), v in found.items() if name == "template_virtual_bytes"]
        assert (sum(ready), sum(virtual), found["images", b]) == (2, 32 * MIB, 2)
        assert (found["limit_templates", b], found["limit_age_seconds", b]) == (3, 3600)
        newest = found["newest_template_timestamp_seconds", b]
        assert found["next_expiry_timestamp_seconds", b] <= newest + 3600
        assert (
            found["datastore_capacity_bytes", (*b, "DC0_DS0")]
            == lab.vcenter.datastore("DC0_DS0").capacity_bytes
        )

        lab.vcenter.clock.advance(3700)
        assert len(cache.purge.run()) == 2
        found = exporter.scrape()
        assert found["evictions_total", (*b, "expired")] == 2
        assert found["evicted_bytes_total", (*b, "expired")] == 32 * MIB
        assert (found["images", b], found["hits_total", b]) == (0, 2)
        assert ("next_expiry_timestamp_seconds", b) not in found


def test_a_scrape_when_nothing_has_changed_is_one_request(lab: Lab, run: Run) -> None:
    lab.warm()
    with exporting(run) as exporter:
        exporter.scrape()
        lab.vcenter.request_log.reset()
        assert not is_away(exporter.scrape())
        assert lab.vcenter.request_log.by_method() == {"WaitForUpdatesEx": 1}


def test_a_restart_of_vcenter_and_a_lost_session_mend_themselves(lab: Lab, run: Run) -> None:
    lab.warm()
    with exporting(run) as exporter:
        before = exporter.scrape()
        lab.vcenter.sessions.expire_all()
        after = exporter.scrape()
        assert not is_away(after)
        assert after["images", ("vmware1",)] == before["images", ("vmware1",)] == 1
        lab.vcenter.restart()
        exporter.scrape()  # may still meet the connections that the restart broke
        assert not is_away(exporter.scrape())


def test_a_vcenter_that_comes_up_later_costs_its_own_metrics_until_then(lab: Lab, run: Run) -> None:
    with counting_cache(lab) as cache:
        create(lab, cache, 1)
    lab.vcenter.fault_rules.add("RetrieveServiceContent", http_status=503, times=1)
    with exporting(run) as exporter:
        found = exporter.scrape()
        assert is_away(found)
        assert found["misses_total", ("vmware1",)] == 1
        assert not is_away(exporter.scrape())
        log = exporter.end()
    assert log.count("No vCenter metrics for backend vmware1") == 1
    assert log.count("is answering again") == 1


def test_a_vcenter_that_hangs_costs_no_scrape(lab: Lab, run: Run) -> None:
    """Prometheus sends its timeout; before that expires, it gets what is known without vCenter."""
    with counting_cache(lab) as cache:
        create(lab, cache, 1)
    goes_on = threading.Event()
    login = lab.vcenter.fault_rules.add("Login", action=lambda: goes_on.wait(TIMEOUT_S))
    with exporting(run) as exporter:
        try:
            for _ in range(2):
                found = exporter.scrape(**{"X-Prometheus-Scrape-Timeout-Seconds": "1"})
                assert is_away(found)
                assert found["misses_total", ("vmware1",)] == 1
        finally:
            goes_on.set()
        assert not is_away(exporter.scrape())
    assert login.hits == 1, "each scrape has waited for a look of its own"
    assert lab.vcenter.request_log.count("Login") == 2  # the first was that of the test's own cache


def test_a_refused_password_is_not_tried_with_each_scrape(lab: Lab, run: Run) -> None:
    lab.vcenter.fault_rules.add("Login", vim.fault.InvalidLogin())
    with exporting(run) as exporter:
        for _ in range(3):
            assert is_away(exporter.scrape())
        assert lab.vcenter.request_log.count("Login") == 1
        assert "vmware_host_password" in exporter.end()


def test_each_backend_answers_for_itself(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    lab.configure("vmware2", **lab.backend(), vmware_cluster_name="no-such-cluster")
    with exporting(run) as exporter:
        found = exporter.scrape()
        assert (found["up", ("vmware1",)], found["up", ("vmware2",)]) == (1, 0)
        assert "no-such-cluster" in exporter.end()
    with exporting(run, "--backend", "vmware1") as exporter:
        assert ("up", ("vmware2",)) not in exporter.scrape()


def test_a_ledger_is_read_when_it_can_be(lab: Lab, run: Run, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "vmdk-cache.sqlite"
    with exporting(run) as exporter:
        missing = exporter.scrape()
        assert missing["ledger_up", ("vmware1",)] == 0
        assert ("hits_total", ("vmware1",)) not in missing
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE somebody_elses (x)")
        assert exporter.scrape()["ledger_up", ("vmware1",)] == 0
        path.unlink()
        Ledger.open(str(path)).close()
        found = exporter.scrape()
        assert found["ledger_up", ("vmware1",)] == 1
        assert found["hits_total", ("vmware1",)] == 0
        assert path.name in exporter.end()
    lab.configure(image_cache_ledger="")
    with exporting(run) as exporter:
        assert ("ledger_up", ("vmware1",)) not in exporter.scrape()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_on_a_signal_and_leaves_no_session(
    lab: Lab, run: Run, number: signal.Signals
) -> None:
    lab.configure(image_cache_ledger="")
    with exporting(run) as exporter:
        assert not is_away(exporter.scrape())
        assert len(lab.vcenter.sessions.active()) == 1
        assert exporter.end(number) == ""
    assert lab.vcenter.sessions.active() == []


def test_https(lab: Lab, run: Run, tmp_path: pathlib.Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    with exporting(run, "--tls-cert", str(pem)) as exporter:
        assert exporter.url.startswith("https://")
        assert "vmdk_cache_up" in exporter.text(tls)


def test_a_taken_address_is_a_configuration_error(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("exporter", "--listen", f"127.0.0.1:{port}", code=3)
    assert f"--listen 127.0.0.1:{port}: Address already in use" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--listen", "9273"], 2, "'9273' is not HOST:PORT"),
        (["--listen", "localhost:99999"], 2, "is not HOST:PORT"),
        (["--listen", "::1:9273"], 2, "in brackets"),
        (["--tls-key", "key.pem"], 2, "--tls-cert"),
        (["--tls-cert", "missing.pem"], 3, "--tls-cert missing.pem"),
        (["--backend", "nova"], 3, "'nova'"),
    ],
)
def test_wrong_input_is_named(run: Run, arguments: list[str], code: int, says: str) -> None:
    refused = run("exporter", *arguments, code=code)
    assert says in refused.stderr
    assert refused.stdout == ""

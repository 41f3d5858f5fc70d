"""The exporter's HTTP server, over real sockets."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import trustme
from prometheus_client.core import GaugeMetricFamily, Metric

from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cli.metrics_server import MetricsServer, Page, tls_context

#: Time limit for events in another thread that do happen.
SOON_S = 60.0


class Collector:
    """One metric, and a second one for requests that ask for a part.

    :ivar patience_s: the timeout of each scrape
    """

    def __init__(self) -> None:
        self.patience_s: list[float] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)

    def within(self, seconds: float) -> Collector:
        self.patience_s.append(seconds)
        return self

    def describe(self) -> list[Metric]:
        return [GaugeMetricFamily(name, "text") for name in ("one", "two")]

    def collect(self) -> list[Metric]:
        self.waiting.release()
        assert self.gate.wait(SOON_S)
        return [GaugeMetricFamily(name, "text", value=1) for name in ("one", "two")]


def _broken() -> Page:
    raise RuntimeError("made up")


PAGES = {
    "/": lambda: Page("<p>\ud800</p>", content_type="text/html", policy="sandbox"),
    "/ill": lambda: Page("ill\n", "503 Service Unavailable"),
    "/broken": _broken,
}


@contextlib.contextmanager
def serving(collector: Collector, tls: ssl.SSLContext | None = None) -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1", 0, collector.within, tls, PAGES)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def get(url: str, tls: ssl.SSLContext | None = None, **headers: str) -> str:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=SOON_S, context=tls) as answer:
        body: bytes = answer.read()
    return body.decode()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def server(collector: Collector) -> Iterator[MetricsServer]:
    with serving(collector) as running:
        yield running


def test_metrics_are_at_their_path_and_nowhere_else(server: MetricsServer) -> None:
    assert "one 1.0" in get(server.url)
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        get(server.url + "/secret")
    assert b"/metrics" in refused.value.read()
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(server.url, data=b"x", timeout=SOON_S)


def test_a_page_comes_with_its_type_and_policy(server: MetricsServer) -> None:
    url = server.url.removesuffix("metrics")
    with urllib.request.urlopen(url, timeout=SOON_S) as answer:
        assert answer.read() == b"<p>?</p>"
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert answer.headers["Cache-Control"] == "no-store"
    head = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(head, timeout=SOON_S) as answer:
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["Content-Length"] == str(len(b"<p>?</p>"))
    with pytest.raises(urllib.error.HTTPError, match="405") as refused:
        urllib.request.urlopen(url, data=b"x", timeout=SOON_S)
    assert refused.value.headers["Allow"] == "GET, HEAD"


def test_a_page_may_be_an_error(server: MetricsServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="503") as answer:
        get(server.url.removesuffix("metrics") + "ill")
    assert answer.value.read() == b"ill\n"


def test_a_defect_of_a_page_is_logged_and_costs_no_metrics(
    server: MetricsServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(urllib.error.HTTPError, match="500"):
        get(server.url.removesuffix("metrics") + "broken")
    assert "made up" in caplog.text
    assert "Traceback" not in capfd.readouterr().err
    assert "one 1.0" in get(server.url)


def test_a_part_can_be_asked_for(server: MetricsServer) -> None:
    answer = get(server.url + "?name[]=two")
    assert "two 1.0" in answer and "one" not in answer


@pytest.mark.parametrize(
    ("header", "patience_s"),
    [("5", 4.5), ("0.6", 0.3), (None, 9.5), ("soon", 9.5), ("nan", 9.5), ("-3", 9.5), ("1e9", 9.5)],
)
def test_a_scrape_takes_no_longer_than_prometheus_waits(
    server: MetricsServer, collector: Collector, header: str | None, patience_s: float
) -> None:
    name = "X-Prometheus-Scrape-Timeout-Seconds"
    get(server.url, **({} if header is None else {name: header}))
    assert collector.patience_s == [pytest.approx(patience_s)]


def test_a_slow_scrape_does_not_block_others(server: MetricsServer, collector: Collector) -> None:
    collector.gate.clear()
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(get(server.url))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert collector.waiting.acquire(timeout=SOON_S), "they are served one after the other"
    collector.gate.set()
    for thread in threads:
        thread.join(SOON_S)
    assert len(answers) == 3


def test_a_port_that_is_taken_is_named_with_its_option(server: MetricsServer) -> None:
    port = int(server.url.split(":")[2].split("/")[0])
    with pytest.raises(errors.ConfigError, match=rf"--listen 127.0.0.1:{port}: .*in use"):
        MetricsServer("127.0.0.1", port, Collector().within)


def test_an_address_of_another_host_is_named_with_its_option() -> None:
    with pytest.raises(errors.ConfigError, match=r"--listen 192\.0\.2\.1:0"):
        MetricsServer("192.0.2.1", 0, Collector().within)
    with pytest.raises(errors.ConfigError, match=r"--listen no\.such\.host\.invalid:0"):
        MetricsServer("no.such.host.invalid", 0, Collector().within)


def test_ipv6_is_served_and_written_as_a_url() -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        server = MetricsServer("::1", 0, Collector().within)
    except errors.ConfigError as failure:
        pytest.skip(f"this machine has no IPv6: {failure}")
    server.start()
    try:
        assert server.url.startswith("http://[::1]:")
        assert "one 1.0" in get(server.url)
    finally:
        server.stop()


class Pki:
    """Files of a server's and a client's certificates, from one CA."""

    def __init__(self, directory: pathlib.Path) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        self.authority = str(directory / "ca.pem")
        self.both = str(directory / "server.pem")
        self.certificate = str(directory / "certificate.pem")
        self.key = str(directory / "key.pem")
        self.client = str(directory / "client.pem")
        authority.cert_pem.write_to_path(self.authority)
        server.private_key_and_cert_chain_pem.write_to_path(self.both)
        server.cert_chain_pems[0].write_to_path(self.certificate)
        server.private_key_pem.write_to_path(self.key)
        authority.issue_cert("prometheus").private_key_and_cert_chain_pem.write_to_path(self.client)
        self.trust = ssl.create_default_context(cafile=self.authority)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def test_https_with_the_key_in_a_file_of_its_own_or_in_the_same(
    collector: Collector, pki: Pki
) -> None:
    for context in (tls_context(pki.certificate, pki.key), tls_context(pki.both)):
        with serving(collector, context) as server:
            assert server.url.startswith("https://")
            assert "one 1.0" in get(server.url, pki.trust)


def test_only_clients_of_the_authority_are_served(collector: Collector, pki: Pki) -> None:
    with serving(collector, tls_context(pki.both, client_ca=pki.authority)) as server:
        with pytest.raises(OSError):
            get(server.url, pki.trust)
        ours = ssl.create_default_context(cafile=pki.authority)
        ours.load_cert_chain(pki.client)
        assert "one 1.0" in get(server.url, ours)
    assert len(collector.patience_s) == 1


def test_a_silent_client_does_not_block_prometheus(collector: Collector, pki: Pki) -> None:
    with serving(collector, tls_context(pki.both)) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)):
            assert "one 1.0" in get(server.url, pki.trust)


def test_a_client_that_speaks_no_tls_leaves_no_traceback(
    collector: Collector, pki: Pki, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(collector, tls_context(pki.both)) as server:
        with pytest.raises(OSError):
            get(server.url.replace("https", "http"))
        assert "one 1.0" in get(server.url, pki.trust)
    assert "Traceback" not in capfd.readouterr().err


def test_files_that_cannot_be_used_are_named_with_their_option(
    pki: Pki, tmp_path: pathlib.Path
) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(errors.ConfigError, match=r"--tls-cert .*missing\.pem.*No such file"):
        tls_context(missing)
    with pytest.raises(errors.ConfigError, match=r"--tls-cert .*matching PEM files"):
        tls_context(pki.certificate, pki.client)
    with pytest.raises(errors.ConfigError, match=r"--tls-client-ca .*missing\.pem"):
        tls_context(pki.both, client_ca=missing)
    (tmp_path / "text.pem").write_text("no PEM")
    with pytest.raises(errors.ConfigError, match="--tls-client-ca"):
        tls_context(pki.both, client_ca=str(tmp_path / "text.pem"))


@pytest.mark.parametrize("how", ["close", "reset", "close_notify"])
def test_a_tls_client_that_breaks_off_leaves_no_traceback(
    collector: Collector, pki: Pki, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    collector.gate.clear()
    with serving(collector, tls_context(pki.both)) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        plain = socket.create_connection(("127.0.0.1", port))
        client = pki.trust.wrap_socket(plain, server_hostname="127.0.0.1")
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert collector.waiting.acquire(timeout=SOON_S)
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "close_notify":
            client.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                client.unwrap()
        client.close()
        collector.gate.set()
        wait_until(lambda: not [t for t in threading.enumerate() if "process_request" in t.name])
    assert "Traceback" not in capfd.readouterr().err


def test_a_defect_of_the_metrics_is_logged_and_is_an_error_for_prometheus(
    collector: Collector, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(within_s: float) -> Collector:
        raise RuntimeError("made up")

    server = MetricsServer("127.0.0.1", 0, broken, None, PAGES)
    server.start()
    try:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(server.url)
    finally:
        server.stop()
    assert "made up" in caplog.text
    assert "Traceback" not in capfd.readouterr().err

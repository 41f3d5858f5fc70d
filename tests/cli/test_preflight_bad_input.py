"""``vmdk-cache preflight`` with a wrong address, account or report: one clear line, no
traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from tests.cli.conftest import Lab, Run
from tests.cli.test_preflight import told
from vmdk_cache.preflight.checklist import READ_ONLY

Serve = Callable[[socket.socket], None]


def results(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The worst result of each probe; every probe has one."""
    found: dict[str, str] = {}
    for row in json.loads(done.stdout):
        if found.get(row["Probe"]) != "failed":
            found[row["Probe"]] = row["Result"]
    assert list(found) == [each.id for each in READ_ONLY]
    return found


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[int]:
    """A port; ``serve`` gets each connection, which stays open until the end."""
    kept: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                kept.append(connection)
                with contextlib.suppress(OSError):
                    serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


@pytest.mark.parametrize(
    ("change", "probe", "says"),
    [
        ({"vmware_host_ip": "https://127.0.0.1/sdk"}, "vcenter.tls", "vmware_host_ip"),
        ({"vmware_host_ip": "127.0.0.1/sdk"}, "vcenter.tls", "vmware_host_ip"),
        ({"vmware_host_ip": "127.0.0.1:443"}, "vcenter.tls", "vmware_host_ip"),
        ({"vmware_host_ip": "ad min@127.0.0.1"}, "vcenter.tls", "vmware_host_ip"),
        ({"vmware_host_ip": "no-such-host.invalid"}, "vcenter.tls", "no-such-host.invalid"),
        ({"vmware_host_ip": "x" * 300}, "vcenter.tls", "vmware_host_ip"),
        ({"vmware_host_ip": "::1", "vmware_host_port": 1}, "vcenter.tls", "vmware_host_ip"),
        ({"vmware_host_port": 1}, "vcenter.tls", "127.0.0.1:1"),
        ({"vmware_host_username": "nobody"}, "vcenter.log-in", "vmware_host_username"),
        ({"vmware_host_password": "s3cret"}, "vcenter.log-in", "vmware_host_password"),
        ({"vmware_ca_file": None}, "vcenter.tls", "vmware_ca_file"),
        ({"vmware_ca_file": "/nowhere"}, "vcenter.tls", "/nowhere"),
        ({"vmware_ca_file": "/etc/passwd"}, "vcenter.tls", "/etc/passwd"),
        ({"vmware_ca_file": "/"}, "vcenter.tls", "vmware_ca_file"),
    ],
)
def test_an_error_is_named_in_one_line(
    lab: Lab, run: Run, change: dict[str, object], probe: str, says: str
) -> None:
    lab.configure(**change)
    done = run("preflight", "--live", "-f", "json", "--timeout", "20", code=None)
    [line] = told(done)
    assert says in line and line.startswith(f"vmdk-cache: backend vmware1: {probe}: "), line
    assert done.returncode in (3, 4)
    assert "s3cret" not in done.stdout + done.stderr
    found = {row["Probe"]: row["Result"] for row in json.loads(done.stdout)}
    assert found[probe] == "failed" and found["live.clones"] == "not tried"
    assert lab.vcenter.request_log.count("CreateFolder") == 0


def silent(connection: socket.socket) -> None:
    """Accepts connections, and never answers."""


def plain(connection: socket.socket) -> None:
    """Speaks no TLS."""
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def hangs_up(connection: socket.socket) -> None:
    connection.close()


def silent_after_tls(context: ssl.SSLContext) -> Serve:
    """Completes the TLS handshake, and never answers a request."""

    def serve(connection: socket.socket) -> None:
        kept.append(context.wrap_socket(connection, server_side=True))

    kept: list[ssl.SSLSocket] = []
    return serve


def no_vcenter(context: ssl.SSLContext) -> Serve:
    """Answers each request with a web page."""

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<p/>")

    return serve


@pytest.fixture
def issuer(lab: Lab, tmp_path: pathlib.Path) -> trustme.CA:
    """The CA that the backend trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "issuer.pem"))
    lab.configure(vmware_ca_file=tmp_path / "issuer.pem")
    return made


def context_for(name: str, issuer: trustme.CA) -> ssl.SSLContext:
    """The TLS context of a server with a certificate for this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)
    return context


#: Seconds. Long enough for servers that do answer, on a busy machine.
GIVEN_UP_AFTER = "10"


@pytest.mark.parametrize(
    ("serve", "probe", "says"),
    [
        (silent, "vcenter.tls", "did not answer in time"),
        (plain, "vcenter.tls", "127.0.0.1"),
        (hangs_up, "vcenter.tls", "127.0.0.1"),
        (silent_after_tls, "vcenter.log-in", "did not answer in time"),
        (no_vcenter, "vcenter.log-in", "127.0.0.1"),
    ],
)
def test_a_server_that_is_not_a_vcenter_is_given_up_and_named(
    lab: Lab, run: Run, issuer: trustme.CA, serve: Any, probe: str, says: str
) -> None:
    wraps = serve in (silent_after_tls, no_vcenter)
    with server(serve(context_for("127.0.0.1", issuer)) if wraps else serve) as port:
        lab.configure(vmware_host_port=port)
        done = run("preflight", "-f", "json", "--timeout", GIVEN_UP_AFTER, code=4)
    [line] = told(done)
    assert line.startswith(f"vmdk-cache: backend vmware1: {probe}: ") and says in line, line
    assert results(done)[probe] == "failed"
    if serve in (silent, silent_after_tls):
        assert (
            f"backend vmware1: {probe} is still running; --timeout limits the wait" in done.stderr
        )


def test_a_certificate_for_another_name_is_named(lab: Lab, run: Run, issuer: trustme.CA) -> None:
    with server(silent_after_tls(context_for("vc.example", issuer))) as port:
        lab.configure(vmware_host_port=port)
        done = run("preflight", "-f", "json", code=4)
    [line] = told(done)
    assert "vcenter.tls: " in line and "certificate is not valid for '127.0.0.1'" in line, line
    assert results(done)["vcenter.log-in"] == "not tried"


def test_a_vcenter_that_stops_answering_after_the_log_in_is_given_up(lab: Lab, run: Run) -> None:
    over = threading.Event()
    lab.vcenter.fault_rules.add("RetrievePropertiesEx", action=lambda: over.wait(120), times=None)
    try:
        done = run("preflight", "-f", "json", "--timeout", GIVEN_UP_AFTER, code=4)
    finally:
        over.set()
    found = results(done)
    assert found["vcenter.log-in"] == "ok" and found["inventory.clusters"] == "failed"
    assert found["privileges.folder"] == "not tried"
    assert all("did not answer in time" in line for line in told(done)) and told(done)


# -- the report


@pytest.mark.parametrize("kind", ["missing directory", "directory", "pipe", "socket", "empty"])
def test_a_report_file_that_cannot_be_opened_is_named_before_anything_is_asked(
    lab: Lab, run: Run, tmp_path: pathlib.Path, kind: str
) -> None:
    path = tmp_path / "report"
    if kind == "missing directory":
        path = tmp_path / "nowhere" / "report"
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    given = "" if kind == "empty" else str(path)
    lab.vcenter.request_log.reset()
    done = run("preflight", "--live", "-f", "json", "--report", given, code=2)
    [line] = done.stderr.splitlines()
    assert line.startswith("vmdk-cache: argument --report: ") and given in line
    assert done.stdout == "" and lab.vcenter.request_log.total() == 0


def test_a_report_that_does_not_fit_is_named_after_the_results(lab: Lab, run: Run) -> None:
    done = run("preflight", "-f", "json", "--report", "/dev/full", code=1)
    [line] = told(done)
    assert line.startswith("vmdk-cache: argument --report: cannot write the report: ")
    assert results(done)["vcenter.log-in"] == "ok"


def test_a_report_can_go_through_a_pipe(lab: Lab, run: Run, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE, text=True) as reader:
        try:
            run("preflight", "-f", "json", "--report", str(path), code=None)
            text, _ = reader.communicate(timeout=60)
        finally:
            reader.kill()
    assert json.loads(text)["results"]

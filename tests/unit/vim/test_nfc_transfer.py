"""Transfers on the wire: what the host receives or sends, and what its answer means."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.contract.vcenters import Target
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim.nfc_transfer import NfcDownload, NfcUpload, _http_chunk
from vmdk_cache.vim.session import Endpoint, Session

MIB = 1 << 20


class Host(ThreadingHTTPServer):
    """An ESXi host without TLS that takes one upload, or sends a disk.

    :ivar status: of its answer
    :ivar reads: whether it reads the body before it answers
    :ivar disk: what it sends
    :ivar chunked: whether it sends the disk without a length
    :ivar closes: whether it says that it closes the connection after the disk
    :ivar breaks_off_after: bytes of the disk; None: it sends all
    :ivar go_on: a disk that breaks off does so only then
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.reads = True
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.received = 0
        self.disk = b""
        self.chunked = False
        self.closes = False
        self.breaks_off_after: int | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the connection is the client's to close
    server: Host  # type: ignore[assignment]

    def do_POST(self) -> None:
        host = self.server
        host.path, host.headers = self.path, dict(self.headers)
        if host.reads and "Content-Length" in self.headers:
            host.body = self.rfile.read(int(self.headers["Content-Length"]))
        elif host.reads:
            while size := int(self.rfile.readline(), 16):
                host.body += self.rfile.read(size)
                self.rfile.readline()
            assert self.rfile.readline() == b"\r\n"
        else:
            self.close_connection = True
        self.send_response(host.status)
        text = b"" if host.status == 204 else b"  no such\ndatastore  "
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        host = self.server
        host.path = self.path
        self.send_response(host.status)
        if host.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(host.disk)))
        if host.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        sent = host.disk[: host.breaks_off_after]
        if sent:
            self.wfile.write(_http_chunk(sent) if host.chunked else sent)
        if host.breaks_off_after is not None:
            host.go_on.wait()
            self.close_connection = True
        elif host.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def open_session() -> Session:
    """A session without verification that never connects to its vCenter."""
    return Session(Endpoint("192.0.2.1", "user", "password", insecure=True))


def upload_to(host: Host, session: Session, path: str = "/nfc/1/disk-0.vmdk") -> NfcUpload:
    return NfcUpload(session, f"http://127.0.0.1:{host.port}{path}", "")


@pytest.mark.parametrize("known", [True, False], ids=["with-length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 7])
def test_the_host_gets_the_bytes_and_progress_tells_of_all(
    host: Host, open_session: Session, known: bool, size: int
) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    told: list[int] = []

    sent = upload_to(host, open_session).send(
        io.BytesIO(data), size if known else None, told.append
    )

    assert sent == size
    assert told == [min(size, n) for n in range(MIB, size + MIB, MIB)]
    assert host.body == data
    assert host.headers["Content-Type"] == "application/x-vnd.vmware-streamVmdk"
    assert host.headers.get("Content-Length") == (str(size) if known else None)
    assert host.headers.get("Transfer-Encoding") == (None if known else "chunked")
    assert "Accept-Encoding" not in host.headers


@pytest.mark.parametrize("status", [200, 404])
def test_no_connection_outlives_its_upload(host: Host, open_session: Session, status: int) -> None:
    host.status = status
    upload = upload_to(host, open_session)
    with contextlib.suppress(errors.TaskFailed):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)
    assert upload._connection is not None
    assert upload._connection.sock is None


@pytest.mark.parametrize("path", ["/nfc/1/disk-0.vmdk", "/nfc/1/disk-0.vmdk?ticket=a&b=c"])
def test_the_whole_path_of_the_lease_is_asked_for(
    host: Host, open_session: Session, path: str
) -> None:
    upload_to(host, open_session, path).send(io.BytesIO(b"x"), 1, lambda sent: None)
    assert host.path == path


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_upload_that_the_host_took_is_done(
    host: Host, open_session: Session, status: int
) -> None:
    host.status = status
    assert upload_to(host, open_session).send(io.BytesIO(b"x"), 1, lambda sent: None) == 1


@pytest.mark.parametrize("status", [202, 206, 302, 400, 404, 500, 507])
def test_a_refused_upload_is_an_error_with_the_hosts_text(
    host: Host, open_session: Session, status: int
) -> None:
    host.status = status
    with pytest.raises(errors.TaskFailed, match=f"HTTP {status} .*no such") as refused:
        upload_to(host, open_session).send(io.BytesIO(b"x"), 1, lambda sent: None)
    assert f"127.0.0.1:{host.port}" in str(refused.value)
    assert refused.value.method == "NFC upload"


@pytest.mark.parametrize("known", [True, False], ids=["with-length", "chunked"])
def test_an_answer_before_the_end_of_the_upload_is_no_success(
    host: Host, open_session: Session, known: bool
) -> None:
    """The host stops reading and closes the connection: whatever it answers, it does not have all
    of the disk.
    """
    host.reads = False
    data = bytes(64 * MIB)
    with pytest.raises((errors.TaskFailed, errors.Unreachable)):
        upload_to(host, open_session).send(
            io.BytesIO(data), len(data) if known else None, lambda sent: None
        )


@pytest.mark.parametrize(
    ("length", "message"),
    [(9, "longer than its 9 bytes"), (11, "ended after 10 of 11 bytes")],
)
def test_a_stream_of_another_length_is_not_sent_as_one_of_that_length(
    host: Host, open_session: Session, length: int, message: str
) -> None:
    with pytest.raises(errors.ImageCorrupt, match=message):
        upload_to(host, open_session).send(io.BytesIO(b"0123456789"), length, lambda sent: None)


def test_a_chunk_says_its_size_in_hexadecimal() -> None:
    assert _http_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_an_upload_that_is_cancelled_while_its_stream_is_silent_ends(
    host: Host, open_session: Session
) -> None:
    class Silent(io.RawIOBase):
        """Sends a byte, and then nothing until it is closed."""

        def __init__(self) -> None:
            self.gate = threading.Event()
            self.reads = 0

        def read(self, size: int = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                assert self.gate.wait(60)
            return b"x"

        def close(self) -> None:
            self.gate.set()
            raise OSError("streams may fail to close")

    stream = Silent()
    upload = upload_to(host, open_session)
    sending = Background(lambda: upload.send(stream, 1000, lambda sent: None))
    wait_until(lambda: stream.reads == 2)
    upload.cancel()
    with pytest.raises(errors.LeaseLost, match="cancelled"):
        sending.join()


def test_an_upload_whose_connection_has_ended_can_be_cancelled(open_session: Session) -> None:
    upload = NfcUpload(open_session, "http://127.0.0.1:1/nfc/1/disk-0.vmdk", "")
    with socket.socket() as ended:
        upload._connection = HTTPConnection("127.0.0.1", 1)
        upload._connection.sock = ended
        upload.cancel()
    with pytest.raises(errors.LeaseLost, match="cancelled"):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_an_upload_without_a_close_is_cancelled_as_well(host: Host, open_session: Session) -> None:
    class Stream:
        def __init__(self) -> None:
            self.reads = 0

        def read(self, size: int, /) -> bytes:
            self.reads += 1
            upload.cancel()
            return b"x"

    upload = upload_to(host, open_session)
    with pytest.raises(errors.LeaseLost, match="cancelled"):
        upload.send(Stream(), 1000, lambda sent: None)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://esx1/nfc/1/disk-0.vmdk", "esx1:443"),
        ("https://esx1:902/nfc/1/disk-0.vmdk", "esx1:902"),
        ("https://*/nfc/1/disk-0.vmdk", "192.0.2.1:443"),
        ("https://*:8443/nfc/1/*.vmdk", "192.0.2.1:8443"),
        ("https://[fd00::1]/nfc/1/disk-0.vmdk", "[fd00::1]:443"),
    ],
)
def test_the_upload_goes_to_the_host_of_the_url(
    open_session: Session, url: str, server: str
) -> None:
    assert NfcUpload(open_session, url, "").server == server


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("colons", [True, False])
def test_a_thumbprint_may_be_of_any_digest_that_vcenter_uses(
    vc: VCenter, session: Session, digest: str, colons: bool
) -> None:
    seen = hashlib.new(digest, ssl.PEM_cert_to_DER_cert(certificate_of(vc))).hexdigest()
    pairs = [seen[at : at + 2] for at in range(0, len(seen), 2)]
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"
    thumbprint = (":" if colons else "").join(pairs)

    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        NfcUpload(session, url, thumbprint.upper()).send(io.BytesIO(b"x"), 1, lambda sent: None)
    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter expects"):
        wrong = thumbprint[:-1] + ("0" if thumbprint[-1] != "0" else "1")
        NfcUpload(session, url, wrong).send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_a_host_that_vcenter_vouches_for_needs_no_known_issuer(vc: VCenter) -> None:
    seen = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate_of(vc))).hexdigest()
    session = Session(Endpoint("192.0.2.1", "user", "password"))
    upload = NfcUpload(session, f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk", seen)
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)


@pytest.mark.parametrize("thumbprint", ["AA:AA", "no thumbprint", "AA:" * 31 + "A"])
def test_an_invalid_thumbprint_is_refused_and_shown(
    vc: VCenter, session: Session, thumbprint: str
) -> None:
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"
    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter expects"):
        NfcUpload(session, url, thumbprint).send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_a_thumbprint_of_a_weak_digest_is_refused(vc: VCenter, session: Session) -> None:
    seen = hashlib.md5(ssl.PEM_cert_to_DER_cert(certificate_of(vc))).hexdigest()
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"
    with pytest.raises(errors.CertificateRefused, match="neither SHA-1 nor SHA-256"):
        NfcUpload(session, url, seen).send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_an_insecure_session_checks_no_thumbprint(vc: VCenter, target: Target) -> None:
    session = Session(target.endpoint(insecure=True, ca_file=None))
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        NfcUpload(session, url, "AA:AA").send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_a_host_that_does_not_exist_is_named(open_session: Session) -> None:
    upload = NfcUpload(open_session, "https://127.0.0.1:1/nfc/1/disk-0.vmdk", "")
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:1"):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)
    upload.cancel()


def certificate_of(vc: VCenter) -> str:
    return ssl.get_server_certificate((vc.host, vc.port))


# -- downloads


def download_from(host: Host, session: Session) -> NfcDownload:
    return NfcDownload(session, f"http://127.0.0.1:{host.port}/nfc/1/disk-0.vmdk?ticket=a", "")


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
@pytest.mark.parametrize("size", [1, MIB, 2 * MIB + 7])
def test_a_download_is_what_the_host_sends(
    host: Host, open_session: Session, size: int, chunked: bool
) -> None:
    host.disk, host.chunked = bytes(range(256)) * (size // 256) + b"x" * (size % 256), chunked
    download = download_from(host, open_session)
    assert b"".join(download) == host.disk
    assert host.path == "/nfc/1/disk-0.vmdk?ticket=a"
    assert download._connection is not None
    assert download._connection.sock is None


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
@pytest.mark.parametrize("after", [0, 1000])
def test_a_download_that_breaks_off_does_not_look_complete(
    host: Host, open_session: Session, after: int, chunked: bool
) -> None:
    host.disk, host.chunked, host.breaks_off_after = b"x" * MIB, chunked, after
    with pytest.raises(errors.Unreachable, match=f"127.0.0.1:{host.port}"):
        b"".join(download_from(host, open_session))


@pytest.mark.parametrize("closes", [False, True], ids=["kept-alive", "closed"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_a_download_that_waits_can_be_cancelled(
    host: Host, open_session: Session, chunked: bool, closes: bool
) -> None:
    host.disk, host.chunked, host.breaks_off_after = b"x" * 3 * MIB, chunked, 2 * MIB
    host.closes = closes
    host.go_on.clear()
    download = download_from(host, open_session)
    first = threading.Event()

    def read() -> None:
        for _ in download:
            first.set()

    reading = Background(read)
    assert first.wait(30)
    download.cancel()
    try:
        with pytest.raises(errors.LeaseLost, match="cancelled"):
            reading.join()
    finally:
        host.go_on.set()


def test_a_download_that_is_cancelled_while_it_connects_ends(
    host: Host, open_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.breaks_off_after = 0
    host.go_on.clear()
    download = download_from(host, open_session)
    connect = download._address.connect

    def cancelled(made: Callable[[HTTPConnection], None]) -> HTTPConnection:
        download.cancel()
        return connect(made)

    monkeypatch.setattr(download._address, "connect", cancelled)
    reading = Background(lambda: b"".join(download))
    try:
        with pytest.raises(errors.LeaseLost, match="cancelled"):
            reading.join()
    finally:
        host.go_on.set()

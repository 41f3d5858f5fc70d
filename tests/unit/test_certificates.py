"""A server with an invalid certificate gets nothing: no password, token or byte of an image.

Otherwise an attacker between us and vCenter, an ESXi host or Glance would get them.
"""

from __future__ import annotations

import datetime
import io
import pathlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import trustme
from oslo_config import cfg

from vmdk_cache import errors
from vmdk_cache.cli import glance
from vmdk_cache.vim.nfc_transfer import NfcUpload
from vmdk_cache.vim.session import Endpoint, Session

SECRET = "hush-hush"
CERTIFICATES = ("stranger's", "expired", "not yet valid", "of another host")


class Impostor:
    """A TLS server that records what clients send after the handshake, and never answers.

    :ivar asked: number of clients that began a handshake
    """

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.asked = 0
        self.heard = b""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            client.settimeout(60)
            try:
                with self._context.wrap_socket(client, server_side=True) as speaking:
                    self.heard += speaking.recv(1 << 16)
            except OSError:
                pass  # the client closed the connection, as it should

    def close(self) -> None:
        """Stop, and wait for the last client's data; can be called again."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: pathlib.Path) -> str:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def certificate(ca: trustme.CA, kind: str) -> trustme.LeafCert:
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    if kind == "stranger's":
        return trustme.CA().issue_cert("127.0.0.1")
    if kind == "expired":
        return ca.issue_cert("127.0.0.1", not_before=now - 9 * day, not_after=now - day)
    if kind == "not yet valid":
        return ca.issue_cert("127.0.0.1", not_before=now + day, not_after=now + 9 * day)
    if kind == "of another host":
        return ca.issue_cert("vcenter.example.org")
    return ca.issue_cert("127.0.0.1")


@pytest.fixture
def impostor(ca: trustme.CA, kind: str) -> Iterator[Impostor]:
    made = Impostor(certificate(ca, kind))
    yield made
    made.close()


def log_in(port: int, ca_file: str) -> None:
    Session(_endpoint(port, ca_file)).open()


def upload(port: int, ca_file: str) -> None:
    """To an address with another thumbprint than vCenter's."""
    session = Session(_endpoint(port, ca_file))
    upload = NfcUpload(session, f"https://127.0.0.1:{port}/nfc/{SECRET}/disk-0.vmdk", "")
    upload.send(io.BytesIO(SECRET.encode()), None, lambda sent: None)


def ask_glance(port: int, ca_file: str) -> None:
    """As the command line does, with a user's password for Keystone at the same address."""
    options = cfg.ConfigOpts()
    options([], default_config_files=[])
    url = f"https://127.0.0.1:{port}"
    environ = {
        "OS_AUTH_URL": url, "OS_USERNAME": "operator", "OS_PASSWORD": SECRET, "OS_CACERT": ca_file,
        "OS_PROJECT_NAME": "services", "OS_USER_DOMAIN_NAME": "x", "OS_PROJECT_DOMAIN_NAME": "x",
    }  # fmt: skip
    glance.connect(options, environ).describe("a0000000-0000-4000-8000-000000000001")


def ask_glance_by_token(port: int, ca_file: str) -> None:
    """Glance itself, with an existing token."""
    options = cfg.ConfigOpts()
    options([], default_config_files=[])
    environ = {
        "OS_AUTH_TYPE": "admin_token", "OS_TOKEN": SECRET, "OS_CACERT": ca_file,
        "OS_ENDPOINT": f"https://127.0.0.1:{port}",
    }  # fmt: skip
    glance.connect(options, environ).describe("a0000000-0000-4000-8000-000000000001")


def _endpoint(port: int, ca_file: str) -> Endpoint:
    return Endpoint(
        "127.0.0.1", "user", SECRET, port=port, ca_file=ca_file, api_retry_count=1,
        read_timeout_s=60,
    )  # fmt: skip


WAYS: dict[Callable[[int, str], None], type[errors.VmdkCacheError]] = {
    log_in: errors.CertificateRefused,
    upload: errors.CertificateRefused,
    ask_glance: errors.SourceUnavailable,
    ask_glance_by_token: errors.SourceUnavailable,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", CERTIFICATES)
def test_an_invalid_certificate_is_refused_before_any_data_is_sent(
    impostor: Impostor, ca_file: str, way: Callable[[int, str], None]
) -> None:
    with pytest.raises(WAYS[way], match="certificate") as refused:
        way(impostor.port, ca_file)
    impostor.close()
    assert impostor.asked, "no client connected, so none was refused"
    assert impostor.heard == b""
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("way", [log_in, upload], ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", ["good"])
def test_a_valid_certificate_is_accepted(
    impostor: Impostor, ca_file: str, way: Callable[[int, str], None]
) -> None:
    """Without this, the other test would also pass if no client ever connected."""
    with pytest.raises(errors.VmdkCacheError):
        way(impostor.port, ca_file)
    impostor.close()
    assert impostor.heard

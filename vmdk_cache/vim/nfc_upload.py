"""Sending a disk's stream to the ESXi host behind an NFC lease, over HTTP.

The stream is a streamOptimized VMDK; the host converts it into the disk as it comes in. The
host's certificate is not vCenter's: it is pinned by the thumbprint that vCenter vouches for in
the lease (vSphere API reference, HttpNfcLeaseDeviceUrl.sslThumbprint), and verified as vCenter's
own when there is none (as govmomi does, nfc/lease.go). The host's answer is read and checked: an
upload that it refused can leave a disk that looks complete.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Protocol
from urllib.parse import urlsplit

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.vim import faults
from vmdk_cache.vim.session import Session

LOG = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_METHOD = "NFC upload"
_DIGESTS = {20: "sha1", 32: "sha256", 64: "sha512"}


class Readable(Protocol):
    """What is uploaded: ``read`` returns at most ``size`` bytes, b'' at the end."""

    def read(self, size: int, /) -> bytes: ...


class NfcUpload:
    """One upload; ``cancel`` ends it from another thread, also while it is stuck in a send, or in
    a read of a stream that has ``close``.

    :param url: of the lease's device; ``*`` stands for vCenter's own host
    :param thumbprint: of the host's certificate, '' if vCenter gives none
    """

    def __init__(self, session: Session, url: str, thumbprint: str) -> None:
        self._endpoint = session.endpoint
        self._own_tls = session.ssl_context
        self._timeout_s = session.endpoint.read_timeout_s
        self._thumbprint = thumbprint
        self._vcenter = session.endpoint.host.strip("[]").lower()
        parts = urlsplit(url.replace("://*", f"://{_in_url(self._vcenter)}", 1))
        self._host = parts.hostname or self._vcenter
        self._port = parts.port or 443
        self._secure = parts.scheme == "https"
        self._path = parts.path + (f"?{parts.query}" if parts.query else "")
        self._connection: HTTPConnection | None = None
        self._stream: Readable | None = None
        self._cancelled = threading.Event()

    @property
    def server(self) -> str:
        """``host:port`` that the bytes go to."""
        return f"{_in_url(self._host)}:{self._port}"

    def send(self, stream: Readable, length: int | None, sent: Callable[[int], None]) -> None:
        """POST the stream to its end and check the host's answer.

        :param length: its bytes; None sends it chunked
        :param sent: told after each block how many bytes have gone out in all
        :raises Unreachable, CertificateRefused, TaskFailed: the host, with its name
        :raises LeaseLost: it was cancelled
        :raises BaseException: what ``stream.read`` raises, as it is
        """
        self._stream = stream  # before the look at the flag: cancel sets the flag first
        self._check_cancelled()
        connection = self._connect()
        try:
            self._start(connection, length)
            early = self._pump(connection, stream, length, sent)
            self._finish(connection, early)
        finally:
            connection.close()

    def cancel(self) -> None:
        """Make a running ``send`` fail soon; closes its stream."""
        self._cancelled.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                _shut_down(connection.sock)
            except OSError:
                pass  # it has ended by itself
        close = getattr(self._stream, "close", None)
        if callable(close):
            try:
                close()
            except Exception:  # whatever a stream may raise, its reader is told by the flag
                LOG.debug("closing the stream of a cancelled upload", exc_info=True)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise errors.LeaseLost("the upload was cancelled", method=_METHOD)

    def _connect(self) -> HTTPConnection:
        with faults.translated(method=_METHOD, server=self.server):
            if not self._secure:
                if not self._endpoint.insecure:
                    raise errors.CertificateRefused(
                        f"the lease's upload goes to {self.server} without TLS; refused, as "
                        "vmware_insecure is not set",
                        method=_METHOD,
                    )
                plain = HTTPConnection(self._host, self._port, timeout=self._timeout_s)
                plain.connect()
                self._connection = plain
                return plain
            foreign = self._host != self._vcenter and not self._endpoint.insecure
            pinned = foreign and bool(self._thumbprint)
            tls = _unverified() if pinned else self._own_tls
            secure = HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=tls)
            self._connection = secure
            secure.connect()
            if pinned:
                try:
                    self._check_thumbprint(secure.sock)
                except BaseException:
                    secure.close()
                    raise
            return secure

    def _check_thumbprint(self, sock: ssl.SSLSocket) -> None:
        certificate = sock.getpeercert(binary_form=True) or b""
        try:
            expected = bytes.fromhex(self._thumbprint.replace(":", ""))
            seen = hashlib.new(_DIGESTS[len(expected)], certificate).digest()
        except (KeyError, ValueError):
            raise errors.CertificateRefused(
                f"vCenter gives no usable thumbprint of the certificate of {self.server} "
                f"({self._thumbprint!r})",
                method=_METHOD,
            ) from None
        if not hmac.compare_digest(seen, expected):
            raise errors.CertificateRefused(
                f"the certificate of {self.server} is not the one that vCenter knows: its "
                f"thumbprint is {seen.hex(':')}, not {self._thumbprint.lower()}",
                method=_METHOD,
            )

    def _start(self, connection: HTTPConnection, length: int | None) -> None:
        with faults.translated(method=_METHOD, server=self.server):
            connection.putrequest("POST", self._path, skip_accept_encoding=True)
            connection.putheader("Content-Type", "application/x-vnd.vmware-streamVmdk")
            if length is None:
                connection.putheader("Transfer-Encoding", "chunked")
            else:
                connection.putheader("Content-Length", str(length))
            connection.endheaders()

    def _pump(
        self,
        connection: HTTPConnection,
        stream: Readable,
        length: int | None,
        sent: Callable[[int], None],
    ) -> OSError | None:
        """Send all; an error of the connection is returned, since the host may have answered."""
        total = 0
        while block := stream.read(_CHUNK_BYTES):
            self._check_cancelled()
            total += len(block)
            if length is not None and total > length:
                raise errors.ImageCorrupt(f"the stream is longer than its {length} bytes")
            try:
                connection.send(block if length is not None else _http_chunk(block))
            except OSError as error:
                return error
            sent(total)
        if length is not None and total < length:
            raise errors.ImageCorrupt(f"the stream ended after {total} of {length} bytes")
        if length is None:
            try:
                connection.send(b"0\r\n\r\n")
            except OSError as error:
                return error
        return None

    def _finish(self, connection: HTTPConnection, broke: OSError | None) -> None:
        """Read what the host says; without an answer, the connection's own error is raised."""
        with faults.translated(method=_METHOD, server=self.server):
            try:
                answer = connection.getresponse()
                text = answer.read(200).decode("utf-8", "replace").strip()
            except (OSError, HTTPException) as error:
                raise (broke or error) from None
            if broke is None and answer.status in (200, 201, 204):
                return
            raise errors.TaskFailed(
                f"{self.server} refused the upload: HTTP {answer.status} {answer.reason} {text}",
                method=_METHOD,
            )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shut_down(sock: Any) -> None:
    """Both directions, under TLS as well: ``SSLSocket.shutdown`` drops TLS before it shuts, so that
    a send in another thread could go out in plain text."""
    if isinstance(sock, socket.SocketType):
        socket.SocketType.shutdown(sock, socket.SHUT_RDWR)
    else:
        sock.shutdown(socket.SHUT_RDWR)  # eventlet's, which only wraps one


def _http_chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def _unverified() -> ssl.SSLContext:
    """For a certificate that is checked by its thumbprint instead."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

"""Sending and receiving a leased disk over HTTP, to and from the ESXi host that has it.

The data are a streamOptimized VMDK, which the host converts into the disk as it arrives. The upload
checks the host's answer, because a refused upload can leave a disk that looks complete.

The host's certificate differs from vCenter's: it is pinned by the thumbprint in the lease (vSphere
API reference, HttpNfcLeaseDeviceUrl.sslThumbprint). Without a thumbprint it is verified like
vCenter's own (as in govmomi, nfc/lease.go).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Protocol
from urllib.parse import urlsplit

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.quoting import sentence
from vmdk_cache.vim import faults
from vmdk_cache.vim.server_certificate import check_thumbprint, unverified
from vmdk_cache.vim.session import Session

LOG = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_UPLOAD = "NFC upload"
_DOWNLOAD = "NFC download"
#: HTTP status of a host that refuses the data as a disk; a host that fails for another reason also
#: answers 500 (docs/assumptions.rst, A46).
_DATA_REFUSED = frozenset({400, 500})


class Readable(Protocol):
    """A stream to upload: ``read`` returns at most ``size`` bytes, b'' at the end."""

    def read(self, size: int, /) -> bytes: ...


class _Transfer:
    """A transfer that another thread can cancel.

    :param method: the operation, for errors
    """

    def __init__(self, session: Session, url: str, thumbprint: str, method: str) -> None:
        self._address = _Address(session, url, thumbprint, method)
        self._method = method
        self._connection: HTTPConnection | None = None
        #: The connection gives it up to an answer that says "Connection: close".
        self._socket: Any = None
        self._cancelled = threading.Event()

    @property
    def server(self) -> str:
        """``host:port`` of the transfer."""
        return self._address.server

    def cancel(self) -> None:
        """Make the transfer fail soon."""
        self._cancelled.set()
        connected = self._socket or getattr(self._connection, "sock", None)
        if connected is not None:
            try:
                _shut_down(connected)
            except OSError:
                pass  # it has already ended

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise errors.LeaseLost("the transfer was cancelled", method=self._method)

    def _connect(self) -> HTTPConnection:
        def made(connection: HTTPConnection) -> None:
            self._connection = connection

        connection = self._address.connect(made)
        self._socket = connection.sock
        try:
            self._check_cancelled()  # before there was a socket to shut down
        except errors.LeaseLost:
            connection.close()
            raise
        return connection


class NfcUpload(_Transfer):
    """One upload; ``cancel`` ends it from another thread, even while it is blocked in a send, or in
    a read of a stream that has ``close``.

    :param url: of the lease's device; the host ``*`` means vCenter's own host
    :param thumbprint: of the host's certificate, '' if vCenter does not report it
    """

    def __init__(self, session: Session, url: str, thumbprint: str) -> None:
        super().__init__(session, url, thumbprint, _UPLOAD)
        self._stream: Readable | None = None

    def send(self, stream: Readable, length: int | None, sent: Callable[[int], None]) -> int:
        """POST the whole stream and check the host's answer; the number of bytes sent.

        :param length: of the stream in bytes; None sends it chunked
        :param sent: called after each block with the number of bytes sent so far
        :raises Unreachable, CertificateRefused, TaskFailed: errors of the host, with its name
        :raises UploadRefused: the host refused the data
        :raises LeaseLost: the upload was cancelled
        :raises BaseException: whatever ``stream.read`` raises, unchanged
        """
        self._stream = stream  # before checking the flag, because cancel sets the flag first
        self._check_cancelled()
        connection = self._connect()
        try:
            self._start(connection, length)
            total, broke = self._pump(connection, stream, length, sent)
            self._finish(connection, broke)
        finally:
            connection.close()
        return total

    def cancel(self) -> None:
        """Make a running ``send`` fail soon, and close its stream."""
        super().cancel()
        close = getattr(self._stream, "close", None)
        if callable(close):
            try:
                close()
            except Exception:  # safe for any error of a stream: its reader checks the flag
                LOG.debug("closing the stream of a cancelled upload", exc_info=True)

    def _start(self, connection: HTTPConnection, length: int | None) -> None:
        with faults.translated(method=_UPLOAD, server=self.server):
            connection.putrequest("POST", self._address.path, skip_accept_encoding=True)
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
    ) -> tuple[int, OSError | None]:
        """Send the whole stream; the number of bytes, and an error of the connection instead of
        raising it, as the host may have answered before."""
        total = 0
        while block := stream.read(_CHUNK_BYTES):
            self._check_cancelled()
            total += len(block)
            if length is not None and total > length:
                raise errors.ImageCorrupt(f"the stream is longer than its {length} bytes")
            try:
                connection.send(block if length is not None else _http_chunk(block))
            except OSError as error:
                return total, error
            sent(total)
        if length is not None and total < length:
            raise errors.ImageCorrupt(f"the stream ended after {total} of {length} bytes")
        if length is None:
            try:
                connection.send(b"0\r\n\r\n")
            except OSError as error:
                return total, error
        return total, None

    def _finish(self, connection: HTTPConnection, broke: OSError | None) -> None:
        """Check the host's answer; without an answer, raise the connection's own error."""
        with faults.translated(method=_UPLOAD, server=self.server):
            try:
                answer = connection.getresponse()
                text = answer.read(200).decode("utf-8", "replace").strip()
            except (OSError, HTTPException) as error:
                raise (broke or error) from None
            if broke is None and answer.status in (200, 201, 204):
                return
            kind = errors.UploadRefused if answer.status in _DATA_REFUSED else errors.TaskFailed
            raise kind(
                f"{self.server} refused the upload: HTTP {answer.status} "
                f"{sentence(answer.reason)} {sentence(text)}",
                method=_UPLOAD,
            )


class NfcDownload(_Transfer):
    """One download: iterate over it once for the chunks of the disk. ``cancel`` ends it from
    another thread, even while it is blocked in a read.

    :param url: of the lease's device; the host ``*`` means vCenter's own host
    :param thumbprint: of the host's certificate, '' if vCenter does not report it
    """

    def __init__(self, session: Session, url: str, thumbprint: str) -> None:
        super().__init__(session, url, thumbprint, _DOWNLOAD)

    def __iter__(self) -> Generator[bytes, None, None]:
        """Connects when the first chunk is read.

        :raises Unreachable, CertificateRefused, TaskFailed: errors of the host, with its name
        :raises LeaseLost: the download was cancelled
        """
        self._check_cancelled()
        connection = self._connect()
        try:
            yield from self._chunks(connection)
        except errors.VCenterError:
            self._check_cancelled()
            raise
        finally:
            connection.close()

    def _chunks(self, connection: HTTPConnection) -> Iterator[bytes]:
        with faults.translated(method=_DOWNLOAD, server=self.server):
            connection.request("GET", self._address.path)
            with connection.getresponse() as answer:
                yield from self._body(answer)

    def _body(self, answer: HTTPResponse) -> Iterator[bytes]:
        if answer.status != 200:
            raise errors.TaskFailed(
                f"{self.server} refused the download: HTTP {answer.status} "
                f"{sentence(answer.reason)}",
                method=_DOWNLOAD,
            )
        while chunk := answer.read(_CHUNK_BYTES):
            yield chunk
        # http.client does not compare the number of bytes with Content-Length.
        if answer.length:
            raise errors.Unreachable(
                f"{self.server} ended the download {answer.length} bytes too early",
                method=_DOWNLOAD,
            )


class _Address:
    """The URL of one device of a lease.

    :param url: ``*`` means vCenter's own host
    :param thumbprint: thumbprint of the host's certificate, '' if vCenter provides none
    :param method: the operation, for errors
    :ivar path: path of the disk, for the request
    """

    def __init__(self, session: Session, url: str, thumbprint: str, method: str) -> None:
        self._endpoint = session.endpoint
        self._own_tls = session.ssl_context
        self._thumbprint = thumbprint
        self._method = method
        self._vcenter = session.endpoint.host.strip("[]").lower()
        parts = urlsplit(url.replace("://*", f"://{_in_url(self._vcenter)}", 1))
        self._host = parts.hostname or self._vcenter
        self._port = parts.port or 443
        self._secure = parts.scheme == "https"
        self.path = parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def server(self) -> str:
        """``host:port``."""
        return f"{_in_url(self._host)}:{self._port}"

    def connect(
        self, made: Callable[[HTTPConnection], None] = lambda connection: None
    ) -> HTTPConnection:
        """A connection to the host, its certificate checked.

        :param made: called with the connection as soon as it can be closed from another thread
        :raises Unreachable, CertificateRefused: the host, with its name
        """
        if not self._secure and not self._endpoint.insecure:
            raise errors.CertificateRefused(
                f"the lease's disk is at {self.server} without TLS; refused, as vmware_insecure is "
                "not set",
                method=self._method,
            )
        is_foreign = self._host != self._vcenter and not self._endpoint.insecure
        is_pinned = is_foreign and bool(self._thumbprint)
        with faults.translated(method=self._method, server=self.server):
            timeout_s = self._endpoint.read_timeout_s
            connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
            if self._secure:
                tls = unverified() if is_pinned else self._own_tls
                connection = HTTPSConnection(self._host, self._port, timeout=timeout_s, context=tls)
            made(connection)
            connection.connect()
            if is_pinned:
                try:
                    tls_socket: Any = connection.sock
                    certificate = tls_socket.getpeercert(binary_form=True) or b""
                    check_thumbprint(
                        certificate, self._thumbprint, self.server, method=self._method
                    )
                except BaseException:
                    connection.close()
                    raise
            return connection


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shut_down(sock: Any) -> None:
    """Shut down both directions of a socket, below TLS: ``SSLSocket.shutdown`` removes TLS first,
    and another thread could then send plain text."""
    if isinstance(sock, socket.SocketType):
        socket.SocketType.shutdown(sock, socket.SHUT_RDWR)
    else:
        sock.shutdown(socket.SHUT_RDWR)  # eventlet's socket, which wraps a real one


def _http_chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)

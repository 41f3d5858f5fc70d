"""Sending a disk's stream to the ESXi host behind an NFC lease, over HTTP.

The stream is a streamOptimized VMDK; the host converts it into the disk as it comes in. The host's
answer is read and checked: an upload that it refused can leave a disk that looks complete. How the
host is verified: vim/nfc_address.py.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.quoting import sentence
from vmdk_cache.vim import faults
from vmdk_cache.vim.nfc_address import NfcAddress
from vmdk_cache.vim.session import Session

LOG = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_METHOD = "NFC upload"
#: Answers to data that are no disk; 500 is also that of a host which fails for another reason
#: (docs/assumptions.rst, A46).
_DATA_REFUSED = frozenset({400, 500})


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
        self._address = NfcAddress(session, url, thumbprint, _METHOD)
        self._connection: HTTPConnection | None = None
        self._stream: Readable | None = None
        self._cancelled = threading.Event()

    @property
    def server(self) -> str:
        """``host:port`` that the bytes go to."""
        return self._address.server

    def send(self, stream: Readable, length: int | None, sent: Callable[[int], None]) -> int:
        """POST the stream to its end and check the host's answer; how many bytes it had.

        :param length: its bytes; None sends it chunked
        :param sent: told after each block how many bytes have gone out in all
        :raises Unreachable, CertificateRefused, TaskFailed: the host, with its name
        :raises UploadRefused: the host does not take the data
        :raises LeaseLost: it was cancelled
        :raises BaseException: what ``stream.read`` raises, as it is
        """
        self._stream = stream  # before the look at the flag: cancel sets the flag first
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
        def made(connection: HTTPConnection) -> None:
            self._connection = connection

        return self._address.connect(made)

    def _start(self, connection: HTTPConnection, length: int | None) -> None:
        with faults.translated(method=_METHOD, server=self.server):
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
        """Send all; how many bytes, and an error of the connection, since the host may have
        answered before it."""
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
        """Read what the host says; without an answer, the connection's own error is raised."""
        with faults.translated(method=_METHOD, server=self.server):
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
                method=_METHOD,
            )


def _shut_down(sock: Any) -> None:
    """Both directions, under TLS as well: ``SSLSocket.shutdown`` drops TLS before it shuts, so that
    a send in another thread could go out in plain text."""
    if isinstance(sock, socket.SocketType):
        socket.SocketType.shutdown(sock, socket.SHUT_RDWR)
    else:
        sock.shutdown(socket.SHUT_RDWR)  # eventlet's, which only wraps one


def _http_chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)

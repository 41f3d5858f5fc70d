"""A bounded pool of HTTPS connections for SOAP, based on pyVmomi's stub.

It extends ``pyVmomi.SoapAdapter.SoapStubAdapter``, whose pool limits only idle connections:

- at most ``pool_size`` concurrent requests; further callers wait for a connection;
- separate timeouts for connecting and for reading;
- a pooled connection that the server has closed is replaced before use;
- errors before the request was sent are marked (:class:`~vmdk_cache.vim.faults.NotSent`), and so
  are responses that pyVmomi cannot read (:class:`~vmdk_cache.vim.faults.NotUnderstood`);
- only the log-in sets the cookie. pyVmomi accepts every ``Set-Cookie``, so that a late response to
  an old session would replace the new session's cookie.
"""

from __future__ import annotations

import gzip
import io
import select
import socket
import ssl
import threading
import zlib
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import SoapStubAdapter, VmomiSupport, vmodl

from vmdk_cache.vim.endpoint import Endpoint, Exchange, Listener
from vmdk_cache.vim.faults import NotSent, NotUnderstood

#: Undocumented names of pyVmomi, by the object that must have them, with their parameters (None if
#: not a function). The package uses no others. Because of them setup.cfg limits the release.
PRIVATE_NAMES: dict[Any, dict[str, str | None]] = {
    SoapStubAdapter: {
        # Overridden, and called by InvokeMethod.
        "InvokeMethod": "self mo info args outerStub",
        "GetConnection": "self",
        # Called.
        "_CloseIdleConnections": "self",
        "DropConnections": "self",
    },
    VmomiSupport.ManagedObject: {"_GetMoId": "self", "_wsdlName": None},
}
#: Undocumented attributes of SoapStubAdapter instances.
PRIVATE_ATTRIBUTES = ("lock", "pool", "cookie")

#: Errors of a request whose response was read, is missing, or is not XML.
_EXPECTED = (vmodl.MethodFault, NotSent, OSError, HTTPException, ExpatError)

#: Shorter than the idle timeout of proxies in front of vCenter.
_KEEP_IDLE_S = 50


class Cookie:
    """The session's cookie, shared by its channels; ``sealed`` once the log-in has succeeded."""

    def __init__(self) -> None:
        self.value = ""
        self.sealed = False


class Channel(SoapStubAdapter):  # type: ignore[misc]  # pyVmomi ships no types
    """Thread-safe. ``close`` closes idle connections; the others close after their request.

    :param grace_s: how late vCenter may answer without being silent: the duration of long polls
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cookie: Cookie,
        version: str,
        ssl_context: ssl.SSLContext,
        read_timeout_s: float,
        grace_s: float = 0.0,
        path: str = "/sdk",
        request_context: dict[str, str] | None = None,
    ) -> None:
        self._session_cookie = cookie
        super().__init__(
            host=endpoint.host,
            port=endpoint.port,
            path=path,
            version=version,
            sslContext=ssl_context,
            poolSize=endpoint.pool_size,
            connectionPoolTimeout=_KEEP_IDLE_S,
            requestContext=request_context,
        )
        self._address = (endpoint.host.strip("[]"), endpoint.port)
        self._ssl_context = ssl_context
        self._connect_timeout_s = endpoint.connect_timeout_s
        self._read_timeout_s = read_timeout_s + grace_s
        self._grace_s = grace_s
        self._patience = endpoint.patience
        self._listener = endpoint.listener
        self._slots = threading.BoundedSemaphore(endpoint.pool_size)
        self.request_count = 0

    @property
    def cookie(self) -> str:
        """The ``Cookie`` header that pyVmomi sends."""
        return self._session_cookie.value

    @cookie.setter
    def cookie(self, value: str) -> None:
        if not self._session_cookie.sealed:
            self._session_cookie.value = value

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:
        with self._slots:
            self.request_count += 1  # a lost update is harmless: the count is approximate
            try:
                return super().InvokeMethod(mo, info, args, outerStub)
            except _EXPECTED:
                raise
            except Exception as error:  # pyVmomi's parser raises many kinds of errors
                raise NotUnderstood from error

    def GetConnection(self) -> HTTPSConnection:
        while True:
            with self.lock:
                self._CloseIdleConnections()
                connection: HTTPSConnection | None = self.pool.pop(0)[0] if self.pool else None
            if connection is None:
                return self._connect()
            if connection.sock is not None and not _is_readable(connection.sock):
                connection.sock.settimeout(self._may_take_s())
                return connection
            connection.close()

    def _connect(self) -> HTTPSConnection:
        host, port = self._address
        timeout_s = min(self._connect_timeout_s, self._patience.wait_s)
        options: dict[str, Any] = {"timeout": timeout_s, "context": self._ssl_context}
        connection = (
            HTTPSConnection(host, port, **options)
            if self._listener is None
            else OverheardConnection(host, port, listener=self._listener, **options)
        )
        try:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.sock.settimeout(self._may_take_s())
        except (OSError, HTTPException) as error:
            connection.close()
            raise NotSent from error
        return connection

    def _may_take_s(self) -> float:
        """How long vCenter may take for the next part of an answer."""
        return min(self._read_timeout_s, self._grace_s + self._patience.wait_s)

    def close(self) -> None:
        self.DropConnections()


def _is_readable(sock: socket.socket) -> bool:
    """Whether the socket has data; for an idle connection this means that the server closed it.

    Uses ``select.poll`` if it exists: eventlet removes it, but ``select`` is limited to 1024 files.
    """
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(sock.fileno(), select.POLLIN)
        return bool(poller.poll(0))
    return bool(select.select([sock.fileno()], [], [], 0)[0])


class OverheardConnection(HTTPSConnection):
    """A connection that reports each exchange after reading its response."""

    def __init__(self, *args: Any, listener: Listener, **options: Any) -> None:
        super().__init__(*args, **options)
        self._listener = listener
        self._asked: tuple[str, str, dict[str, str]] = ("", "", {})

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any) -> None:  # noqa: E501 # fmt: skip
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        self._asked = (url, text, dict(headers or {}))
        super().request(method, url, body, headers or {}, **more)

    def getresponse(self) -> HTTPResponse:
        answer = super().getresponse()
        content = _decoded(answer.read(), answer.getheader("Content-Encoding", "identity"))
        headers: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            headers.setdefault(name, []).append(value)
        path, request, asked = self._asked
        self._listener(
            Exchange(
                path, asked, request, answer.status, headers, content.decode("utf-8", "replace")
            )
        )
        return _Answer(answer, content)  # type: ignore[return-value]  # has what pyVmomi uses


class _Answer(io.BytesIO):
    """A response that was already read, to be read again."""

    def __init__(self, answer: HTTPResponse, content: bytes) -> None:
        super().__init__(content)
        self.status = answer.status
        self.reason = answer.reason
        self._headers = answer

    def getheader(self, name: str, default: Any = None) -> Any:
        if name.lower() == "content-encoding":
            return "identity"
        return self._headers.getheader(name, default)


def _decoded(content: bytes, encoding: Any) -> bytes:
    match str(encoding).lower():
        case "gzip":
            return gzip.decompress(content)
        case "deflate":
            return zlib.decompress(content)
    return content

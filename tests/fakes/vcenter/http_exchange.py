"""One HTTP request and its answer, as the SOAP, /nfc and /folder handlers see it.

A handler reads the body with `read` (whether it has a Content-Length or is chunked) and answers
once: `respond` sends a whole body, `start` and `write` a stream of known length. Whatever the
handler leaves unread is read and discarded, so that the connection can be used again. `drop` closes
the connection without an answer, like a server that crashes.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.vcenter import VCenter

_COOKIE = re.compile(r"vmware_soap_session\s*=\s*\"?([^\";\s]+)")
UNREAD_LIMIT = 1 << 20


class ConnectionDropped(Exception):
    """The handler closed the connection on purpose."""


class BodyIncomplete(Exception):
    """The client closed the connection before it had sent the whole body."""


class HttpExchange:
    """See the module's docstring.

    `method` is the verb, `path` the decoded path without the query, `query` the first value of each
    query parameter, `headers` case-insensitive, `content_length` None for a chunked body. `heard`
    is called when an upload's request has arrived, for code that waits for it.
    """

    def __init__(self, vcenter: VCenter, handler: BaseHTTPRequestHandler) -> None:
        self.vcenter = vcenter
        self._handler = handler
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.path = unquote(parts.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.headers = handler.headers
        self.client_address: str = handler.client_address[0]
        self.host = self.headers.get("Host") or f"{vcenter.host}:{vcenter.port}"
        self.answered = False
        self.heard: Callable[[], None] = lambda: None
        self._half_cost_s = vcenter.cost_model.request_s / 2
        self._chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "").lower()
        length = self.headers.get("Content-Length")
        self.content_length = None if self._chunked else int(length or 0)
        self._left = self.content_length or 0
        self._body_ended = not self._chunked and self._left == 0

    def arrive(self) -> None:
        """Let half of the request's cost pass; the other half passes before the answer."""
        self.vcenter.clock.pass_time(self._half_cost_s)

    # -- the caller

    @property
    def cookie(self) -> str | None:
        """The value of the session cookie without quotes, or None."""
        match = _COOKIE.search(self.headers.get("Cookie") or "")
        return match.group(1) if match else None

    @property
    def session(self) -> Session | None:
        """The live session of the cookie, or None."""
        return self.vcenter.sessions.by_cookie(self.cookie)

    # -- the body

    def read(self, size: int = 1 << 16) -> bytes:
        """Up to `size` bytes of the body, b"" at its end.

        BodyIncomplete if the client closed the connection.
        """
        if self._body_ended:
            return b""
        if self._chunked and self._left == 0:
            self._next_chunk()
            if self._body_ended:
                return b""
        # a slow sender may itself be waiting for the clock
        with self.vcenter.clock.activity.pause():
            data = self._handler.rfile.read1(min(size, self._left))
        if not data:
            self._body_ended = True
            self._handler.close_connection = True
            raise BodyIncomplete(f"{self._left} bytes of the body are missing")
        self._left -= len(data)
        if self._left == 0:
            if self._chunked:
                self._handler.rfile.readline()
            else:
                self._body_ended = True
        return data

    def read_all(self) -> bytes:
        """The whole body."""
        parts = []
        while part := self.read(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def _next_chunk(self) -> None:
        line = self._handler.rfile.readline(1024)
        if not line:
            self._body_ended = True
            self._handler.close_connection = True
            raise BodyIncomplete("the last chunk of the body is missing")
        self._left = int(line.split(b";")[0], 16)
        if self._left == 0:
            while self._handler.rfile.readline(1024).strip():
                pass
            self._body_ended = True

    # -- the answer

    def respond(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        headers: Mapping[str, str] | None = None,
        cookies: list[str] | None = None,
    ) -> None:
        """Answer with a whole body (left out for HEAD)."""
        self.start(status, len(body), content_type, headers, cookies)
        if body and self.method != "HEAD":
            self.write(body)
        self._handler.wfile.flush()

    def respond_chunked(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str],
        cookies: list[str] | None = None,
    ) -> None:
        """Answer with a whole body in one chunk."""
        self.start(status, None, content_type, headers, cookies)
        if body:
            self.write(b"%x\r\n%b\r\n" % (len(body), body))
        self.write(b"0\r\n\r\n")
        self._handler.wfile.flush()

    def start(
        self,
        status: int,
        length: int | None,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
        cookies: list[str] | None = None,
    ) -> None:
        """Send status and headers; exactly `length` bytes must follow by `write`, or chunks if it
        is None.
        """
        assert not self.answered, "a request is answered once"
        self.answered = True
        self._drain()
        self.vcenter.clock.pass_time(self._half_cost_s)
        self._handler.send_response_only(status)
        self._handler.send_header("Date", self._handler.date_time_string())
        self._handler.send_header("Content-Type", content_type)
        if length is None:
            self._handler.send_header("Transfer-Encoding", "chunked")
        else:
            self._handler.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self._handler.send_header(name, value)
        for cookie in cookies or ():
            self._handler.send_header("Set-Cookie", cookie)
        if self._handler.close_connection:
            self._handler.send_header("Connection", "close")
        self._handler.end_headers()

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._handler.wfile.write(data)

    def drop(self) -> None:
        """Close the connection now, without an answer. Raises ConnectionDropped."""
        self._handler.close_connection = True
        self.answered = True
        try:
            self._handler.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client has closed it already
            pass
        raise ConnectionDropped

    def _drain(self) -> None:
        # A long body is not worth reading: close the connection after the answer instead.
        dropped = 0
        try:
            while dropped < UNREAD_LIMIT:
                data = self.read()
                if not data:
                    return
                dropped += len(data)
        except BodyIncomplete:
            return
        self._handler.close_connection = True

"""Records SOAP requests and responses as sent over the wire."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """One request and its response; bodies are decoded text.

    :ivar response_headers: name -> values
    """

    path: str
    request_headers: Mapping[str, str]
    request: str
    status: int
    response_headers: Mapping[str, list[str]]
    response: str


#: Called with each exchange, in the thread of the request.
Listener = Callable[[Exchange], None]


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

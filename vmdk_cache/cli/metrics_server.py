"""An HTTP server for metrics and a few pages, one thread for each request, optionally TLS.

It replaces prometheus_client's own server. That one does TLS handshakes in its only accepting
thread, so a client that connects and sends nothing blocks Prometheus. It also does not pass on how
long Prometheus will wait (the header ``X-Prometheus-Scrape-Timeout-Seconds``).
"""

from __future__ import annotations

import io
import socket
import socketserver
import ssl
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from oslo_log import log as logging
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from vmdk_cache import errors
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

#: Prometheus's default (``scrape_timeout``), for clients that do not send theirs.
SCRAPE_TIMEOUT_S = 10.0
#: The part of the timeout that is reserved for rendering and sending the answer.
ANSWER_S = 0.5
#: The connection of a client that sends nothing for this time is closed.
CLIENT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Page:
    """An answer.

    :ivar status: as in HTTP, such as ``200 OK``
    :ivar policy: its ``Content-Security-Policy``
    """

    text: str
    status: str = "200 OK"
    content_type: str = "text/plain; charset=utf-8"
    policy: str = "default-src 'none'"


class MetricsServer(socketserver.ThreadingMixIn, WSGIServer):
    """Bound by the constructor, served from :meth:`start` to :meth:`stop`.

    :param host: name or address, IPv4 or IPv6
    :param port: 0 for any free port
    :param collector: returns the collector of one scrape, given the seconds that it may take
    :param pages: by path, what makes each other page
    :raises ConfigError: it cannot listen on that address
    """

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        collector: Callable[[float], Collector],
        tls: ssl.SSLContext | None = None,
        pages: Mapping[str, Callable[[], Page]] = types.MappingProxyType({}),
    ) -> None:
        self._tls = tls
        try:
            found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, _, _, _, address = found[0]
            super().__init__(address, _Handler)
        except OSError as failure:
            raise errors.ConfigError(
                f"--listen {host}:{port}: {sentence(failure.strerror or failure)}; choose an "
                "address of this host and a free port"
            ) from failure
        self.set_app(_application(collector, pages))
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """URL of the metrics."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else host
        return f"{'https' if self._tls else 'http'}://{name!s}:{port}/metrics"

    def start(self) -> None:
        """Answer requests in separate threads."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no further requests; does not wait for running ones."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def server_bind(self) -> None:
        # HTTPServer's method would ask the DNS for a name that is not needed.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # The first read does the handshake, in the request's own thread.
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log at DEBUG only: clients disconnect, or do not speak HTTP or TLS."""
        LOG.debug("Request of %s failed", client_address, exc_info=True)


def tls_context(
    certificate: str, key: str | None = None, client_ca: str | None = None
) -> ssl.SSLContext:
    """TLS context of the server.

    :param certificate: PEM file, with its chain
    :param key: PEM file without a passphrase; None if the key is in the certificate's file
    :param client_ca: PEM file; if given, clients must have a certificate of one of these issuers
    :raises ConfigError: a file cannot be used; the text names its option
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without this function, OpenSSL would ask for a passphrase on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as failure:
        raise errors.ConfigError(
            f"--tls-cert {certificate}, --tls-key {key or certificate}: {sentence(failure)}; both "
            "must be matching PEM files, the key without a passphrase"
        ) from failure
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as failure:
            raise errors.ConfigError(
                f"--tls-client-ca {client_ca}: {sentence(failure)}; name a PEM file of CA "
                f"certificates"
            ) from failure
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _application(
    collector: Callable[[float], Collector], pages: Mapping[str, Callable[[], Page]]
) -> Any:
    """The WSGI application: the metrics at /metrics, and the pages."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        method = environ.get("REQUEST_METHOD", "GET")
        if path == "/metrics":
            try:
                registry = CollectorRegistry()
                registry.register(collector(_time_to_answer(environ)))
                metrics: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
                return metrics
            except Exception as failure:
                return _send(_failed("The metrics", failure), method, start_response)
        if method not in ("GET", "HEAD"):
            page = Page("Only GET is served here.\n", "405 Method Not Allowed")
        elif path in pages:
            page = _made(pages[path])
        else:
            page = Page("Nothing is here. The metrics are at /metrics\n", "404 Not Found")
        return _send(page, method, start_response)

    return answer


def _send(page: Page, method: str, start_response: Any) -> list[bytes]:
    body = page.text.encode(errors="replace")
    headers = [
        ("Content-Type", page.content_type),
        ("Content-Security-Policy", page.policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(body))),
    ]
    if page.status.startswith("405"):
        headers.append(("Allow", "GET, HEAD"))
    start_response(page.status, headers)
    return [] if method == "HEAD" else [body]


def _made(make: Callable[[], Page]) -> Page:
    try:
        return make()
    except Exception as failure:
        return _failed("A page", failure)


def _failed(what: str, failure: Exception) -> Page:
    """A defect costs this answer, and neither the others nor a traceback on stderr."""
    LOG.warning("%s could not be made: %s", what, sentence(repr(failure)))
    LOG.debug("%s could not be made", what, exc_info=failure)
    return Page("The log of the exporter says what went wrong.\n", "500 Internal Server Error")


def _time_to_answer(environ: dict[str, Any]) -> float:
    """Seconds that a scrape may take, from the client's timeout."""
    try:
        patience_s = float(environ["HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"])
    except (KeyError, ValueError):
        patience_s = SCRAPE_TIMEOUT_S
    if not 0 < patience_s < 3600:  # NaN, or an implausible timeout
        patience_s = SCRAPE_TIMEOUT_S
    return max(patience_s - ANSWER_S, patience_s / 2)


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def get_stderr(self) -> Any:
        """Where wsgiref prints tracebacks: with TLS, it knows no error of a client that has
        disconnected."""
        return _DebugLog()

    def log_message(self, format: str, *args: Any) -> None:
        LOG.debug("%s: %s", self.address_string(), sentence(format % args))


class _DebugLog(io.TextIOBase):
    def write(self, text: str) -> int:
        LOG.debug("An answer could not be sent: %s", sentence(text))
        return len(text)

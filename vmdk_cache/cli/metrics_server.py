"""An HTTP server for metrics: GET /metrics, one thread a request, TLS if wanted.

Not prometheus_client's own: that one shakes hands in its only accepting thread, so that a client
that connects and says nothing keeps Prometheus out, and it does not tell the collector how long
Prometheus will wait (the header ``X-Prometheus-Scrape-Timeout-Seconds``).
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from oslo_log import log as logging
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from vmdk_cache import errors
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

#: Prometheus's default (``scrape_timeout``), for clients that do not say theirs.
SCRAPE_TIMEOUT_S = 10.0
#: Of this, what is kept for making the answer and bringing it there.
ANSWER_S = 0.5
#: A client that says nothing for so long is dropped.
CLIENT_TIMEOUT_S = 30.0


class MetricsServer:
    """Bound when made, served from :meth:`start` to :meth:`stop`.

    :param host: name or address, IPv4 or IPv6
    :param port: 0 for one that is free
    :param collector: makes the collector of one scrape, which is to take this many seconds at most
    :raises ConfigError: it cannot listen there
    """

    def __init__(
        self,
        host: str,
        port: int,
        collector: Callable[[float], Collector],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            self._server = _Server(address, family, tls)
        except OSError as failure:
            raise errors.ConfigError(
                f"--listen {host}:{port}: {sentence(failure.strerror or failure)}; choose an "
                "address of this host and a free port"
            ) from failure
        self._server.set_app(_Application(collector))
        self._tls = tls is not None
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where Prometheus finds it."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else host
        return f"{'https' if self._tls else 'http'}://{name!s}:{port}/metrics"

    def start(self) -> None:
        """Answer requests, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; what is being answered is not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def tls_context(
    certificate: str, key: str | None = None, client_ca: str | None = None
) -> ssl.SSLContext:
    """How the server proves who it is.

    :param certificate: PEM file, with its chain
    :param key: PEM file without a passphrase; None: in the same file
    :param client_ca: PEM file; clients must then bear a certificate of one of these
    :raises ConfigError: a file cannot be used; the text names its option
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a function that gives it, OpenSSL would ask the terminal for a passphrase.
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


class _Application:
    """The WSGI application: the metrics, and a page that says where they are."""

    def __init__(self, collector: Callable[[float], Collector]) -> None:
        self._collector = collector

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            registry = CollectorRegistry()
            registry.register(self._collector(_time_to_answer(environ)))
            answer: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
            return answer
        start_response(
            "200 OK" if path == "/" else "404 Not Found",
            [("Content-Type", "text/plain; charset=utf-8")],
        )
        return [b"vmdk-cache exporter: the metrics are at /metrics\n"]


def _time_to_answer(environ: dict[str, Any]) -> float:
    """Seconds, by what the client says of its patience."""
    try:
        patience_s = float(environ["HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"])
    except (KeyError, ValueError):
        patience_s = SCRAPE_TIMEOUT_S
    if not 0 < patience_s < 3600:  # not a number, or none that a scrape has
        patience_s = SCRAPE_TIMEOUT_S
    return max(patience_s - ANSWER_S, patience_s / 2)


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        LOG.debug("%s: %s", self.address_string(), sentence(format % args))


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: Any, family: socket.AddressFamily, tls: ssl.SSLContext | None):
        self.address_family = family
        self._tls = tls
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's would ask the DNS for a name that nobody needs.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # The handshake comes with the first read, in the request's own thread.
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away, or speak something else than (this) HTTP, are no news."""
        LOG.debug("Request of %s failed", client_address, exc_info=True)

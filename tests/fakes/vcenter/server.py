"""The HTTPS server on loopback: one thread per connection, keep-alive, and the handlers by path.

/sdk and /sdk/... SOAP (vim25), /pbm and /pbm/sdk SOAP (storage policies), /sdk/vimService.wsdl and
/sdk/vimServiceVersions.xml, /nfc/... disks of leases, /folder/... files of datastores.
"""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.fakes.vcenter import dispatch, recorded_headers, wsdl
from tests.fakes.vcenter.certificate import Certificate
from tests.fakes.vcenter.http_exchange import BodyIncomplete, ConnectionDropped, HttpExchange

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

IDLE_CONNECTION_S = 900.0


class Server:
    """Listens from its construction (so that `port` is known), serves between `start` and
    `stop`.
    """

    def __init__(self, vcenter: VCenter, port: int) -> None:
        self._certificate = Certificate()
        self.ca_file = self._certificate.ca_file
        self.thumbprint = self._certificate.thumbprint
        self.certificate = self._certificate.pem
        self._http = _HttpServer(vcenter, port, self._certificate.context)
        self.port: int = self._http.server_address[1]
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve in a background thread."""
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="vcenter-server", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection. A second call does nothing."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()
        self.drop_connections()
        self._certificate.remove()

    def drop_connections(self) -> None:
        """Close every connection without an answer."""
        self._http.drop_connections()

    @property
    def has_silent_connections(self) -> bool:
        """Whether there is a connection whose first request has not been read yet."""
        return bool(self._http.silent)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, vcenter: VCenter, port: int, tls: ssl.SSLContext) -> None:
        self.vcenter = vcenter
        self._tls = tls
        self._connections: set[socket.socket] = set()
        self.silent: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__((vcenter.host, port), _Handler)

    def server_bind(self) -> None:
        # The parent class looks the host name up in DNS, which is slow and pointless on loopback.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name = str(self.server_address[0])
        self.server_port = self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Each connection does its handshake in its own thread, so a slow client delays no other.
        wrapped = self._tls.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        with self._connections_lock:
            self._connections.add(wrapped)
            self.silent.add(wrapped)
        return wrapped, address

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        self.heard(request)
        super().shutdown_request(request)

    def heard(self, request: Any) -> None:
        """Note that the first request of a connection has been read."""
        with self._connections_lock:
            self.silent.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections, which are normal; handlers record their own errors."""

    def drop_connections(self) -> None:
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # already closed
                pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_CONNECTION_S
    wbufsize = 1 << 16
    server: _HttpServer

    def setup(self) -> None:
        self.request.settimeout(30)
        self.request.do_handshake()
        super().setup()

    def _serve(self) -> None:
        try:
            exchange = HttpExchange(self.server.vcenter, self)
        except ValueError:
            self.send_error(400)
            self.close_connection = True
            return
        exchange.heard = lambda: self.server.heard(self.request)
        if not exchange.path.startswith("/nfc/"):
            exchange.heard()
        try:
            with exchange.vcenter.clock.activity.working():
                exchange.arrive()
                route(exchange)
        except (ConnectionDropped, BodyIncomplete, OSError):
            self.close_connection = True
        except Exception as error:
            self.server.vcenter.record_error(f"{exchange.method} {exchange.path}", error)
            self.close_connection = True
            if not exchange.answered:
                exchange.respond(500, b"The fake vCenter failed; see its errors.\n")
        finally:
            exchange.heard()

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve

    def handle_expect_100(self) -> bool:
        """Send "100 Continue" at once: the answer is buffered, and the client waits for this
        line.
        """
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; the request log counts requests."""

    def version_string(self) -> str:
        return "fake-vcenter"


def route(exchange: HttpExchange) -> None:
    """Pass a request to the handler of its path; 404 for any other path."""
    path = exchange.path
    if path.startswith("/nfc/"):
        from tests.fakes.vcenter import http_nfc

        http_nfc.handle(exchange)
    elif path == "/folder" or path.startswith("/folder/"):
        from tests.fakes.vcenter import http_folder

        http_folder.handle(exchange)
    elif exchange.method == "GET" and path.startswith("/diagnostic/"):
        from tests.fakes.vcenter import diagnostic_manager

        diagnostic_manager.serve_bundle(exchange)
    elif exchange.method == "POST" and path in ("/pbm", "/pbm/sdk"):
        dispatch.serve_soap(exchange, "pbm")
    elif exchange.method == "POST" and (path == "/sdk" or path.startswith("/sdk/")):
        dispatch.serve_soap(exchange, "vim25")
    elif exchange.method in ("GET", "HEAD") and path == "/sdk/vimService.wsdl":
        exchange.respond(200, wsdl.vim_service(), "text/xml; charset=utf-8")
    elif exchange.method in ("GET", "HEAD") and path == "/sdk/vimServiceVersions.xml":
        _respond_with_versions(exchange, "vim25")
    elif exchange.method in ("GET", "HEAD") and path == "/pbm/pbmServiceVersions.xml":
        _respond_with_versions(exchange, "pbm")
    else:
        exchange.respond(404, b"Not Found\n")


def _respond_with_versions(exchange: HttpExchange, namespace: str) -> None:
    model = exchange.vcenter.model
    api_version = model.reported_api_version
    exchange.respond(
        200,
        wsdl.service_versions(namespace, api_version),
        "text/xml; charset=utf-8",
        recorded_headers.of_sdk(model.vcenter_version, api_version, f"urn:vim25/{api_version}"),
    )

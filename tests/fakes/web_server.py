"""A web server on loopback for as long as a test needs one.

tests/__init__.py imports this module before anything else. eventlet, which Cinder brings along,
replaces the sockets in ``http.server`` and ``socketserver`` by green ones, and then a server in a
native thread never answers.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Base of handlers that print nothing on stderr."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def web_server(handler: type[Handler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve with ``handler``; yields ``http://host:port``, or ``https://...`` with a context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        # The thread that serves a client does its TLS handshake.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(
        target=server.serve_forever, args=(0.05,), name="web-server", daemon=True
    )
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

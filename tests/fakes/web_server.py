"""A web server on loopback for as long as a test needs one.

tests/__init__.py imports this before anything else: eventlet, which Cinder brings, puts modules on
green sockets in the place of ``http.server`` and ``socketserver``, and what is served by those from
a thread is answered by nobody.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Base of handlers that say nothing on stderr."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def web_server(handler: type[Handler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve with ``handler``; yields ``http://host:port``, ``https://...`` with a context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        # A client's handshake is left to the thread that serves it.
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

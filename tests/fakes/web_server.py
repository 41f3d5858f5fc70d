"""A web server on loopback for as long as a test needs one."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def web_server(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve with ``handler``; yields ``http://host:port``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.timeout = 0.05
    ended: list[bool] = []

    def serve() -> None:
        # Not serve_forever, whose end is waited for with an Event: where Cinder was imported, one
        # of eventlet's, which a thread cannot set.
        while not ended:
            server.handle_request()

    thread = threading.Thread(target=serve, name="web-server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.append(True)
        thread.join()
        server.server_close()

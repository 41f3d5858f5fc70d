"""Replaces Glance: sends an image over HTTP, and counts the downloads.

The server runs in a thread of the benchmark's own process, which has nothing else to do while
clients work. Images differ only in their id.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from benchmarks.link import Link
from benchmarks.stream_image import StreamImage
from vmdk_cache.image import Image

#: The size of python-glanceclient's reads.
CHUNK_BYTES = 64 << 10


class ImageServer:
    """Serves one image under any path.

    :param bytes_per_s: highest rate of a download, 0: no limit
    :ivar downloads: number of downloads
    """

    def __init__(self, stream: StreamImage, bytes_per_s: float = 0) -> None:
        self._stream = stream
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self.downloads = 0
        self._http = _Server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def facts(self) -> dict[str, Any]:
        """Keyword arguments of :class:`HttpImageSource`; plain values."""
        return {"port": self._http.server_address[1], "image": asdict(self._stream.image())}

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.downloads += 1
        handler.send_response(200)
        handler.send_header("Content-Length", str(self._stream.image().size_bytes))
        handler.end_headers()
        link = Link(self._bytes_per_s)
        for chunk in self._stream.chunks():
            handler.wfile.write(chunk)
            link.pass_on(len(chunk))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, images: ImageServer) -> None:
        self.images = images
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        try:
            self.server.images.send(self)
        except OSError:  # the client has closed the connection
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; `downloads` counts."""


class HttpImageSource:
    """An ImageSource that reads from an ImageServer, in a client's process."""

    def __init__(self, port: int, image: dict[str, Any]) -> None:
        self._port = port
        self.image = Image(**image)

    def open(self, image: Image) -> Iterator[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request("GET", f"/v2/images/{image.id}/file")
            answer = connection.getresponse()
            while chunk := answer.read(CHUNK_BYTES):
                yield chunk
        finally:
            connection.close()

"""Process entry: Glance's WSGI application under waitress, each download of an image recorded.

    python -m tests.e2e.stack.glance_process PORT DIRECTORY     (with OS_GLANCE_CONFIG_DIR set)

``DIRECTORY/downloads`` gets one line ``<image id> <HTTP status>`` when Glance begins to answer a
``GET /v2/images/<id>/file``. The server counts, so no client can forget a download.

While ``DIRECTORY/broken/<image id>`` exists, that image's downloads fail: the file contains the
number of bytes after which the connection is closed, or is empty for status 503.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import waitress

from tests.e2e.stack.service_process import end_with_parent

_FILE = re.compile(r"/v2/images/([^/]+)/file/?")


class DownloadRecorder:
    """WSGI middleware that records downloads of images, and breaks the chosen ones."""

    def __init__(self, application: Callable[..., Iterable[bytes]], directory: Path) -> None:
        self._application = application
        self._record = directory / "downloads"
        self._broken = directory / "broken"

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        match = _FILE.fullmatch(environ.get("PATH_INFO", ""))
        if environ.get("REQUEST_METHOD") != "GET" or match is None:
            return self._application(environ, start_response)
        image_id = match[1]

        def recording(status: str, *args: Any, **kwargs: Any) -> Any:
            with self._record.open("a") as record:
                record.write(f"{image_id} {status.split()[0]}\n")
            return start_response(status, *args, **kwargs)

        try:
            how = (self._broken / image_id).read_text()
        except FileNotFoundError:
            return self._application(environ, recording)
        if not how:
            recording("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"broken by the test"]
        return first_bytes(self._application(environ, recording), int(how))


def first_bytes(body: Iterable[bytes], count: int) -> Iterator[bytes]:
    """The first bytes of the body; waitress then closes the connection, because the length is
    wrong.
    """
    for chunk in body:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


def main(port: int, directory: Path) -> None:
    from glance.wsgi.api import application  # reads its configuration at import

    waitress.serve(DownloadRecorder(application, directory), host="127.0.0.1", port=port, threads=8)


if __name__ == "__main__":
    end_with_parent()
    main(int(sys.argv[1]), Path(sys.argv[2]))

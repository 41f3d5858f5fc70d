"""Process entry: Glance's WSGI application under waitress, each download of an image recorded.

    python -m tests.e2e.stack.glance_process PORT DOWNLOADS_FILE     (with OS_GLANCE_CONFIG_DIR set)

DOWNLOADS_FILE gets one line ``<image id> <HTTP status>`` when Glance begins to answer a
``GET /v2/images/<id>/file``. It is counted at the server, so no client can forget one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import waitress

from tests.e2e.stack.service_process import end_with_parent

_FILE = re.compile(r"/v2/images/([^/]+)/file/?")


class DownloadRecorder:
    """WSGI middleware that appends a line to ``record`` for each answer to a download."""

    def __init__(self, application: Callable[..., Iterable[bytes]], record: Path) -> None:
        self._application = application
        self._record = record

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        match = _FILE.fullmatch(environ.get("PATH_INFO", ""))
        if environ.get("REQUEST_METHOD") != "GET" or match is None:
            return self._application(environ, start_response)

        def recording(status: str, *args: Any, **kwargs: Any) -> Any:
            with self._record.open("a") as record:
                record.write(f"{match[1]} {status.split()[0]}\n")
            return start_response(status, *args, **kwargs)

        return self._application(environ, recording)


def main(port: int, record: Path) -> None:
    from glance.wsgi.api import application  # reads its configuration when imported

    waitress.serve(DownloadRecorder(application, record), host="127.0.0.1", port=port, threads=8)


if __name__ == "__main__":
    end_with_parent()
    main(int(sys.argv[1]), Path(sys.argv[2]))

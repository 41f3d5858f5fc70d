"""A headless Chromium, controlled by the DevTools protocol over two pipes.

Messages are JSON, each ended by a zero byte (``--remote-debugging-pipe``: Chromium reads them from
descriptor 3 and writes to 4). The protocol can set a viewport of any width; a window, even a
headless one, is never narrower than 500 px.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import select
import signal
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any, Self

from tests.services.program import STOP_TIMEOUT_S, require

#: A first start on busy cores takes seconds.
ANSWER_TIMEOUT_S = 120.0
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Chromium:
    """A context manager: a browser with one tab.

    :ivar requested: URLs that the tab has asked for since :meth:`show`
    :ivar complaints: what the browser reported about the page since :meth:`show`
    """

    def __init__(self) -> None:
        program = require("chromium", "chromium")
        self._directory = tempfile.TemporaryDirectory(
            prefix="vmdk-cache-chromium-", ignore_cleanup_errors=True
        )
        to_read, self._writes = os.pipe()
        self._reads, to_write = os.pipe()
        profile = f"--user-data-dir={self._directory.name}"
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, program, *_OPTIONS, profile, "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self.requested: list[str] = []
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Network", "Log", "Runtime"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._writes)  # Chromium ends when its pipe does
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_S)
        os.close(self._reads)
        self._directory.cleanup()

    def show(self, url: str, width: int, *, dark: bool = False) -> None:
        """Load the page into a viewport of ``width`` pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.requested.clear()
        self.complaints.clear()
        self._loaded = False
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._take(self._next())

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: pathlib.Path) -> None:
        """Write a PNG of the whole page."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer}"
                result: dict[str, Any] = answer["result"]
                return result
            self._take(answer)

    def _take(self, message: dict[str, Any]) -> None:
        """Note an event."""
        about = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requested.append(about["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(about["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(about["exceptionDetails"]))

    def _next(self) -> dict[str, Any]:
        ends_at = time.monotonic() + ANSWER_TIMEOUT_S
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._reads], [], [], ends_at - time.monotonic())
            assert ready, "Chromium does not answer"
            got = os.read(self._reads, 1 << 16)
            assert got, f"Chromium has ended with {self._process.poll()}"
            self._received += got
        one, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

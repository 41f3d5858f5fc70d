"""A command in a terminal of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.cli.conftest import TIMEOUT_S


class Terminal:
    """Runs a command; its input, output and errors are one terminal.

    :ivar seen: everything that it has printed
    :ivar code: its exit code, once it has ended
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.seen = ""
        self.code: int | None = None
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self.code = self._process.wait(TIMEOUT_S)
        while self._read(0):
            pass
        os.close(self._ours)

    def wait_for(self, text: str) -> None:
        """Wait until the command prints this, after what was waited for before."""
        until, start = time.monotonic() + TIMEOUT_S, len(self.seen)
        while text not in self.seen[start:]:
            left = until - time.monotonic()
            assert left > 0 and self._read(left), f"{text!r} was not printed: {self.seen}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def _read(self, seconds: float) -> bool:
        """Whether there was something to read; waits for it."""
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            if select.select([self._ours], [], [], seconds)[0]:
                data = os.read(self._ours, 1 << 16)
                self.seen += data.decode(errors="replace")
                return bool(data)
        return False

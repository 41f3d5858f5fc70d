"""A child process of the stack: started with a log, awaited by condition, and always ended.

Start it from a thread that outlives it (the main thread): the kernel ends the child when the
starting thread is gone (PR_SET_PDEATHSIG, see :func:`end_with_parent`), so nothing survives even a
killed test run. A child has its own session: Ctrl-C reaches only the parent, which then stops its
children in order.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests import waiting

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[3]

_PR_SET_PDEATHSIG = 1
_NOISE = re.compile(
    r"alembic|INFO (cinder\.(api|volume\.api|quota)|eventlet\.wsgi|glance\.api)|oslo_policy"
)
_LINE_LENGTH = 400
#: The threads of an oslo.reports report: from one heading to another.
_THREADS = re.compile(r"^=+ +Threads +=+$.*(?=^=+ +Processes +=+$)", re.MULTILINE | re.DOTALL)


class StackError(Exception):
    """A part of the stack did not start, ended early or did not reach the expected state."""


class ServiceProcess:
    """``python -m <module> <arguments>`` in the repository's directory.

    :param log: file for stdout and stderr; each start appends to it
    """

    def __init__(
        self, module: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str]
    ) -> None:
        self.module = module
        self.log = log
        self._argv = [sys.executable, "-m", module, *arguments]
        self._env = {**os.environ, "PYTHONWARNINGS": "ignore", **env}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, cwd=REPOSITORY, env=self._env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def check_alive(self) -> None:
        """:raises StackError: the process has ended by itself; the text shows its last lines"""
        assert self._process is not None, "not started"
        status = self._process.poll()
        if status is not None:
            raise StackError(f"{self.module} ended with {status}:\n{tail(self.log)}")

    def wait(self, timeout_s: float) -> None:
        """Wait for the process to end with exit status 0.

        :raises StackError: another status, or still running after ``timeout_s``
        """
        assert self._process is not None, "not started"
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise StackError(f"{self.module} runs for more than {timeout_s} s") from exc
        if status:
            raise StackError(f"{self.module} ended with {status}:\n{tail(self.log)}")

    def stacks(self, timeout_s: float = 10) -> str:
        """The stack of each thread, from the process's own report (oslo.reports, SIGUSR2)."""
        if self._process is None or self._process.poll() is not None:
            return "(it does not run)"
        before = self.log.stat().st_size
        self._process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            told = self.log.read_bytes()[before:].decode(errors="replace")
            if found := _THREADS.search(told):
                return found[0]
            time.sleep(0.1)
        return "(it does not answer)"

    def stop(self, grace_s: float = 10) -> None:
        """Send SIGTERM, and SIGKILL to any process left after ``grace_s``. Does nothing if it has
        ended.
        """
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def end_with_parent() -> None:
    """Called by a child: the kernel then ends it when its parent's starting thread is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent ended before the call
        sys.exit("the parent is gone")


def wait_until(
    condition: Callable[[], T | None],
    *,
    what: str,
    timeout_s: float,
    interval_s: float = 0.1,
) -> T:
    """As :func:`tests.waiting.wait_until`.

    :raises StackError: the condition is not true within ``timeout_s``
    """
    try:
        return waiting.wait_until(condition, what=what, timeout_s=timeout_s, interval_s=interval_s)
    except waiting.NeverHappened as never:
        raise StackError(str(never)) from never


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path, lines: int = 40) -> str:
    """The last lines of a log, or why there are none; very long ones are cut."""
    try:
        all_lines = log.read_text(errors="replace").splitlines()
    except OSError as exc:
        return f"(no log: {exc})"
    # Hundreds of lines about a new database, or about successful requests, hide the one that
    # matters.
    telling = [line for line in all_lines if not _NOISE.search(line)]
    return "\n".join(line[:_LINE_LENGTH] for line in telling[-lines:])

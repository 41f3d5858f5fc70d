"""A server that is not ours: found or skipped, started, awaited by its port, surely ended.

Enter one from the main thread: the kernel ends it when the starting thread is gone (setpriv's
``--pdeathsig``), so that nothing survives a killed test run.
"""

from __future__ import annotations

import abc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pytest

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0


def require(program: str, package: str, *elsewhere: str) -> str:
    """Path of a program; the test is skipped where it is missing, unless all is required.

    :param package: of Debian, which has it
    :param elsewhere: directories to look into before those on the PATH
    """
    path = os.pathsep.join([*elsewhere, os.environ.get("PATH", os.defpath)])
    found = shutil.which(program, path=path)
    if found is None:
        missing = f"{program} is not installed (Debian: {package})"
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def free_ports(count: int) -> list[int]:
    """Ports on loopback that were free a moment ago, each another one."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Server(abc.ABC):
    """A context manager: it answers inside, is dead and its directory gone after it.

    Subclasses say by :meth:`command` what runs, and on which ``port`` it answers.

    :ivar user: who runs it, None: who runs the tests
    :ivar url: where it is, in the words of the option that leads to it
    """

    user: ClassVar[str | None] = None
    url: str

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vmdk-cache-server-"))
        (self.port,) = free_ports(1)
        self._processes: list[subprocess.Popen[bytes]] = []

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """What runs, with its arguments; the current directory is the server's own."""

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment."""
        return {}

    def prepare(self) -> None:  # noqa: B027  # most servers need nothing
        """What must be done in the directory first."""

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start it, also after :meth:`kill`; returns when it answers."""
        process = self.spawn(self.command())
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command()[0]} does not answer:\n{self.log()}")
            time.sleep(0.05)

    def spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process that :meth:`kill` ends, with all that it starts in its session."""
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [*self.as_user(), *command], cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **self.environment()},
            )  # fmt: skip
        self._processes.append(process)
        return process

    def as_user(self) -> list[str]:
        """The words before a command that have it run as ``user`` and end with this process."""
        words = [require("setpriv", "util-linux"), "--pdeathsig", "KILL"]
        if self.user is not None and os.getuid() == 0:
            words += [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        return words

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, as a failing machine would."""
        for process in self._processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(STOP_TIMEOUT_S)
        self._processes.clear()

    def close(self) -> None:
        """Kill it; its data is not needed."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else "(no log)"

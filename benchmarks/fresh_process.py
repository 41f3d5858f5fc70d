"""A client in a process that has done nothing else: it prepares, runs rounds, and returns its
result.

    client = FreshProcess("benchmarks.clients.cache:create_volumes", endpoint=..., volumes=100)
    client.wait_until_ready()       # connected, warm; what follows is measured
    vcenter.reset()
    client.work()                   # one round of it
    count = vcenter.requests()
    result = client.result()

The function in the process is ``function(go, **arguments) -> dict``. It prepares, calls ``go()``
before each round of work and once more after the last one, cleans up, and returns plain values.
``go`` blocks until the parent process starts the next round. What the function prints goes to
stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

TIMEOUT_S = 600.0


class FreshProcess:
    """One client; see the module's docstring.

    :param function: "module:name"
    :param arguments: values that JSON supports
    """

    def __init__(self, function: str, **arguments: Any) -> None:
        self._function = function
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "benchmarks.fresh_process", function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # warnings of libraries about each other
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            text=True,
        )
        self._send(arguments)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it has called ``go``.

        :raises RuntimeError: it failed or hangs
        """
        self._receive("ready")

    def go(self) -> None:
        """Start a round."""
        self._send({})

    def work(self) -> None:
        """Run one round, from ``go`` to the next one."""
        self.go()
        self.wait_until_ready()

    def result(self) -> dict[str, Any]:
        """Let it clean up, and wait for its end; returns what the function returned.

        :raises RuntimeError: it failed or hangs
        """
        self.go()
        answer = self._receive("result")
        self._process.wait(60)
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """End the process at any point; does nothing if it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # it may have ended before it read everything
                    stream.close()

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _receive(self, key: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], TIMEOUT_S)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            why = "ended without an answer" if readable else f"hangs for {TIMEOUT_S:g} s"
            if readable:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)  # it is still printing the reason
            self.close()
            raise RuntimeError(f"{self._function} {why}; see its output above")
        message: dict[str, Any] = json.loads(line)
        if key not in message:
            raise RuntimeError(f"{self._function}: {key} expected, {line.strip()} came")
        return message


def run(function: str, **arguments: Any) -> dict[str, Any]:
    """Run ``function`` in a fresh process for one round, and return its result."""
    with FreshProcess(function, **arguments) as client:
        client.wait_until_ready()
        client.work()
        return client.result()


@contextlib.contextmanager
def _private_stdout() -> Iterator[IO[str]]:
    """Keep the real stdout for our answers; what libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def main() -> None:
    """The main function of the fresh process."""
    module, _, name = sys.argv[1].partition(":")
    with _private_stdout() as answers:

        def say(message: dict[str, Any]) -> None:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

        def go() -> None:
            say({"ready": True})
            if not sys.stdin.readline():
                raise SystemExit("the parent process has gone")

        arguments = json.loads(sys.stdin.readline())
        function = getattr(importlib.import_module(module), name)
        say({"result": function(go, **arguments)})


if __name__ == "__main__":
    main()

"""Checks that docs/tour.rst shows what a reader will see: runs its commands in the page's order.

The commands run in a terminal of 80 columns, on the stack of ``make play``. In a console block, a
line that begins with ``$`` is a command, and the lines after it are its output. Only ``echo $?`` is
answered by the test. Times, sizes that depend on them, and widths are normalized on both sides. A
block with govc is left out where govc is not built.

To rewrite the page's output: ``python -m tests.cli.test_tour``.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import importlib.util
import os
import pathlib
import pty
import re
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from demo import playground
from tests.e2e.cloud import Cloud
from tests.e2e.stack.service_process import REPOSITORY
from tests.waiting import wait_until

PAGE = REPOSITORY / "docs" / "tour.rst"
#: What ``make play`` writes to, as seen from the checkout.
DIRECTORY = ".tools/play"
DIRECTORY_OF_THE_PAGE = "/home/me/vmdk_cache/.tools/play"
COLUMNS = 80
TIMEOUT_S = 120
ALL_REQUIRED = os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1"
_BLOCK = re.compile(r"\.\. code-block:: console\n\n((?:   .*\n|\n(?=   ))+)")
_INDENT = "   "
#: Text that differs between two runs.
_VARIES = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DAY"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "FINGERPRINT"),
    (re.compile(r"\bauto-[0-9a-f]{12}\b"), "DEPLOYMENT"),
    (re.compile(r"\b(vm|host)-\d+"), r"\1-N"),
    (re.compile(r"(Imported By: )\S+"), r"\1PROCESS"),
    (re.compile(r"\b\d+ s old"), "N s old"),
    (re.compile(r"\b\d+\.\d+ s\b"), "N s"),
    (re.compile(r"\bjust now\b|\b\d+ (s|min) ago\b"), "AGO"),
    (re.compile(r"\d+\.\d+ MiB"), "N MiB"),  # the compressed size of the file system's times
    (re.compile(r"-{2,}"), "-"),
    (re.compile(r" +"), " "),
]


@dataclass
class Step:
    """A command, and the output on the page."""

    command: str
    shown: str = ""


def blocks(page: str) -> list[list[Step]]:
    """The page's console blocks."""
    return [steps(match[0]) for match in _BLOCK.finditer(page)]


def steps(block: str) -> list[Step]:
    found: list[Step] = []
    for line in (each.removeprefix(_INDENT) for each in _BLOCK.sub(r"\1", block).splitlines()):
        if line.startswith("$ "):
            found.append(Step(line[2:]))
        else:
            assert found, f"{PAGE.name}: an answer before its command: {line}"
            found[-1].shown += line + "\n"
    return found


class Tour:
    """The stack, and a reader who enters the page's commands."""

    def __init__(self, stack: Cloud, directory: pathlib.Path) -> None:
        self._stack = stack
        self._directory = directory
        self._code = 0

    def take(self, command: str) -> str:
        """Run a command; :returns: what the terminal shows then."""
        if command == "echo $?":
            return f"{self._code}\n"
        rc = self._directory / playground.RC
        self._code, said = in_a_terminal(command.replace(DIRECTORY, str(self._directory)), rc)
        if "openstack volume create" in command:
            wait_until(self._no_volume_is_creating, what="the volume", timeout_s=TIMEOUT_S)
        return said.replace(str(self._directory), DIRECTORY_OF_THE_PAGE).strip("\n") + "\n"

    def _no_volume_is_creating(self) -> bool:
        """The page tells the reader to wait for it."""
        return all(each["status"] == "available" for each in self._stack.cinder.volumes())


def in_a_terminal(command: str, rc: pathlib.Path) -> tuple[int, str]:
    """Run a command of bash where ``rc`` has been sourced; :returns: exit code and output."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        ["bash", "-c", f"source {rc}\n{command}"],
        stdin=terminal, stdout=terminal, stderr=terminal,
        env={**variables, "TERM": "dumb"},  # without colors
        start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError):  # it says EIO at the end
        while some := os.read(ours, 1 << 16):
            said += some
    os.close(ours)
    return process.wait(TIMEOUT_S), said.decode().replace("\r\n", "\n")


def is_left_out(block: list[Step]) -> bool:
    """Whether the block needs a govc that is not there; the page tells the reader to read on."""
    needs_govc = any(step.command.startswith("govc ") for step in block)
    return needs_govc and not playground.GOVC.exists() and not ALL_REQUIRED


def alike(text: str) -> list[str]:
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@contextlib.contextmanager
def a_tour(directory: pathlib.Path) -> Iterator[Tour]:
    with playground.own(directory), playground.running(directory) as stack:
        yield Tour(stack, directory)


def test_the_tour_shows_what_the_reader_will_see(tmp_path: pathlib.Path) -> None:
    if not importlib.util.find_spec("openstackclient"):
        text = "openstack is not installed: run `make .venv/.ready-play`"
        pytest.fail(text) if ALL_REQUIRED else pytest.skip(text)
    found = blocks(PAGE.read_text())
    assert sum(map(len, found)) >= 20, f"{PAGE.name}: too few steps"
    with a_tour(tmp_path / "play") as tour:
        for block in found:
            if is_left_out(block):
                continue
            for step in block:
                printed = tour.take(step.command)
                difference = difflib.unified_diff(alike(step.shown), alike(printed), lineterm="")
                said = "\n".join([f"$ {step.command}", *difference])
                assert alike(step.shown) == alike(printed), said


def write_anew() -> None:
    """Write the commands' present output into the page."""
    page = PAGE.read_text()
    with (
        tempfile.TemporaryDirectory() as temporary,
        a_tour(pathlib.Path(temporary) / "play") as tour,
    ):

        def answered(match: re.Match[str]) -> str:
            lines = []
            for step in steps(match[0]):
                lines += [f"$ {step.command}", *tour.take(step.command).strip("\n").splitlines()]
            body = "".join(f"{_INDENT}{line.rstrip()}".rstrip() + "\n" for line in lines)
            return f".. code-block:: console\n\n{body}"

        PAGE.write_text(_BLOCK.sub(answered, page))


if __name__ == "__main__":
    write_anew()

"""Govc: the program as a process, and ``holds``, which says what commands a test shows to work."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vcenter import VCenter

PROGRAM = Path(__file__).parents[3] / ".tools" / "govc"
#: Of one command; long enough for two busy cores.
TIMEOUT_S = 120


def require() -> None:
    """Skip the calling test where govc is not built, unless all is required."""
    if not PROGRAM.exists():
        text = "govc is not built: run `make .tools/govc`"
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail(text)
        pytest.skip(text)


class Govc:
    """Runs commands against one vCenter.

    :ivar succeeded: names of the commands that ended with exit code 0
    :ivar environment: the environment of the commands; a test may add ``GOVC_...`` variables
    :ivar directory: the commands' working directory, empty at first; also their home
    """

    def __init__(self, vcenter: VCenter, directory: Path) -> None:
        self.directory = directory
        self.succeeded: set[str] = set()
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "GOVMOMI_HOME": str(directory / ".govmomi"),
            "GOVC_URL": vcenter.url,
            "GOVC_USERNAME": vcenter.user,
            "GOVC_PASSWORD": vcenter.password,
            "GOVC_TLS_CA_CERTS": vcenter.ca_file,
        }

    def run(
        self, command: str, *arguments: str, stdin: str | bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """The finished process, whatever its exit code."""
        done = subprocess.run(
            [str(PROGRAM), command, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.environment,
            cwd=self.directory,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            self.succeeded.add(command)
        return done

    def __call__(self, command: str, *arguments: str, stdin: str | bytes = b"") -> str:
        """What the command writes to standard output; the test fails when the command does."""
        done = self.run(command, *arguments, stdin=stdin)
        if done.returncode != 0:
            output = (done.stdout + done.stderr).decode(errors="replace")
            line = " ".join(["govc", command, *arguments])
            pytest.fail(f"{line}: exit code {done.returncode}\n{output}")
        return done.stdout.decode(errors="replace")

    def json(self, command: str, *arguments: str, stdin: str | bytes = b"") -> Any:
        """What the command writes with ``-json``."""
        output = self(command, "-json", *arguments, stdin=stdin)
        try:
            return json.loads(output)
        except ValueError:
            pytest.fail(f"govc {command} -json wrote no JSON: {output}")

    def refused(self, command: str, *arguments: str, stdin: str | bytes = b"") -> str:
        """What the command writes to standard error; the test fails when the command does not."""
        done = self.run(command, *arguments, stdin=stdin)
        if done.returncode == 0:
            pytest.fail(f"govc {command} {' '.join(arguments)} was accepted: {done.stdout!r}")
        return done.stderr.decode(errors="replace")


def holds(*commands: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say that a test, which uses the fixture ``govc``, shows these commands to work: it fails when
    one of them did not run, or did not end with exit code 0."""

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def checked(**fixtures: Any) -> None:
            test(**fixtures)
            missing = sorted(set(commands) - fixtures["govc"].succeeded)
            assert not missing, f"the test holds {', '.join(missing)} and ran none of it"

        checked.holds = commands  # type: ignore[attr-defined]
        return checked

    return decorated

"""The demo ends cleanly when it is interrupted: no process and no file of it survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stack.service_process import REPOSITORY


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Upload"):  # everything is up by now
            break
    process.send_signal(how)
    said += process.stdout.readlines()
    assert process.wait(timeout=60) == 130, "".join(said)
    assert "Interrupted" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == []
    assert processes_naming(str(tmp_path)) == []


def processes_naming(text: str) -> list[str]:
    """Command lines that contain ``text``; those of the stack name their directory."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if text in arguments:
            found.append(arguments)
    return found

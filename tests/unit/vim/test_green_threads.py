"""cinder-volume may run under eventlet's monkey-patching: nothing in vim/ may block its hub."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import pytest

from tests.fakes.vcenter import VCenter

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="eventlet is missing")
def test_imports_and_clones_run_under_eventlet() -> None:
    with VCenter() as vc:
        vc.fault_rules.add("CloneVM_Task", on="task", delay_s=0.5, times=None)
        command = [sys.executable, "-m", "tests.unit.vim.green_clones"]
        command += [vc.host, str(vc.port), vc.user, vc.password, vc.ca_file]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )

    assert done.returncode == 0, done.stderr
    clones, ticks = done.stdout.split()
    assert int(clones) == 30
    assert int(ticks) > 30, "other green threads stood still"

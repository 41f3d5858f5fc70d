"""An interrupted or killed ``vmdk-cache preflight --live`` cleans up, or the next run does."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.cli.conftest import TIMEOUT_S, Lab, Run
from tests.cli.test_preflight import is_empty, lab, vcenter

__all__ = ["lab", "vcenter"]  # fixtures


class Broken:
    """A live run that gets a signal at vCenter's first request of a method.

    :param skip: requests to let pass first, counted from the second log-in, which begins the live
        part
    """

    def __init__(self, lab: Lab, run: Run, method: str, number: int, skip: int = 0) -> None:
        self._number = number
        self._pid = 0
        rules = lab.vcenter.fault_rules
        rules.add("Login", action=lambda: rules.add(method, action=self._kill, skip=skip), skip=1)
        with subprocess.Popen(
            run.command("preflight", "--live"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=run.environment(),
            cwd=lab.directory,
        ) as process:
            self._pid = process.pid
            try:
                self.output, self.error = process.communicate(timeout=TIMEOUT_S)
            finally:
                process.kill()
            self.code = process.returncode
        run.check(self.output + self.error)

    def _kill(self) -> None:
        os.kill(self._pid, self._number)


#: A live run has about 300 requests.
INTERRUPTED_AFTER = range(3, 240, 34)
KILLED_AFTER = range(15, 240, 60)
METHODS = [
    "ImportVApp",
    "nfc:POST",
    "MarkAsTemplate",
    "ReconfigVM_Task",
    "ExportVm",
    "Destroy_Task",
]


@pytest.mark.parametrize("method", METHODS)
def test_a_live_run_that_is_interrupted_cleans_up(lab: Lab, run: Run, method: str) -> None:
    broken = Broken(lab, run, method, signal.SIGINT)
    assert broken.code == 130, broken.error
    lines = [line for line in broken.error.splitlines() if "still running" not in line]
    removes, interrupted = lines[-2:]
    assert removes == "vmdk-cache: backend vmware1: removing what this run created"
    assert interrupted == "vmdk-cache: interrupted"
    assert is_empty(lab.vcenter)
    assert lab.vcenter.leases() == []


@pytest.mark.parametrize("method", ["nfc:POST", "ReconfigVM_Task"])
def test_leftovers_of_a_killed_live_run_are_removed_by_the_next(
    lab: Lab, run: Run, method: str
) -> None:
    assert Broken(lab, run, method, signal.SIGKILL).code == -signal.SIGKILL
    lab.vcenter.clock.advance(301)  # leases run out
    run("preflight", "--live")
    assert is_empty(lab.vcenter)


@pytest.mark.parametrize("skip", INTERRUPTED_AFTER)
def test_a_live_run_that_is_interrupted_at_any_request_cleans_up(
    lab: Lab, run: Run, skip: int
) -> None:
    broken = Broken(lab, run, "*", signal.SIGINT, skip)
    assert broken.code == 130, (broken.output, broken.error)
    assert broken.error.splitlines()[-1] == "vmdk-cache: interrupted"
    assert is_empty(lab.vcenter)
    assert lab.vcenter.leases() == []


@pytest.mark.parametrize("skip", KILLED_AFTER)
def test_leftovers_of_a_live_run_killed_at_any_request_are_removed_by_the_next(
    lab: Lab, run: Run, skip: int
) -> None:
    assert Broken(lab, run, "*", signal.SIGKILL, skip).code == -signal.SIGKILL
    lab.vcenter.fault_rules.clear()
    lab.vcenter.clock.advance(301)  # leases run out
    run("preflight", "--live")
    assert is_empty(lab.vcenter)
    assert lab.vcenter.leases() == []

"""For all tests: which of them ``make test`` leaves to ``make test-all``, and a line per suite.

How long a test takes is never a reason to fail, for the machine may be busy.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.e2e.stack.glance import Glance

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

#: A directory or a file -> why ``make test`` leaves it out. ``@pytest.mark.slow(reason=...)`` does
#: the same for a single test.
SLOW = {
    "tests/book": "builds the documentation and shows each page in a browser",
    "tests/cli": "hundreds of processes; test_each_command.py runs each command once",
    "tests/clients": "clients of other projects, which test the fake vCenter and not the package",
    "tests/contract_run": "runs the contract suite as a process, several times",
    "tests/e2e": "boots a Cinder for each file; test_cinder_release.py is one volume's life",
    "tests/faults": "one cell in 25 of the fault matrix, each on a vCenter of its own",
    "tests/fuzz": "a search",
    "tests/hosts": "kills hosts of cinder-volume at random",
    "tests/images": "89 images, each with Cinder's own driver and with this one",
    "tests/matrix": "runs other test suites",
    "tests/packages": "builds the packages, which takes a minute",
    "tests/recordings/test_pyvmomi_releases.py": "the recordings with other pyvmomi",
    "tests/recordings/test_report.py": "a whole preflight on two vCenters, recorded and replayed",
    "tests/contract/preflight": "live runs, which wait for what vcsim does not do",
    "tests/scenario/test_12_upload_check.py": "uploads of more than 64 MiB",
    "tests/scenario/test_20_many_at_once.py": "several processes at once",
    "tests/scenario/test_22_requests.py": "many volumes, to count the requests",
    "tests/scenario/test_50_crash.py": "kills a process for each row of the crash table",
    "tests/scenario/test_40_slow_vcenter.py": "waits as a slow vCenter makes the cache wait",
    "tests/scenario/test_70_driver.py": "makes Cinder's driver anew for each test",
    "tests/soak": "hundreds of volumes with faults",
    "tests/stateful": "a search",
    "tests/unit/fakes/test_cinder_vmdk_driver.py": "Cinder's own driver, which tests the fake",
    "tests/unit/fakes/test_vcenter_oslo_vmware.py": "oslo.vmware's session, which tests the fake",
    "tests/unit/preflight/test_live.py": "a whole live preflight for each thing that can go wrong",
    "tests/unit/preflight/test_live_privileges.py": "a whole live preflight for each privilege",
    "tests/unit/test_benchmarks.py": "runs benchmarks",
}
#: What ``make test`` runs nevertheless.
QUICK = {
    "tests/cli/test_each_command.py",
    "tests/e2e/test_cinder_release.py",
}


def reason(path: str) -> str:
    """Why a file of tests is slow; empty if it is not."""
    for slow, why in SLOW.items():
        if path not in QUICK and (path == slow or path.startswith(f"{slow}/")):
            return why
    return ""


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    """Not even import what ``make test`` leaves out: each worker would."""
    if "not slow" in config.option.markexpr and collection_path.suffix == ".py":
        path = collection_path.relative_to(config.rootpath).as_posix()
        return bool(collection_path.name.startswith("test_") and reason(path)) or None
    return None


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of :data:`SLOW` as slow."""
    for item in items:
        if why := reason(item.nodeid.partition("::")[0]):
            item.add_marker(pytest.mark.slow(reason=why))


@pytest.fixture(scope="session")
def glance_of_the_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """Each process of xdist boots it once: that takes 6 s of processor time."""
    from tests.e2e.stack.glance import Glance  # which most processes do not need

    running = Glance(tmp_path_factory.mktemp("glance"))
    try:
        running.prepare()
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def glance(glance_of_the_process: Glance) -> Iterator[Glance]:
    """A real Glance, without images at first."""
    yield glance_of_the_process
    glance_of_the_process.delete_all()


@dataclasses.dataclass
class Suite:
    """What came of the tests of one directory; ``seconds`` is their sum over all processes."""

    outcomes: collections.Counter[str]
    seconds: float = 0.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per suite, if there were several."""
    suites: dict[str, Suite] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                name = "/".join(report.nodeid.partition("::")[0].split("/")[:2])
                suite = suites.setdefault(name, Suite(collections.Counter()))
                suite.seconds += report.duration
                if outcome:  # set-up and tear-down have none
                    suite.outcomes[outcome] += 1
    if len(suites) < 2:
        return
    terminalreporter.section("suites")
    for name, suite in sorted(suites.items()):
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(suite.outcomes.items()))
        terminalreporter.write_line(f"{name:<20} {suite.seconds:6.0f} s  {told}")

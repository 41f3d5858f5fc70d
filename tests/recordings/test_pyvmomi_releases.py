"""The tests of the client in this folder with each other supported release of pyvmomi.

``make test-all`` puts them into .tools/pyvmomi. Each runs in a process of its own, before the
installed one on the path.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pyVmomi import version_info_str

from tests.recordings import recordings

ROOT = Path(__file__).parents[2]
RELEASES = ("9.0.0.0", "9.1.0.0", "9.1.1.0")
OTHERS = [release for release in RELEASES if release != version_info_str]
#: What the client reads. The rest of the folder tests the fake, or runs the fake and vcsim.
TESTS = (
    "tests/recordings/test_exchanges.py",
    "tests/recordings/test_inventory.py",
    "tests/recordings/test_log_in.py",
    "tests/recordings/test_properties.py",
    "tests/recordings/test_storage_policies.py",
    "tests/recordings/test_tasks.py",
    "tests/recordings/test_updates.py",
    "tests/recordings/test_virtual_machines.py",
    "tests/unit/vim/test_pyvmomi.py",
)


def test_the_releases_reach_from_the_oldest_that_is_supported_to_the_installed_one() -> None:
    (oldest,) = re.findall(r"pyvmomi>=([\d.]+)", (ROOT / "setup.cfg").read_text())
    (newest,) = re.findall(r"pyvmomi==([\d.]+)", (ROOT / "tests" / "constraints.txt").read_text())
    (made,) = re.findall(r"\.tools/pyvmomi/,([\d. ]+)\)", (ROOT / "Makefile").read_text())

    assert (oldest, newest) == (RELEASES[0], RELEASES[-1])
    assert tuple(made.split()) == RELEASES[:-1]


@pytest.mark.parametrize("release", OTHERS)
def test_the_client_reads_the_recordings_with_another_pyvmomi(release: str) -> None:
    recordings.path_of(recordings.SDDC)
    folder = ROOT / ".tools" / "pyvmomi" / release
    if not folder.exists():
        text = f"pyvmomi {release} is not in {folder}: run make test-all"
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail(text)
        pytest.skip(text)

    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"),
            *TESTS,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )

    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"with pyvmomi {release}:" in done.stdout
    assert " skipped" not in done.stdout

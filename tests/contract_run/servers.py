"""vCenters in processes of their own, as if on another machine, and ``make contract``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.contract.vcenters import Target
from tests.contract_run import stock

ROOT = Path(__file__).parents[2]
#: Of every account here, as of vcsim in tests/contract/vcenters.py.
PASSWORD = "correct horse"
ADMINISTRATOR = "administrator@vsphere.local"
LIMITED = "cinder@vsphere.local"
#: What the suite needs besides the privileges of docs/security.rst (CONTRIBUTING.md).
BESIDES = "Folder.Delete,Folder.Rename"
#: Two datacenters, of which the limited account may use one.
WIDE = ("--datacenters", "2", "--clusters", "2", "--hosts", "3", "--datastores", "3")
#: Long enough for a whole run on two busy cores.
TIMEOUT_S = 900


@dataclass(frozen=True)
class Server:
    """:ivar target: the same, as its administrator sees it"""

    target: Target
    user: str

    @property
    def variables(self) -> dict[str, str]:
        """For the command."""
        assert self.target.ca_file is not None
        return {
            "VCENTER": f"https://{self.user}@{self.target.host}:{self.target.port}",
            "CA": self.target.ca_file,
        }


@contextmanager
def fake(*options: str, user: str = LIMITED) -> Iterator[Server]:
    """Our fake; it ends without an error of its own."""
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.fakes.vcenter", "--port", "0"),
            *("--account", LIMITED, "--besides", BESIDES, *WIDE, *options),
        ],
        cwd=ROOT,
        env={**os.environ, "FAKE_VCENTER_PASSWORD": PASSWORD},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        url, ca_file = (running.stdout.readline().split()[-1] for _ in range(2))
        address = urlsplit(url)
        assert address.hostname and address.port
        target = Target("fake", address.hostname, address.port, ADMINISTRATOR, PASSWORD, ca_file)
        yield Server(target, user)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert said == ""
    finally:
        running.kill()
        running.communicate()


def environment(variables: dict[str, str]) -> dict[str, str]:
    """This process's, without what a run of pytest or make has put there."""
    foreign = ("MAKE", "MFLAGS", "PYTEST_", "VCENTER", "VMDK_CACHE_CONTRACT")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**own, **variables}


def make_contract(
    server: Server, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The whole command; what it needs is installed already.

    :param variables: of make, after the password, which is in the environment
    """
    given = {**server.variables, "ARGS": " ".join(arguments), **variables}
    return subprocess.run(
        [
            *("make", "--no-print-directory", "-o", ".venv/.ready", "contract"),
            f"BIN={Path(sys.executable).parent}",
            *(f"{name}={value}" for name, value in given.items()),
        ],
        cwd=ROOT,
        env=environment({"VCENTER_PASSWORD": PASSWORD}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def command(variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """What make starts."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract", *arguments],
        cwd=ROOT,
        env=environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """All that it has said."""
    text = done.stdout + done.stderr
    assert PASSWORD not in text
    return text


def run_until_it_has_machines(server: Server) -> subprocess.Popen[str]:
    """A whole run that is under way."""
    running = command({**server.variables, "VCENTER_PASSWORD": PASSWORD})
    deadline = time.monotonic() + 120
    try:
        while not stock.taken(server.target)["machines"]:
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline, "the run made no virtual machine"
            time.sleep(0.2)
    except BaseException:
        running.terminate()
        raise
    return running

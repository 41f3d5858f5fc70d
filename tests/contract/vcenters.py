"""The vCenters for the contract suites: our fake, and vcsim, which is govmomi's simulator.

With ``make contract VCENTER=...`` they run on the given one, and on no other.

vcsim runs with three inventories: a small one, a wide one of several datacenters and clusters, and
the recorded one of a real vCenter. ``make test-all`` leaves the last two to ``make vcsim``.

Tests assume nothing about the inventory. They use only the folder and names of :attr:`Target.run`,
and the hosts and datastores of :meth:`Target.ground`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract import given
from tests.contract.ground import Choice, Ground, ground
from tests.contract.journal import Journal
from tests.contract.run import Run
from tests.fakes.clock import HastyClock, SharedHastyClock
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile
from tests.recordings import recordings
from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.vim.endpoint import Listener
from vmdk_cache.vim.inventory import Inventory
from vmdk_cache.vim.session import Endpoint

VCSIM = Path(__file__).parents[2] / ".tools" / "vcsim"
POLICY = "gold"


@dataclass(frozen=True)
class Target:
    """A running vCenter.

    :ivar name: ``fake``, ``vcsim``, or ``vcenter`` if it is given and not vcsim
    :ivar ca_file: None for the system's CAs
    :ivar fake: the fake itself, if we have started it in this process; see :meth:`control`
    :ivar is_given: not started by us; its time cannot be moved
    :ivar policy: name of the storage policy to read; empty: any
    """

    name: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    ca_file: str | None
    fake: VCenter | None = None
    is_given: bool = False
    run: Run = field(default_factory=Run.new)
    choice: Choice = field(default_factory=Choice)
    policy: str = ""
    listener: Listener | None = field(default=None, repr=False)

    @property
    def is_vcsim(self) -> bool:
        return self.name == "vcsim"

    def control(self, reason: str) -> VCenter:
        """The fake, for a test that changes what no client can change; skips the test on any other
        vCenter.

        :param reason: what the test does to the fake
        """
        if self.fake is None:
            pytest.skip(f"needs the fake's control: {reason}")
        return self.fake

    def endpoint(self, **changes: object) -> Endpoint:
        values: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "ca_file": self.ca_file,
            "read_timeout_s": 60.0,
            "api_retry_count": 3,
            "listener": self.listener,
        }
        return Endpoint(**{**values, **changes})  # type: ignore[arg-type]

    def clock(self) -> Clock:
        """A clock for clients that wait long: the fake's own, if it is in this process."""
        if self.fake is not None:
            return SharedHastyClock(self.fake.clock)
        return SystemClock() if self.is_given else HastyClock()

    def ground(self, found: Inventory) -> Ground:
        """Where tests put things."""
        chosen = ground(found, self.choice)
        assert chosen is not None, f"{self.name} has no host that can be used"
        return chosen


@contextmanager
def running_fake(make: Callable[..., VCenter] = VCenter) -> Iterator[Target]:
    """:param make: such as `busy_vcenter`"""
    model = Model(profiles=(Profile(POLICY, ("DC0_DS0",)),))
    with make(model, user="cinder@vsphere.local", password="correct horse") as vc:
        yield Target("fake", vc.host, vc.port, vc.user, vc.password, vc.ca_file, vc)


@contextmanager
def running_vcsim(*options: str) -> Iterator[Target]:
    """:param options: such as its inventory; tests/vcsim/main.go lists them"""
    if not VCSIM.exists():
        text = f"{VCSIM.name} is not built: run `make vcsim`"
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail(text)
        pytest.skip(text)
    user, password = "cinder@vsphere.local", "correct horse"
    command = [str(VCSIM), "-username", user, "-password", password, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            address = urlsplit(ready["url"])
            assert address.hostname and address.port
            yield Target("vcsim", address.hostname, address.port, user, password, ready["ca_file"])
        finally:
            process.terminate()


@contextmanager
def running_wide_vcsim() -> Iterator[Target]:
    """vcsim with 2 datacenters, each of 3 clusters, 2 datastores and an empty datastore cluster."""
    with running_vcsim("-dc", "2", "-cluster", "3", "-pod", "1") as running:
        yield running


@contextmanager
def running_recorded_vcsim() -> Iterator[Target]:
    """vcsim with the inventory of a real vCenter 8.0.1: one host, two vSAN datastores, 7 VMs."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = recordings.unpack_sddc(Path(folder))
        with running_vcsim("-load", str(unpacked)) as running:
            yield running


@contextmanager
def running_given() -> Iterator[Target]:
    """The vCenter of ``make contract VCENTER=...``."""
    plan, said = given.Plan.from_environment(), given.read(os.environ)
    assert plan is not None and said is not None
    yield Target(
        "vcsim" if plan.is_vcsim else "vcenter",
        said.host,
        said.port,
        said.user,
        said.password,
        said.ca_file,
        is_given=True,
        run=plan.run,
        choice=plan.choice,
        policy=said.policy,
        listener=Journal(plan.sessions),
    )


#: How to start each of the vCenters, by its name as a test's parameter.
STARTS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "fake": running_fake,
    "vcsim": running_vcsim,
    "vcsim-wide": running_wide_vcsim,
    "vcsim-recorded": running_recorded_vcsim,
    "vcenter": running_given,
}
_INVENTORIES = (pytest.mark.vcsim, pytest.mark.vcsim_inventories)
IS_GIVEN = given.Plan.from_environment() is not None
#: For parameters of fixtures.
PARAMETERS = (
    ["vcenter"]
    if IS_GIVEN
    else [
        "fake",
        pytest.param("vcsim", marks=pytest.mark.vcsim),
        pytest.param("vcsim-wide", marks=_INVENTORIES),
        pytest.param("vcsim-recorded", marks=_INVENTORIES),
    ]
)

"""The vCenters that the contract suites run on: our fake, and govmomi's simulator."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile
from vmdk_cache.vim.session import Endpoint

VCSIM = Path(__file__).parents[2] / ".tools" / "vcsim"
POLICY = "gold"


@dataclass(frozen=True)
class Target:
    """A running vCenter.

    :ivar name: ``fake`` or ``vcsim``
    :ivar fake: the fake itself, for what only it can show; None on vcsim
    """

    name: str
    host: str
    port: int
    user: str
    password: str
    ca_file: str
    fake: VCenter | None = None

    def endpoint(self, **changes: object) -> Endpoint:
        values: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "ca_file": self.ca_file,
            "read_timeout_s": 60.0,
            "api_retry_count": 3,
        }
        return Endpoint(**{**values, **changes})  # type: ignore[arg-type]


@contextmanager
def running_fake() -> Iterator[Target]:
    model = Model(profiles=(Profile(POLICY, ("DC0_DS0",)),))
    with VCenter(model, user="cinder@vsphere.local", password="correct horse") as vc:
        yield Target("fake", vc.host, vc.port, vc.user, vc.password, vc.ca_file, vc)


@contextmanager
def running_vcsim() -> Iterator[Target]:
    if not VCSIM.exists():
        text = f"{VCSIM.name} is not built: run `make vcsim`"
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1":
            pytest.fail(text)
        pytest.skip(text)
    user, password = "cinder@vsphere.local", "correct horse"
    command = [str(VCSIM), "-username", user, "-password", password]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            address = urlsplit(ready["url"])
            assert address.hostname and address.port
            yield Target("vcsim", address.hostname, address.port, user, password, ready["ca_file"])
        finally:
            process.terminate()

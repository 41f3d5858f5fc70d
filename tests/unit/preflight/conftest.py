"""The probes on a fake vCenter, with the account of docs/security.rst."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import account as page
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile
from vmdk_cache import errors
from vmdk_cache.backend import Backend
from vmdk_cache.clock import SystemClock
from vmdk_cache.conf import Settings
from vmdk_cache.locks import Locks, ToozLocks, coordinator
from vmdk_cache.preflight import probe
from vmdk_cache.preflight.checklist import READ_ONLY
from vmdk_cache.preflight.probe import Finding, Status
from vmdk_cache.preflight.scheduling import HOST_MANAGER
from vmdk_cache.preflight.target import Scheduling, Surroundings, Target
from vmdk_cache.vim.endpoint import Endpoint

FOLDER = ("OpenStack", "Project (b1_image_cache)", "Volumes")


@dataclasses.dataclass
class StubImages:
    """Glance.

    :ivar failure: raised instead of an answer
    """

    every: bool = True
    failure: errors.VmdkCacheError | None = None

    def look(self) -> None:
        if self.failure is not None:
            raise self.failure

    def sees_every_image(self) -> bool:
        return self.every


class StubVolumes:
    """Cinder's API, without any volume."""

    def pools(self, backend: str) -> dict[str, int]:
        return {}

    def backend_names_of_types(self) -> dict[str, str]:
        return {}


@contextlib.contextmanager
def locks_of(url: str) -> Iterator[Locks]:
    with coordinator(url) as get_lock:
        yield ToozLocks(get_lock, "vc/b1")


class Bench:
    """A backend whose vCenter, account and configuration a test changes before it runs the
    probes.
    """

    def __init__(self, vcenter: VCenter, directory: pathlib.Path) -> None:
        self.vcenter = vcenter
        self.images = StubImages()
        self.settings = Settings(enabled=True)
        self.endpoint = Endpoint(
            host=vcenter.host,
            port=vcenter.port,
            user=page.USER,
            password=page.PASSWORD,
            ca_file=vcenter.ca_file,
            api_retry_count=1,
            connect_timeout_s=60.0,
            read_timeout_s=60.0,
        )
        self.backend = Backend("b1", self.endpoint, FOLDER)
        self.surroundings = Surroundings(
            sections={"b1": frozenset({"enable_image_cache", "volume_driver"})},
            known_options=frozenset({"enable_image_cache", "vmware_host_ip"}),
            coordination_url=f"file://{directory}",
            locks=lambda: locks_of(self.surroundings.coordination_url),
            workers=None,
            storage_profiles=(),
            ledger_path=str(directory / "ledger.sqlite"),
            images=lambda: self.images,
            host_name="here",
            scheduling=Scheduling(
                backend_name=None,
                other_names=frozenset(),
                vmware_backends=1,
                stats=True,
                extra_capabilities='{"thin_provisioning_support": true}',
                ratio="20.0",
                host_manager=HOST_MANAGER,
                weighers=("CapacityWeigher",),
                filters=("CapacityFilter", "CapabilitiesFilter"),
                multiplier=1.5,
                volumes=StubVolumes,
            ),
        )

    def change(self, **changes: Any) -> None:
        """Change fields of the endpoint, the backend or the surroundings, whichever has the
        field.
        """
        for name in ("endpoint", "backend", "surroundings"):
            value = getattr(self, name)
            fields = {field.name for field in dataclasses.fields(value)}
            own = {key: changes.pop(key) for key in list(changes) if key in fields}
            setattr(self, name, dataclasses.replace(value, **own))
        assert not changes
        self.backend = dataclasses.replace(self.backend, endpoint=self.endpoint)

    def run(self) -> dict[str, list[Finding]]:
        """Run the probes; returns findings by probe."""
        found: dict[str, list[Finding]] = {}
        with Target(self.backend, self.settings, self.surroundings, SystemClock()) as target:
            for result in probe.run(READ_ONLY, target, SystemClock()):
                found.setdefault(result.probe, []).append(result.finding)
        assert list(found) == [each.id for each in READ_ONLY]
        return found

    def only(self, name: str) -> Finding:
        """The only finding of a probe."""
        [found] = self.run()[name]
        return found


def not_ok(found: dict[str, list[Finding]]) -> dict[str, list[Finding]]:
    """The probes that are not all ok."""
    return {
        name: findings
        for name, findings in found.items()
        if any(each.status is not Status.OK for each in findings)
    }


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    model = Model(
        datastores=3,
        host_names=("127.0.0.1", "localhost"),
        profiles=(Profile("gold", ("DC0_DS0",)),),
    )
    with VCenter(model) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def bench(vcenter: VCenter, tmp_path: pathlib.Path) -> Bench:
    return Bench(vcenter, tmp_path)


@pytest.fixture
def documented_account(vcenter: VCenter) -> None:
    """The account of the endpoint, with the privileges that docs/security.rst lists."""
    page.add_documented_account(vcenter)

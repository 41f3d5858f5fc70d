"""What the suites of vim/ share: a session, a waiter, a folder of the test's own."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.contract.vcenters import Target
from tests.fakes.images import as_stream_optimized, noise
from vmdk_cache.vim import folder, inventory, lease, template
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

RECORD_KEY = "vmdk_cache.record"
MIB = 1 << 20
IMAGE = as_stream_optimized(noise(MIB))
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where a test puts its VMs: a folder of its own, and the first host and datastore."""

    folder: str
    host: inventory.Host
    datastore: inventory.Datastore
    datacenter: inventory.Datacenter


@pytest.fixture
def session(target: Target) -> Iterator[Session]:
    with Session(target.endpoint()) as opened:
        yield opened


@pytest.fixture
def waiter(session: Session) -> Iterator[TaskWaiter]:
    made = TaskWaiter(session)
    yield made
    made.close()


@pytest.fixture
def place(session: Session) -> Place:
    found = inventory.snapshot(session)
    datacenter = found.datacenters[0]
    own = folder.ensure_folder(session, datacenter, ["tests", f"test-{next(_numbers)}"])
    return Place(own, found.hosts[0], found.datastores[0], datacenter)


def import_request(place: Place, name: str = "image", **changes: object) -> lease.ImportRequest:
    values: dict[str, object] = {
        "name": name,
        "datastore": place.datastore.name,
        "capacity_bytes": MIB,
        "extra_config": {RECORD_KEY: '{"schema": 1}'},
        "annotation": "made by a test",
        "managed_by": ("org.openstack.storage", "image-cache"),
    }
    return lease.ImportRequest(**{**values, **changes})  # type: ignore[arg-type]


def import_vm(session: Session, waiter: TaskWaiter, place: Place, name: str = "image") -> str:
    """A whole import; the moref of its VM."""
    with lease.open_import(
        session,
        waiter,
        place.host.pool,
        place.folder,
        place.host.moref,
        import_request(place, name),
    ) as opened:
        opened.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        opened.complete()
        return opened.vm


def clone_request(
    place: Place, source: template.VmInfo, name: str, **changes: object
) -> template.CloneRequest:
    values: dict[str, object] = {
        "name": name,
        "folder": place.folder,
        "datastore": place.datastore.moref,
        "host": place.host.moref,
        "pool": place.host.pool,
        "disk_key": source.disks[0].key,
        "extra_config": {RECORD_KEY: "", "cinder.volume.id": name},
    }
    return template.CloneRequest(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def source(session: Session, waiter: TaskWaiter, place: Place) -> template.VmInfo:
    """A ready template."""
    moref = import_vm(session, waiter, place)
    template.mark_as_template(session, moref)
    found = template.get_vm(session, moref, RECORD_KEY)
    assert found is not None
    return found


def end_session(session: Session) -> None:
    """As vCenter ends an idle session: without telling the client."""
    session.content.sessionManager.Logout()


def content_of(target: Target, moref: str) -> bytes:
    """The first MiB of the VM's only disk; for the fake."""
    assert target.fake is not None
    (vm,) = [vm for vm in target.fake.vms() if vm.moref == moref]
    content: bytes = target.fake.read_disk(vm).read(0, MIB)
    return content

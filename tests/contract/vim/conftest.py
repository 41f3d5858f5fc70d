"""Shared by the suites of vim/: a session, a waiter, a folder of the test's own."""

from __future__ import annotations

import io
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.vcenters import Target
from tests.fakes.images import as_stream_optimized, noise
from vmdk_cache.vim import (
    clone_spec,
    folder,
    import_lease,
    import_spec,
    inventory,
    template,
    virtual_machine,
)
from vmdk_cache.vim.export_lease import open_export
from vmdk_cache.vim.session import Endpoint, Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vmdk.stream_optimized import read_disk

RECORD_KEY = "vmdk_cache.record"
MIB = 1 << 20
IMAGE = as_stream_optimized(noise(MIB))
#: Ids that no vCenter has: larger than any that one has reached.
NO_VM, NO_FOLDER = "vm-999999999", "group-v999999999"
NO_DATASTORE, NO_DATACENTER = "datastore-999999999", "datacenter-999999999"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where a test puts its VMs: a folder of its own, a host, and a datastore of that host.

    :ivar other_datastores: further datastores of the host
    :ivar prefix: of the names of VMs, and so of their directories
    """

    folder: str
    host: inventory.Host
    datastore: inventory.Datastore
    datacenter: inventory.Datacenter
    other_datastores: tuple[inventory.Datastore, ...] = ()
    prefix: str = ""

    @property
    def other_datastore(self) -> inventory.Datastore:
        """One of the other datastores."""
        if not self.other_datastores:
            pytest.skip("needs a second datastore that the hosts share")
        return self.other_datastores[0]

    def named(self, text: str) -> str:
        """A VM's name."""
        return text if text.startswith(self.prefix) else f"{self.prefix}{text}"


class CountingSession(Session):
    """Counts its requests by method, without long polls; thread-safe."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()

    def invoke(
        self,
        type_name: str,
        moref: str,
        method: str,
        /,
        *,
        safe: bool = False,
        poll: bool = False,
        **args: Any,
    ) -> Any:
        if not poll:
            with self._lock:
                self.asked[method] += 1
        return super().invoke(type_name, moref, method, safe=safe, poll=poll, **args)


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
def place(target: Target, session: Session) -> Place:
    where = target.ground(inventory.snapshot(session, target.choice.clusters))
    datastore, *others = where.datastores
    path = target.run.path("tests", f"test-{next(_numbers)}")
    own = folder.ensure_folder(session, where.datacenter, path)
    prefix = target.run.named("")
    return Place(own, where.hosts[0], datastore, where.datacenter, tuple(others), prefix)


def import_request(
    place: Place, name: str = "image", **changes: object
) -> import_spec.ImportRequest:
    values: dict[str, object] = {
        "name": place.named(name),
        "datastores": place.datastore.path_names,
        "capacity_bytes": MIB,
        "extra_config": {RECORD_KEY: '{"schema": 1}'},
        "annotation": "made by a test",
        "managed_by": ("org.openstack.storage", "image-cache"),
    }
    return import_spec.ImportRequest(**{**values, **changes})  # type: ignore[arg-type]


def import_vm(session: Session, waiter: TaskWaiter, place: Place, name: str = "image") -> str:
    """Import an image completely; returns the moref of its VM."""
    with import_lease.open_import(
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
    place: Place, source: virtual_machine.VmInfo, name: str, **changes: object
) -> clone_spec.CloneRequest:
    values: dict[str, object] = {
        "name": place.named(name),
        "folder": place.folder,
        "datastore": place.datastore.moref,
        "host": place.host.moref,
        "pool": place.host.pool,
        "disk_key": source.disks[0].key,
        "extra_config": {RECORD_KEY: "", "cinder.volume.id": name},
    }
    return clone_spec.CloneRequest(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def source(session: Session, waiter: TaskWaiter, place: Place) -> virtual_machine.VmInfo:
    """A ready template."""
    moref = import_vm(session, waiter, place)
    template.mark_as_template(session, moref)
    found = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert found is not None
    return found


def end_session(session: Session) -> None:
    """End it as vCenter ends an idle session: without notifying the client."""
    session.content.sessionManager.Logout()


def content_of(session: Session, moref: str) -> bytes:
    """The first MiB of the VM's only disk, as its host sends it. vcsim keeps no content."""
    content = bytearray(MIB)

    def found(offset: int, data: bytes) -> None:
        wanted = data[: max(0, MIB - offset)]
        content[offset : offset + len(wanted)] = wanted

    with open_export(session, moref) as chunks:
        read_disk(chunks, found)
    return bytes(content)

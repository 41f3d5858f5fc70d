"""Imports: the VM is complete, or it is gone."""

from __future__ import annotations

import datetime
import hashlib
import io

import pytest
from pyVmomi import vim

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import (
    IMAGE,
    MIB,
    NO_VM,
    RECORD_KEY,
    Place,
    clone_request,
    content_of,
    import_request,
    import_vm,
)
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import import_lease, properties, recent_task, template, virtual_machine
from vmdk_cache.vim.export_lease import open_export
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo

CONTROLLERS = {
    "lsiLogic": vim.vm.device.VirtualLsiLogicController,
    "busLogic": vim.vm.device.VirtualBusLogicController,
    "lsiLogicsas": vim.vm.device.VirtualLsiLogicSASController,
    "paraVirtual": vim.vm.device.ParaVirtualSCSIController,
    "ide": vim.vm.device.VirtualIDEController,
}


def adapter_of(session: Session, moref: str) -> str:
    """The adapter type of the VM's only disk, as images name it."""
    path = "config.hardware.device"
    devices = properties.read_one(session, "VirtualMachine", moref, [path])[path]
    [disk] = [each for each in devices if isinstance(each, vim.vm.device.VirtualDisk)]
    [controller] = [each for each in devices if each.key == disk.controllerKey]
    return next(name for name, kind in CONTROLLERS.items() if type(controller) is kind)


def opened(
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    name: str = "image",
    renew_every_s: float = import_lease.RENEW_EVERY_S,
) -> import_lease.ImportLease:
    return import_lease.open_import(
        session,
        waiter,
        place.host.pool,
        place.folder,
        place.host.moref,
        import_request(place, name),
        renew_every_s=renew_every_s,
    )


def test_an_import_makes_the_vm_that_was_requested(
    session: Session, waiter: TaskWaiter, place: Place
) -> None:
    progress: list[int] = []

    with opened(session, waiter, place, "my image") as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes), progress.append)
        held.complete()
        held.complete()

    (vm,) = virtual_machine.list_vms(session, place.folder, RECORD_KEY)
    assert vm.moref == held.vm
    assert vm.name == place.named("my image")
    assert vm.extra_config_record == '{"schema": 1}'
    assert vm.annotation == "made by a test"
    assert vm.datastores == (place.datastore.moref,)
    assert vm.has_config
    assert not vm.is_template
    (disk,) = vm.disks
    assert disk.capacity_bytes == MIB
    assert disk.thin
    assert progress[-1] == len(IMAGE.file_bytes)


@pytest.mark.parametrize("known", [True, False], ids=["with-length", "chunked"])
def test_the_disk_holds_the_bytes_of_the_image(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, known: bool
) -> None:
    with opened(session, waiter, place, f"bytes {known}") as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes) if known else None)
        held.complete()

    assert virtual_machine.get_vm(session, held.vm, RECORD_KEY) is not None
    if not target.is_vcsim:  # which discards what is uploaded
        content = content_of(session, held.vm)
        assert hashlib.sha256(content).hexdigest() == IMAGE.disk_sha256


def test_an_exception_in_the_block_leaves_no_vm(
    session: Session, waiter: TaskWaiter, place: Place
) -> None:
    with pytest.raises(ZeroDivisionError), opened(session, waiter, place):
        _ = 1 // 0

    assert virtual_machine.list_vms(session, place.folder, RECORD_KEY) == []


def test_an_exception_after_completion_leaves_no_vm(
    session: Session, waiter: TaskWaiter, place: Place
) -> None:
    with pytest.raises(ZeroDivisionError), opened(session, waiter, place) as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()
        _ = 1 // 0

    assert virtual_machine.list_vms(session, place.folder, RECORD_KEY) == []


def test_a_stream_that_fails_is_reported_as_it_is_and_leaves_no_vm(
    session: Session, waiter: TaskWaiter, place: Place
) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise errors.SourceUnavailable("glance went away")

    with (
        pytest.raises(errors.SourceUnavailable, match="glance went away"),
        opened(session, waiter, place) as held,
    ):
        held.upload(Broken(), 100)

    assert virtual_machine.list_vms(session, place.folder, RECORD_KEY) == []


@pytest.mark.parametrize("claimed", [-1, 1], ids=["too-long", "too-short"])
def test_a_stream_of_another_length_is_an_error(
    session: Session, waiter: TaskWaiter, place: Place, claimed: int
) -> None:
    with pytest.raises(errors.ImageCorrupt), opened(session, waiter, place) as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes) + claimed)

    assert virtual_machine.list_vms(session, place.folder, RECORD_KEY) == []


def test_an_import_that_is_not_completed_leaves_no_vm(
    target: Target, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    """vcsim keeps the VM of an aborted lease."""
    with opened(session, waiter, place) as held:
        held.abort()
        held.abort()

    if target.is_vcsim:
        assert virtual_machine.get_vm(session, held.vm, RECORD_KEY) is not None
    else:  # a moment later: vCenter cleans up by itself
        wait_until(lambda: virtual_machine.get_vm(session, held.vm, RECORD_KEY) is None)


def test_a_second_import_of_a_name_is_refused_and_harms_nothing(
    target: Target, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    """vcsim accepts the second import."""
    first = import_vm(session, waiter, place)
    if target.is_vcsim:
        assert import_vm(session, waiter, place) != first
        return

    with pytest.raises(errors.NameTaken) as caught, opened(session, waiter, place):
        pass

    assert caught.value.moref in (None, first)
    assert [vm.moref for vm in virtual_machine.list_vms(session, place.folder, RECORD_KEY)] == [
        first
    ]


def test_an_import_is_seen_while_it_runs_and_not_after(
    target: Target, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    """vcsim runs no task for an import. The task of a completed lease may end a moment later."""
    with opened(session, waiter, place) as held:
        assert recent_task.is_importing(session, held.vm) == (not target.is_vcsim)
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()

    wait_until(lambda: not recent_task.is_importing(session, held.vm))
    assert not recent_task.is_importing(session, NO_VM)


def test_every_session_sees_how_far_an_import_is(
    target: Target, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    """vcsim runs no task for an import."""
    if target.is_vcsim:
        pytest.skip("vcsim: ImportVApp has no task")
    before = session.server_time()
    with (
        opened(session, waiter, place, renew_every_s=0.2) as held,
        Session(target.endpoint()) as other,
    ):
        (importing,) = recent_task.imports(other, [held.vm, NO_VM]).values()
        assert importing.percent == 0
        assert importing.began_at is not None
        assert importing.began_at - before < datetime.timedelta(minutes=5)
        size = len(IMAGE.file_bytes)
        held.upload(io.BytesIO(IMAGE.file_bytes), size, percent=lambda sent: 42)
        wait_until(lambda: recent_task.imports(other, [held.vm])[held.vm].percent == 42)
        held.complete()

    wait_until(lambda: recent_task.imports(session, [held.vm]) == {})
    assert recent_task.imports(session, []) == {}


@pytest.mark.parametrize("adapter", ["lsiLogic", "busLogic", "lsiLogicsas", "paraVirtual", "ide"])
def test_the_disk_hangs_on_the_adapter_that_was_requested(
    session: Session, waiter: TaskWaiter, place: Place, adapter: str
) -> None:
    request = import_request(place, adapter, adapter_type=adapter)
    with import_lease.open_import(
        session, waiter, place.host.pool, place.folder, place.host.moref, request
    ) as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()

    assert adapter_of(session, held.vm) == adapter


def test_a_template_is_exported_and_is_cloned_but_not_deleted_meanwhile(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    if target.is_vcsim:
        pytest.skip("govmomi's simulator has no ExportVm")

    with open_export(session, source.moref):
        with pytest.raises(errors.InUse):
            template.destroy(session, waiter, source.moref)
        request = clone_request(place, source, "clone")
        template.clone(session, waiter, source.moref, request, timeout_s=600)

    assert hashlib.sha256(content_of(session, source.moref)).hexdigest() == IMAGE.disk_sha256
    template.destroy(session, waiter, source.moref)
    found = virtual_machine.list_vms(session, place.folder, RECORD_KEY)
    assert [vm.name for vm in found] == [place.named("clone")]

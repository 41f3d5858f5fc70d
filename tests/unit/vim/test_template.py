"""Deleting and marking when vCenter interferes."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import MIB, RECORD_KEY, Place, clone_request, import_vm
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background, pending
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import inventory, recent_task, template, virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo


@pytest.mark.parametrize(
    "fault",
    [
        vim.fault.FileNotFound(msg="File not found"),
        vmodl.fault.InvalidArgument(invalidProperty="ConfigSpec.files.vmPathName"),
    ],
    ids=["file-not-found", "invalid-path"],
)
def test_a_vm_whose_files_are_lost_is_unregistered(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo, fault: Exception
) -> None:
    vc.fault_rules.add("Destroy_Task", fault, on="task")

    template.destroy(session, waiter, source.moref)

    assert vc.request_log.count("UnregisterVM") == 1
    assert vc.vms() == []


def test_a_template_that_is_being_cloned_is_not_deleted(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    vc.cost_model.enabled = True
    vc.cost_model.fixed_clone_s = 100.0
    vc.cost_model.datastore_bandwidth = vc.cost_model.host_bandwidth = 0
    request = clone_request(place, source, "volume-1")
    running = Background(
        lambda: template.clone(session, waiter, source.moref, request, timeout_s=1000)
    )
    wait_until(lambda: any(entry.started_at is not None for entry in pending(waiter)))

    with pytest.raises(errors.InUse):
        template.destroy(session, waiter, source.moref)

    vc.clock.advance(100)
    assert running.join()
    assert virtual_machine.get_vm(session, source.moref, RECORD_KEY) == source


def test_deleting_is_repeated_when_its_answer_is_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo
) -> None:
    vc.fault_rules.add("Destroy_Task", drop="after")

    template.destroy(session, waiter, source.moref)

    assert vc.vms() == []


def test_marking_is_repeated_while_something_else_holds_the_vm(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place)
    rule = vc.fault_rules.add("MarkAsTemplate", vim.fault.InvalidState(), times=3)

    template.mark_as_template(session, moref)

    assert rule.hits == 3
    assert virtual_machine.get_vm(session, moref, RECORD_KEY).is_template  # type: ignore[union-attr]


def test_marking_is_not_repeated_forever(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place)
    rule = vc.fault_rules.add("MarkAsTemplate", vim.fault.InvalidState(), times=None)

    with pytest.raises(errors.InUse):
        template.mark_as_template(session, moref)

    assert rule.hits == 6


def test_marking_is_repeated_when_its_answer_is_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place)
    vc.fault_rules.add("MarkAsTemplate", drop="after")

    template.mark_as_template(session, moref)

    assert virtual_machine.get_vm(session, moref, RECORD_KEY).is_template  # type: ignore[union-attr]


def test_a_template_that_is_marked_again_stays_one(
    vc: VCenter, session: Session, source: VmInfo
) -> None:
    template.mark_as_template(session, source.moref)

    assert vc.find_vm(source.name).config.template


def test_a_vm_that_cannot_become_a_template_is_an_error(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place)
    vc.fault_rules.add("MarkAsTemplate", vmodl.fault.NotSupported(), times=None)

    with pytest.raises(errors.NotSupported):
        template.mark_as_template(session, moref)

    assert not virtual_machine.get_vm(session, moref, RECORD_KEY).is_template  # type: ignore[union-attr]


@pytest.mark.parametrize("capacity_bytes", [None, MIB, 2 * MIB])
def test_a_disk_of_any_size_keeps_the_uuid_that_vcenter_gave_it(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo,
    capacity_bytes: int | None,
) -> None:  # fmt: skip
    """Nova finds the disk by the volume's uuid, and would detach another disk."""
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=1000)
    wanted = "11111111-2222-4333-8444-555555555555"

    template.finish_clone(session, waiter, moref, capacity_bytes, wanted)

    (disk,) = vc.find_vm("volume-1").disks
    assert disk.uuid == wanted
    assert disk.capacity_bytes == (capacity_bytes or MIB)


def test_a_clone_that_is_gone_is_named(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=1000)
    template.destroy(session, waiter, moref)

    with pytest.raises(errors.ObjectNotFound, match=moref) as gone:
        template.finish_clone(session, waiter, moref, 2 * MIB)
    assert gone.value.moref == moref
    assert not recent_task.is_importing(session, moref)


def test_a_clone_is_on_the_host_that_was_requested(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    for host in inventory.snapshot(session).hosts:
        request = clone_request(place, source, f"on-{host.moref}", host=host.moref, pool=host.pool)
        template.clone(session, waiter, source.moref, request, timeout_s=1000)
        assert vc.find_vm(request.name).host.moref == host.moref


def test_a_disk_is_reconfigured_for_nothing(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=1000)

    template.finish_clone(session, waiter, moref, MIB)
    assert vc.request_log.count("ReconfigVM_Task") == 0
    with pytest.raises(errors.NotSupported, match="cannot shrink"):
        template.finish_clone(session, waiter, moref, MIB - 1024)


class Hasty(TaskWaiter):
    """Sees success before the result, as happens under load."""

    forget: VCenter | None = None

    def wait(self, task: str, **how: Any) -> Any:
        super().wait(task, **how)
        if self.forget is not None:
            self.forget.tasks.forget_all()


def test_a_clone_whose_result_comes_late_is_asked_for_again(
    session: Session, place: Place, source: VmInfo
) -> None:
    waiter = Hasty(session)
    request = clone_request(place, source, "volume-1")

    moref = template.clone(session, waiter, source.moref, request, timeout_s=100)

    found = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert found is not None
    assert found.name == "volume-1"
    waiter.close()


def test_a_clone_whose_result_never_comes_is_an_error(
    vc: VCenter, session: Session, place: Place, source: VmInfo
) -> None:
    waiter = Hasty(session)
    waiter.forget = vc
    request = clone_request(place, source, "volume-1")

    with pytest.raises(errors.TaskFailed, match="without naming its clone"):
        template.clone(session, waiter, source.moref, request, timeout_s=100)
    waiter.close()


def test_a_full_datastore_is_reported(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    datastore = vc.datastore(place.datastore.name)
    datastore.fill(datastore.free_bytes - 1000)

    with pytest.raises(errors.NoSpace):
        template.clone(
            session, waiter, source.moref, clone_request(place, source, "volume-1"), timeout_s=100
        )


def deleting(session: Session, waiter: TaskWaiter, source: VmInfo) -> Background:
    """A running deletion."""
    running = Background(lambda: template.destroy(session, waiter, source.moref))
    wait_until(lambda: is_running(waiter))
    return running


def is_running(waiter: TaskWaiter) -> bool:
    return [entry.started_at is not None for entry in pending(waiter)] == [True]


def pass_time(vc: VCenter, waiter: TaskWaiter, seconds: float) -> None:
    """Let time pass, for waiting threads as well."""
    vc.clock.advance(seconds)
    with waiter._lock:
        for entry in waiter._pending.values():
            entry.changed.notify_all()


def test_a_deletion_that_hangs_is_cancelled(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo
) -> None:
    vc.fault_rules.add("Destroy_Task", on="task", delay_s=1e9)
    running = deleting(session, waiter, source)

    pass_time(vc, waiter, template.DESTROY_WITHIN_S + 1)

    with pytest.raises(errors.TaskTimedOut, match="ran for more than 900 s"):
        running.join()
    assert vc.request_log.count("CancelTask") == 1
    assert vc.tasks.running() == []
    assert virtual_machine.get_vm(session, source.moref, RECORD_KEY) == source


def test_a_deletion_that_is_forgotten_and_hangs_takes_no_longer_than_one_that_hangs(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo
) -> None:
    rule = vc.fault_rules.add("Destroy_Task", on="task", delay_s=1e9, times=None)
    running = deleting(session, waiter, source)
    vc.clock.advance(840)
    vc.tasks.forget_all()
    wait_until(lambda: rule.hits == 2 and is_running(waiter))

    pass_time(vc, waiter, (2 * template.DESTROY_WITHIN_S - 840) / 2 + 1)

    with pytest.raises(errors.TaskTimedOut):
        running.join()
    assert rule.hits == 2


def test_a_deletion_that_is_forgotten_when_its_time_is_over_is_not_repeated(
    vc: VCenter, session: Session, waiter: TaskWaiter, source: VmInfo
) -> None:
    rule = vc.fault_rules.add("Destroy_Task", on="task", delay_s=1e9, times=None)
    running = deleting(session, waiter, source)
    vc.clock.advance(2 * template.DESTROY_WITHIN_S + 1)
    vc.tasks.forget_all()

    with pytest.raises(errors.TaskLost):
        running.join()
    assert rule.hits == 1

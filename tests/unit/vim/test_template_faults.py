"""Deleting and marking when vCenter is in the way."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import RECORD_KEY, Place, clone_request, import_vm
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background, eventually
from vmdk_cache import errors
from vmdk_cache.vim import template
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.template import VmInfo


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
    running = Background(lambda: template.clone(session, waiter, source, request, timeout_s=1000))
    eventually(lambda: any(entry.started_at is not None for entry in waiter._pending.values()))

    with pytest.raises(errors.InUse):
        template.destroy(session, waiter, source.moref)

    vc.clock.advance(100)
    assert running.join()
    assert template.get_vm(session, source.moref, RECORD_KEY) == source


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
    assert template.get_vm(session, moref, RECORD_KEY).is_template  # type: ignore[union-attr]


def test_marking_is_not_repeated_without_end(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    moref = import_vm(session, waiter, place)
    rule = vc.fault_rules.add("MarkAsTemplate", vim.fault.InvalidState(), times=None)

    with pytest.raises(errors.InUse):
        template.mark_as_template(session, moref)

    assert rule.hits == 6


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

    moref = template.clone(session, waiter, source, request, timeout_s=100)

    found = template.get_vm(session, moref, RECORD_KEY)
    assert found is not None
    assert found.name == "volume-1"
    waiter.close()


def test_a_clone_whose_result_never_comes_is_an_error(
    vc: VCenter, session: Session, place: Place, source: VmInfo
) -> None:
    waiter = Hasty(session)
    waiter.forget = vc
    request = clone_request(place, source, "volume-1")

    with pytest.raises(errors.TaskFailed, match="does not say which"):
        template.clone(session, waiter, source, request, timeout_s=100)
    waiter.close()


def test_a_full_datastore_is_said(
    vc: VCenter, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    datastore = vc.datastore(place.datastore.name)
    datastore.fill(datastore.free_bytes - 1000)

    with pytest.raises(errors.NoSpace):
        template.clone(
            session, waiter, source, clone_request(place, source, "volume-1"), timeout_s=100
        )

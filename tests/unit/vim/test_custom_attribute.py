"""Custom attributes when vCenter, its administrator or another process interferes."""

from __future__ import annotations

import logging
import threading

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import RECORD_KEY, Place, clone_request
from tests.fakes.vcenter import VCenter
from vmdk_cache import errors
from vmdk_cache.vim import template, virtual_machine
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo

NAME = "vmdk_cache.last_used"


@pytest.fixture
def attributes(session: Session) -> CustomAttributes:
    return CustomAttributes.of(session)


def denied(privilege: str) -> Exception:
    fault: Exception = vim.fault.NoPermission(
        object=vim.Folder("group-d1"), privilegeId=privilege, msg="Permission was denied."
    )
    return fault


def define(vc: VCenter, kind: type | None = vim.VirtualMachine) -> None:
    """Define the attribute, as an administrator or another process does."""
    with vc.lock:
        vc.custom_fields.AddCustomFieldDef(None, NAME, kind, None, None)  # type: ignore[arg-type]


def value_of(vc: VCenter, moref: str) -> list[str]:
    (vm,) = [vm for vm in vc.vms() if vm.moref == moref]
    return list(vm.custom_values.values())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_the_privilege_to_define_one_warning_names_it_and_nothing_fails(
    vc: VCenter,
    attributes: CustomAttributes,
    source: VmInfo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vc.fault_rules.add("AddCustomFieldDef", denied("Global.ManageCustomFields"), times=None)

    assert not attributes.set(source.moref, NAME, "1")

    (warning,) = warnings(caplog)
    assert NAME in warning
    assert "Global.ManageCustomFields" in warning
    assert "Global.SetCustomField" in warning
    assert "expired by age" in warning


def test_without_the_privilege_to_set_one_warning_names_it_and_nothing_fails(
    vc: VCenter,
    attributes: CustomAttributes,
    source: VmInfo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    define(vc)
    vc.fault_rules.add("SetField", denied("Global.SetCustomField"), times=None)

    assert not attributes.set(source.moref, NAME, "1")

    (warning,) = warnings(caplog)
    assert "Global.SetCustomField" in warning
    assert vc.request_log.count("AddCustomFieldDef") == 0


def test_a_refusal_is_not_met_again_for_some_minutes(
    vc: VCenter,
    attributes: CustomAttributes,
    source: VmInfo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vc.fault_rules.add("AddCustomFieldDef", denied("Global.ManageCustomFields"), times=None)
    attributes.set(source.moref, NAME, "1")
    vc.request_log.reset()

    assert not attributes.set(source.moref, NAME, "2")
    assert vc.request_log.total() == 0

    vc.clock.advance(3600)
    assert not attributes.set(source.moref, NAME, "3")
    assert vc.request_log.count("AddCustomFieldDef") == 1
    assert len(warnings(caplog)) == 1


def test_an_attribute_that_an_administrator_defines_after_a_refusal_is_used(
    vc: VCenter, attributes: CustomAttributes, source: VmInfo
) -> None:
    vc.fault_rules.add("AddCustomFieldDef", denied("Global.ManageCustomFields"), times=None)
    attributes.set(source.moref, NAME, "1")
    define(vc)
    vc.clock.advance(3600)

    assert attributes.set(source.moref, NAME, "2")

    assert value_of(vc, source.moref) == ["2"]


def test_a_process_that_loses_the_race_to_define_uses_the_winners_attribute(
    vc: VCenter, attributes: CustomAttributes, source: VmInfo
) -> None:
    vc.fault_rules.add("AddCustomFieldDef", action=lambda: define(vc))

    assert attributes.set(source.moref, NAME, "1")

    assert len(vc.custom_fields.field) == 1
    assert value_of(vc, source.moref) == ["1"]


def test_a_name_that_exists_but_is_not_shown_is_a_refusal(
    vc: VCenter,
    attributes: CustomAttributes,
    source: VmInfo,
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = vim.CustomFieldsManager("CustomFieldsManager")
    vc.fault_rules.add("AddCustomFieldDef", vim.fault.DuplicateName(name=NAME, object=manager))

    assert not attributes.set(source.moref, NAME, "1")

    assert "not visible to this account" in warnings(caplog)[0]


def test_threads_that_come_together_define_it_once_and_all_succeed(
    vc: VCenter, attributes: CustomAttributes, source: VmInfo
) -> None:
    done: list[bool] = []
    threads = [
        threading.Thread(target=lambda: done.append(attributes.set(source.moref, NAME, "x")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert done == [True] * 8
    assert len(vc.custom_fields.field) == 1
    assert vc.errors == []


@pytest.mark.parametrize("method", ["AddCustomFieldDef", "SetField"])
def test_an_answer_that_is_lost_is_asked_for_again(
    vc: VCenter, attributes: CustomAttributes, source: VmInfo, method: str
) -> None:
    rule = vc.fault_rules.add(method, drop="after")

    assert attributes.set(source.moref, NAME, "1")

    assert rule.hits == 1
    assert value_of(vc, source.moref) == ["1"]


@pytest.mark.parametrize("method", ["RetrievePropertiesEx", "AddCustomFieldDef"])
def test_a_session_that_ends_on_the_way_is_no_refusal(
    vc: VCenter,
    session: Session,
    attributes: CustomAttributes,
    source: VmInfo,
    method: str,
) -> None:
    vc.fault_rules.add(method, action=vc.sessions.expire_all)

    assert attributes.set(source.moref, NAME, "1")

    assert session.generation == 2
    assert value_of(vc, source.moref) == ["1"]


def test_a_vcenter_that_is_out_of_reach_is_no_refusal(
    vc: VCenter, attributes: CustomAttributes, source: VmInfo
) -> None:
    rule = vc.fault_rules.add("SetField", drop="before", times=None)
    with pytest.raises(errors.Unreachable):
        attributes.set(source.moref, NAME, "1")
    vc.fault_rules.remove(rule)

    assert attributes.set(source.moref, NAME, "2")


def test_a_value_that_vcenter_takes_amiss_is_an_error_not_a_refusal(
    vc: VCenter, attributes: CustomAttributes, source: VmInfo
) -> None:
    vc.fault_rules.add("SetField", vmodl.fault.InvalidArgument(invalidProperty="value"), times=None)

    with pytest.raises(errors.TaskFailed, match="value"):
        attributes.set(source.moref, NAME, "x" * 10_000)


def test_values_of_attributes_that_vcenter_does_not_show_cost_one_look(
    vc: VCenter, session: Session, place: Place, source: VmInfo
) -> None:
    (vm,) = vc.vms()
    with vc.lock:
        vm.custom_values[999] = "whose?"
        vm.changed("customValue")
    vc.request_log.reset()

    for _ in range(5):
        (found,) = virtual_machine.list_vms(session, place.folder, RECORD_KEY, attributes=[NAME])
        assert found.custom_values == {}

    assert vc.request_log.count("RetrievePropertiesEx") <= 5 + 2


@pytest.mark.parametrize("inherits", [True, False])
def test_a_clone_is_cleaned_only_where_vcenter_copies_values(
    vc: VCenter,
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    attributes: CustomAttributes,
    source: VmInfo,
    inherits: bool,
) -> None:
    vc.switches.clone_inherits_custom_values = inherits
    attributes.set(source.moref, NAME, "1")
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=100)
    vc.request_log.reset()

    template.finish_clone(session, waiter, moref, forbidden_attributes=[NAME])

    assert vc.request_log.count("SetField") == int(inherits)
    assert vc.request_log.count("RetrievePropertiesEx") == 1
    assert value_of(vc, moref) == []
    assert value_of(vc, source.moref) == ["1"]


def test_a_clone_that_may_not_be_cleaned_is_finished_anyway(
    vc: VCenter,
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    attributes: CustomAttributes,
    source: VmInfo,
) -> None:
    attributes.set(source.moref, NAME, "1")
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=100)
    vc.fault_rules.add("SetField", denied("Global.SetCustomField"), times=None)
    capacity = 2 * source.disks[0].capacity_bytes

    template.finish_clone(session, waiter, moref, capacity, forbidden_attributes=[NAME])

    clone = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert clone is not None
    assert clone.disks[0].capacity_bytes == capacity

"""Custom attributes of templates, and which of them clones have."""

from __future__ import annotations

import itertools

import pytest
from pyVmomi import vim

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import RECORD_KEY, Place, clone_request, end_session, import_vm
from vmdk_cache import errors
from vmdk_cache.vim import template, virtual_machine
from vmdk_cache.vim.api_version import is_at_least
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo

_numbers = itertools.count(1)


@pytest.fixture
def name(target: Target) -> str:
    """An attribute that no other test uses: definitions are global."""
    return target.run.named(f"test-{next(_numbers)}")


@pytest.fixture
def attributes(session: Session) -> CustomAttributes:
    return CustomAttributes.of(session)


def values(session: Session, moref: str, *names: str) -> dict[str, str]:
    found = virtual_machine.get_vm(session, moref, RECORD_KEY, attributes=names)
    assert found is not None
    return dict(found.custom_values)


def test_the_first_value_defines_the_attribute(
    session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    assert attributes.field_key(name) is None

    assert attributes.set(source.moref, name, "2026-01-02T03:04:05Z")

    assert attributes.field_key(name) is not None
    assert values(session, source.moref, name) == {name: "2026-01-02T03:04:05Z"}


def test_a_value_is_replaced_and_taken_away(
    session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    """vcsim keeps the empty value, vCenter removes it; both read as None."""
    attributes.set(source.moref, name, "old")
    attributes.set(source.moref, name, "new")
    assert values(session, source.moref, name) == {name: "new"}

    attributes.set(source.moref, name, "")

    assert values(session, source.moref, name) == {}


def test_setting_costs_one_request_once_the_key_is_known(
    session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    attributes.set(source.moref, name, "1")
    before = session.request_count

    for number in range(5):
        attributes.set(source.moref, name, str(number))

    assert session.request_count - before == 5


def test_an_attribute_that_another_process_defined_is_used(
    target: Target, session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    attributes.field_key("something else")  # so this session's definitions are outdated
    with Session(target.endpoint()) as other:
        assert CustomAttributes.of(other).set(source.moref, name, "theirs")
    # The key is not among the definitions that were read; its values are understood all the same.
    assert values(session, source.moref, name) == {name: "theirs"}

    assert attributes.set(source.moref, name, "ours")

    assert values(session, source.moref, name) == {name: "ours"}


def test_an_attribute_that_an_administrator_removed_is_defined_again(
    session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    attributes.set(source.moref, name, "1")
    key = attributes.field_key(name)
    session.content.customFieldsManager.RemoveCustomFieldDef(key)

    assert attributes.set(source.moref, name, "2")

    assert attributes.field_key(name) != key
    assert values(session, source.moref, name) == {name: "2"}


def test_a_name_that_belongs_to_hosts_is_refused_once_and_for_a_while(
    target: Target,
    session: Session,
    attributes: CustomAttributes,
    source: VmInfo,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """vcsim accepts any definition on any object."""
    session.content.customFieldsManager.AddCustomFieldDef(name, vim.HostSystem)

    done = [attributes.set(source.moref, name, "x") for _ in range(3)]

    if target.is_vcsim:
        assert done == [True] * 3
        return
    assert done == [False] * 3
    (warning,) = [record for record in caplog.records if name in record.getMessage()]
    assert "another type of object" in warning.getMessage()


def test_who_asks_for_a_value_is_told_why_it_is_refused(
    target: Target, session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    if target.is_vcsim:
        pytest.skip("vcsim accepts any definition on any object")
    definition = session.content.customFieldsManager.AddCustomFieldDef(name, vim.HostSystem)
    with pytest.raises(errors.NoPermission, match="another type of object"):
        attributes.set_or_refuse(source.moref, name, "x")

    session.content.customFieldsManager.RemoveCustomFieldDef(definition.key)
    attributes.set_or_refuse(source.moref, name, "x")

    assert values(session, source.moref, name) == {name: "x"}


def test_an_attribute_for_all_types_is_used(
    target: Target, session: Session, attributes: CustomAttributes, source: VmInfo, name: str
) -> None:
    if target.is_vcsim:
        pytest.skip("vcsim's definitions for all types have no type, which pyVmomi cannot read")
    session.content.customFieldsManager.AddCustomFieldDef(name)

    assert attributes.set(source.moref, name, "x")

    assert values(session, source.moref, name) == {name: "x"}


def test_a_template_that_is_gone_is_not_found(
    target: Target,
    session: Session,
    waiter: TaskWaiter,
    attributes: CustomAttributes,
    source: VmInfo,
    name: str,
) -> None:
    if target.is_vcsim:
        pytest.skip("vcsim crashes at a SetField on an unknown object")
    template.destroy(session, waiter, source.moref)

    with pytest.raises(errors.ObjectNotFound) as caught:
        attributes.set(source.moref, name, "x")

    assert caught.value.moref == source.moref


def test_listing_with_unused_attributes_costs_no_second_request(
    session: Session, place: Place, source: VmInfo, name: str
) -> None:
    before = session.request_count

    (found,) = virtual_machine.list_vms(session, place.folder, RECORD_KEY, attributes=[name])

    assert session.request_count - before == 1
    assert found == source
    assert found.custom_values == {}


def test_listing_with_values_asks_for_their_names_once(
    session: Session, place: Place, source: VmInfo, name: str, target: Target
) -> None:
    with Session(target.endpoint()) as other:
        CustomAttributes.of(other).set(source.moref, name, "x")
        CustomAttributes.of(other).set(source.moref, f"{name} of others", "y")
    before = session.request_count

    for _ in range(3):
        (found,) = virtual_machine.list_vms(session, place.folder, RECORD_KEY, attributes=[name])
        assert found.custom_values == {name: "x"}

    assert session.request_count - before == 3 + 1


def test_without_requested_attributes_a_listing_costs_and_shows_nothing_more(
    session: Session, place: Place, source: VmInfo, attributes: CustomAttributes, name: str
) -> None:
    attributes.set(source.moref, name, "x")
    before = session.request_count

    found = virtual_machine.find_vm(session, place.folder, source.name, RECORD_KEY)

    assert session.request_count - before == 2
    assert found == source
    with pytest.raises(TypeError):
        source.custom_values[name] = "y"  # type: ignore[index]


def test_a_renamed_attribute_has_its_new_name_after_a_new_log_in(
    session: Session, source: VmInfo, attributes: CustomAttributes, name: str
) -> None:
    attributes.set(source.moref, name, "1")
    manager = session.content.customFieldsManager
    manager.RenameCustomFieldDef(attributes.field_key(name), f"{name} (old)")
    end_session(session)

    assert values(session, source.moref, name, f"{name} (old)") == {f"{name} (old)": "1"}

    assert session.generation == 2
    assert attributes.field_key(name) is None


def test_a_clone_shows_no_value_of_its_template(
    target: Target,
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    source: VmInfo,
    attributes: CustomAttributes,
    name: str,
) -> None:
    """vcsim's clones inherit no values, so the test sets one there."""
    other = f"{name} of an administrator"
    attributes.set(source.moref, name, "x")
    attributes.set(source.moref, other, "kept")
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=60)
    if target.is_vcsim:
        attributes.set(moref, name, "x")
        attributes.set(moref, other, "kept")
    assert values(session, moref, name, other) == {name: "x", other: "kept"}

    template.finish_clone(session, waiter, moref, forbidden_attributes=[name])

    assert values(session, moref, name, other) == {other: "kept"}
    assert values(session, source.moref, name) == {name: "x"}


def test_a_clone_without_values_costs_no_more_for_it(
    session: Session, waiter: TaskWaiter, place: Place, name: str
) -> None:
    """The VM is not from a task of this session, so no poll is running that would be counted."""
    moref = import_vm(session, waiter, place, "volume-1")
    before = session.request_count

    template.finish_clone(session, waiter, moref, forbidden_attributes=[name])

    assert session.request_count - before == 1


def test_a_vm_has_its_creation_time(session: Session, source: VmInfo) -> None:
    """A vCenter before API 6.7 refuses this property, and so does vcsim without a recording."""
    if not is_at_least(session.content.about.apiVersion, "6.7"):
        assert source.created_at is None
        return
    assert source.created_at is not None
    assert source.created_at.utcoffset() is not None
    age_s = (session.server_time() - source.created_at).total_seconds()
    assert 0 <= age_s < 3600

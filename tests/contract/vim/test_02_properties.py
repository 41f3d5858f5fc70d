"""Bulk reads."""

from __future__ import annotations

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import Place, end_session
from vmdk_cache import errors
from vmdk_cache.vim import folder, properties
from vmdk_cache.vim.session import Session


def test_vanished_objects_are_left_out(session: Session, place: Place) -> None:
    found = properties.read(session, "Folder", [place.folder, "group-v999999"], ["name"])

    assert list(found) == [place.folder]


def test_an_object_without_any_property_survives(session: Session, place: Place) -> None:
    found = properties.read(session, "Datacenter", [place.datacenter.moref], ["customValue"])

    assert place.datacenter.moref in found


def test_references_are_morefs(session: Session, place: Place) -> None:
    values = properties.read_one(session, "Datacenter", place.datacenter.moref, ["vmFolder"])

    assert values == {"vmFolder": place.datacenter.vm_folder}


def test_reading_one_that_is_gone_raises(session: Session) -> None:
    with pytest.raises(errors.ObjectNotFound):
        properties.read_one(session, "Folder", "group-v999999", ["name"])


def test_an_expired_session_does_not_look_like_an_empty_answer(
    session: Session, place: Place
) -> None:
    end_session(session)

    assert properties.read(session, "Folder", [place.folder], ["name"])
    assert session.generation == 2


def test_an_expired_session_does_not_look_like_an_empty_folder(
    session: Session, place: Place
) -> None:
    folder.ensure_folder(session, place.datacenter, ["tests", "full", "child"])
    full = folder.find_folder(session, place.datacenter, ["tests", "full"])
    assert full is not None
    end_session(session)

    found = properties.read_through(
        session, "Folder", full, [("Folder", "childEntity")], "Folder", ["name"]
    )

    assert [values["name"] for values in found.values()] == ["child"]


def test_an_empty_folder_is_empty_and_costs_no_log_in(session: Session, place: Place) -> None:
    found = properties.read_through(
        session, "Folder", place.folder, [("Folder", "childEntity")], "VirtualMachine", ["name"]
    )

    assert found == {}
    assert session.generation == 1


def test_a_root_that_is_gone_raises(session: Session) -> None:
    with pytest.raises(errors.ObjectNotFound) as caught:
        properties.read_through(
            session,
            "Folder",
            "group-v999999",
            [("Folder", "childEntity")],
            "VirtualMachine",
            ["name"],
        )

    assert caught.value.moref == "group-v999999"


def test_all_pages_are_read(target: Target, session: Session, place: Place) -> None:
    if target.fake is None:
        pytest.skip("vcsim cuts no pages of its own")
    for number in range(7):
        folder.ensure_folder(session, place.datacenter, ["tests", "pages", f"f{number}"])
    parent = folder.find_folder(session, place.datacenter, ["tests", "pages"])
    assert parent is not None
    target.fake.switches.retrieve_page_limit = 3
    target.fake.request_log.reset()
    try:
        found = properties.read_through(
            session, "Folder", parent, [("Folder", "childEntity")], "Folder", ["name"]
        )
    finally:
        target.fake.switches.retrieve_page_limit = 1000

    assert sorted(values["name"] for values in found.values()) == [f"f{n}" for n in range(7)]
    assert target.fake.request_log.by_method() == {
        "RetrievePropertiesEx": 1,
        "ContinueRetrievePropertiesEx": 2,
    }

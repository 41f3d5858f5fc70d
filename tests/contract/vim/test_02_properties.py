"""Bulk reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pyVmomi import vmodl

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import NO_FOLDER, CountingSession, Place, end_session
from vmdk_cache import errors
from vmdk_cache.vim import folder, properties
from vmdk_cache.vim.session import Session


def test_vanished_objects_are_left_out(session: Session, place: Place) -> None:
    found = properties.read(session, "Folder", [place.folder, NO_FOLDER], ["name"])

    assert list(found) == [place.folder]


def test_an_object_without_any_property_survives(session: Session, place: Place) -> None:
    found = properties.read(session, "Datacenter", [place.datacenter.moref], ["customValue"])

    assert place.datacenter.moref in found


def test_references_are_morefs(session: Session, place: Place) -> None:
    values = properties.read_one(session, "Datacenter", place.datacenter.moref, ["vmFolder"])

    assert values == {"vmFolder": place.datacenter.vm_folder}


def test_reading_one_that_is_gone_raises(session: Session) -> None:
    with pytest.raises(errors.ObjectNotFound):
        properties.read_one(session, "Folder", NO_FOLDER, ["name"])


def test_an_expired_session_does_not_look_like_an_empty_answer(
    session: Session, place: Place
) -> None:
    end_session(session)

    assert properties.read(session, "Folder", [place.folder], ["name"])
    assert session.generation == 2


def test_an_expired_session_does_not_look_like_an_empty_folder(
    target: Target, session: Session, place: Place
) -> None:
    path = target.run.path("tests", "full")
    folder.ensure_folder(session, place.datacenter, [*path, "child"])
    full = folder.find_folder(session, place.datacenter, path)
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
            NO_FOLDER,
            [("Folder", "childEntity")],
            "VirtualMachine",
            ["name"],
        )

    assert caught.value.moref == NO_FOLDER


class ShortPages(CountingSession):
    """Requests three objects at a time, like a vCenter that limits its pages."""

    def invoke(
        self, type_name: str, moref: str, method: str, /, *, safe: bool = False, **args: Any
    ) -> Any:
        if method == "RetrievePropertiesEx":
            args["options"] = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=3)
        return super().invoke(type_name, moref, method, safe=safe, **args)


def test_all_pages_are_read(target: Target, session: Session, place: Place) -> None:
    for number in range(7):
        session.invoke("Folder", place.folder, "CreateFolder", name=f"f{number}")
    with ShortPages(target.endpoint()) as short:
        found = properties.read_through(
            short, "Folder", place.folder, [("Folder", "childEntity")], "Folder", ["name"]
        )

    assert sorted(values["name"] for values in found.values()) == [f"f{n}" for n in range(7)]
    assert short.asked == Counter(RetrievePropertiesEx=1, ContinueRetrievePropertiesEx=2)

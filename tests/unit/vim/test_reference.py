"""Morefs become pyVmomi's objects and back; names are written as vCenter writes them."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from vmdk_cache.vim.reference import (
    escape_name,
    managed_type,
    unescape_name,
    with_references,
    without_references,
)


def test_a_type_is_found_by_its_name_on_the_wire() -> None:
    assert managed_type("VirtualMachine") is vim.VirtualMachine


def test_morefs_become_objects_where_the_method_takes_objects() -> None:
    sent = with_references(vim.Folder, "CreateVM_Task", {"pool": "resgroup-1", "host": "host-2"})
    assert isinstance(sent["pool"], vim.ResourcePool)
    assert isinstance(sent["host"], vim.HostSystem)
    assert [without_references(value) for value in sent.values()] == ["resgroup-1", "host-2"]


def test_text_stays_text_where_the_method_takes_text() -> None:
    args = {"name": "vm-1"}
    assert with_references(vim.Folder, "CreateFolder", args) == {"name": "vm-1"}
    assert args == {"name": "vm-1"}


def test_objects_become_morefs_alone_and_in_lists() -> None:
    assert without_references(vim.Folder("group-v1")) == "group-v1"
    assert without_references([vim.Folder("group-v1"), vim.Folder("group-v2")]) == [
        "group-v1", "group-v2",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, "text", 7, [], ["a"], [1, 2]])
def test_other_values_stay_what_they_are(value: object) -> None:
    assert without_references(value) is value


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ("a/b", "a%2fb"),
        ("a\\b", "a%5cb"),
        ("50% full", "50%25 full"),
        ("%2f", "%252f"),
    ],
)
def test_a_name_is_written_with_escapes_and_read_without(name: str, written: str) -> None:
    assert escape_name(name) == written
    assert unescape_name(written) == name


def test_escapes_in_capitals_are_read_too() -> None:
    assert unescape_name("a%2Fb%5Cc") == "a/b\\c"

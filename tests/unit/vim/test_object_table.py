"""A table of objects follows vCenter's updates, and its rows never change in place."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim.object_table import NO_OBJECTS, apply_update, merged

_pc = vmodl.query.PropertyCollector


def update(kind: str, *changes: object, missing: tuple[object, ...] = ()) -> object:
    return _pc.FilterUpdate(
        objectSet=[
            _pc.ObjectUpdate(
                kind=kind, obj=vim.Folder("f"), changeSet=list(changes), missingSet=list(missing)
            )
        ]
    )


def assign(name: str, value: object) -> object:
    return _pc.Change(name=name, op="assign", val=value)


BEFORE = {"name": "x", "parent": "group-d1"}


KEY = ("Folder", "f")


@pytest.mark.parametrize(
    ("news", "after"),
    [
        (update("modify", assign("name", "y")), BEFORE | {"name": "y"}),
        (update("modify", assign("parent", None)), {"name": "x"}),
        (update("modify", _pc.Change(name="parent", op="remove")), {"name": "x"}),
        (update("modify", _pc.Change(name="parent", op="indirectRemove")), {"name": "x"}),
        (update("modify", assign("parent", vim.Folder("g"))), BEFORE | {"parent": "g"}),
        (
            update(
                "modify",
                missing=(_pc.MissingProperty(path="name", fault=vim.fault.NoPermission()),),
            ),
            {"parent": "group-d1"},
        ),
        (update("enter", assign("name", "y")), {"name": "y"}),
        (update("leave"), None),
        (
            _pc.FilterUpdate(
                missingSet=[
                    _pc.MissingObject(
                        obj=vim.Folder("f"), fault=vmodl.fault.ManagedObjectNotFound()
                    )
                ]
            ),
            None,
        ),
    ],
)
def test_a_row_becomes_what_the_update_says_and_is_not_changed_itself(
    news: object, after: dict[str, object] | None
) -> None:
    row = dict(BEFORE)
    rows: dict[tuple[str, str], object] = {KEY: row}
    apply_update(rows, news)  # type: ignore[arg-type]
    assert rows.get(KEY) == after
    assert row == BEFORE


def test_a_property_missing_for_lack_of_a_log_in_is_a_lost_session() -> None:
    news = update(
        "modify", missing=(_pc.MissingProperty(path="name", fault=vim.fault.NotAuthenticated()),)
    )
    with pytest.raises(errors.SessionExpired):
        apply_update({KEY: BEFORE}, news)


def test_an_object_missing_for_lack_of_a_log_in_is_a_lost_session() -> None:
    fault = vim.fault.NotAuthenticated()
    news = _pc.FilterUpdate(missingSet=[_pc.MissingObject(obj=vim.Folder("f"), fault=fault)])
    with pytest.raises(errors.SessionExpired):
        apply_update({KEY: BEFORE}, news)


def files(*names: str) -> list[object]:
    return [vim.vm.FileLayoutEx.FileInfo(key=at, name=name) for at, name in enumerate(names)]


def test_an_unchanged_row_is_the_one_before() -> None:
    """Also if vCenter sent it again: its data objects are compared by what they contain."""
    before = merged(NO_OBJECTS, {KEY: {"files": files("a", "b")}, ("Folder", "g"): {"name": "g"}})
    assert (
        merged(before, {KEY: {"files": files("a", "b")}, ("Folder", "g"): {"name": "g"}}) is before
    )
    after = merged(before, {KEY: {"files": files("a", "c")}, ("Folder", "g"): {"name": "g"}})
    assert after is not before
    assert after[KEY] is not before[KEY]
    assert after["Folder", "g"] is before["Folder", "g"]


def test_an_object_that_is_gone_leaves_the_table() -> None:
    before = merged(NO_OBJECTS, {KEY: BEFORE, ("Folder", "g"): {"name": "g"}})
    after = merged(before, {KEY: BEFORE})
    assert dict(after) == {KEY: BEFORE}
    assert isinstance(after, MappingProxyType), "a table cannot be changed"
    assert len(before) == 2

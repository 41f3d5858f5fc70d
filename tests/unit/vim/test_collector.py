"""Rows of objects follow vCenter's updates, and never change in place."""

from __future__ import annotations

import pytest
from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim.collector import apply_update

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

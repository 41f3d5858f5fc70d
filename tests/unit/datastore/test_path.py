"""Datastore paths: vSphere's notation, and nothing that leaves a directory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdk_cache.datastore.path import DatastorePath

PART = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1
).filter(lambda part: part not in (".", ".."))
NAME = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), min_size=1)


@given(NAME, st.lists(PART, max_size=4))
def test_what_is_printed_is_parsed_back(name: str, parts: list[str]) -> None:
    path = DatastorePath(name).join(*parts)
    assert DatastorePath.parse(str(path)) == path


@pytest.mark.parametrize(
    ("text", "datastore", "path"),
    [
        ("[ds1] vm/vm.vmdk", "ds1", "vm/vm.vmdk"),
        ("[ds1]", "ds1", ""),
        ("[ds1] ", "ds1", ""),
        ("[data store (1)] a b/c.vmx", "data store (1)", "a b/c.vmx"),
        ("[ds1]vm/vm.vmx", "ds1", "vm/vm.vmx"),
        ("[ds1] dir/", "ds1", "dir"),
    ],
)
def test_notation(text: str, datastore: str, path: str) -> None:
    assert DatastorePath.parse(text) == DatastorePath(datastore, path)


@pytest.mark.parametrize(
    "text",
    ["", "vm/vm.vmdk", "[] vm", "[a vm", "[ds] ../vm", "[ds] a/../b", "[ds] /etc", "[ds] a//b",
     "[ds] a/./b", "[ds] a\0b", "x[ds] a"],
)  # fmt: skip
def test_a_path_that_points_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"path|name of a datastore"):
        DatastorePath.parse(text)


def test_join_refuses_to_climb() -> None:
    with pytest.raises(ValueError, match=r"\.\."):
        DatastorePath("ds", "dir").join("../other")


def test_parent_and_name() -> None:
    path = DatastorePath("ds", "a/b/c.vmdk")
    assert (path.parent, path.name) == (DatastorePath("ds", "a/b"), "c.vmdk")
    root = DatastorePath("ds")
    assert (root.parent, root.name, str(root)) == (root, "", "[ds]")

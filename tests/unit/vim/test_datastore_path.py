"""How a path may contain a datastore's name, and which form is used."""

from __future__ import annotations

import pytest

from vmdk_cache import errors
from vmdk_cache.vim.datastore_path import in_each_way, path_names

BAD_PATH = "vim.fault.InvalidDatastorePath"
NO_FILE = "vim.fault.FileNotFound"


def refused(fault: str) -> errors.VCenterError:
    kind = errors.ObjectNotFound if fault == NO_FILE else errors.TaskFailed
    return kind(f"refused: {fault}", fault=fault)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["ds1", "ds1"], ("ds1",)),
        (["a%2fb", "a%2fb"], ("a%2fb", "a/b")),
        (["a/b", "a%2fb"], ("a/b", "a%2fb")),
        (["50%25"], ("50%25", "50%")),
        (["a%5cb"], ("a%5cb", "a\\b")),
        (["fast [old]"], ("fast [old]",)),
    ],
)
def test_the_name_as_vcenter_gives_it_comes_first(
    written: list[str], expected: tuple[str, ...]
) -> None:
    assert path_names({"datastore-1": written}) == {"datastore-1": expected}


def test_a_way_that_could_mean_two_datastores_is_not_taken() -> None:
    """Administrators name them ``a/b`` and ``a%2fb``."""
    assert path_names({"datastore-1": ["a%2fb"], "datastore-2": ["a%252fb"]}) == {
        "datastore-1": ("a/b",),
        "datastore-2": ("a%252fb",),
    }


def test_a_datastore_that_no_path_can_name_is_not_found() -> None:
    with pytest.raises(errors.ObjectNotFound, match="a similar name") as told:
        in_each_way((), lambda name: name)
    assert told.value.fault is None


def calls(answers: dict[str, errors.VCenterError | None]) -> tuple[list[str], object]:
    """The names that were tried, and the result: the name that was accepted, or the error."""
    tried: list[str] = []

    def call(name: str) -> str:
        tried.append(name)
        failure = answers[name]
        if failure is not None:
            raise failure
        return name

    try:
        return tried, in_each_way(tuple(answers), call)
    except errors.VCenterError as failure:
        return tried, failure


def test_the_first_name_that_vcenter_knows_ends_the_search() -> None:
    assert calls({"a%2fb": None, "a/b": None}) == (["a%2fb"], "a%2fb")


@pytest.mark.parametrize(
    "fault",
    [BAD_PATH, NO_FILE, "vim.fault.InvalidDatastore", "vmodl.fault.InvalidArgument"],
)
def test_a_name_that_vcenter_does_not_know_leads_to_the_next(fault: str) -> None:
    assert calls({"a%2fb": refused(fault), "a/b": None}) == (["a%2fb", "a/b"], "a/b")


def test_any_other_fault_ends_the_search() -> None:
    full = errors.NoSpace("full", fault="vim.fault.NoDiskSpace")
    assert calls({"a%2fb": full, "a/b": None}) == (["a%2fb"], full)


def test_of_two_refusals_the_first_is_reported() -> None:
    first, second = refused(BAD_PATH), refused("vim.fault.InvalidDatastore")
    assert calls({"a%2fb": first, "a/b": second}) == (["a%2fb", "a/b"], first)


def test_a_file_that_does_not_exist_is_reported_whichever_name_is_right() -> None:
    unknown, gone = refused(BAD_PATH), refused(NO_FILE)
    assert calls({"a%2fb": unknown, "a/b": gone})[1] is gone
    assert calls({"a%2fb": gone, "a/b": unknown})[1] is gone

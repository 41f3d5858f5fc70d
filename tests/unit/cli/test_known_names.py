"""The file of names for completion: private, bounded, and never in anybody's way."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from vmdk_cache.cli.known_names import KEPT_S, MOST_NAMES, Names, known, path, remember

NOW = 1_764_450_000.0


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "cache" / "vmdk-cache" / "names.json"


def test_it_is_where_xdg_says() -> None:
    assert path({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == pathlib.Path("/c/vmdk-cache/names.json")
    below_home = pathlib.Path("/h/.cache/vmdk-cache/names.json")
    assert path({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == below_home
    assert path({}) is None


def test_names_of_all_caches_are_offered(file: pathlib.Path) -> None:
    remember(file, "vc/one", {"1": "debian", "2": ""}, ["DS1"], NOW)
    remember(file, "vc/two", {"3": "rocky"}, ["DS2", "DS1"], NOW)
    assert known(file, NOW) == Names({"1": "debian", "2": "", "3": "rocky"}, ["DS1", "DS2"])


def test_a_later_look_replaces_the_names_of_its_cache(file: pathlib.Path) -> None:
    remember(file, "vc/one", {"1": "debian"}, ["DS1"], NOW)
    remember(file, "vc/one", {}, [], NOW)
    assert known(file, NOW) == Names()


def test_old_names_are_not_offered(file: pathlib.Path) -> None:
    remember(file, "vc/one", {"1": "debian"}, [], NOW)
    assert known(file, NOW + KEPT_S - 1).images == {"1": "debian"}
    assert known(file, NOW + KEPT_S).images == {}


def test_only_this_user_can_read_it(file: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        remember(file, "vc/one", {"1": "debian"}, [], NOW)
        remember(file, "vc/one", {"1": "debian"}, [], NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_it_stays_small(file: pathlib.Path) -> None:
    remember(file, "vc/one", {str(i): "" for i in range(MOST_NAMES + 5)}, [], NOW)
    assert len(known(file, NOW).images) == MOST_NAMES


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', '{"version": 1}', "\xff",
                                     '{"version": 1, "caches": {"a": {"seen": 1764450000}}}',
                                     '{"version": 1, "caches": {"a": 3}}'])  # fmt: skip
def test_a_damaged_file_is_replaced(file: pathlib.Path, content: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    assert known(file, NOW) == Names()
    remember(file, "vc/one", {"1": "debian"}, [], NOW)
    assert known(file, NOW).images == {"1": "debian"}


def test_a_directory_that_cannot_be_made_is_no_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache").write_text("")
    remember(tmp_path / "cache" / "vmdk-cache" / "names.json", "vc/one", {}, [], NOW)
    remember(None, "vc/one", {}, [], NOW)
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make directories for another user")
def test_the_directory_of_another_user_stays_as_it_is(file: pathlib.Path) -> None:
    """With sudo, HOME may be that of the user."""
    file.parent.mkdir(parents=True)
    os.chown(file.parent, 12345, 12345)
    remember(file, "vc/one", {"1": "debian"}, [], NOW)
    assert not file.exists()

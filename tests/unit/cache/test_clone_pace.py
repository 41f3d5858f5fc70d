from __future__ import annotations

import pytest

from vmdk_cache.cache.clone_pace import ACROSS_FACTOR, FIRST_GUESS_S_PER_GIB, GIB, Pace


def test_before_any_clone_one_across_is_expected_to_take_longer() -> None:
    assert Pace().seconds(True, 2 * GIB) == 2 * FIRST_GUESS_S_PER_GIB
    assert Pace().seconds(False, 2 * GIB) == 2 * FIRST_GUESS_S_PER_GIB * ACROSS_FACTOR


@pytest.mark.parametrize("near", [True, False])
def test_what_is_known_of_one_kind_tells_of_the_other(near: bool) -> None:
    pace = Pace().learned(near, 12.0, 2 * GIB)
    assert pace.seconds(near, GIB) == pytest.approx(6.0)
    assert pace.seconds(False, GIB) == pytest.approx(pace.seconds(True, GIB) * ACROSS_FACTOR)


def test_each_kind_is_known_by_itself_once_both_were_seen() -> None:
    pace = Pace().learned(True, 10.0, GIB).learned(False, 11.0, GIB)
    assert pace.seconds(True, GIB) == pytest.approx(10.0)
    assert pace.seconds(False, GIB) == pytest.approx(11.0)


def test_a_datastore_that_has_become_slow_is_soon_known_as_slow() -> None:
    pace = Pace()
    for _ in range(50):
        pace = pace.learned(True, 1.0, GIB)
    for _ in range(10):
        pace = pace.learned(True, 9.0, GIB)
    assert 7.0 < pace.seconds(True, GIB) < 9.0


def test_a_small_clone_says_less_than_a_large_one() -> None:
    pace = Pace().learned(True, 100.0, 100 * GIB).learned(True, 1.0, GIB // 100)
    assert pace.seconds(True, GIB) < 1.5

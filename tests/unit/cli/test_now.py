from __future__ import annotations

import datetime

import pytest

from vmdk_cache.cli import now

NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (-30, "just now"),  # vCenter's clock is ahead
        (0, "just now"),
        (9.9, "just now"),
        (10, "10 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (HOUR - 1, "59 min ago"),
        (HOUR, "1 h ago"),
        (2 * DAY - 1, "47 h ago"),
        (2 * DAY, "2 d ago"),
        (400 * DAY, "400 d ago"),
    ],
)
def test_a_past_time_is_told_in_one_unit_rounded_down(seconds: float, says: str) -> None:
    assert now.ago(NOON - datetime.timedelta(seconds=seconds), NOON) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (-1, "expired"),
        (0, "expired"),
        (0.5, "in 0 s"),
        (5, "in 5 s"),
        (90, "in 1 min"),
        (21 * HOUR + 59 * 60, "in 21 h"),
        (3 * DAY, "in 3 d"),
    ],
)
def test_a_coming_time_is_told_until_it_has_come(seconds: float, says: str) -> None:
    assert now.until(NOON + datetime.timedelta(seconds=seconds), NOON) == says


def test_another_word_may_say_that_the_time_has_come() -> None:
    assert now.until(NOON, NOON, past="due") == "due"


def test_time_zones_do_not_matter() -> None:
    elsewhere = NOON.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    assert now.ago(elsewhere, NOON) == "just now"

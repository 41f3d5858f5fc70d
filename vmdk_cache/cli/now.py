"""Times as people say them, relative to now: "2 min ago", "in 21 h". Pure.

A time is rounded down to one unit: seconds up to a minute, minutes up to an hour, hours up to two
days, then days. So "in 21 h" means at least 21 hours and less than 22.
"""

from __future__ import annotations

import datetime

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
#: Each unit, and from how many seconds on a time is told in it.
_UNITS = ((2 * _DAY, _DAY, "d"), (_HOUR, _HOUR, "h"), (_MINUTE, _MINUTE, "min"), (0, 1, "s"))
_JUST_NOW_S = 10


def ago(moment: datetime.datetime, now: datetime.datetime) -> str:
    """How long ago ``moment`` was; "just now" also if it lies ahead, because clocks differ.

    :param moment: aware
    :param now: aware
    """
    seconds = int((now - moment).total_seconds())
    return "just now" if seconds < _JUST_NOW_S else f"{_duration(seconds)} ago"


def until(moment: datetime.datetime, now: datetime.datetime, past: str = "expired") -> str:
    """How long it takes until ``moment``.

    :param moment: aware
    :param now: aware
    :param past: returned if the moment has come
    """
    seconds = (moment - now).total_seconds()
    return past if seconds <= 0 else f"in {_duration(int(seconds))}"


def _duration(seconds: int) -> str:
    return next(f"{seconds // length} {unit}" for since, length, unit in _UNITS if seconds >= since)

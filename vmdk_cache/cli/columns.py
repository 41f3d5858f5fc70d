"""The cells of tables: sizes, times and other values, rounded in a table, exact in JSON, YAML and
CSV."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

from cliff.columns import FormattableColumn

from vmdk_cache.cli import now as relative
from vmdk_cache.quoting import printable


class Plain(FormattableColumn[Any]):
    """A value that is shown as it is, or as ``-`` in a table if it is unknown (None), which sorts
    first."""

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Plain):
            return NotImplemented
        mine, theirs = self._value, other._value
        if mine is None or theirs is None:
            return mine is None and theirs is not None
        return bool(mine < theirs)

    def human_readable(self) -> str:
        return "-" if self._value is None else self._human()

    def _human(self) -> str:
        return str(self._value)


class Size(Plain):
    """Bytes."""

    def _human(self) -> str:
        size = float(self._value)
        for unit in ("B", "KiB", "MiB", "GiB"):
            if round(size) < 1024:
                return f"{_three_digits(size)} {unit}"
            size /= 1024
        return f"{_three_digits(size)} TiB"


class Time(Plain):
    """A point in time, aware UTC."""

    def _human(self) -> str:
        moment: datetime.datetime = self._value
        return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}"

    def machine_readable(self) -> Any:
        if self._value is None:
            return None
        moment: datetime.datetime = self._value.astimezone(datetime.UTC)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


class Ago(Time):
    """A point in the past, relative to now in a table; "never" if there is none.

    :param now: aware
    """

    def __init__(self, value: datetime.datetime | None, now: datetime.datetime) -> None:
        super().__init__(value)
        self._now = now

    def human_readable(self) -> str:
        return "never" if self._value is None else relative.ago(self._value, self._now)


class Until(Time):
    """A point in the future, relative to now in a table, or "expired".

    :param now: aware
    """

    def __init__(self, value: datetime.datetime | None, now: datetime.datetime) -> None:
        super().__init__(value)
        self._now = now

    def _human(self) -> str:
        return relative.until(self._value, self._now)


class Percent(Plain):
    """A percentage, from 0 to 100."""

    def _human(self) -> str:
        return f"{self._value:.1f} %"

    def machine_readable(self) -> Any:
        return None if self._value is None else round(self._value, 2)


class Seconds(Plain):
    """A duration."""

    def _human(self) -> str:
        return f"{self._value:.2f} s"

    def machine_readable(self) -> Any:
        return None if self._value is None else round(self._value, 3)


class Lines(FormattableColumn[list[str]]):
    """Texts, one below the other in a table."""

    def human_readable(self) -> str:
        return "\n".join(self._value)


def machine_readable(cell: Any) -> Any:
    """The cell's value in JSON and YAML."""
    return cell.machine_readable() if isinstance(cell, FormattableColumn) else cell


def exact(cell: Any) -> Any:
    """The cell's value in CSV: a list or dictionary becomes JSON, which programs can parse."""
    value = machine_readable(cell)
    return json.dumps(value) if isinstance(value, list | dict) else value


def cleaned(cell: Any) -> Any:
    """The cell with control characters escaped: users choose the names of images."""
    if isinstance(cell, FormattableColumn):
        clean = copy.copy(cell)
        clean._value = cleaned(cell._value)
        return clean
    if isinstance(cell, dict):
        return {key: cleaned(each) for key, each in cell.items()}
    if isinstance(cell, list):
        return [cleaned(each) for each in cell]
    return printable(cell) if isinstance(cell, str) else cell


def text(cell: Any) -> str:
    """What a table shows of the cell."""
    shown = cell.human_readable() if isinstance(cell, FormattableColumn) else cell
    return shown if isinstance(shown, str) else str(shown)


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"

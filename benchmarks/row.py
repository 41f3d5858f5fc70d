"""A row of the table, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


class NotMeasured(Exception):
    """This row cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Bar:
    """A promise, and whether it was kept.

    :ivar text: the promise, e.g. "at most 4 requests a volume"
    :ivar found: the measurement, in the same terms
    """

    text: str
    found: str
    met: bool


@dataclass(frozen=True)
class Outcome:
    """What a row measured.

    :ivar bars: judged promises; none for a row that is only informative
    :ivar figures: (what, value with its unit) for the table, ours and the peers'
    :ivar values: numbers for pictures and for other programs, as JSON values
    """

    bars: tuple[Bar, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    values: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """One file of rows/.

    :ivar name: argument that runs it alone
    :ivar measure: raises NotMeasured; its keyword arguments reduce it for a test
    """

    name: str
    title: str
    measure: Callable[..., Outcome]


def ratio(ours: float, peer: float) -> float:
    """``ours`` over ``peer``; infinite if the peer took nothing."""
    return ours / peer if peer else float("inf")

"""The clock as a dependency: no other module of the package reads the system's time."""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """The clock that the package uses."""

    def now(self) -> datetime.datetime:
        """The current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since a fixed point; never decreases."""

    def sleep(self, seconds: float) -> None:
        """Wait; other green threads may run meanwhile."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

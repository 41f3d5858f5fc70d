"""Requests of clients, counted by method.

SOAP methods are counted under their WSDL name ("CloneVM_Task"), other HTTP requests under
"<area>:<verb>" ("nfc:POST", "folder:PUT"). Benchmarks and tests read the counts; the fake itself
does not use them.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One request as it arrived: method name and the moref (or path) of its target."""

    method: str
    target: str


class RequestLog:
    """Thread-safe counters; the newest 10,000 requests are also kept in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._recent: deque[Request] = deque(maxlen=10_000)

    def record(self, method: str, target: str = "") -> None:
        """Count one request."""
        with self._lock:
            self._counts[method] += 1
            self._recent.append(Request(method, target))

    def count(self, method: str) -> int:
        """How often `method` was called since the last reset."""
        with self._lock:
            return self._counts[method]

    def total(self) -> int:
        """All requests since the last reset."""
        with self._lock:
            return sum(self._counts.values())

    def by_method(self) -> dict[str, int]:
        """Counts by method, for all methods that were called."""
        with self._lock:
            return {method: count for method, count in self._counts.items() if count}

    def recent(self) -> list[Request]:
        """The newest requests, oldest first."""
        with self._lock:
            return list(self._recent)

    def reset(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._counts.clear()
            self._recent.clear()

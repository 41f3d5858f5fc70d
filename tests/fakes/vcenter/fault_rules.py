"""Faults on demand, by count and never at random.

A rule names a method ("CloneVM_Task", "nfc:POST", "folder:PUT", or "*" for any), the point where it
acts (`on="call"`: the request itself; `on="task"`: the task that the request starts), and
optionally the target object (by name or moref). It lets `skip` matching requests pass, then hits
`times` requests (None: all further ones). A hit waits `delay_s`, runs `action`, and then raises
`fault`, answers `http_status`, or drops the connection. A rule with none of these only delays or
runs its action.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Where = Literal["call", "task"]
Drop = Literal["before", "after"]


@dataclass(eq=False)
class FaultRule:
    """One rule; `seen` counts matching requests, `hits` the affected ones.

    :param fault: a pyVmomi fault (raised as it is) or None
    :param drop: close the connection "before" or "after" the server acted
    :param delay_s: seconds of the fake's time to wait at each hit
    :param action: called at each hit, outside the vCenter's lock
    """

    method: str
    fault: Exception | None = None
    on: Where = "call"
    object_name: str | None = None
    skip: int = 0
    times: int | None = 1
    delay_s: float = 0.0
    drop: Drop | None = None
    http_status: int | None = None
    action: Callable[[], object] | None = None
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)

    def _takes(self, method: str, names: tuple[str, ...], on: Where) -> bool:
        if self.method not in ("*", method) or self.on != on:
            return False
        if self.object_name is not None and self.object_name not in names:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.hits += 1
        return True


class FaultRules:
    """The active rules; the first that matches a request wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[FaultRule] = []

    def add(
        self,
        method: str,
        fault: Exception | None = None,
        on: Where = "call",
        object_name: str | None = None,
        skip: int = 0,
        times: int | None = 1,
        delay_s: float = 0.0,
        drop: Drop | None = None,
        http_status: int | None = None,
        action: Callable[[], object] | None = None,
    ) -> FaultRule:
        """Activate a rule and return it; its `hits` show whether it took effect."""
        if on not in ("call", "task"):
            raise ValueError(f"a fault rule acts on 'call' or 'task', not {on!r}")
        if drop not in (None, "before", "after"):
            raise ValueError(f"drop is None, 'before' or 'after', not {drop!r}")
        rule = FaultRule(
            method, fault, on, object_name, skip, times, delay_s, drop, http_status, action
        )
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: FaultRule) -> None:
        """Deactivate a rule; does nothing if it is not active."""
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)

    def clear(self) -> None:
        """Deactivate all rules."""
        with self._lock:
            self._rules.clear()

    def match(self, method: str, *names: str, on: Where = "call") -> FaultRule | None:
        """The rule that hits this request, or None. Updates the rule's counters.

        :param names: names of the request's target (object name, moref, path); any of them may
            equal `object_name`
        """
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if rule._takes(method, names, on):
                    return rule
        return None

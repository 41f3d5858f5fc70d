"""vCenter objects kept in memory and brought up to date by one request.

    follow      registers a scope, which is a name and a filter; sends nothing
    refresh     asks vCenter for the changes since the last refresh: one request
    table       the complete content of a scope as of the last refresh; sends nothing

There is no background thread that waits for updates and could die; callers ask. With
``maxWaitSeconds`` 0, ``WaitForUpdatesEx`` makes vCenter calculate updates once and answer at once
(vSphere API reference, WaitOptions), so a caller with ``max_age_s=0`` sees everything that vCenter
did before. Concurrent callers share a request.

All filters belong to one collector (vim/collector.py), which is created for one log-in and one set
of scopes and never changed. When it is in doubt (a new log-in, a collector or version that vCenter
does not know, another set of scopes), the stream creates and reads everything again and replaces
all tables. This is the only way of recovery, from every fault, including a restart of vCenter. A
request without an answer needs no recovery: a version may be requested again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from vmdk_cache import errors
from vmdk_cache.clock import Clock
from vmdk_cache.vim.batch import Batch
from vmdk_cache.vim.collector import Collector, apply_update
from vmdk_cache.vim.properties import ObjectKey, Row, Table
from vmdk_cache.vim.session import Session

NO_OBJECTS: Table = MappingProxyType({})

#: Maximum number of objects in one answer; vCenter may send fewer.
OBJECTS_PER_ANSWER = 500
#: Faults that a new collector may cure; all others would only occur again.
_CURED_BY_A_NEW_COLLECTOR = (errors.ObjectNotFound, errors.SessionExpired, errors.TaskFailed)
_COLLECTORS_PER_REFRESH = 3
#: Maximum number of reads in one refresh: what was read may change the set of scopes.
_ROUNDS = 5


class ChangeStream:
    """Thread-safe.

    :param on_refresh: called after each read from vCenter, in the same thread; it may ``follow``
        and ``unfollow``, and the refresh continues until all followed scopes have been read
    """

    def __init__(
        self,
        session: Session,
        clock: Clock,
        *,
        on_refresh: Callable[[], None] = lambda: None,
        objects_per_answer: int = OBJECTS_PER_ANSWER,
    ) -> None:
        self._session = session
        self._clock = clock
        self._on_refresh = on_refresh
        self._objects_per_answer = objects_per_answer
        self._lock = threading.Lock()
        self._wanted: Mapping[str, Callable[[], Any]] = {}
        self._tables: Mapping[str, Table] = {}
        self._known_at: float | None = None
        self._expiries = 0
        self._collector: Collector | None = None
        self._version = ""  # that the tables show; empty if the collector has not been read
        self._batch: Batch[float, None] = Batch(self._refresh)

    def follow(self, scope: str, spec: Callable[[], Any]) -> None:
        """Have the next refresh fill the scope's table; no effect if it is already followed.

        :param spec: returns the scope's PropertyFilterSpec; called again after each log-in. It must
            set ``reportMissingObjectsInResults`` if the start object may disappear
        """
        with self._lock:
            if scope not in self._wanted:
                self._wanted = {**self._wanted, scope: spec}

    def unfollow(self, scope: str) -> None:
        """Stop following the scope; its table is empty after the next refresh."""
        with self._lock:
            self._wanted = {name: spec for name, spec in self._wanted.items() if name != scope}

    def refresh(self, max_age_s: float = 0.0) -> None:
        """Bring all tables up to date.

        :param max_age_s: no request is sent if a refresh that began less than this ago succeeded
            and ``expire`` was not called since
        :raises VCenterError: the request failed; the tables stay as they were
        """
        if not self._is_known(max_age_s):
            self._batch.ask(max_age_s)

    def expire(self) -> None:
        """Make the next refresh of every caller ask vCenter, after the caller has changed
        something."""
        with self._lock:
            self._known_at = None
            self._expiries += 1

    def table(self, scope: str) -> Table:
        """The scope's objects as of the last refresh; empty if it was not followed then.

        The same object as long as nothing has changed, and so is each row in it, unless the stream
        had to read everything again.
        """
        return self._tables.get(scope, NO_OBJECTS)

    def _is_known(self, max_age_s: float) -> bool:
        with self._lock:
            return (
                max_age_s > 0
                and self._known_at is not None
                and self._clock.monotonic() - self._known_at < max_age_s
                and self._wanted.keys() == self._tables.keys()
            )

    # The batch runs the methods below in one thread at a time.

    def _refresh(self, ages_s: list[float]) -> Mapping[float, None]:
        if not self._is_known(min(ages_s)):
            with self._lock:
                expiries = self._expiries
            began_at = self._clock.monotonic()
            for _ in range(_ROUNDS):
                self._read_changes()
                self._on_refresh()
                if self._wanted.keys() == self._tables.keys():
                    break
            with self._lock:
                if expiries == self._expiries:
                    self._known_at = began_at
        return {}

    def _read_changes(self) -> None:
        for attempt in range(1, _COLLECTORS_PER_REFRESH + 1):
            generation = self._session.generation
            try:
                collector = self._current_collector()
                if collector is None:
                    self._tables = {}
                else:
                    self._read(collector)
                return
            except _CURED_BY_A_NEW_COLLECTOR as error:
                self._drop_collector()
                if attempt == _COLLECTORS_PER_REFRESH:
                    raise
                if isinstance(error, errors.SessionExpired):
                    self._session.renew(generation, error)

    def _current_collector(self) -> Collector | None:
        """A collector of all followed scopes, None if there are none."""
        wanted, collector = self._wanted, self._collector
        if (
            collector is None
            or not collector.is_current
            or set(collector.filters.values()) != wanted.keys()
        ):
            self._drop_collector()
            if wanted:
                specs = {scope: spec() for scope, spec in wanted.items()}
                self._collector = Collector(self._session, specs)
        return self._collector

    def _drop_collector(self) -> None:
        collector, self._collector = self._collector, None
        self._version = ""
        if collector is not None:
            collector.close()

    def _read(self, collector: Collector) -> None:
        """Replace all tables at once: readers see all updates or none."""
        scopes = set(collector.filters.values())
        updates, version = collector.updates(self._version, most_objects=self._objects_per_answer)
        changed: dict[str, dict[ObjectKey, Row]] = {}
        if not self._version:
            changed = {scope: {} for scope in scopes}
        has_stray_filter = False
        for update in updates:
            scope = collector.filters.get(update.filter._GetMoId())
            if scope is None:
                has_stray_filter = True  # the answer to its CreateFilter was lost
            else:
                apply_update(changed.setdefault(scope, dict(self.table(scope))), update)
        self._tables = {
            scope: MappingProxyType(changed[scope]) if scope in changed else self.table(scope)
            for scope in scopes
        }
        self._version = version
        if has_stray_filter:
            self._drop_collector()

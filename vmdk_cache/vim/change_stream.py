"""vCenter objects kept in memory and brought up to date by one request.

    follow      registers a scope, which is a name and a filter; sends nothing
    refresh     asks vCenter for the changes since the last refresh: one request
    table       the complete content of a scope as of the last refresh; sends nothing

There is no background thread that waits for updates and could die; callers ask. With
``maxWaitSeconds`` 0, ``WaitForUpdatesEx`` makes vCenter calculate updates once and answer at once
(vSphere API reference, WaitOptions), so a caller with ``max_age_s=0`` sees everything that vCenter
did before. Concurrent callers share a request.

All filters belong to one PropertyCollector, which is created for one log-in and one set of scopes
(:class:`_Watch`) and never changed. When it is in doubt (a new log-in, a collector or version that
vCenter does not know, another set of scopes), the stream creates and reads everything again and
replaces all tables. This is the only way of recovery, from every fault, including a restart of
vCenter. A request without an answer needs no recovery: a version may be requested again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vmdk_cache import errors
from vmdk_cache.clock import Clock
from vmdk_cache.vim.batch import Batch
from vmdk_cache.vim.collector import Collector
from vmdk_cache.vim.object_table import NO_OBJECTS, ObjectKey, Row, Table, apply_update, merged
from vmdk_cache.vim.session import Session

#: Maximum number of objects in one answer; vCenter may send fewer.
OBJECTS_PER_ANSWER = 500
#: Faults that a new watch may cure; all others would only occur again.
_CURED_BY_A_NEW_WATCH = (errors.ObjectNotFound, errors.SessionExpired, errors.TaskFailed)
_WATCHES_PER_REFRESH = 3
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
        self._watch: _Watch | None = None
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
        """The scope's objects as of the last refresh; empty if it was not followed then."""
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
        for attempt in range(1, _WATCHES_PER_REFRESH + 1):
            generation = self._session.generation
            try:
                watch = self._current_watch()
                if watch is not None:
                    self._publish(watch, watch.updates())
                return
            except _CURED_BY_A_NEW_WATCH as error:
                self._drop_watch()
                if attempt == _WATCHES_PER_REFRESH:
                    raise
                if isinstance(error, errors.SessionExpired):
                    self._session.renew(generation, error)

    def _current_watch(self) -> _Watch | None:
        with self._lock:
            wanted = self._wanted
        watch = self._watch
        if watch is not None and watch.is_current and watch.scopes == wanted.keys():
            return watch
        self._drop_watch()
        if not wanted:
            self._tables = {}
            return None
        specs = {scope: spec() for scope, spec in wanted.items()}
        self._watch = _Watch(self._session, specs, self._objects_per_answer)
        return self._watch

    def _drop_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _publish(self, watch: _Watch, updates: Iterable[Any]) -> None:
        """Replace all tables at once: readers see all updates or none."""
        read: dict[str, dict[ObjectKey, Row]] = {}
        if watch.is_new:
            read = {scope: {} for scope in watch.scopes}
        for update in updates:
            scope = watch.scope_of(update)
            if scope is None:  # the next watch does not have that filter
                self._drop_watch()
            else:
                apply_update(read.setdefault(scope, dict(self.table(scope))), update)
        self._tables = {
            scope: merged(self.table(scope), read[scope]) if scope in read else self.table(scope)
            for scope in watch.scopes
        }
        watch.accept()


class _Watch:
    """A collector with one filter per scope, and the version up to which it has been read.

    :ivar is_new: no updates were accepted yet, so the next ones contain the whole state
    :raises VCenterError: it could not be created; what was created ends with the session
    """

    def __init__(self, session: Session, specs: Mapping[str, Any], objects_per_answer: int) -> None:
        self._collector = Collector(session, specs)
        self._objects_per_answer = objects_per_answer
        self._accepted = self._reached = ""
        self.scopes = specs.keys()
        self.is_new = True

    @property
    def is_current(self) -> bool:
        """Whether the session still has the log-in that it was created for."""
        return self._collector.is_current

    def scope_of(self, update: Any) -> str | None:
        """The scope of a FilterUpdate; None if the answer to its CreateFilter was lost."""
        return self._collector.filters.get(update.filter._GetMoId())

    def updates(self) -> list[Any]:
        """All FilterUpdates since the last accepted ones, from all pages.

        :raises Unreachable: there was no answer; the watch can still be used
        :raises VCenterError: the watch is broken
        """
        found: list[Any] = []
        version = self._accepted
        while True:
            answer = self._collector.updates(version, most_objects=self._objects_per_answer)
            if answer is None and version == "":
                # Without a first update the state of the objects is unknown.
                raise errors.TaskFailed(
                    "vCenter did not report the objects of a new filter", method="WaitForUpdatesEx"
                )
            if answer is None:
                break
            version = answer.version
            found += answer.filterSet or ()
            if not answer.truncated:
                break
        self._reached = version
        return found

    def accept(self) -> None:
        """Accept the last updates: the next call of :meth:`updates` does not repeat them."""
        self._accepted, self.is_new = self._reached, False

    def close(self) -> None:
        """Best effort: what remains ends with the session."""
        self._collector.close()

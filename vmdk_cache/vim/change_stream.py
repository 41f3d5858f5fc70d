"""Objects of vCenter kept in memory, and brought up to now by one request.

    follow      a scope, which is a name and a filter, is to be kept; costs nothing yet
    refresh     vCenter is asked what has changed since it was asked last: one request
    table       what the scope holds, whole, as of the last refresh; free

No thread waits for news, so none can die: who wants to know asks. ``WaitForUpdatesEx`` with
``maxWaitSeconds`` 0 makes vCenter do one calculation of updates and answer at once (vSphere API
reference, WaitOptions), so whoever asks with ``max_age_s=0`` sees all that vCenter had done before.
Callers that come together share a request.

All filters hang on one PropertyCollector of our own, made for a log-in and a set of scopes
(:class:`_Watch`) and never changed. Whenever it is in doubt (a new log-in, a collector or a version
that vCenter does not know, another set of scopes), everything is made and read anew, and the tables
are replaced as a whole. That is the one road back from every fault, a restart of vCenter included.
A request without an answer is no such fault: versions may be asked for again.
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

#: One answer holds so many objects at most, and vCenter may cut earlier.
OBJECTS_PER_ANSWER = 500
#: Faults after which a new watch is tried; all others would only come again.
_CURED_BY_A_NEW_WATCH = (errors.ObjectNotFound, errors.SessionExpired, errors.TaskFailed)
_WATCHES_PER_REFRESH = 3
#: What is followed may change by what was read; more often than this in one refresh it cannot.
_ROUNDS = 5


class ChangeStream:
    """Thread-safe.

    :param on_refresh: called after each refresh that was really sent, by the thread that sent it;
        it may ``follow`` and ``unfollow``, and the refresh goes on until all of that is known
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
        """Have the next refresh fill the scope's table. A scope that is followed stays as it is.

        :param spec: makes the scope's PropertyFilterSpec, anew for each log-in. Objects that may
            vanish need its ``reportMissingObjectsInResults``
        """
        with self._lock:
            if scope not in self._wanted:
                self._wanted = {**self._wanted, scope: spec}

    def unfollow(self, scope: str) -> None:
        """Forget the scope; its table is empty after the next refresh."""
        with self._lock:
            self._wanted = {name: spec for name, spec in self._wanted.items() if name != scope}

    def refresh(self, max_age_s: float = 0.0) -> None:
        """Bring all tables up to now.

        :param max_age_s: nothing is asked if a refresh that began less than this ago succeeded and
            ``expire`` was not called since
        :raises VCenterError: vCenter cannot be asked; the tables stay as they were
        """
        if not self._is_known(max_age_s):
            self._batch.ask(max_age_s)

    def expire(self) -> None:
        """The caller has changed something itself: what is known now is too old for everybody."""
        with self._lock:
            self._known_at = None
            self._expiries += 1

    def table(self, scope: str) -> Table:
        """What the scope held at the last refresh; empty if it was not followed then."""
        return self._tables.get(scope, NO_OBJECTS)

    def _is_known(self, max_age_s: float) -> bool:
        with self._lock:
            return (
                max_age_s > 0
                and self._known_at is not None
                and self._clock.monotonic() - self._known_at < max_age_s
                and self._wanted.keys() == self._tables.keys()
            )

    # From here on one thread at a time is at work: the batch's.

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
        """Replace the tables, all at once: readers see all of the updates or none."""
        read: dict[str, dict[ObjectKey, Row]] = {}
        if watch.is_new:
            read = {scope: {} for scope in watch.scopes}
        for update in updates:
            scope = watch.scope_of(update)
            if scope is None:  # next time all is made without that filter
                self._drop_watch()
            else:
                apply_update(read.setdefault(scope, dict(self.table(scope))), update)
        self._tables = {
            scope: merged(self.table(scope), read[scope]) if scope in read else self.table(scope)
            for scope in watch.scopes
        }
        watch.accept()


class _Watch:
    """A collector with one filter per scope, and what has been read of it.

    :ivar is_new: no updates were accepted yet, so that the next tell the whole state
    :raises VCenterError: it could not be made; what there is of it ends with the session
    """

    def __init__(self, session: Session, specs: Mapping[str, Any], objects_per_answer: int) -> None:
        self._collector = Collector(session, specs)
        self._objects_per_answer = objects_per_answer
        self._accepted = self._reached = ""
        self.scopes = specs.keys()
        self.is_new = True

    @property
    def is_current(self) -> bool:
        """Whether its log-in is still the session's."""
        return self._collector.is_current

    def scope_of(self, update: Any) -> str | None:
        """The scope that a FilterUpdate tells of; None if the answer to its CreateFilter was
        lost."""
        return self._collector.filters.get(update.filter._GetMoId())

    def updates(self) -> list[Any]:
        """FilterUpdates since those that were accepted last, all pages of them.

        :raises VCenterError: the watch is broken, unless that is Unreachable
        """
        found: list[Any] = []
        version = self._accepted
        while True:
            answer = self._collector.updates(version, most_objects=self._objects_per_answer)
            if answer is None and version == "":
                # What the filters select has never been told: silence is no state.
                raise errors.TaskFailed(
                    "vCenter did not tell what it has", method="WaitForUpdatesEx"
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
        """The last updates have been put to use: do not tell them again."""
        self._accepted, self.is_new = self._reached, False

    def close(self) -> None:
        """Best effort: what is left ends with the session."""
        self._collector.close()

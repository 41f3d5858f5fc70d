"""Counts of events, in one SQLite file per host (option ``image_cache_ledger``).

Every process that runs a cache adds each event at once, as an upsert in a separate transaction;
``vmdk-cache history`` and the exporter read the sums. The ledger records no volumes, users or
projects.

    a day's counts      by backend, image, kind and detail, for DAYS_KEPT days
    older ones          folded into one row by backend, kind and detail, so that totals never fall
    times               of imports, clones and the queue before them, as histograms, permanently
    the last purge      of each backend by a service of this host

An event whose write fails is kept, aggregated, and written with a later one; only what a process
cannot write before it ends is lost. A write waits at most BUSY_S for a file that another process
holds, and after a failure there is no attempt for RETRY_S, because on green threads a wait blocks
the whole process. Only the last write, at the end, waits for LAST_BUSY_S.

Write-ahead logging allows reads during a write; it requires a local file system, and keeps two more
files beside the file, ``-wal`` and ``-shm``. With ``synchronous = NORMAL`` transactions do not wait
for the disk: a power failure may lose the last ones, but the file stays intact (SQLite
documentation, "Write-Ahead Logging" and "PRAGMA synchronous").
"""

from __future__ import annotations

import bisect
import contextlib
import datetime
import enum
import os
import pathlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.cache import events
from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

OPTION = "image_cache_ledger"
DAYS_KEPT = 90
#: A write takes a fraction of a millisecond, and so does a write of another process that it waits
#: for.
BUSY_S = 0.2
RETRY_S = 10.0
LAST_BUSY_S = 5.0
#: Maximum number of rows pending while the file cannot be written; further ones are lost.
MAX_PENDING = 10_000

SCHEMA_VERSION = 1
#: Identifies our files (``PRAGMA application_id``): "vmdk" as a number.
APPLICATION_ID = 0x766D646B
#: Time limit for creating the file: several processes of a host may try at once.
MADE_WITHIN_S = 5.0
MADE_PAUSE_S = 0.1

#: Detail of a hit or a miss.
IN_ONE_TASK = "in-one-task"

_INF = float("inf")
_BUCKETS_S: dict[str, tuple[float, ...]] = {
    "import": (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, _INF),
    "clone": (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, _INF),
    "queue": (0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, _INF),
}

_TABLES = (
    # day: ISO 8601, UTC; empty for all days before those that are kept
    """CREATE TABLE counts (
        day TEXT NOT NULL,
        backend TEXT NOT NULL,
        image_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        count INTEGER NOT NULL,
        seconds REAL NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (day, backend, image_id, kind, detail)
    ) WITHOUT ROWID""",
    # le_s: upper bound of the bucket; count: what is in this bucket alone
    """CREATE TABLE times (
        backend TEXT NOT NULL,
        kind TEXT NOT NULL,
        le_s REAL NOT NULL,
        count INTEGER NOT NULL,
        sum_s REAL NOT NULL,
        PRIMARY KEY (backend, kind, le_s)
    ) WITHOUT ROWID""",
)

#: Added after the first version, which ignores it: so files of both versions have one schema.
_PURGES = """CREATE TABLE IF NOT EXISTS purges (
    backend TEXT NOT NULL PRIMARY KEY,
    began_at TEXT NOT NULL,
    error TEXT NOT NULL
) WITHOUT ROWID"""

_ADD = """ ON CONFLICT DO UPDATE SET
    count = count + excluded.count, seconds = seconds + excluded.seconds,
    bytes = bytes + excluded.bytes"""
# ruff: noqa: S608 - only constants are inserted into these statements
_COUNT = f"INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?) {_ADD}"
_FOLD = f"""INSERT INTO counts
    SELECT '', backend, '', kind, detail, sum(count), sum(seconds), sum(bytes)
    FROM counts WHERE day <> '' AND day < ? GROUP BY backend, kind, detail {_ADD}"""
_FORGET = "DELETE FROM counts WHERE day <> '' AND day < ?"
_TIME = """INSERT INTO times VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    count = count + excluded.count, sum_s = sum_s + excluded.sum_s"""
_PURGE = "INSERT OR REPLACE INTO purges VALUES (?, ?, ?)"


class Kind(enum.StrEnum):
    """The kinds of events that are counted; ``seconds`` and ``bytes`` are 0 unless stated.

    hit, miss       seconds from request to volume; bytes that Glance did not have to send; detail:
                    :data:`IN_ONE_TASK` if CloneVM_Task alone made the volume
    bypass          detail: the reason (:class:`~vmdk_cache.cache.events.Reason`)
    failed          a volume was not created; detail: name of the exception's class
    import          seconds; bytes that Glance sent
    import-failed   seconds; detail: name of the exception's class
    replica         seconds
    evict           bytes that counted as provisioned; detail: the rule
                    (:class:`~vmdk_cache.cache.events.Rule`)
    not-kept-warm   a round of the warm-up left a marked image without a template; detail: why
    """

    HIT = "hit"
    MISS = "miss"
    BYPASS = "bypass"
    FAILED = "failed"
    IMPORT = "import"
    IMPORT_FAILED = "import-failed"
    REPLICA = "replica"
    EVICT = "evict"
    NOT_KEPT_WARM = "not-kept-warm"


@dataclass(frozen=True)
class Count:
    """Events of one kind, day and image; see :class:`Kind`.

    :ivar day: UTC; None for the folded older days
    :ivar image_id: Glance image id; empty for the folded days, and if unknown
    """

    day: datetime.date | None
    backend: str
    image_id: str
    kind: str
    detail: str
    count: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Histogram:
    """Durations since the file was created.

    :ivar kind: ``import``, ``clone`` (CloneVM_Task until the volume is ready) or ``queue`` (wait)
    :ivar buckets: upper bound in seconds and the number of durations up to it; the last bound is
        infinite
    """

    backend: str
    kind: str
    buckets: tuple[tuple[float, int], ...]
    sum_s: float


@dataclass(frozen=True)
class LastPurge:
    """The last periodic purge of a backend by a service of this host.

    :ivar began_at: aware UTC, by the clock of this host
    :ivar error: see :class:`~vmdk_cache.cache.events.PurgeEnded`
    """

    began_at: datetime.datetime
    error: str


_CountKey = tuple[str, str, str, str, str]  # day, backend, image_id, kind, detail
_TimeKey = tuple[str, str, float]  # backend, kind, le_s


class Ledger:
    """The open file; a listener for events. Thread-safe; must not be used across a fork."""

    def __init__(self, path: str, connection: sqlite3.Connection, clock: Clock) -> None:
        self._path = path
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[_CountKey, tuple[int, float, int]] = {}
        self._times: dict[_TimeKey, tuple[int, float]] = {}
        self._purges: dict[str, LastPurge] = {}
        self._folded_on: datetime.date | None = None
        self._not_before = -_INF
        self._failing = False
        self._closed = False

    @classmethod
    def open(cls, path: str, *, read_only: bool = False, clock: Clock | None = None) -> Ledger:
        """Open the ledger in the file ``path``, creating the file if needed.

        :param read_only: the file must exist; the ledger then accepts no events
        :raises ConfigError: it cannot be opened, is not a ledger, or is of a later version
        """
        clock = clock or SystemClock()
        return cls(path, _connect(path, clock, read_only=read_only), clock)

    def __call__(self, event: events.Event, /) -> None:
        """Add the event, if its kind is counted; never raises."""
        try:
            with self._lock:
                if not self._closed and self._add(event):
                    self._write()
        except Exception as failure:
            LOG.warning("An event of the image cache was not counted: %s", sentence(repr(failure)))

    def close(self) -> None:
        """Write what is pending and close the file. Safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._not_before = -_INF
                self._connection.execute(f"PRAGMA busy_timeout = {LAST_BUSY_S * 1000:.0f}")
                self._write()
                self._connection.close()

    def counts(self, backend: str | None = None, since: datetime.date | None = None) -> list[Count]:
        """The counts by day, oldest first.

        :param backend: only of this backend
        :param since: only from this day on, UTC; excludes the folded days
        :raises ConfigError: the file cannot be read
        """
        rows = self._read(
            "SELECT day, backend, image_id, kind, detail, count, seconds, bytes FROM counts "
            "WHERE (?1 IS NULL OR backend = ?1) AND day >= ?2 "
            "ORDER BY day, backend, image_id, kind, detail",
            (backend, since.isoformat() if since else ""),
        )
        return [
            Count(datetime.date.fromisoformat(day) if day else None, *values)
            for day, *values in rows
        ]

    def totals(self) -> list[Count]:
        """The counts of each backend, kind and detail over all days and images: the sums of
        :meth:`counts`, computed by the database. They never decrease.

        :raises ConfigError: the file cannot be read
        """
        rows = self._read(
            "SELECT backend, '', kind, detail, sum(count), sum(seconds), sum(bytes) FROM counts "
            "GROUP BY backend, kind, detail",
            (),
        )
        return [Count(None, *values) for values in rows]

    def daily(self, since: datetime.date) -> list[Count]:
        """The counts of each day, backend and kind from ``since`` on, UTC, oldest first: the sums
        of :meth:`counts` over images and details, computed by the database.

        :raises ConfigError: the file cannot be read
        """
        rows = self._read(
            "SELECT day, backend, '', kind, '', sum(count), sum(seconds), sum(bytes) FROM counts "
            "WHERE day >= ? GROUP BY day, backend, kind ORDER BY day",
            (since.isoformat(),),
        )
        return [Count(datetime.date.fromisoformat(day), *values) for day, *values in rows]

    def histograms(self) -> list[Histogram]:
        """One histogram of each kind for each backend with any durations.

        :raises ConfigError: the file cannot be read
        """
        rows = self._read(
            "SELECT backend, kind, le_s, count, sum_s FROM times ORDER BY backend", ()
        )
        return [
            _histogram(backend, kind, [row[2:] for row in rows if row[:2] == (backend, kind)])
            for backend in dict.fromkeys(row[0] for row in rows)
            for kind in _BUCKETS_S
        ]

    def last_purges(self) -> dict[str, LastPurge]:
        """The last purge by backend; backends without one are left out.

        :raises ConfigError: the file cannot be read
        """
        if not self._read("SELECT 1 FROM sqlite_schema WHERE name = 'purges'", ()):
            return {}  # only earlier versions have written to it
        rows = self._read("SELECT backend, began_at, error FROM purges", ())
        return {
            backend: LastPurge(datetime.datetime.fromisoformat(began_at), error)
            for backend, began_at, error in rows
        }

    def _read(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock, _naming_the_option(self._path):
            return self._connection.execute(query, values).fetchall()

    # -- writing, under the lock -----------------------------------------------------------------

    def _add(self, event: events.Event) -> bool:
        """Add the event; return whether it is counted."""
        if isinstance(event, events.PurgeEnded):
            began_at = self._clock.now() - datetime.timedelta(seconds=event.seconds)
            self._purges[event.backend] = LastPurge(began_at, event.error)
            return True
        entry = _entry(event)
        if entry is None:
            return False
        kind, detail, seconds, size_bytes = entry
        day = self._clock.now().date().isoformat()
        key = (day, event.backend, event.image_id, kind.value, detail)
        if key not in self._counts and len(self._counts) >= MAX_PENDING:
            return False
        count, seconds_before, bytes_before = self._counts.get(key, (0, 0.0, 0))
        self._counts[key] = (count + 1, seconds_before + seconds, bytes_before + size_bytes)
        for timed, took_s in _times(event):
            bounds = _BUCKETS_S[timed]
            bucket = (event.backend, timed, bounds[bisect.bisect_left(bounds, took_s)])
            count, sum_s = self._times.get(bucket, (0, 0.0))
            self._times[bucket] = (count + 1, sum_s + took_s)
        return True

    def _write(self) -> None:
        """Write all pending counts, or none; in that case they stay pending."""
        now = self._clock.monotonic()
        if not (self._counts or self._purges) or now < self._not_before:
            return
        try:
            self._transact()
        except sqlite3.Error as failure:
            self._not_before = now + RETRY_S
            if not self._failing:
                LOG.warning(
                    "Events of the image cache are not counted for now: cannot write %s %r: %s",
                    OPTION,
                    self._path,
                    sentence(failure),
                )
            self._failing = True
            return
        self._counts.clear()
        self._times.clear()
        self._purges.clear()
        if self._failing:
            LOG.info("Events of the image cache are counted again in %r", self._path)
        self._failing = False

    def _transact(self) -> None:
        today = self._clock.now().date()
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_COUNT, [(*key, *n) for key, n in self._counts.items()])
            connection.executemany(_TIME, [(*key, *n) for key, n in self._times.items()])
            purges = self._purges.items()
            connection.executemany(
                _PURGE, [(name, last.began_at.isoformat(), last.error) for name, last in purges]
            )
            if self._folded_on != today:
                oldest = (today - datetime.timedelta(days=DAYS_KEPT)).isoformat()
                connection.execute(_FOLD, (oldest,))
                connection.execute(_FORGET, (oldest,))
        self._folded_on = today


def _entry(event: events.Event) -> tuple[Kind, str, float, int] | None:
    """Kind, detail, seconds and bytes of an event; None if it is not counted."""
    match event:
        case events.Hit():
            return Kind.HIT, _tasks(event), event.seconds, event.saved_bytes
        case events.Miss():
            return Kind.MISS, _tasks(event), event.seconds, event.saved_bytes
        case events.Bypassed():
            return Kind.BYPASS, event.reason.value, 0.0, 0
        case events.VolumeFailed():
            return Kind.FAILED, event.error, 0.0, 0
        case events.Imported():
            return Kind.IMPORT, "", event.seconds, event.bytes_read
        case events.ImportFailed():
            return Kind.IMPORT_FAILED, event.error, event.seconds, 0
        case events.Replicated():
            return Kind.REPLICA, "", event.seconds, 0
        case events.Evicted():
            return Kind.EVICT, event.rule.value, 0.0, event.size_bytes
        case events.NotKeptWarm():
            return Kind.NOT_KEPT_WARM, event.error, 0.0, 0
    return None


def _tasks(event: events.Hit | events.Miss) -> str:
    return IN_ONE_TASK if event.in_one_task else ""


def _times(event: events.Event) -> list[tuple[str, float]]:
    """The durations in an event, by kind."""
    match event:
        case events.Hit() | events.Miss():
            return [("queue", event.queued_s), ("clone", event.cloned_s)]
        case events.Imported():
            return [("import", event.seconds)]
    return []


def _histogram(backend: str, kind: str, counted: list[tuple[float, int, float]]) -> Histogram:
    """:param counted: upper bound, count and sum of seconds of each bucket in the file"""
    # Counts are put into the current buckets, whatever the buckets were when they were written.
    buckets = tuple(
        (bound, sum(count for le_s, count, _ in counted if le_s <= bound))
        for bound in _BUCKETS_S[kind]
    )
    return Histogram(backend, kind, buckets, sum(sum_s for _, _, sum_s in counted))


def _connect(path: str, clock: Clock, *, read_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, for use by several threads in turn.

    :param read_only: the file must exist and is not changed
    :raises ConfigError: it cannot be opened, is not a ledger, or is of a later version
    """
    file = pathlib.Path(path).absolute()
    uri = f"{file.as_uri()}?mode={_reading_mode(file) if read_only else 'rwc'}"
    with _naming_the_option(path):
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            if not read_only:
                _retry_while_busy(lambda: _make(connection), clock)
            _check(connection, path)
            if not read_only:
                _retry_while_busy(lambda: connection.execute(_PURGES), clock)
            return connection
        except BaseException:
            connection.close()
            raise


def _retry_while_busy(change: Callable[[], object], clock: Clock) -> None:
    """Change the file's structure: that does not wait for other processes by itself."""
    retry.call(
        change,
        when=_is_busy,
        within_s=MADE_WITHIN_S,
        first_wait_s=MADE_PAUSE_S,
        max_wait_s=MADE_PAUSE_S,
        clock=clock,
    )


def _reading_mode(file: pathlib.Path) -> str:
    """The mode for a reader. Readers also create missing ``-wal`` and ``-shm`` files and leave them
    behind, and the ledger's owner could not write to files of another user (SQLite as root gives
    them to the owner). A reader that must not create files opens the ledger as immutable if there
    is no ``-shm``: then no process has it open.
    """
    may_make = os.access(file.parent, os.W_OK) and os.geteuid() in (0, _owner(file))
    return "ro" if may_make or pathlib.Path(f"{file}-shm").exists() else "ro&immutable=1"


def _owner(file: pathlib.Path) -> int | None:
    try:
        return file.stat().st_uid
    except OSError:
        return None  # opening it will fail with a better message


@contextlib.contextmanager
def _naming_the_option(path: str) -> Iterator[None]:
    """Translate errors of SQLite into ConfigError."""
    try:
        yield
    except sqlite3.Error as failure:
        raise errors.ConfigError(
            f"{OPTION}: cannot use {path}: {sentence(failure)}. Name a ledger of this package or a "
            "new file, in a local directory that the service can write to, or leave the option "
            "empty to count nothing"
        ) from failure


def _make(connection: sqlite3.Connection) -> None:
    """Create the tables if the file is new."""
    if _is_empty(connection):
        connection.execute("PRAGMA journal_mode = WAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if _is_empty(connection):  # no other process was faster
                for table in _TABLES:
                    connection.execute(table)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("PRAGMA synchronous = NORMAL")


def _is_busy(failure: BaseException) -> bool:
    """Whether another process uses the file."""
    return (
        isinstance(failure, sqlite3.OperationalError)
        # The lowest byte, because the code is an extended one, such as SQLITE_BUSY_RECOVERY.
        and failure.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return not tables


def _check(connection: sqlite3.Connection, path: str) -> None:
    """:raises ConfigError: the file belongs to another program or to a later version"""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != APPLICATION_ID:
        raise errors.ConfigError(
            f"{OPTION}: {path} is a database of another program: name another file"
        )
    if version > SCHEMA_VERSION:
        raise errors.ConfigError(
            f"{OPTION}: {path} was made by a later version of this package (schema {version}): "
            f"upgrade this host, or name another file"
        )

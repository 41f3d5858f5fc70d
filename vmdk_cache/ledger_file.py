"""The SQLite file of vmdk_cache/ledger.py: its tables, and how several processes share it.

Write-ahead logging allows reads during a write; it requires a local file system, and keeps two more
files beside the file, ``-wal`` and ``-shm``. With ``synchronous = NORMAL`` transactions do not wait
for the disk: a power failure may lose the last ones, but the file stays intact (SQLite
documentation, "Write-Ahead Logging" and "PRAGMA synchronous").
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
from collections.abc import Iterator

from vmdk_cache import errors, retry
from vmdk_cache.clock import Clock
from vmdk_cache.quoting import sentence

OPTION = "image_cache_ledger"
SCHEMA_VERSION = 1
#: Identifies our files (``PRAGMA application_id``): "vmdk" as a number.
APPLICATION_ID = 0x766D646B
#: Time limit for creating the file: several processes of a host may try at once.
MADE_WITHIN_S = 5.0
MADE_PAUSE_S = 0.1

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


def connect(path: str, clock: Clock, *, read_only: bool, busy_s: float) -> sqlite3.Connection:
    """A connection in autocommit mode, for use by several threads in turn.

    :param read_only: the file must exist and is not changed
    :param busy_s: how long a statement waits for another process's transaction
    :raises ConfigError: it cannot be opened, is not a ledger, or is of a later version
    """
    file = pathlib.Path(path).absolute()
    uri = f"{file.as_uri()}?mode={_reading_mode(file) if read_only else 'rwc'}"
    with naming_the_option(path):
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            if not read_only:
                retry.call(  # a change to write-ahead logging does not wait for others by itself
                    lambda: _make(connection),
                    when=_is_busy,
                    within_s=MADE_WITHIN_S,
                    first_wait_s=MADE_PAUSE_S,
                    max_wait_s=MADE_PAUSE_S,
                    clock=clock,
                )
            _check(connection, path)
            return connection
        except BaseException:
            connection.close()
            raise


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
def naming_the_option(path: str) -> Iterator[None]:
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
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _is_empty(connection):  # no other process was faster
                for table in _TABLES:
                    connection.execute(table)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    connection.execute("PRAGMA synchronous = NORMAL")


def _is_busy(failure: BaseException) -> bool:
    """Whether another process is at work on the file."""
    return (
        isinstance(failure, sqlite3.OperationalError)
        and failure.sqlite_errorcode == sqlite3.SQLITE_BUSY
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

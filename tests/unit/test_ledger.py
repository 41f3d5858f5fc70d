"""The ledger counts what every process does, and a failure of it affects nothing else.

Tests about other processes, or about a file system, use real ones.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache import errors
from vmdk_cache.cache import events
from vmdk_cache.ledger import (
    BUSY_S,
    DAYS_KEPT,
    IN_ONE_TASK,
    MAX_PENDING,
    RETRY_S,
    SCHEMA_VERSION,
    Count,
    Histogram,
    Kind,
    LastPurge,
    Ledger,
)

TODAY = datetime.date(2026, 1, 1)
HIT = events.Hit("b1", "i1", "volume-of-a-user", "ds1", 10.0, 3.0, 7.0, 100)
#: A separate program that counts: path, image, how many, as which user.
COUNTING = """
import os, sys
from vmdk_cache.cache.events import Hit
from vmdk_cache.ledger import Ledger
os.setuid(int(sys.argv[4]))
ledger = Ledger.open(sys.argv[1])
print("open", flush=True)
for number in range(int(sys.argv[3])):
    ledger(Hit("b1", sys.argv[2], "v", "ds", 1.0, 0.25, 0.5, 10))
ledger.close()
"""
#: Holds the locks of a process that recovers the write-ahead log: bytes 120 to 122 of the file
#: -shm, and 128 as every user of it (SQLite's documentation, "WAL-mode File Format").
RECOVERING = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as shm:
    fcntl.lockf(shm, fcntl.LOCK_SH, 1, 128)
    fcntl.lockf(shm, fcntl.LOCK_EX, 3, 120)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock("2026-01-01T12:00:00+00:00")


def counting(
    path: str,
    image: str,
    count: int,
    *,
    before: Callable[[], None] | None = None,
    uid: int | None = None,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            COUNTING,
            path,
            image,
            str(count),
            str(os.getuid() if uid is None else uid),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def hits(ledger: Ledger) -> int:
    return sum(count.count for count in ledger.counts() if count.kind == Kind.HIT)


def timed(histogram: Histogram) -> int:
    """How many were timed."""
    return histogram.buckets[-1][1]


# -- what is counted


def test_each_kind_of_event_is_counted_as_documented(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    for event in [
        HIT,
        HIT,
        events.Miss("b1", "i1", "v", "ds1", 20.0, 0.0, 8.0),
        events.Bypassed("b1", "i1", "v", events.Reason.NO_ROOM),
        events.VolumeFailed("b1", "i1", "v", "ImageCorrupt"),
        events.ImportStarted("b1", "i1", "t", "ds1"),
        events.Imported("b1", "i1", "t", "ds1", 1 << 30, 5000, 9.0),
        events.ImportFailed("b1", "i1", "NoSpace", 4.0),
        events.Replicated("b2", "i1", "t", "ds2", 6.0),
        events.Evicted("b2", "", "t", events.Rule.EXPIRED, "2 s old, more than 1 s", 1 << 30),
        events.NotKeptWarm("b1", "i1", "no-room"),
    ]:
        ledger(event)
    told = [(c.backend, c.image_id, c.kind, c.detail, c.count, c.seconds, c.bytes)
            for c in ledger.counts()]  # fmt: skip
    assert sorted(told) == [
        ("b1", "i1", "bypass", "no-room", 1, 0.0, 0),
        ("b1", "i1", "failed", "ImageCorrupt", 1, 0.0, 0),
        ("b1", "i1", "hit", "", 2, 20.0, 200),
        ("b1", "i1", "import", "", 1, 9.0, 5000),
        ("b1", "i1", "import-failed", "NoSpace", 1, 4.0, 0),
        ("b1", "i1", "miss", "", 1, 20.0, 0),
        ("b1", "i1", "not-kept-warm", "no-room", 1, 0.0, 0),
        ("b2", "", "evict", "expired", 1, 0.0, 1 << 30),
        ("b2", "i1", "replica", "", 1, 6.0, 0),
    ]
    assert {count.day for count in ledger.counts()} == {TODAY}
    assert [count.kind for count in ledger.counts("b2")] == ["evict", "replica"]
    ledger.close()


def test_days_are_summed_over_images_and_details(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    ledger(HIT)
    clock.advance(86400)
    ledger(HIT)
    ledger(dataclasses.replace(HIT, image_id="i2", in_one_task=True))
    ledger(events.Bypassed("b2", "i1", "v", events.Reason.NO_ROOM))
    tomorrow = TODAY + datetime.timedelta(days=1)
    assert [(c.day, c.backend, c.kind, c.count, c.bytes) for c in ledger.daily(TODAY)] == [
        (TODAY, "b1", "hit", 1, 100),
        (tomorrow, "b1", "hit", 2, 200),
        (tomorrow, "b2", "bypass", 1, 0),
    ]
    assert {count.day for count in ledger.daily(tomorrow)} == {tomorrow}
    ledger.close()


def test_times_are_counted_in_cumulative_buckets(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    ledger(HIT)
    ledger(events.Miss("b1", "i1", "v", "ds1", 20.0, 0.0, 7.1))
    ledger(events.Imported("b1", "i1", "t", "ds1", 1 << 30, 5000, 1e6))
    by_kind = {one.kind: one for one in ledger.histograms()}
    assert (timed(by_kind["queue"]), by_kind["queue"].sum_s) == (2, 3.0)
    clone = dict(by_kind["clone"].buckets)
    assert (clone[5], clone[10], clone[1800], clone[float("inf")]) == (0, 2, 2, 2)
    imported = dict(by_kind["import"].buckets)
    assert (imported[7200], imported[float("inf")]) == (0, 1)
    ledger.close()


def test_volumes_created_by_one_task_are_counted_separately(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    miss = events.Miss("b1", "i1", "v", "ds1", 20.0)
    for event in (HIT, miss):
        ledger(event)
        ledger(dataclasses.replace(event, in_one_task=True))
        ledger(dataclasses.replace(event, in_one_task=True))
    assert [(one.kind, one.detail, one.count) for one in ledger.totals()] == [
        ("hit", "", 1), ("hit", IN_ONE_TASK, 2), ("miss", "", 1), ("miss", IN_ONE_TASK, 2),
    ]  # fmt: skip
    ledger.close()


def test_the_file_does_not_say_who_used_what(path: str) -> None:
    ledger = Ledger.open(path)
    ledger(HIT)
    ledger.close()
    assert b"volume-of-a-user" not in pathlib.Path(path).read_bytes()


def test_old_days_are_folded_and_totals_never_fall(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    for image in ("i1", "i2"):
        ledger(events.Hit("b1", image, "v", "ds1", 1.0, 0.0, 1.0, 5))
    clock.advance(86400 * DAYS_KEPT)
    ledger(HIT)
    assert [count.day for count in ledger.counts()] == [
        TODAY, TODAY, TODAY + datetime.timedelta(days=DAYS_KEPT)
    ]  # fmt: skip
    clock.advance(86400)
    ledger(events.Replicated("b1", "i1", "t", "ds2", 6.0))
    folded = Count(None, "b1", "", "hit", "", 2, 2.0, 10)
    assert ledger.counts()[0] == folded
    assert hits(ledger) == 3
    assert folded not in ledger.counts(since=TODAY)
    clock.advance(86400 * DAYS_KEPT)
    ledger(HIT)  # and once more: today's folded days join the earlier ones
    assert ledger.counts()[0] == Count(None, "b1", "", "hit", "", 3, 12.0, 110)
    assert hits(ledger) == 4
    ledger.close()


# -- several processes


def test_totals_are_the_sums_of_the_counts(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    for day in (0, 1, DAYS_KEPT + 2):
        clock.advance(day * 86400)
        for backend, image in (("b1", "i1"), ("b1", "i2"), ("b2", "i1")):
            ledger(dataclasses.replace(HIT, backend=backend, image_id=image))
        ledger(events.Bypassed("b1", "i1", "v", events.Reason.FAULT))
        ledger(events.Bypassed("b1", "i1", "v", events.Reason.NO_ROOM))
    assert ledger.totals() == [
        Count(None, "b1", "", "bypass", "fault", 3, 0.0, 0),
        Count(None, "b1", "", "bypass", "no-room", 3, 0.0, 0),
        Count(None, "b1", "", "hit", "", 6, 60.0, 600),
        Count(None, "b2", "", "hit", "", 3, 30.0, 300),
    ]
    assert sum(c.count for c in ledger.totals()) == sum(c.count for c in ledger.counts())


def test_processes_that_start_at_once_make_one_file_and_lose_nothing(path: str) -> None:
    processes = [counting(path, f"i{number % 2}", 200) for number in range(6)]
    for process in processes:
        # It does not matter that one process waits for another, however slow the machine is.
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    ledger = Ledger.open(path)
    assert [(count.image_id, count.count) for count in ledger.counts()] == [
        ("i0", 600),
        ("i1", 600),
    ]
    assert {one.kind: timed(one) for one in ledger.histograms()} == {
        "import": 0,
        "clone": 1200,
        "queue": 1200,
    }
    ledger.close()


def test_a_file_that_another_process_recovers_is_opened_afterwards(path: str) -> None:
    Ledger.open(path).close()
    pathlib.Path(f"{path}-shm").write_bytes(bytes(32768))  # an index that is not made yet
    with subprocess.Popen(
        [sys.executable, "-c", RECOVERING, f"{path}-shm", str(4 * BUSY_S)],
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        Ledger.open(path).close()


def test_a_process_that_is_killed_leaves_a_whole_file(path: str) -> None:
    process = counting(path, "i1", 10**9)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    ledger = Ledger.open(path)
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=30)
    while hits(ledger) < 20:
        assert datetime.datetime.now() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    counted = hits(ledger)
    assert {timed(one) for one in ledger.histograms() if one.kind != "import"} == {counted}
    ledger(HIT)
    assert hits(ledger) == counted + 1
    ledger.close()
    (verdict,) = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert verdict == "ok"


def test_threads_share_a_ledger(path: str) -> None:
    ledger = Ledger.open(path)
    threads = [threading.Thread(target=lambda: [ledger(HIT) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hits(ledger) == 400
    ledger.close()


# -- a file that cannot be written


def test_counts_that_cannot_be_written_are_written_later_with_one_warning(
    path: str, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger.open(path, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(50):
        ledger(HIT)
    other.execute("ROLLBACK")
    assert hits(ledger) == 0
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert "image_cache_ledger" in warning
    assert path in warning
    clock.advance(RETRY_S)
    ledger(HIT)
    assert hits(ledger) == 51
    assert {timed(one) for one in ledger.histograms() if one.kind == "queue"} == {51}
    ledger.close()


def test_a_locked_file_is_waited_for_only_once(path: str, clock: ManualClock) -> None:
    """On green threads each wait stops the process: one attempt, then none for RETRY_S."""
    ledger = Ledger.open(path, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began: list[str] = []
    ledger._connection.set_trace_callback(began.append)
    for _ in range(50):
        ledger(HIT)
    assert began.count("BEGIN IMMEDIATE") == 1
    other.close()
    ledger.close()


def test_closing_writes_what_is_left(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger(HIT)
    other.close()
    ledger.close()
    ledger.close()
    ledger(HIT)  # a late thread: nothing happens
    assert hits(Ledger.open(path, read_only=True)) == 1


def test_counts_delayed_by_a_slow_process_are_not_lost_at_the_end(path: str) -> None:
    ledger = Ledger.open(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ledger(HIT)
    released = threading.Timer(4 * BUSY_S, other.close)
    released.start()
    ledger.close()
    released.join()
    assert hits(Ledger.open(path)) == 1


def test_counts_waiting_for_a_lost_file_are_bounded(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(MAX_PENDING + 5):
        ledger(events.Replicated("b1", f"i{number}", "t", "ds", 1.0))
    ledger(events.Replicated("b1", "i0", "t", "ds", 1.0))
    other.close()
    clock.advance(RETRY_S)
    ledger(events.Replicated("b1", "i0", "t", "ds", 1.0))
    assert sum(count.count for count in ledger.counts()) == MAX_PENDING + 2
    ledger.close()


def test_a_full_disk_loses_counts_and_nothing_else(path: str) -> None:
    Ledger.open(path).close()

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    process = counting(path, "i1", 300, before=no_room)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    ledger = Ledger.open(path)
    ledger(HIT)
    assert 1 <= hits(ledger) < 300
    ledger.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change its user")
@pytest.mark.parametrize(
    ("is_open", "code", "text"),
    [
        (True, 0, "Events of the image cache are not counted for now"),
        (False, 1, "ConfigError: image_cache_ledger: cannot use"),
    ],
)
def test_a_file_of_another_user_loses_counts_and_is_named(
    is_open: bool, code: int, text: str
) -> None:
    """As a file of root, created by a command line tool, is for cinder-volume."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = f"{directory}/ledger.sqlite"
        ledger = Ledger.open(path)
        ledger(HIT)
        if not is_open:
            ledger.close()
        process = counting(path, "i1", 3, uid=65534)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert text in said and path in said
        assert hits(Ledger.open(path)) == 1
        ledger.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change its user")
@pytest.mark.parametrize("is_open", [True, False])
def test_a_user_with_read_access_can_read_the_file(is_open: bool) -> None:
    """Such as an exporter with its own user, whether cinder-volume runs or not."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = f"{directory}/ledger.sqlite"
        ledger = Ledger.open(path)
        ledger(HIT)
        if not is_open:
            ledger.close()
        reading = (
            "import os, sys; from vmdk_cache.ledger import Ledger; os.setuid(65534);"
            "print(len(Ledger.open(sys.argv[1], read_only=True).counts()))"
        )
        read = subprocess.run([sys.executable, "-c", reading, path], capture_output=True, text=True)
        assert (read.stdout, read.stderr) == ("1\n", "")
        ledger.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change its user")
@pytest.mark.parametrize("reader", [0, 65533])
def test_a_reader_does_not_block_the_owners_writes(reader: int) -> None:
    """Such as an exporter, or an operator, in the group of the service's directory."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = f"{directory}/ledger.sqlite"
        assert counting(path, "i1", 1, uid=65534).wait(60) == 0
        reading = (
            "import os, sys; from vmdk_cache.ledger import Ledger; os.setuid(int(sys.argv[2]));"
            "print(len(Ledger.open(sys.argv[1], read_only=True).counts()))"
        )
        command = [sys.executable, "-c", reading, path, str(reader)]
        read = subprocess.run(command, capture_output=True, text=True)
        assert (read.stdout, read.stderr) == ("1\n", "")
        assert counting(path, "i1", 1, uid=65534).wait(60) == 0
        assert hits(Ledger.open(path, read_only=True)) == 2


# -- the last purge


def test_the_last_purge_of_each_backend_is_kept(path: str, clock: ManualClock) -> None:
    ledger = Ledger.open(path, clock=clock)
    ledger(events.PurgeEnded("b1", "", 2.0, 3))
    clock.advance(600)
    ledger(events.PurgeEnded("b1", "", 5.0, 0, "Unreachable"))
    ledger(events.PurgeEnded("b2", "", 0.0))
    began_at = clock.now() - datetime.timedelta(seconds=5)
    assert ledger.last_purges() == {
        "b1": LastPurge(began_at, "Unreachable"),
        "b2": LastPurge(clock.now(), ""),
    }
    assert ledger.counts() == []
    ledger.close()


def test_the_last_purge_is_added_to_the_file_of_an_earlier_version(
    path: str, clock: ManualClock
) -> None:
    earlier = Ledger.open(path, clock=clock)
    earlier(HIT)
    earlier._connection.execute("DROP TABLE purges")
    earlier.close()
    reader = Ledger.open(path, read_only=True)
    assert (reader.last_purges(), hits(reader)) == ({}, 1)
    reader.close()
    ledger = Ledger.open(path, clock=clock)
    ledger(events.PurgeEnded("b1", "", 0.0))
    assert ledger.last_purges() == {"b1": LastPurge(clock.now(), "")}
    ledger.close()


# -- a file that is not a ledger


def test_a_ledger_of_a_later_version_is_left_alone(path: str) -> None:
    Ledger.open(path).close()
    with sqlite3.connect(path) as changed:
        changed.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(errors.ConfigError, match=r"image_cache_ledger.*later version"):
        Ledger.open(path)


def test_a_database_of_another_program_is_left_alone(path: str) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE volumes (id TEXT)")
        other.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    before = pathlib.Path(path).read_bytes()
    with pytest.raises(errors.ConfigError, match=r"image_cache_ledger.*another program"):
        Ledger.open(path)
    assert pathlib.Path(path).read_bytes() == before


@pytest.mark.parametrize("what", ["text", "a directory", "in no directory"])
def test_a_file_that_is_no_database_is_named_with_the_option(path: str, what: str) -> None:
    if what == "text":
        pathlib.Path(path).write_text("[DEFAULT]\n" * 200)
    elif what == "a directory":
        pathlib.Path(path).mkdir()
    else:
        path = f"{path}/deeper"
    with pytest.raises(errors.ConfigError, match=r"image_cache_ledger: .*ledger\.sqlite"):
        Ledger.open(path)


def test_a_reader_makes_no_file(path: str) -> None:
    with pytest.raises(errors.ConfigError):
        Ledger.open(path, read_only=True)
    assert not pathlib.Path(path).exists()


def test_a_file_damaged_while_it_is_read_is_named_with_the_option(path: str) -> None:
    ledger = Ledger.open(path)
    ledger(HIT)
    ledger._connection.execute("DROP TABLE counts")
    with pytest.raises(errors.ConfigError, match="image_cache_ledger"):
        ledger.counts()
    ledger.close()

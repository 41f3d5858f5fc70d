"""What the cache reports to Cinder's scheduler, and that the report is on time without vCenter."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import MemoryStore, memory_context
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.record import Record
from vmdk_cache.periodic.backend_report import (
    MOST_IMAGES,
    BackendReport,
    BackendReporter,
    report_of,
)

GIB = 1 << 30
MADE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def image_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def template(number: int, phase: Phase = Phase.READY, **changes: object) -> CacheEntry:
    """The template of image ``number``, imported ``number`` hours after the first one."""
    key = CacheKey(image_id(number), "ab" * 32, "lsiLogic")
    made = MADE + datetime.timedelta(hours=number)
    entry = CacheEntry(
        f"vm-{number}",
        template_name("b1", key),
        phase,
        Record("b1", key, GIB, made, "host:1"),
        "datastore-1",
        2000,
        GIB,
    )
    return dataclasses.replace(entry, **changes)  # type: ignore[arg-type]


class TestReportOf:
    def test_the_image_used_last_comes_first(self) -> None:
        used = template(1, used_at=MADE + datetime.timedelta(days=9))
        warmed = template(2, warmed_at=MADE + datetime.timedelta(days=8))
        report = report_of([template(3), warmed, template(4), used])
        assert report.image_ids == tuple(image_id(number) for number in (1, 2, 4, 3))

    def test_an_image_with_replicas_is_listed_once_by_its_copy_used_last(self) -> None:
        replica = template(1, moref="vm-9", used_at=MADE + datetime.timedelta(days=9))
        report = report_of([template(1), template(2), replica])
        assert report.image_ids == (image_id(1), image_id(2))

    def test_of_too_many_images_those_used_longest_ago_are_left_out(self) -> None:
        entries = [template(number) for number in range(MOST_IMAGES + 5)]
        listed = report_of(entries).image_ids
        assert len(listed) == MOST_IMAGES
        assert {image_id(number) for number in range(5)}.isdisjoint(listed)

    @pytest.mark.parametrize(
        "entry",
        [
            template(1, Phase.IMPORTING),
            template(1, Phase.ADOPTED),
            template(1, accessible=False),
        ],
        ids=["importing", "adopted", "files lost"],
    )
    def test_a_template_that_cannot_be_cloned_takes_space_and_attracts_no_volume(
        self, entry: CacheEntry
    ) -> None:
        assert report_of([entry]) == BackendReport(extra_provisioned_gib=1)

    def test_foreign_vms_are_neither_counted_nor_listed(self) -> None:
        assert report_of([template(1, Phase.FOREIGN)]) == BackendReport()

    def test_the_sum_is_rounded_up_and_not_each_template(self) -> None:
        entries = [template(number, size_bytes=GIB // 4) for number in range(5)]
        assert report_of(entries).extra_provisioned_gib == 2


class AwayStore(MemoryStore):
    """A store whose vCenter answers no look until ``back`` is set."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock)
        self.back = threading.Event()
        self.back.set()
        self.during["entries"] = self._answer

    def _answer(self) -> None:
        assert self.back.wait(60)


@pytest.fixture
def store() -> Iterator[AwayStore]:
    made = AwayStore()
    made.vms["vm-1"] = template(1)
    yield made
    made.back.set()


def reporter_of(store: MemoryStore, within_s: float = 60) -> BackendReporter:
    return BackendReporter(memory_context(store=store), within_s=within_s)


ONE = BackendReport(1, (image_id(1),))


def test_making_it_asks_nothing_and_starts_no_thread(store: AwayStore) -> None:
    threads = threading.active_count()
    reporter_of(store)
    assert store.calls["entries"] == 0
    assert threading.active_count() == threads


def test_both_figures_come_from_one_look(store: AwayStore) -> None:
    assert reporter_of(store).latest() == ONE
    assert store.calls["entries"] == 1


def test_a_use_that_only_this_process_knows_of_counts(store: AwayStore) -> None:
    store.vms["vm-2"] = template(2)
    context = memory_context(store=store, clock=store.clock)
    reporter = BackendReporter(context)
    assert reporter.latest().image_ids == (image_id(2), image_id(1))
    store.clock.advance(86400)
    context.usage.note(store.vms["vm-1"])
    store.vms["vm-1"] = template(1)  # as shown by a vCenter that has not written the time
    assert reporter.latest().image_ids == (image_id(1), image_id(2))


def test_while_vcenter_is_away_the_last_report_is_returned_without_a_wait(
    store: AwayStore, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = reporter_of(store, within_s=0.05)
    assert any(reporter.latest() == ONE for _ in range(1000))  # each waits for the first look
    caplog.clear()
    looks = store.calls["entries"]
    store.back.clear()
    del store.vms["vm-1"]
    threads = threading.active_count()
    for _ in range(3):
        assert reporter.latest() == ONE  # otherwise this test would hang
    assert threading.active_count() <= threads + 1
    assert store.calls["entries"] == looks + 1
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "last count stands" in warnings[0]
    store.back.set()  # the result of a look is used even if no caller waited for it
    assert any(reporter.latest() == BackendReport() for _ in range(1000))


def test_once_vcenter_is_back_its_answer_counts_and_the_log_says_so(
    store: AwayStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reporter = reporter_of(store)
    assert reporter.latest() == ONE
    store.faults["entries"] = [errors.Unreachable("away"), errors.Unreachable("away")]
    del store.vms["vm-1"]
    assert [reporter.latest(), reporter.latest()] == [ONE, ONE]
    assert reporter.latest() == reporter.latest() == BackendReport()
    said = [(r.levelno, r.getMessage()) for r in caplog.records]
    assert said == [
        (logging.WARNING, "Could not list the cached templates, last count stands: away"),
        (logging.INFO, "The cached templates are counted again"),
    ]


def test_without_a_free_thread_there_is_still_a_report(
    store: AwayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = reporter_of(store)
    assert reporter.latest() == ONE

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert reporter.latest() == ONE
    del store.vms["vm-1"]
    assert reporter.latest() == BackendReport()

"""Every event is a readable line, and a failing listener does not block the others."""

from __future__ import annotations

import dataclasses

import pytest

from vmdk_cache.cache import events

BACKEND, IMAGE, VOLUME, TEMPLATE = "vmware1", "image-1", "volume-1", "vmware1_image_cache (image-1)"
TIMES = (12.34, 3.0, 8.5)
EVERY_EVENT: dict[type[events.Event], tuple[events.Event, str]] = {
    type(event): (event, line)
    for event, line in [
        (
            events.Hit(BACKEND, IMAGE, VOLUME, "ds1", *TIMES, 3_250_000),
            "Image cache hit: volume volume-1 from image image-1 on datastore ds1 in 12.34 s "
            "(3.00 s waiting), 3.1 MiB not downloaded [vmware1]",
        ),
        (
            events.Miss(BACKEND, IMAGE, VOLUME, "ds1", *TIMES),
            "Image cache miss: volume volume-1 from image image-1 on datastore ds1 in 12.34 s "
            "(3.00 s waiting), including its import [vmware1]",
        ),
        (
            events.Bypassed(BACKEND, IMAGE, VOLUME, events.Reason.NO_ROOM),
            "Image cache bypass: volume volume-1 from image image-1, no-room [vmware1]",
        ),
        (
            events.VolumeFailed(BACKEND, IMAGE, VOLUME, "ImageCorrupt"),
            "Image cache failure: volume volume-1 from image image-1, ImageCorrupt [vmware1]",
        ),
        (
            events.ImportStarted(BACKEND, IMAGE, TEMPLATE, "ds1"),
            "Image cache import of image image-1 begins on datastore ds1 [vmware1]",
        ),
        (
            events.Imported(BACKEND, IMAGE, TEMPLATE, "ds1", 20 << 30, 512, 9.5),
            "Image cache import of image image-1 on datastore ds1 done in 9.50 s, 512 B "
            "downloaded: template 'vmware1_image_cache (image-1)' of 20 GiB [vmware1]",
        ),
        (
            events.ImportFailed(BACKEND, IMAGE, "SourceUnavailable", 2.0),
            "Image cache import of image image-1 failed after 2.00 s, SourceUnavailable [vmware1]",
        ),
        (
            events.Replicated(BACKEND, IMAGE, TEMPLATE, "ds2", 4.0),
            "Image cache replica of image image-1 on datastore ds2 made in 4.00 s: template "
            "'vmware1_image_cache (image-1)' [vmware1]",
        ),
        (
            events.Evicted(BACKEND, "", TEMPLATE, events.Rule.BROKEN, "files-lost", 3 << 40),
            "Image cache eviction: template 'vmware1_image_cache (image-1)' of image unknown, "
            "3 TiB, broken: files-lost [vmware1]",
        ),
        (
            events.NotKeptWarm(BACKEND, IMAGE, "no-room"),
            "Image cache warm-up: marked image image-1 without a template, no-room [vmware1]",
        ),
        (
            events.PurgeEnded(BACKEND, "", 0.5, 2),
            "Image cache purge: 2 templates deleted in 0.50 s [vmware1]",
        ),
    ]
}


@pytest.mark.parametrize("kind", events.Event.__subclasses__(), ids=lambda kind: kind.__name__)
def test_an_event_is_one_readable_line_at_info(
    kind: type[events.Event], caplog: pytest.LogCaptureFixture
) -> None:
    event, line = EVERY_EVENT[kind]
    with caplog.at_level("INFO"):
        events.log(event)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("INFO", line)]


def test_an_event_is_a_value() -> None:
    event, _ = EVERY_EVENT[events.Hit]
    assert event == dataclasses.replace(event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.image_id = "another"  # type: ignore[misc]


def test_a_listener_that_fails_blocks_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[events.Event] = []

    def broken(event: events.Event) -> None:
        raise RuntimeError("made up")

    event, _ = EVERY_EVENT[events.Miss]
    events.to_all(heard.append, broken, heard.append)(event)
    assert heard == [event, event]
    (record,) = caplog.records
    assert (record.levelname, "made up" in record.getMessage()) == ("WARNING", True)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 30) - 1, "1 GiB"),
        (1 << 30, "1 GiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_sizes_are_for_people(size_bytes: int, text: str) -> None:
    assert events.as_text(size_bytes) == text

"""The main thread can interrupt a warm-up at any time, whatever the other threads do."""

from __future__ import annotations

import _thread
import dataclasses
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache.cli.progress import Progress
from vmdk_cache.cli.warm_run import (
    CLEANED_UP_WITHIN_S,
    Errand,
    Status,
    Target,
    WarmRun,
    last_words,
)
from vmdk_cache.image import Image

IMAGE = Image("a0000000-0000-4000-8000-000000000001", 2, "vmdk", "bare")


class FastClock(ManualClock):
    """Every reading takes half of the allowed time."""

    def monotonic(self) -> float:
        self.advance(CLEANED_UP_WITHIN_S / 2)
        return super().monotonic()


class SilentGlance:
    """Sends one byte of an image, and then nothing, until the test is over."""

    def __init__(self) -> None:
        self.is_over = threading.Event()

    def open(self, image: Image) -> Iterator[bytes]:
        yield b"1"
        self.is_over.wait()
        yield b"2"


class Images:
    """An engine that reads the image. A signal arrives at its first byte."""

    def warm(self, image: Image, adapter: str, source: Any, datastore: str | None) -> Any:
        for _ in source.open(image):
            # Like a signal right before the main thread begins to wait: it wakes no thread.
            _thread.interrupt_main()
        raise AssertionError("the run was broken off")


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_silent_glance_does_not_prevent_the_end_of_a_run() -> None:
    glance = SilentGlance()
    target = Target(IMAGE, "debian", None, None, "vmware1")
    cache: Any = SimpleNamespace(images=Images())
    run = WarmRun(
        [Errand(cache, "lsiLogic", [target])],
        glance,
        parallel=1,
        progress=Progress(),
        clock=FastClock(),
    )
    try:
        assert run.run() is False
        assert target.status is Status.BROKEN_OFF
        assert (target.bytes_read, target.seconds > 0) == (1, True)
    finally:
        glance.is_over.set()


def test_the_last_words_tell_what_was_done_and_what_it_took() -> None:
    def target(status: Status, **more: Any) -> Target:
        image = dataclasses.replace(IMAGE, name="debian")
        return Target(image, None, None, "vmware1", status=status, **more)

    said = last_words(
        [
            target(Status.IMPORTED),
            target(Status.BROKEN_OFF, bytes_read=3 << 29, seconds=12.34),
            target(Status.NOT_BEGUN),
            target(Status.NOT_BEGUN),
        ]
    )
    assert said == (
        "interrupted: 1 imported, debian on vmware1 broken off after 1.5 GiB in 12.3 s, 2 not "
        "begun. The same command goes on with the rest"
    )

"""How the progress of an import is reported, to a log and to a terminal."""

from __future__ import annotations

import errno
import io

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache.cli.progress import Bars, Lines, Progress, progress

MIB = 1 << 20


class HungUp(io.StringIO):
    """A stream whose reader has gone."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self.is_gone = False

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str, /) -> int:
        if self.is_gone:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_log_gets_one_line_per_tenth_and_not_per_chunk() -> None:
    stream, clock = io.StringIO(), ManualClock()
    lines = Lines(stream, clock)
    for read in range(1, 1001):
        clock.advance(0.01)
        lines.read("debian on ds1", read * MIB, 1000 * MIB)
    assert len(told(stream)) == 10
    assert told(stream)[0].startswith("debian on ds1: 10 %, 100 MiB, ")
    assert told(stream)[-1].startswith("debian on ds1: 100 %, 1000 MiB, 100.1 MiB/s")


def test_concurrent_imports_are_distinguished() -> None:
    stream, clock = io.StringIO(), ManualClock()
    lines = Lines(stream, clock)
    for what in ("a", "b"):
        lines.read(what, 5 * MIB, 10 * MIB)
    assert told(stream) == ["a: 50 %, 5 MiB", "b: 50 %, 5 MiB"]


def test_an_image_of_unknown_size_is_no_error_and_no_flood() -> None:
    stream, clock = io.StringIO(), ManualClock()
    lines = Lines(stream, clock)
    for read in range(1, 1025):
        lines.read("a", read * MIB, 0)
    assert len(told(stream)) == 10
    assert not any("%" in line for line in told(stream))


def test_a_terminal_gets_bars_and_its_line_back() -> None:
    stream = Terminal()
    with progress(stream, ManualClock(), quiet=False) as bars:
        assert isinstance(bars, Bars)
        bars.read("[bold]debian", 5 * MIB, 10 * MIB)
        bars.state("[bold]debian", "imported")
    shown = stream.getvalue()
    assert "[bold]debian" in shown  # an image's name is no markup
    assert "5.0/10.0 MiB" in shown
    assert "imported" in shown
    assert shown.rstrip(" ").endswith("\n") or "\x1b[?25h" in shown


def test_a_bar_has_one_kind_of_megabyte_and_no_bytes_of_what_is_not_downloaded() -> None:
    stream = Terminal()
    with progress(stream, ManualClock(), quiet=False) as bars:
        bars.state("fedora", "already there")
    assert "0/?" not in stream.getvalue() and "bytes" not in stream.getvalue()
    with progress(stream, ManualClock(), quiet=False) as bars:
        for part in range(1, 11):
            bars.read("debian", part * MIB, 10 * MIB)
    shown = stream.getvalue()
    assert "10.0/10.0 MiB" in shown and "iB/s" in shown
    assert " MB/s" not in shown and " GB/s" not in shown


def test_without_a_terminal_nothing_is_drawn() -> None:
    assert isinstance(progress(io.StringIO(), ManualClock(), quiet=False), Lines)
    silent = progress(Terminal(), ManualClock(), quiet=True)
    assert type(silent) is Progress


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_closed_terminal_does_not_interrupt_an_import(is_terminal: bool) -> None:
    stream = HungUp(is_terminal=is_terminal)
    with progress(stream, ManualClock(), quiet=False) as shown:
        shown.state("debian", "looking up")
        stream.is_gone = True
        shown.read("debian", MIB, MIB)
        shown.state("debian", "imported")
        shown.state("fedora", "looking up")

"""What is told of an import on the way, to a log and to a terminal."""

from __future__ import annotations

import io

from tests.fakes.clock import ManualClock
from vmdk_cache.cli.progress import Bars, Lines, Silent, progress

MIB = 1 << 20


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


def test_imports_at_a_time_are_told_apart() -> None:
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


def test_where_nobody_looks_nothing_is_drawn() -> None:
    assert isinstance(progress(io.StringIO(), ManualClock(), quiet=False), Lines)
    silent = progress(Terminal(), ManualClock(), quiet=True)
    assert isinstance(silent, Silent)

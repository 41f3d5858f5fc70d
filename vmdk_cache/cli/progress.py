"""Progress of imports, and of disks that are read, on stderr: bars on a terminal, plain lines
elsewhere, nothing with ``-q``.

Bars       one bar for each: bytes, rate, time left
Lines      one line for each change of state and each tenth of the bytes
Progress   nothing

Output errors (a closed terminal or pipe) are ignored: they do not abort an import.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Self, TextIO

from vmdk_cache.cache.events import as_text
from vmdk_cache.clock import Clock

#: Between two lines about one import.
TENTH = 0.1


class Progress:
    """Used by many threads; a context manager, because it may have to restore the terminal. This
    one shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def state(self, what: str, state: str) -> None:
        """Show the new ``state`` of ``what``, in a few words."""

    def read(self, what: str, bytes_read: int, size_bytes: int) -> None:
        """Show that ``bytes_read`` of ``size_bytes`` (0 if unknown) bytes of ``what`` have been
        read."""


class Lines(Progress):
    """Plain lines, for a log."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._tenths: dict[str, int] = {}

    def state(self, what: str, state: str) -> None:
        with self._lock:
            self._print(f"{what}: {state}")

    def read(self, what: str, bytes_read: int, size_bytes: int) -> None:
        now = self._clock.monotonic()
        with self._lock:
            began = self._began.setdefault(what, now)
            # If the size is unknown, one line for each doubling.
            done = bytes_read / size_bytes if size_bytes else 0.0
            mark = int(done / TENTH) if size_bytes else bytes_read.bit_length()
            if mark <= self._tenths.setdefault(what, 0 if size_bytes else mark):
                return
            self._tenths[what] = mark
            share = f"{int(done * 100)} %, " if size_bytes else ""
            rate = bytes_read / (now - began) if now > began else 0.0
            speed = f", {as_text(int(rate))}/s" if rate else ""
            self._print(f"{what}: {share}{as_text(bytes_read)}{speed}")

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(text, file=self._stream, flush=True)


class Bars(Progress):
    """Progress bars, for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        # Imported here because it takes as long as importing the rest of the command's output.
        from rich import console, progress
        from rich.table import Column
        from rich.text import Text

        class Rate(progress.TransferSpeedColumn):
            """In binary units like the sizes beside it; rich uses units of 1000 bytes."""

            def render(self, task: progress.Task) -> Text:
                speed = task.finished_speed or task.speed
                rate = f"{as_text(int(speed))}/s" if speed else ""
                return Text(rate, style="progress.data.speed")

        class Bytes(progress.DownloadColumn):
            """Empty until bytes have been downloaded."""

            def render(self, task: progress.Task) -> Text:
                return super().render(task) if task.completed else Text()

        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=20),
            Bytes(binary_units=True, table_column=Column(no_wrap=True)),
            Rate(table_column=Column(no_wrap=True)),
            progress.TimeRemainingColumn(),
            # If the terminal is narrow, only this wraps.
            progress.TextColumn(
                "{task.fields[state]}", markup=False, table_column=Column(no_wrap=False)
            ),
            console=console.Console(file=stream),
        )
        self._lock = threading.Lock()
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._bars.stop()

    def state(self, what: str, state: str) -> None:
        self._update(what, state=state)

    def read(self, what: str, bytes_read: int, size_bytes: int) -> None:
        self._update(what, completed=bytes_read, total=size_bytes or None)

    def _update(self, what: str, **changes: Any) -> None:
        with contextlib.suppress(OSError):
            with self._lock:
                if what not in self._tasks:
                    self._tasks[what] = self._bars.add_task(what, total=None, state="")
            self._bars.update(self._tasks[what], **changes)


def progress(stream: TextIO, clock: Clock, *, quiet: bool) -> Progress:
    """Return the progress display for ``stream``, normally stderr."""
    if quiet:
        return Progress()
    return Bars(stream) if stream.isatty() else Lines(stream, clock)

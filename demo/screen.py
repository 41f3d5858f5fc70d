"""What the demo prints: lines, with a progress bar on a terminal, without one elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.large_burst import duration
from demo.proofs import Proof

LABEL_WIDTH = 9
REDRAWS_PER_S = 2
BAR_WIDTH = 40


class Row(NamedTuple):
    """A volume.

    :ivar outcome: what happened to its request for the cache: ``hit``, ``miss``, ``bypass: ...``
    :ivar driver_s: seconds that the driver took, None if it did not say
    :ivar available_after_s: seconds from the moment when all volumes were requested
    """

    name: str
    outcome: str
    driver_s: float | None
    available_after_s: float


class Screen:
    """Prints to stdout: with colors and a moving bar on a terminal, line by line elsewhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._started_at = time.monotonic()

    def title(self, text: str) -> None:
        self._console.print(f"[bold]{text}[/bold]")

    def chapter(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    def say(self, label: str, text: str) -> None:
        """One line of the story."""
        self._console.print(f"[cyan]{label:<{LABEL_WIDTH}}[/cyan] {text}", markup=True)

    @contextlib.contextmanager
    def step(self, label: str, text: str) -> Iterator[None]:
        """One line of the story for a step that takes a while: a spinner, then the line with its
        seconds.
        """
        started_at = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(f"{text} ...", refresh_per_second=REDRAWS_PER_S):
                yield
        else:
            yield
        self.say(label, f"{text} [dim]({time.monotonic() - started_at:.1f} s)[/dim]")

    @contextlib.contextmanager
    def counting(self, label: str, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar; the yielded function takes the number of finished items."""
        if not self._console.is_terminal:
            with self._counting_in_lines(label, text, total) as report:
                yield report
            return
        columns = (
            TextColumn(f"[cyan]{label:<{LABEL_WIDTH}}[/cyan] {text}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self._console, refresh_per_second=REDRAWS_PER_S
        ) as progress:
            task = progress.add_task(label, total=total)
            yield lambda done: progress.update(task, completed=done)

    @contextlib.contextmanager
    def _counting_in_lines(
        self, label: str, text: str, total: int
    ) -> Iterator[Callable[[int], None]]:
        quarters = 0

        def report(done: int) -> None:
            nonlocal quarters
            if done * 4 // total > quarters:
                quarters = done * 4 // total
                self.say(label, f"{text}: {done} of {total}")

        yield report

    def volumes(self, rows: Sequence[Row]) -> None:
        """The table of volumes, in two columns so that it fits on one screen."""
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for title in ("volume", "cache", "driver s", "ready s") * 2:
            table.add_column(
                title, justify="right" if title.endswith(" s") else "left", no_wrap=True
            )
        half = -(-len(rows) // 2)
        for left, right in zip(rows[:half], [*rows[half:], None], strict=False):
            table.add_row(*_cells(left), *_cells(right))
        self._console.print(table)

    def comparison(self, rows: Sequence[tuple[str, ...]]) -> None:
        """A table whose first row is its head and whose last column is ours."""
        table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
        for number, title in enumerate(rows[0]):
            table.add_column(title, justify="right" if number else "left", no_wrap=True)
        for *others, ours in rows[1:]:
            table.add_row(*others, f"[bold green]{ours}[/bold green]")
        self._console.print(table)

    def bars(self, title: str, seconds: Mapping[str, float], source: str) -> None:
        """A bar for each name; those of this driver are coloured."""
        self._console.print(f"\n{title}\n[dim]{source}[/dim]")
        longest = max(seconds.values())
        for name, each_s in seconds.items():
            bar = "\u2588" * max(1, round(BAR_WIDTH * each_s / longest))
            colour = "green" if name.startswith("this driver") else "bright_black"
            self._console.print(f"{name:<26}[{colour}]{bar}[/{colour}] {duration(each_s)}")

    def proof(self, proof: Proof) -> None:
        mark, colour = ("ok", "green") if proof.holds else ("FAILED", "red")
        first, *further = proof.text.splitlines()
        self._console.print(f"[{colour}]{mark:<{LABEL_WIDTH}}[/{colour}] {first}")
        for line in further:
            self._console.print(f"{'':<{LABEL_WIDTH}} {line}")

    def end(self, holds: bool) -> None:
        seconds = time.monotonic() - self._started_at
        if holds:
            verdict = "[bold green]Every check passed[/bold green]"
            self._console.print(f"\n{verdict}, in {seconds:.0f} s.")
            self._console.print("To use this driver yourself, on such a stack: make play")
        else:
            self._console.print("\n[bold red]The demo failed.[/bold red]")

    def plain(self, text: str) -> None:
        """Print text of other programs (logs, errors) unchanged: not even wrapped."""
        self._console.print(text, markup=False, soft_wrap=True)


def _cells(row: Row | None) -> tuple[str, str, str, str]:
    if row is None:
        return ("", "", "", "")
    colour = {"hit": "green", "miss": "yellow"}.get(row.outcome, "red")
    driver = "" if row.driver_s is None else f"{row.driver_s:.2f}"
    outcome = f"[{colour}]{row.outcome}[/{colour}]"
    return (row.name, outcome, driver, f"{row.available_after_s:.1f}")

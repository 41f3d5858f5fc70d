"""What the package is for: releases of Cinder, and with each the Pythons and threads it runs on.

Every release is tried with Python 3.11, the oldest that the package takes and one that all of them
name in their metadata; the newest with each Python that it names. Glance's release is that of the
same series. constraints-<major>.txt holds the packages of that time, of Cinder's newest release
tests/constraints.txt does.
"""

from __future__ import annotations

from dataclasses import dataclass

NEWEST = 29


@dataclass(frozen=True)
class Release:
    """A series of OpenStack.

    :ivar cinder: its newest release; as ``tests/constraints-*.txt`` has it
    :ivar series: OpenStack's name for it
    """

    cinder: str
    series: str
    pythons: tuple[str, ...]
    threads: tuple[str, ...] = ("eventlet",)

    @property
    def major(self) -> int:
        return int(self.cinder.partition(".")[0])

    @property
    def constraints(self) -> str:
        """Path below the repository."""
        if self.major == NEWEST:
            return "tests/constraints.txt"
        return f"tests/matrix/constraints-{self.major}.txt"


RELEASES = (
    Release("26.3.0", "2025.1", ("3.11",)),
    Release("27.0.0", "2025.2", ("3.11",)),
    Release("28.0.0", "2026.1", ("3.11",)),
    Release("29.0.0", "2026.2", ("3.11", "3.12", "3.13"), ("eventlet", "threading")),
)


@dataclass(frozen=True)
class Cell:
    """One combination."""

    release: Release
    python: str
    threads: str

    @property
    def environment(self) -> str:
        """Cells that differ in their threads alone share it."""
        return f"cinder{self.release.major}-py{self.python.replace('.', '')}"

    @property
    def name(self) -> str:
        return f"{self.environment}-{self.threads}"


def all_cells() -> list[Cell]:
    """Every supported combination, oldest Cinder first."""
    return [
        Cell(release, python, threads)
        for release in RELEASES
        for python in release.pythons
        for threads in release.threads
    ]


def named(words: list[str]) -> list[Cell]:
    """The cells whose names contain one of the words; all for no words.

    :raises ValueError: a word is in no cell's name
    """
    cells = all_cells()
    for word in words:
        if not any(word in cell.name for cell in cells):
            names = ", ".join(cell.name for cell in cells)
            raise ValueError(f"no cell is called like {word!r}; there are {names}")
    return [cell for cell in cells if not words or any(word in cell.name for word in words)]
